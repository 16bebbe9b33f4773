//! Sends messages as fast as the window allows and prints one JSON line: `{"messages","seconds","rate","cpu_seconds"}`.
//! scripts/bench runs it beside Microsoft's SDKs.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Parser;
use iothub_client::protocol::Message;
use iothub_client::{Client, ClientOptions, Trust};
use tokio::sync::mpsc;

#[derive(Debug, Parser)]
#[command(about = "Sends messages to IoT Hub as fast as the window allows and prints the rate")]
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
    count: usize,
    /// Bytes of each body.
    #[arg(long, default_value_t = 300)]
    size: usize,
    /// Messages in flight.
    #[arg(long, default_value_t = 100)]
    window: u16,
}

type Failure = Box<dyn std::error::Error>;

/// The whole run, connecting included, must end within this time.
const DEADLINE: Duration = Duration::from_secs(600);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let mut options = ClientOptions::from_connection_string(&args.connection_string)?;
    options.port = args.port;
    options.window = args.window;
    if let Some(path) = &args.ca {
        options.trust = Trust::Pem(std::fs::read(path)?);
    }
    let (client, _events) = Client::start(options)?;
    let result = tokio::time::timeout(DEADLINE, run(&client, &args)).await?;
    client.stop().await;
    println!("{}", result?);
    Ok(())
}

async fn run(client: &Client, args: &Args) -> Result<serde_json::Value, Failure> {
    let mut state = client.state();
    let session = tokio::select! {
        session = client.session() => session?,
        reason = async { state.wait_for(|state| matches!(state, iothub_client::ConnectionState::Disconnected { .. })).await.map(|state| format!("{state:?}")) } => {
            return Err(format!("cannot connect: {}", reason?).into());
        }
    };
    let body = Bytes::from(vec![b'x'; args.size]);
    let (deliveries, mut waiting) = mpsc::channel(usize::from(args.window) * 2);
    let (began, cpu) = (Instant::now(), cpu_seconds());
    let send = async move {
        for _ in 0..args.count {
            let delivery = session.publish(Message::new(body.clone())).await?;
            deliveries
                .send(delivery)
                .await
                .map_err(|_| "the receiver of deliveries is gone")?;
        }
        Ok::<_, Failure>(())
    };
    let confirm = async {
        while let Some(delivery) = waiting.recv().await {
            delivery.await?;
        }
        Ok::<_, Failure>(())
    };
    tokio::try_join!(send, confirm)?;
    let (seconds, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    Ok(
        serde_json::json!({"messages": args.count, "seconds": seconds, "rate": args.count as f64 / seconds, "cpu_seconds": cpu}),
    )
}

/// User and system time of this process in seconds, from /proc (proc(5): fields 14 and 15 of stat, in ticks of 1/100 s); 0 where there is none.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The program's name may hold spaces; it ends at the last parenthesis.
    let fields = stat
        .rsplit_once(')')
        .map_or("", |(_, rest)| rest)
        .split_whitespace();
    let ticks: f64 = fields
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<f64>().ok())
        .sum();
    ticks / 100.0
}
