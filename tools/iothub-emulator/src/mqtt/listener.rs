//! The listening socket: accepts connections, and closes while the hub is down.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, sleep_until};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection;
use crate::hub::Hub;
use crate::hub::connections::Ended;

/// Connections at one time; more wait in the socket's backlog.
const CONNECTIONS: usize = 4096;
/// Between two attempts to accept or listen after the system refused.
const RETRY: Duration = Duration::from_millis(100);

/// Serves devices until `shutdown`. All tasks it starts are in `tasks`.
pub(crate) async fn listen(
    listener: TcpListener,
    hub: Arc<Hub>,
    tls: TlsAcceptor,
    tasks: TaskTracker,
    shutdown: CancellationToken,
) {
    let address = match listener.local_addr() {
        Ok(address) => address,
        Err(error) => {
            tracing::error!(%error, "the MQTT socket has no address");
            return;
        }
    };
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut down = hub.faults.down();
    let mut listening = Some(listener);
    loop {
        down.borrow_and_update();
        if hub.faults.is_down() {
            // Closed, so that a connection attempt is refused by the system, as it is when a host is up and its service is not.
            listening = None;
            hub.connections.end_all(Ended::Fault);
            let until = *down.borrow();
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = down.changed() => {}
                () = async { if let Some(until) = until { sleep_until(until).await } } => {}
            }
            continue;
        }
        let listener = match listening.take() {
            Some(listener) => listener,
            None => {
                let Some(listener) = listen_again(address, &shutdown).await else {
                    return;
                };
                listener
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = down.changed() => {}
            accepted = accept(&listener, &places) => match accepted {
                Ok((stream, peer, place)) => {
                    let (hub, tls, shutdown) = (Arc::clone(&hub), tls.clone(), shutdown.clone());
                    tasks.spawn(async move {
                        connection::serve(&hub, stream, peer, &tls, &shutdown).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    sleep(RETRY).await;
                }
            },
        }
        listening = Some(listener);
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = Arc::clone(places)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, place))
}

/// Takes the same port again. Another process may have it for the moment.
async fn listen_again(address: SocketAddr, shutdown: &CancellationToken) -> Option<TcpListener> {
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return Some(listener),
            Err(error) => tracing::warn!(%address, %error, "cannot listen again yet"),
        }
        tokio::select! {
            () = shutdown.cancelled() => return None,
            () = sleep(RETRY) => {}
        }
    }
}
