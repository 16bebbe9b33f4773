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

use bytes::Bytes;
use module_runtime::Commands;
use nix::fcntl::OFlag;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use serde_json::json;
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
    /// Milliseconds until the answer of unit 2; the others answer meanwhile.
    delay: AtomicU64,
    requests: Mutex<Vec<Seen>>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Seen {
    unit: u8,
    function: u8,
    at: Instant,
}

impl Devices {
    fn requests_of(&self, unit: u8) -> Vec<Seen> {
        let requests = self.requests.lock().unwrap();
        let of_unit = requests.iter().filter(|seen| seen.unit == unit);
        of_unit.copied().collect()
    }
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
            let at = Instant::now();
            devices
                .requests
                .lock()
                .unwrap()
                .push(Seen { unit, function, at });
            let mut answer = vec![unit, function];
            if function == 3 {
                answer.push(count * 2);
                let first = u16::from_be_bytes([high, low]);
                for register in first..first + u16::from(count) {
                    answer.extend((register + u16::from(unit) * 1000).to_be_bytes());
                }
                answer.extend(crc(&answer));
            } else {
                answer = frame.to_vec();
            }
            match devices.delay.load(Ordering::Relaxed) {
                u64::MAX if unit == 2 => {}
                delay if unit == 2 && delay > 0 => {
                    let mut line = line.try_clone().unwrap();
                    std::thread::spawn(move || {
                        std::thread::park_timeout(Duration::from_millis(delay));
                        line.write_all(&answer).unwrap();
                    });
                }
                _ => line.write_all(&answer).unwrap(),
            }
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
            pair[1].at - pair[0].at >= Duration::from_micros(1750),
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

/// Two groups of the same length: an answer to a request of one fits the other.
fn two_groups(path: &str) -> String {
    format!(
        "links: [{{name: line, serial: {{path: {path}, baud_rate: 115200}}, timeout: 200ms}}]\n\
         devices:\n\
         - {{name: one, link: line, unit: 1}}\n\
         - {{name: two, link: line, unit: 2, retries: 1, park_after: 1000}}\n\
         groups:\n\
         - {{name: left, devices: [one, two], period: 50ms, tags: [{{name: a, table: holding-register, address: 100, type: u16, writable: true}}]}}\n\
         - {{name: right, devices: [one, two], period: 50ms, tags: [{{name: b, table: holding-register, address: 200, type: u16}}]}}\n"
    )
}

#[tokio::test]
async fn a_late_answer_is_never_taken_for_that_to_the_next_request() {
    let devices = Arc::new(Devices::default());
    let mut bench = Bench::new();
    bench.apply(&two_groups(&serve(Arc::clone(&devices)))).await;
    let values = |event: &measurement::Measurements| {
        event.device == "two" && event.group == "right" && event.bad.is_empty()
    };
    bench.until("values", values).await;
    // Later than the timeout, and when a request sent soon after it would be waiting.
    devices.delay.store(300, Ordering::Relaxed);
    let timeouts = AtomicU64::new(0);
    bench
        .until("some timeouts", |event| {
            let reason = event.bad.values().next();
            event.device == "two"
                && reason.is_some_and(|reason| reason == "timeout")
                && timeouts.fetch_add(1, Ordering::Relaxed) == 8
        })
        .await;
    let late = devices.requests_of(2);
    devices.delay.store(0, Ordering::Relaxed);
    bench.until("values again", values).await;
    for event in &bench.seen {
        let unit = if event.device == "one" { 1000 } else { 2000 };
        let address = if event.group == "left" { 100 } else { 200 };
        for (tag, value) in &event.values {
            assert_eq!(*value, unit + address, "{tag} in {event:?}");
        }
    }
    assert!(
        (bench.seen.iter()).all(|event| event.device == "two" || event.bad.is_empty()),
        "the other unit has all its values"
    );
    // Every answer had come before the unit was asked again, and the other unit was asked in between.
    for pair in late[late.len() - 6..].windows(2) {
        assert!(pair[1].at - pair[0].at > Duration::from_millis(300));
        let between = |seen: &&Seen| pair[0].at < seen.at && seen.at < pair[1].at;
        assert!(devices.requests_of(1).iter().filter(between).count() > 1);
    }
    bench.check_sequences();
    bench.engine.stop().await;
}

#[tokio::test]
async fn a_command_for_a_unit_in_quarantine_waits_and_the_others_do_not() {
    let devices = Arc::new(Devices::default());
    let mut bench = Bench::new();
    let commands = Commands::new();
    modbus_reader::commands::add(&commands, &bench.engine.in_force());
    let text = two_groups(&serve(Arc::clone(&devices))).replace("period: 50ms", "period: 1h");
    bench.apply(&text.replace("200ms", "1s")).await;
    for device in ["one", "two"] {
        let both = |group: &'static str| {
            move |event: &measurement::Measurements| event.device == device && event.group == group
        };
        bench.until("the first poll", both("left")).await;
    }
    let write = |device: &str| {
        let input = json!({"device": device, "tag": "a", "value": 7});
        commands.run("write", Bytes::from(input.to_string()))
    };
    devices.delay.store(u64::MAX, Ordering::Relaxed);
    let error = write("two").await.unwrap_err();
    assert_eq!(error.code, "timeout");
    devices.delay.store(0, Ordering::Relaxed);
    let (two, one) = tokio::join!(write("two"), write("one"));
    assert!(two.is_ok() && one.is_ok(), "{two:?} {one:?}");
    let writes: Vec<Seen> = (devices.requests.lock().unwrap().iter())
        .filter(|seen| seen.function == 6)
        .copied()
        .collect();
    let units: Vec<u8> = writes.iter().map(|seen| seen.unit).collect();
    assert_eq!(units, [2, 1, 2]);
    assert!(writes[2].at - writes[0].at > Duration::from_millis(1900));
    bench.engine.stop().await;
}
