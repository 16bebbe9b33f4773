//! One connection from its first byte to its last: TLS, CONNECT, then packets both ways.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use bytes::BytesMut;
use rumqttc::mqttbytes::Error as MqttError;
use rumqttc::mqttbytes::v4::{ConnAck, Connect, ConnectReturnCode, Packet};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::handshake::{self, Admitted};
use super::session::Session;
use super::{End, LARGEST_PACKET};
use crate::hub::Hub;
use crate::hub::connections::{Ended, Link, Outgoing};

/// For the TLS handshake, and again for the CONNECT packet.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// For a client to take what it is sent.
const WRITE_DEADLINE: Duration = Duration::from_secs(30);
/// For the connection of the same identity to finish what it has received.
const TAKEOVER_DEADLINE: Duration = Duration::from_secs(5);
/// Room for one read; a batch is what fits in it.
const READ_ROOM: usize = 256 * 1024;

/// Serves one accepted socket to its end.
pub(super) async fn serve(
    hub: &Hub,
    stream: TcpStream,
    peer: SocketAddr,
    tls: &TlsAcceptor,
    shutdown: &CancellationToken,
) {
    // Answers are small and waited for.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "no TCP_NODELAY");
    }
    let work = async {
        match timeout(CONNECT_DEADLINE, tls.accept(stream)).await {
            Ok(Ok(stream)) => run(hub, stream, peer).await,
            Ok(Err(error)) => tracing::info!(%peer, %error, "TLS handshake failed"),
            Err(_) => tracing::info!(%peer, "TLS handshake took too long"),
        }
    };
    tokio::select! {
        () = work => {}
        () = shutdown.cancelled() => {}
    }
}

async fn run<S: AsyncRead + AsyncWrite + Unpin>(hub: &Hub, mut stream: S, peer: SocketAddr) {
    let mut input = BytesMut::with_capacity(READ_ROOM);
    let connect = match timeout(CONNECT_DEADLINE, read_connect(&mut stream, &mut input)).await {
        Ok(Ok(connect)) => connect,
        Ok(Err(end)) => return tracing::info!(%peer, %end, "no CONNECT"),
        Err(_) => return tracing::info!(%peer, "no CONNECT in time"),
    };
    let client_id = connect.client_id.clone();
    let admitted = match handshake::admit(hub, connect) {
        Ok(admitted) => admitted,
        Err(refusal) => {
            tracing::info!(%peer, client_id, %refusal, "refused");
            refuse(&mut stream).await;
            return;
        }
    };
    let (seat, outgoing) = hub.connections.open(&admitted.identity);
    if hub.faults.is_down() {
        return;
    }
    if let Some(previous) = &seat.previous {
        // What the former connection has received must be recorded before what this one will send.
        if timeout(TAKEOVER_DEADLINE, previous.gone()).await.is_err() {
            tracing::warn!(client_id, "the former connection does not end");
        }
    }
    let (mut session, present) = match Session::open(hub, seat.link.clone(), &admitted) {
        Ok(opened) => opened,
        Err(end) => return tracing::error!(client_id, %end, "session"),
    };
    tracing::info!(%peer, client_id, session_present = present, "connected");
    let end = match converse(
        &mut stream,
        &mut session,
        &seat.link,
        outgoing,
        &admitted,
        present,
        &mut input,
    )
    .await
    {
        Ok(never) => match never {},
        Err(end) => end,
    };
    tracing::info!(client_id, %end, "disconnected");
    if let Some(will) = admitted.will.filter(|_| !matches!(end, End::Disconnected))
        && let Err(end) = session.record_will(&will)
    {
        tracing::error!(client_id, %end, "the will is lost");
    }
}

async fn read_connect<S: AsyncRead + Unpin>(
    stream: &mut S,
    input: &mut BytesMut,
) -> Result<Connect, End> {
    loop {
        match Packet::read(input, LARGEST_PACKET) {
            Ok(Packet::Connect(connect)) => return Ok(connect),
            Ok(other) => {
                return Err(End::Protocol(format!(
                    "{:?} before CONNECT",
                    other.packet_type()
                )));
            }
            Err(MqttError::InsufficientBytes(_)) => {}
            Err(error) => return Err(error.into()),
        }
        if stream.read_buf(input).await.map_err(End::Network)? == 0 {
            return Err(End::Closed);
        }
    }
}

/// Answers 5 (not authorized), the only refusal IoT Hub gives, and closes.
async fn refuse<S: AsyncWrite + Unpin>(stream: &mut S) {
    let mut output = BytesMut::new();
    if ConnAck::new(ConnectReturnCode::NotAuthorized, false)
        .write(&mut output)
        .is_ok()
    {
        // The client may be gone; there is nobody to tell.
        let _ = timeout(WRITE_DEADLINE, async {
            stream.write_all(&output).await?;
            stream.shutdown().await
        })
        .await;
    }
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    session: &mut Session<'_>,
    link: &Link,
    mut outgoing: mpsc::Receiver<Outgoing>,
    admitted: &Admitted,
    session_present: bool,
    input: &mut BytesMut,
) -> Result<std::convert::Infallible, End> {
    let expiry = Instant::now() + admitted.token_life;
    let mut silent_at = Instant::now() + admitted.silence;
    let mut alarm = pin!(sleep_until(expiry));

    ConnAck::new(ConnectReturnCode::Success, session_present).write(&mut session.output)?;
    session.deliver_cloud_messages()?;
    // Packets may have come together with CONNECT.
    let mut taken = session.take(input);
    loop {
        // Also when the connection is to end: what is recorded gets its PUBACK. Why it ends matters more than that it cannot be told.
        let written = write(stream, &mut session.output, link.ended()).await;
        taken?;
        written?;

        let now = Instant::now();
        if expiry <= now {
            return Err(End::Expired);
        }
        if silent_at <= now {
            return Err(End::Silent(admitted.silence.as_secs()));
        }
        let next = [Some(expiry), Some(silent_at), session.next_tick()]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(expiry);
        if alarm.deadline() != next {
            alarm.as_mut().reset(next);
        }
        if input.capacity() - input.len() < READ_ROOM / 4 {
            input.reserve(READ_ROOM);
        }
        taken = tokio::select! {
            biased;
            ended = link.ended() => return Err(End::Ended(ended)),
            () = alarm.as_mut() => session.tick(),
            read = stream.read_buf(input) => match read {
                Ok(0) => return Err(End::Closed),
                Ok(_) => {
                    silent_at = Instant::now() + admitted.silence;
                    session.take(input)
                }
                Err(error) => return Err(End::Network(error)),
            },
            Some(first) = outgoing.recv() => session.send(first),
            () = link.cloud_messages_arrived() => session.deliver_cloud_messages(),
        };
    }
}

/// Sends everything in `output`, unless the hub ends the connection meanwhile.
async fn write<S: AsyncWrite + Unpin>(
    stream: &mut S,
    output: &mut BytesMut,
    ended: impl Future<Output = Ended>,
) -> Result<(), End> {
    if output.is_empty() {
        return Ok(());
    }
    let work = timeout(WRITE_DEADLINE, async {
        stream.write_all(output).await?;
        stream.flush().await
    });
    let written = tokio::select! {
        biased;
        written = work => written,
        ended = ended => return Err(End::Ended(ended)),
    };
    output.clear();
    match written {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(End::Network(error)),
        Err(_) => Err(End::Stuck),
    }
}
