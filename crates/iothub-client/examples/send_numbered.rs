//! Sends the bodies `{"n":0}`, `{"n":1}`, … in order until each is acknowledged, over as many connections as it takes, and prints one JSON line:
//! `{"count","acked","sent","seconds","connections":[{"generation","first","sent","acked"}]}`. tests/conformance runs it against brokers that are
//! not ours.
//!
//! It is also the shortest correct caller: after a lost connection it goes back to the first message without PUBACK.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Parser;
use iothub_client::protocol::Message;
use iothub_client::{Client, ClientOptions, ConnectionState, SendError, Session, Trust};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;

#[derive(Debug, Parser)]
#[command(about = "Sends numbered messages to IoT Hub until each is acknowledged")]
struct Args {
    /// HostName=…;DeviceId=…;SharedAccessKey=…[;GatewayHostName=…]
    #[arg(long)]
    connection_string: String,
    /// Root certificate in PEM; without it the system's roots count.
    #[arg(long)]
    ca: Option<PathBuf>,
    #[arg(long, default_value_t = 8883)]
    port: u16,
    /// Messages to send.
    #[arg(long, default_value_t = 10_000)]
    count: u64,
    /// Messages in flight.
    #[arg(long, default_value_t = 100)]
    window: u16,
}

type Failure = Box<dyn std::error::Error>;

/// The whole run, connecting included, must end within this time.
const DEADLINE: Duration = Duration::from_secs(600);

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::process::ExitCode {
    match timeout(DEADLINE, run(Args::parse())).await {
        Ok(Ok(summary)) => {
            println!("{summary}");
            std::process::ExitCode::SUCCESS
        }
        Ok(Err(error)) => failure(&error.to_string()),
        Err(_) => failure("not all messages were acknowledged in time"),
    }
}

fn failure(text: &str) -> std::process::ExitCode {
    eprintln!("send_numbered: {text}");
    std::process::ExitCode::FAILURE
}

async fn run(args: Args) -> Result<Value, Failure> {
    let mut options = ClientOptions::from_connection_string(&args.connection_string)?;
    options.port = args.port;
    options.window = args.window;
    if let Some(path) = &args.ca {
        options.trust = Trust::Pem(std::fs::read(path)?);
    }
    let (client, _events) = Client::start(options)?;
    first_connection(&client).await?;

    let began = Instant::now();
    let (mut acked, mut sent, mut connections) = (0, 0, Vec::new());
    while acked < args.count {
        let session = client.session().await?;
        let turn = send(&session, acked..args.count, args.window).await?;
        connections.push(json!({
            "generation": session.generation(), "first": acked, "sent": turn.sent, "acked": turn.acked,
        }));
        acked += turn.acked;
        sent += turn.sent;
    }
    let seconds = began.elapsed().as_secs_f64();
    client.stop().await;
    Ok(
        json!({"count": args.count, "acked": acked, "sent": sent, "seconds": seconds, "connections": connections}),
    )
}

/// A first connection that fails is a mistake in the settings; later ones are tried for ever.
async fn first_connection(client: &Client) -> Result<(), Failure> {
    let mut state = client.state();
    let state = state
        .wait_for(|state| !matches!(state, ConnectionState::Connecting { .. }))
        .await?;
    match &*state {
        ConnectionState::Disconnected { reason, .. } => {
            Err(format!("cannot connect: {reason}").into())
        }
        _ => Ok(()),
    }
}

/// What one connection did.
#[derive(Debug, Default)]
struct Turn {
    /// Messages handed to it.
    sent: u64,
    /// PUBACKs without a gap.
    acked: u64,
}

async fn send(
    session: &Session,
    numbers: std::ops::Range<u64>,
    window: u16,
) -> Result<Turn, SendError> {
    let (deliveries, mut waiting) = mpsc::channel(usize::from(window));
    let publish = async move {
        for number in numbers {
            let mut message = Message::json(json!({"n": number}).to_string());
            message.id = Some(format!("n:{number}"));
            match session.publish(message).await {
                Ok(delivery) => {
                    // Full at most for a moment: the other half takes deliveries as they resolve.
                    if deliveries.send(delivery).await.is_err() {
                        break;
                    }
                }
                Err(error) if error.is_retryable() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    };
    let confirm = async {
        let mut turn = Turn::default();
        let mut gap = false;
        while let Some(delivery) = waiting.recv().await {
            turn.sent += 1;
            match delivery.await {
                // What follows a gap is sent again with it, or the order would be lost.
                Ok(()) => turn.acked += u64::from(!gap),
                Err(error) if error.is_retryable() => gap = true,
                Err(error) => return Err(error),
            }
        }
        Ok(turn)
    };
    let ((), turn) = tokio::try_join!(publish, confirm)?;
    Ok(turn)
}
