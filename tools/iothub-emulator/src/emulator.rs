//! Starting and stopping: files first, then sockets, then the note that says it is ready.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::certificates::{self, CertificateError};
use crate::hub::{Hub, OpenError};
use crate::options::Options;
use crate::storage::atomic_file::write_atomically;
use crate::{control, mqtt};

/// For all tasks to end.
const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// The emulator cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The host name cannot stand in user names.
    #[error("host name {0:?}: use a DNS name without '/' and spaces, e.g. hub.example")]
    HostName(String),
    /// A file or folder cannot be used.
    #[error("{path}: {source}")]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Messages or state.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Certificates.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// An address cannot be listened on.
    #[error(
        "cannot listen on {address}: {source}; choose another address, or port 0 for a free port"
    )]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// Where the emulator listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// MQTT over TLS.
    pub mqtt: u16,
    /// The control interface, HTTP.
    pub control: u16,
}

/// What `endpoints.json` holds: all that a client needs to know.
#[derive(Debug, Clone, Serialize)]
pub struct Endpoints {
    /// The hub's name in user names and SAS resources.
    pub host_name: String,
    /// Port of MQTT over TLS.
    pub mqtt_port: u16,
    /// Port of the control interface.
    pub control_port: u16,
    /// PEM file of the authority to trust, absolute.
    pub ca_file: PathBuf,
}

/// The emulator as a part of another program.
#[derive(Debug)]
pub struct Emulator;

/// A running emulator. Dropping it stops it without waiting; what was confirmed is in its files either way.
#[derive(Debug)]
pub struct Running {
    /// The ports it listens on.
    pub ports: Ports,
    endpoints: Endpoints,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    _stop_on_drop: DropGuard,
}

impl Emulator {
    /// Opens the data folder, listens, and writes `endpoints.json`. When it returns, clients can connect.
    ///
    /// # Errors
    /// See [`StartError`]; nothing is left running.
    pub async fn start(options: Options) -> Result<Running, StartError> {
        let host_name = options.host_name.clone();
        if host_name.is_empty()
            || host_name.contains(|c: char| c == '/' || c.is_whitespace() || c.is_control())
        {
            return Err(StartError::HostName(host_name));
        }
        let file_error = |path: &PathBuf| {
            let path = path.clone();
            move |source| StartError::File { path, source }
        };
        std::fs::create_dir_all(&options.data).map_err(file_error(&options.data))?;
        let data = options
            .data
            .canonicalize()
            .map_err(file_error(&options.data))?;
        let mut names: BTreeSet<String> = options.subject_alt_names.iter().cloned().collect();
        names.extend([
            host_name.clone(),
            "localhost".to_owned(),
            "127.0.0.1".to_owned(),
        ]);
        let (mqtt_address, control_address) = (options.mqtt_address, options.control_address);

        let hub = Arc::new(Hub::open(options)?);
        let certificates = certificates::open(&data, &names)?;
        let (mqtt, mqtt_port) = listen(mqtt_address).await?;
        let (control, control_port) = listen(control_address).await?;

        let shutdown = CancellationToken::new();
        let stop_on_drop = shutdown.clone().drop_guard();
        let tasks = TaskTracker::new();
        let tls = TlsAcceptor::from(certificates.server);
        tasks.spawn(mqtt::listen(
            mqtt,
            Arc::clone(&hub),
            tls,
            tasks.clone(),
            shutdown.clone(),
        ));
        tasks.spawn(control::serve(control, hub, shutdown.clone()));
        tasks.close();

        let endpoints = Endpoints {
            host_name,
            mqtt_port,
            control_port,
            ca_file: certificates.ca_file,
        };
        let path = data.join("endpoints.json");
        let text = serde_json::to_vec(&endpoints)
            .map_err(io::Error::other)
            .map_err(file_error(&path))?;
        write_atomically(&path, &text).map_err(file_error(&path))?;
        let ports = Ports {
            mqtt: mqtt_port,
            control: control_port,
        };
        Ok(Running {
            ports,
            endpoints,
            tasks,
            shutdown,
            _stop_on_drop: stop_on_drop,
        })
    }
}

impl Running {
    /// What `endpoints.json` says.
    #[must_use]
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// Drops all connections and waits until every task has ended and the files are closed.
    ///
    /// Cancel-safe: if the future is dropped, the emulator stops all the same, only nobody waits for it.
    pub async fn stop(self) {
        self.shutdown.cancel();
        if timeout(STOP_DEADLINE, self.tasks.wait()).await.is_err() {
            tracing::warn!(
                "the emulator's tasks did not end in {} s",
                STOP_DEADLINE.as_secs()
            );
        }
    }
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, u16), StartError> {
    let failed = |source| StartError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let port = listener.local_addr().map_err(failed)?.port();
    Ok((listener, port))
}
