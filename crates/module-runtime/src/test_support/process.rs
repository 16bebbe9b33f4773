//! A module as a process: its log, its endpoints, its end.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::PATIENCE;

/// A running module. Killed when it is dropped.
#[derive(Debug)]
pub struct ModuleProcess {
    child: Child,
    log: Arc<Log>,
    reading: Option<JoinHandle<()>>,
    /// Lines that [`Self::wait_for`] has passed.
    passed: usize,
}

#[derive(Debug, Default)]
struct Log {
    lines: Mutex<Lines>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Lines {
    all: Vec<Value>,
    ended: bool,
}

impl ModuleProcess {
    /// Starts it. The command should let the module choose its ports: `--ops-address 127.0.0.1:0 --app-port 0`.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::<Log>::default();
        let (stderr, filled) = (child.stderr.take().unwrap(), Arc::clone(&log));
        let reading = std::thread::spawn(move || filled.fill(stderr));
        Self {
            child,
            log,
            reading: Some(reading),
            passed: 0,
        }
    }

    /// The first log line behind the one found last whose message begins so.
    pub fn wait_for(&mut self, message: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.log.lines.lock().unwrap();
        loop {
            let rest = lines.all.iter().enumerate().skip(self.passed);
            for (position, line) in rest {
                if begins(line, message) {
                    self.passed = position + 1;
                    return line.clone();
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !lines.ended && !left.is_zero(),
                "no {message:?} in\n{}",
                text(&lines.all)
            );
            lines = self.log.more.wait_timeout(lines, left).unwrap().0;
        }
    }

    /// Whether a message so far begins so.
    pub fn has_logged(&self, message: &str) -> bool {
        let lines = self.log.lines.lock().unwrap();
        lines.all.iter().any(|line| begins(line, message))
    }

    /// Everything logged so far.
    pub fn log(&self) -> String {
        text(&self.log.lines.lock().unwrap().all)
    }

    /// Where it listens: `operation` or `commands`.
    pub fn address(&self, of: &str) -> SocketAddr {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.log.lines.lock().unwrap();
        loop {
            if let Some(line) = lines.all.iter().find(|line| begins(line, "listening")) {
                return line[of].as_str().unwrap().parse().unwrap();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !lines.ended && !left.is_zero(),
                "does not listen\n{}",
                text(&lines.all)
            );
            lines = self.log.more.wait_timeout(lines, left).unwrap().0;
        }
    }

    /// `GET` at the operation port: status and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        request(self.address("operation"), "GET", path, "")
    }

    /// A request at the port the sidecar calls: status and body.
    pub fn command(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        request(self.address("commands"), method, path, body)
    }

    /// Status and answer of /readyz.
    pub fn readiness(&self) -> (u16, Value) {
        let (status, body) = self.get("/readyz");
        (status, serde_json::from_str(&body).unwrap())
    }

    /// Whether it is ready, and waits for another one to end.
    pub fn is_standby(&self) -> bool {
        let (status, answer) = self.readiness();
        status == 200 && answer["ready"] == true && answer["standby"] == true
    }

    /// A figure without labels, if it is there.
    pub fn figure(&self, name: &str) -> Option<f64> {
        let (_, text) = self.get("/metrics");
        let mut lines = text.lines();
        lines.find_map(|line| line.strip_prefix(name)?.trim_start().parse().ok())
    }

    /// Waits until `holds`.
    pub fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(
                Instant::now() < deadline,
                "waited in vain for: {what}\n{}",
                self.log()
            );
            pause();
        }
    }

    /// Checks for a third of a second, several attempts at a lock, that `holds` does. Less time could only miss a fault.
    pub fn stays(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let end = Instant::now() + Duration::from_millis(333);
        while Instant::now() < end {
            assert!(holds(self), "no longer {what}\n{}", self.log());
            pause();
        }
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
    }

    /// SIGKILL; it is gone when this returns.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end: its exit status and its log.
    pub fn ended(mut self) -> (Option<i32>, String) {
        // The log ends when the process does.
        self.reading.take().unwrap().join().unwrap();
        let status = self.child.wait().unwrap();
        (status.code(), self.log())
    }
}

impl Drop for ModuleProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Log {
    fn fill(&self, stderr: ChildStderr) {
        for line in BufReader::new(stderr).lines() {
            let Ok(line) = line else { break };
            let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
            self.lines.lock().unwrap().all.push(line);
            self.more.notify_all();
        }
        self.lines.lock().unwrap().ended = true;
        self.more.notify_all();
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "tests of processes run outside of a runtime"
)]
fn pause() {
    std::thread::sleep(Duration::from_millis(10));
}

fn begins(line: &Value, message: &str) -> bool {
    line["message"]
        .as_str()
        .is_some_and(|text| text.starts_with(message))
}

fn text(lines: &[Value]) -> String {
    let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

fn request(address: SocketAddr, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}
