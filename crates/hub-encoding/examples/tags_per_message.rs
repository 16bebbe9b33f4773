//! How many tags fit into one hub message of 256 KB, and what an event costs of the processor, by encoding. Prints, never judges.
//!
//!     cargo run --release -p hub-encoding --example tags_per_message [-- --json]
//!
//! With `--json` a line of JSON for each row, as scripts/bench reads it.
//!
//! The signals are made up; this is how. All are read once a second, 200 tags to a group, names like `press-3.temperature-017`.
//!
//! * `mix`: of 200 tags 110 are slow analog values (a random walk of 0, ±1 or ±2 steps of the last of one or two decimals, no change in half of
//!   the cycles), 30 noisy ones (three decimals, noise of ±20 steps around a walk), 20 counters (0 to 3 a second), 24 on/off states and 8
//!   numbered states (a change in about 1 of 200 cycles), 6 set points that stay, 2 texts that change every 100 cycles. One cycle in 300 a
//!   tag turns bad for about ten cycles. The time of an event has 0 to 9 ms of jitter.
//! * `mix of 10`: ten such groups by turns, as they come from ten devices.
//! * `f32`: 200 analog values as 32-bit floats without scaling, noise in every digit. The worst that a plant has.
//! * `still`: 200 tags of which five change in a cycle, as at night.

use std::time::Duration as Time;

use hub_encoding::{Batch, Encoding, Format, Refusal, decode};
use measurement::{BadReason, Epoch, EventTemplate, Reading, StreamIdentity, Value};
use rustix::time::{ClockId, clock_gettime};
use time::{Duration, OffsetDateTime};

/// IoT Hub's limit, less what the properties of a message take.
const LIMIT: usize = 256 * 1024 - 600;
const TAGS: usize = 200;

struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 20) % below
    }

    fn around_zero(&mut self, most: u64) -> i64 {
        self.next(2 * most + 1) as i64 - most as i64
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Model {
    Mix,
    F32,
    Still,
}

struct Group {
    template: EventTemplate,
    model: Model,
    random: Random,
    levels: Vec<i64>,
    bad_for: Vec<u64>,
    sequence: u64,
}

impl Group {
    fn new(device: usize, model: Model) -> Self {
        let identity = StreamIdentity {
            appliance: "gate-7".into(),
            module: "modbus-reader".into(),
            device: format!("press-{device}"),
            group: "fast".into(),
        };
        let names: Vec<String> = (0..TAGS)
            .map(|tag| {
                format!(
                    "press-{device}.{}-{tag:03}",
                    ["temperature", "pressure", "flow", "state"][tag % 4]
                )
            })
            .collect();
        let mut random = Random(0x9e37_79b9_7f4a_7c15 + device as u64);
        Self {
            template: EventTemplate::new(&identity, &Epoch::new(), &names),
            model,
            levels: (0..TAGS).map(|_| 500 + random.next(9000) as i64).collect(),
            bad_for: vec![0; TAGS],
            random,
            sequence: 0,
        }
    }

    fn event(&mut self) -> Vec<u8> {
        self.sequence += 1;
        let cycle = self.sequence;
        let (random, model) = (&mut self.random, self.model);
        if model == Model::Mix && random.next(300) == 0 {
            let tag = random.next(TAGS as u64) as usize;
            self.bad_for[tag] = 5 + random.next(10);
        }
        let changes: Vec<u64> = (0..5).map(|_| random.next(TAGS as u64)).collect();
        let readings: Vec<Reading> = (0..TAGS)
            .map(|tag| {
                if self.bad_for[tag] > 0 {
                    self.bad_for[tag] -= 1;
                    return Reading::Bad(BadReason::Timeout);
                }
                let level = &mut self.levels[tag];
                let decimals =
                    |level: i64, digits: i32| Reading::float(level as f64 / 10f64.powi(digits));
                match model {
                    Model::F32 => {
                        *level += random.around_zero(3);
                        let noise = random.around_zero(1 << 20) as f32 / (1u64 << 30) as f32;
                        Reading::float(f64::from(*level as f32 / 100.0 + noise))
                    }
                    Model::Still => {
                        if changes.contains(&(tag as u64)) {
                            *level += random.around_zero(2);
                        }
                        decimals(*level, 1)
                    }
                    Model::Mix => match tag {
                        0..110 => {
                            if random.next(2) == 0 {
                                *level += random.around_zero(2);
                            }
                            decimals(*level, 1 + (tag % 2) as i32)
                        }
                        110..140 => {
                            *level += random.around_zero(2);
                            let noise = random.around_zero(20);
                            decimals(*level * 10 + noise, 3)
                        }
                        140..160 => {
                            *level += random.next(4) as i64;
                            Reading::Good(Value::UInt(3_000_000_000 + *level as u64))
                        }
                        160..184 => {
                            *level += i64::from(random.next(200) == 0);
                            Reading::Good(Value::Bool(*level % 2 == 0))
                        }
                        184..192 => {
                            *level += i64::from(random.next(200) == 0);
                            Reading::Good(Value::Int(*level % 7))
                        }
                        192..198 => decimals(*level, 1),
                        _ => Reading::Good(Value::Text(
                            format!("BFS{:05}", cycle / 100 + tag as u64).into(),
                        )),
                    },
                }
            })
            .collect();
        let at = OffsetDateTime::UNIX_EPOCH
            + Duration::seconds(1_795_000_000 + cycle as i64)
            + Duration::microseconds(random.next(9000) as i64);
        self.template
            .render(cycle, at, readings.iter())
            .body
            .to_vec()
    }
}

struct Figures {
    events: usize,
    bytes: usize,
    encode: f64,
    decode: f64,
}

/// What this thread has had of the processor.
fn processor_time() -> Time {
    let at = clock_gettime(ClockId::ThreadCPUTime);
    Time::new(at.tv_sec.unsigned_abs(), at.tv_nsec.unsigned_abs() as u32)
}

/// Fills one message.
fn fill(encoding: Encoding, mut groups: Vec<Group>) -> Figures {
    let mut batch = Batch::new(encoding, LIMIT);
    let mut spent = Time::ZERO;
    for number in 0.. {
        let place = number % groups.len();
        let event = groups[place].event();
        let start = processor_time();
        let added = batch.add(&event, ());
        spent += processor_time() - start;
        match added {
            Ok(()) => {}
            Err(refused) if refused.why == Refusal::Full => break,
            Err(refused) => {
                println!("{refused}");
                break;
            }
        }
    }
    let start = processor_time();
    let message = batch.finish();
    spent += processor_time() - start;
    let (events, payload) = message
        .map(|message| (message.items.len(), message.payload))
        .unwrap_or_default();
    let start = processor_time();
    if let Err(error) = decode(&payload) {
        println!("{error}");
    }
    Figures {
        events,
        bytes: payload.len(),
        encode: spent.as_secs_f64() / events as f64 * 1e6,
        decode: (processor_time() - start).as_secs_f64() / events as f64 * 1e6,
    }
}

fn main() {
    let scenarios: [(&str, usize, Model); 4] = [
        ("mix", 1, Model::Mix),
        ("mix of 10", 10, Model::Mix),
        ("f32", 1, Model::F32),
        ("still", 1, Model::Still),
    ];
    let json = std::env::args().nth(1).is_some_and(|form| form == "--json");
    if !json {
        print_head();
    }
    for (name, devices, model) in scenarios {
        for format in Format::ALL {
            for gzip in [false, true] {
                let groups = (0..devices)
                    .map(|device| Group::new(device, model))
                    .collect();
                let Figures {
                    events,
                    bytes,
                    encode,
                    decode,
                } = fill(Encoding { format, gzip }, groups);
                let (tags, format) = (events * TAGS, format.as_str());
                if json {
                    println!(
                        r#"{{"signals":"{name}","encoding":"{format}","gzip":{gzip},"tags":{tags},"events":{events},"payload_bytes":{bytes},"encode_us_per_event":{encode:.2},"decode_us_per_event":{decode:.2}}}"#
                    );
                    continue;
                }
                println!(
                    "| {name} | `{format}`{} | {tags} | {events} | {bytes} | {:.2} | {encode:.1} | {decode:.1} |",
                    if gzip { " gzip" } else { "" },
                    bytes as f64 / tags as f64
                );
            }
        }
    }
}

fn print_head() {
    println!(
        "One message of at most {LIMIT} bytes, {TAGS} tags to an event. OPC Publisher's documentation: 300 to 475 tags in 256 KB."
    );
    if cfg!(debug_assertions) {
        println!("Not an optimized build: the times say nothing.");
    }
    println!();
    println!(
        "| signals | encoding | tags per message | events | payload bytes | bytes per tag | encode, µs per event | decode, µs per event |"
    );
    println!("|---|---|--:|--:|--:|--:|--:|--:|");
}
