//! Listening: with errors that say what to do.

use std::net::SocketAddr;

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// An address could not be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for {purpose}: {source}; {remedy}")]
pub(crate) struct BindError {
    address: SocketAddr,
    purpose: &'static str,
    remedy: String,
    source: std::io::Error,
}

/// Binds an address; `option` is what changes it.
pub(crate) async fn bind(
    address: SocketAddr,
    purpose: &'static str,
    option: &str,
) -> Result<TcpListener, BindError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| BindError {
            address,
            purpose,
            remedy: match source.kind() {
                std::io::ErrorKind::AddrInUse => {
                    format!(
                        "another process has it: stop that one, or choose another with {option}"
                    )
                }
                std::io::ErrorKind::PermissionDenied => {
                    format!("ports below 1024 need a privilege: choose another with {option}")
                }
                _ => format!("check the address given with {option}"),
            },
            source,
        })
}

/// Serves until `stop`, then finishes the requests in flight.
pub(crate) async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let serving = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
    if let Err(error) = serving.await {
        tracing::error!(%error, "server ended");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_in_use_is_named_with_the_remedy() {
        let first = bind("127.0.0.1:0".parse().unwrap(), "commands", "--app-port")
            .await
            .unwrap();
        let address = first.local_addr().unwrap();
        let message = bind(address, "commands", "--app-port")
            .await
            .unwrap_err()
            .to_string();
        assert!(message.contains(&address.to_string()), "{message}");
        assert!(message.contains("another with --app-port"), "{message}");
    }
}
