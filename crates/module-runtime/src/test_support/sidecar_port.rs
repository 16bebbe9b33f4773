//! A sidecar's HTTP port for modules that run as processes: it is healthy or not, and does nothing.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::PATIENCE;

/// Answers every request with 204, or with 500 while it is not healthy. Its gRPC side is not there.
#[derive(Debug)]
pub struct SidecarPort {
    port: u16,
    healthy: Arc<AtomicBool>,
    ended: Arc<AtomicBool>,
}

impl SidecarPort {
    /// Listens at once, on a port that the system chooses.
    pub fn start(healthy: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let sidecar = Self {
            port: listener.local_addr().unwrap().port(),
            healthy: Arc::new(AtomicBool::new(healthy)),
            ended: Arc::default(),
        };
        let (healthy, ended) = (Arc::clone(&sidecar.healthy), Arc::clone(&sidecar.ended));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                // A client that left is none of its business.
                let _ = stream.and_then(|stream| answer(stream, healthy.load(Ordering::SeqCst)));
            }
        });
        sidecar
    }

    /// For `--dapr-http-port`.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on.
    pub fn set_healthy(&self, healthy: bool) {
        self.healthy.store(healthy, Ordering::SeqCst);
    }
}

impl Drop for SidecarPort {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // Wakes the thread.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn answer(stream: TcpStream, healthy: bool) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut request = BufReader::new(&stream);
    loop {
        let mut line = String::new();
        if request.read_line(&mut line)? == 0 || line == "\r\n" {
            break;
        }
    }
    let status = if healthy {
        "204 No Content"
    } else {
        "500 Internal Server Error\r\ncontent-length: 0"
    };
    write!(&stream, "HTTP/1.1 {status}\r\nconnection: close\r\n\r\n")
}
