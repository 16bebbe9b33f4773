//! Modbus TCP server (MODBUS Messaging on TCP/IP Implementation Guide V1.0b): a listener whose devices differ by unit.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::fault::Reaction;
use crate::pdu::{self, Exception};
use crate::units::Units;

/// More masters than this are turned away.
const MAX_CONNECTIONS: usize = 256;
/// A connection without a request for this long is closed.
const IDLE: Duration = Duration::from_secs(3600);
/// A master that does not take its answers for this long is cut off.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Transaction, protocol and length fields, then the unit.
const HEADER: usize = 7;
/// Space for several pipelined requests of at most 260 bytes.
const BUFFER: usize = 4096;

/// Accepts masters until stopped.
pub(crate) async fn serve(listener: TcpListener, units: Arc<Units>, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let connections = tokio_util::task::TaskTracker::new();
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            warn!(%peer, "refused: {MAX_CONNECTIONS} masters are connected already");
            continue;
        };
        let (units, stop) = (Arc::clone(&units), stop.clone());
        connections.spawn(async move {
            let _place = place;
            if let Some(Err(error)) = stop
                .run_until_cancelled(converse(stream, peer, &units))
                .await
            {
                debug!(%peer, %error, "connection ended");
            }
        });
    }
    connections.close();
    connections.wait().await;
}

async fn converse(mut stream: TcpStream, peer: SocketAddr, units: &Units) -> io::Result<()> {
    stream.set_nodelay(true)?;
    debug!(%peer, "connected");
    let mut buffer = vec![0; BUFFER];
    let mut filled = 0;
    let mut out = Vec::with_capacity(BUFFER);
    loop {
        let read = timeout(IDLE, stream.read(&mut buffer[filled..])).await??;
        if read == 0 {
            return Ok(());
        }
        filled += read;
        let mut start = 0;
        while let Some(length) = frame_length(&buffer[start..filled])? {
            let frame = &buffer[start..start + length];
            start += length;
            let mark = out.len();
            let reaction = answer(frame, units, &mut out);
            if reaction.disconnect {
                return Ok(());
            }
            if let Some(delay) = reaction.delay {
                let late = out.split_off(mark);
                flush(&mut stream, &mut out).await?;
                sleep(delay).await;
                out.extend_from_slice(&late);
            }
        }
        buffer.copy_within(start..filled, 0);
        filled -= start;
        flush(&mut stream, &mut out).await?;
    }
}

async fn flush(stream: &mut TcpStream, out: &mut Vec<u8>) -> io::Result<()> {
    if !out.is_empty() {
        timeout(WRITE_TIMEOUT, stream.write_all(out)).await??;
        out.clear();
    }
    Ok(())
}

/// The length of the first frame if it is complete. What is no Modbus TCP cannot be resynchronised: an error.
fn frame_length(bytes: &[u8]) -> io::Result<Option<usize>> {
    let [
        _,
        _,
        protocol_high,
        protocol_low,
        length_high,
        length_low,
        _,
        ..,
    ] = *bytes
    else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([length_high, length_low]));
    if [protocol_high, protocol_low] != [0, 0] || !(2..=254).contains(&length) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "not a Modbus TCP header",
        ));
    }
    let frame = HEADER - 1 + length;
    Ok((bytes.len() >= frame).then_some(frame))
}

/// Appends the whole answer frame, or nothing.
fn answer(frame: &[u8], units: &Units, out: &mut Vec<u8>) -> Reaction {
    let (header, request) = frame.split_at(HEADER);
    let start = out.len();
    out.extend_from_slice(header);
    let reaction = match units.get(header[6]) {
        Some(device) => device.answer(request, out),
        None => {
            pdu::refuse(
                request.first().copied().unwrap_or(0),
                Exception::GATEWAY_TARGET_FAILED,
                out,
            );
            Reaction::default()
        }
    };
    if reaction.silent {
        out.truncate(start);
        return reaction;
    }
    let length = u16::try_from(out.len() - start - (HEADER - 1)).unwrap_or(u16::MAX);
    out[start + 4..start + 6].copy_from_slice(&length.to_be_bytes());
    if reaction.wrong_transaction {
        out[start + 1] = out[start + 1].wrapping_add(1);
    }
    if reaction.corrupt {
        out[start + 2] ^= 0xff;
    }
    reaction
}
