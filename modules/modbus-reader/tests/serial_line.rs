//! Modbus RTU over a pseudo terminal: framing, parking and what a late answer does.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use support::Bench;

/// CRC of Modbus over serial line V1.02, 6.2.2.
fn crc(bytes: &[u8]) -> [u8; 2] {
    let mut crc = 0xFFFFu16;
    for byte in bytes {
        crc ^= u16::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ 0xA001
            } else {
                crc >> 1
            };
        }
    }
    crc.to_le_bytes()
}

/// Devices on one line: registers hold their address plus the unit times 1000.
#[derive(Debug, Default)]
struct Devices {
    /// Milliseconds until the answer of unit 2.
    delay: AtomicU64,
    requests: Mutex<Vec<(u8, Instant)>>,
}

/// Serves the line in a thread until its other end is closed for good. Gives the path to open.
fn serve(devices: Arc<Devices>) -> String {
    let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let path = ptsname_r(&master).unwrap();
    // Held open, so that the line lives on while nobody else has it.
    let end = File::options().read(true).write(true).open(&path).unwrap();
    let mut line = File::from(OwnedFd::from(master));
    std::thread::spawn(move || {
        let _end = end;
        let mut frame = [0; 8];
        while line.read_exact(&mut frame).is_ok() {
            assert_eq!(crc(&frame[..6]), frame[6..], "{frame:x?}");
            let [unit, function, high, low, _, count, ..] = frame;
            devices
                .requests
                .lock()
                .unwrap()
                .push((unit, Instant::now()));
            let first = u16::from_be_bytes([high, low]);
            let mut answer = vec![unit, function, count * 2];
            for register in first..first + u16::from(count) {
                answer.extend((register + u16::from(unit) * 1000).to_be_bytes());
            }
            answer.extend(crc(&answer));
            let delay = if unit == 2 {
                devices.delay.load(Ordering::Relaxed)
            } else {
                0
            };
            if delay == u64::MAX {
                continue;
            }
            std::thread::park_timeout(Duration::from_millis(delay));
            line.write_all(&answer).unwrap();
        }
    });
    path
}

fn configuration(path: &str, parity: &str) -> String {
    format!(
        "links: [{{name: line, serial: {{path: {path}, parity: {parity}, baud_rate: 115200}}, timeout: 100ms}}]\n\
         devices:\n\
         - {{name: one, link: line, unit: 1}}\n\
         - {{name: two, link: line, unit: 2, retries: 0, park_after: 3, park_for: 500ms}}\n\
         groups:\n\
         - name: fast\n  \
           devices: [one, two]\n  \
           period: 50ms\n  \
           tags:\n  \
           - {{name: a, table: holding-register, address: 100, type: u16}}\n  \
           - {{name: b, table: holding-register, address: 200, type: u16}}\n"
    )
}

#[tokio::test]
async fn rtu_devices_are_read_with_silence_between_frames() {
    let devices = Arc::new(Devices::default());
    let mut bench = Bench::new();
    bench
        .apply(&configuration(&serve(Arc::clone(&devices)), "even"))
        .await;
    let event = bench
        .until("two", |event| event.device == "two" && event.sequence > 3)
        .await;
    assert_eq!(
        (&event.values["a"], &event.values["b"]),
        (&2100.into(), &2200.into())
    );
    bench.check_sequences();
    bench.engine.stop().await;
    let requests = devices.requests.lock().unwrap();
    for pair in requests.windows(2) {
        assert!(
            pair[1].1 - pair[0].1 >= Duration::from_micros(1750),
            "3.5 characters"
        );
    }
}

#[tokio::test]
async fn a_dead_unit_is_parked_and_its_late_answers_confuse_nobody() {
    let devices = Arc::new(Devices::default());
    devices.delay.store(130, Ordering::Relaxed);
    let mut bench = Bench::new();
    bench
        .apply(&configuration(&serve(Arc::clone(&devices)), "none"))
        .await;
    let timeout = |reason: &'static str| {
        move |event: &measurement::Measurements| {
            event.device == "two" && event.bad.get("a").is_some_and(|bad| bad == reason)
        }
    };
    bench.until("timeout", timeout("timeout")).await;
    devices.delay.store(u64::MAX, Ordering::Relaxed);
    bench.until("parked", timeout("parked")).await;
    bench
        .until("one", |event| event.device == "one" && event.bad.is_empty())
        .await;
    devices.delay.store(0, Ordering::Relaxed);
    bench
        .until("back", |event| {
            event.device == "two" && event.bad.is_empty()
        })
        .await;
    for event in &bench.seen {
        let base = if event.device == "one" { 1000 } else { 2000 };
        for (tag, value) in &event.values {
            let address = if tag == "a" { 100 } else { 200 };
            assert_eq!(*value, base + address, "{event:?}");
        }
    }
    bench.check_sequences();
    bench.engine.stop().await;
}
