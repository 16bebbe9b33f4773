//! The configuration document: links, the devices on them, and groups of tags that are read together.

mod check;
mod names;
mod serial_load;
mod tags;

use std::sync::Arc;

use module_runtime::configuration::{ByteSize, Duration};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What modbus-reader reads, from where, how often, and where it publishes it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Configuration {
    /// Connections: a TCP server or gateway, or a serial line. One request at a time on each.
    #[serde(default)]
    pub links: Vec<Link>,
    /// Modbus servers (slaves), each on one link.
    #[serde(default)]
    pub devices: Vec<Device>,
    /// Tags that are read together; one event per device and period.
    #[serde(default)]
    pub groups: Vec<Arc<Group>>,
    /// Where the events go.
    #[serde(default)]
    pub publish: Publish,
}

/// A connection. Exactly one of `tcp` and `serial`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Unique among the links.
    pub name: String,
    /// A Modbus TCP server or gateway.
    #[serde(default)]
    pub tcp: Option<Tcp>,
    /// A serial line that speaks Modbus RTU.
    #[serde(default)]
    pub serial: Option<Serial>,
    /// How long a device may take to answer one request, 10 ms to 60 s. Must be longer than the slowest answer of any
    /// device on the link. On a serial line the time the characters themselves take is added; a unit that did not
    /// answer in time is not asked again for as long once more, since nothing in an RTU answer tells which request it is
    /// for: an answer later than twice this time may be taken for that to another request of the same length.
    #[serde(default = "one_second")]
    pub timeout: Duration,
    /// The wait after the first failed attempt to connect, 10 ms to 30 s; doubles, with jitter, to 30 s.
    #[serde(default = "one_second")]
    pub reconnect: Duration,
    /// Silence between an answer and the next request, at most 10 s. Default: none on TCP; on a serial line the time
    /// of 3.5 characters (never less).
    #[serde(default)]
    pub request_gap: Option<Duration>,
}

/// Modbus TCP.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tcp {
    /// Address or name.
    pub host: String,
    /// TCP port.
    #[serde(default = "modbus_port")]
    pub port: u16,
}

/// Modbus RTU on a serial line.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Serial {
    /// The device file; a path under /dev/serial/by-id keeps its meaning when adapters are plugged in another order.
    pub path: String,
    /// Bits per second, 300 to 4000000.
    #[serde(default = "baud_rate")]
    pub baud_rate: u32,
    /// Default even, as Modbus over serial line V1.02, 2.5.1 says.
    #[serde(default)]
    pub parity: Parity,
    /// RTU has 8.
    #[serde(default = "data_bits")]
    pub data_bits: u8,
    /// 1 or 2.
    #[serde(default = "stop_bits")]
    pub stop_bits: u8,
}

/// Parity of a serial line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Parity {
    /// An even number of ones.
    #[default]
    Even,
    /// An odd number of ones.
    Odd,
    /// No parity bit.
    None,
}

/// A Modbus server (slave).
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// Unique among the devices; part of every event.
    pub name: String,
    /// The link it is on.
    pub link: String,
    /// Unit identifier (slave address): 1 to 247 on a serial line, 0 to 255 on TCP.
    #[serde(default = "unit")]
    pub unit: u8,
    /// The most registers it answers in one request, 1 to 125.
    #[serde(default = "max_registers")]
    pub max_registers: u16,
    /// The most coils or inputs it answers in one request, 1 to 2000.
    #[serde(default = "max_bits")]
    pub max_bits: u16,
    /// Up to so many registers that no tag needs are read along where that saves a request, 0 to 125; 16 times as many
    /// bits. Use 0 for a device that refuses addresses it does not have.
    #[serde(default = "max_gap")]
    pub max_gap: u16,
    /// How often a request without a valid answer is repeated, 0 to 5. A device that failed its last cycle is asked once.
    #[serde(default = "retries")]
    pub retries: u8,
    /// After so many failed cycles in a row the device is parked: not asked for a while, so that it does not hold up the
    /// others on its link. 1 to 1000.
    #[serde(default = "park_after")]
    pub park_after: u32,
    /// How long a parked device is left alone between two tries, 100 ms to 24 h.
    #[serde(default = "park_for")]
    pub park_for: Duration,
}

/// Tags that are read together, of one device or of several that are alike.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Unique among the groups of a device; part of every event.
    pub name: String,
    /// The devices; the same tags are read of each.
    pub devices: Vec<String>,
    /// 10 ms to 24 h.
    pub period: Duration,
    /// What is read.
    pub tags: Vec<Tag>,
}

/// One value of a device.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tag {
    /// Unique among all tags of a device.
    pub name: String,
    /// Which table of the device.
    pub table: Table,
    /// Zero-based protocol address, 0 to 65535: what a data sheet calls 40001 is holding register 0.
    pub address: u16,
    /// Type of the value. May be left out for a coil, a discrete input or a bit: these are bool.
    #[serde(default, rename = "type")]
    pub kind: Option<TagType>,
    /// Order of bytes and registers.
    #[serde(default)]
    pub order: Order,
    /// Value = raw × scale + offset. Without scale and offset integers stay exact.
    #[serde(default)]
    pub scale: Option<f64>,
    /// See `scale`.
    #[serde(default)]
    pub offset: Option<f64>,
    /// Whether the command `write` may set it; coils and holding registers only.
    #[serde(default)]
    pub writable: bool,
    /// Of a string: its bytes, 1 to 250.
    #[serde(default)]
    pub length: Option<u16>,
    /// Of a bool in a register: 0 (least significant) to 15.
    #[serde(default)]
    pub bit: Option<u8>,
    /// `allow`: another tag may use the same addresses.
    #[serde(default)]
    pub overlap: Overlap,
}

/// The four tables of the Modbus data model (MODBUS Application Protocol V1.1b3, 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Table {
    /// A bit that can be read and written; function codes 1 and 5.
    Coil,
    /// A bit that can be read; function code 2.
    DiscreteInput,
    /// A register that can be read and written; function codes 3, 6 and 16.
    HoldingRegister,
    /// A register that can be read; function code 4.
    InputRegister,
}

/// Type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TagType {
    /// A coil, a discrete input, or a bit of a register.
    Bool,
    /// One register.
    U16,
    /// One register, two's complement.
    I16,
    /// Two registers.
    U32,
    /// Two registers, two's complement.
    I32,
    /// Four registers.
    U64,
    /// Four registers, two's complement.
    I64,
    /// Two registers, IEEE 754.
    F32,
    /// Four registers, IEEE 754.
    F64,
    /// `length` bytes of UTF-8 that end at the first NUL.
    String,
}

/// Order of the bytes of a value; A is the most significant of a 32-bit value ABCD. 64 bits likewise: registers
/// reversed, bytes within registers swapped, or both. Of a string: big-endian or byte-swapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// ABCD.
    #[default]
    BigEndian,
    /// CDAB.
    WordSwapped,
    /// BADC.
    ByteSwapped,
    /// DCBA.
    LittleEndian,
}

/// Whether tags may share addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Overlap {
    /// Two tags on the same address are taken for a mistake.
    #[default]
    Forbid,
    /// They are meant.
    Allow,
}

/// Where events go and how many may wait.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Publish {
    /// Topic of the measurement events.
    pub topic: String,
    /// How many bytes of events may wait while the sidecar or the broker is away, 64 KiB to 1 GiB; then the oldest are
    /// dropped and counted.
    pub buffer: ByteSize,
    /// The most events in one call, 1 to 1000.
    pub batch: usize,
    /// How long an event waits for others to share its call, at most 1 s.
    pub linger: Duration,
}

impl Default for Publish {
    fn default() -> Self {
        Self {
            topic: "telemetry".to_owned(),
            buffer: ByteSize::from_mib(16),
            batch: 100,
            linger: Duration::from_millis(10),
        }
    }
}

impl Table {
    /// True if an address holds one bit, false if it holds a register.
    pub const fn is_bits(self) -> bool {
        matches!(self, Table::Coil | Table::DiscreteInput)
    }

    /// The name as configured.
    pub const fn as_str(self) -> &'static str {
        match self {
            Table::Coil => "coil",
            Table::DiscreteInput => "discrete-input",
            Table::HoldingRegister => "holding-register",
            Table::InputRegister => "input-register",
        }
    }
}

impl Tag {
    /// The configured type, or bool where it goes without saying.
    pub fn resolved_type(&self) -> Option<TagType> {
        self.kind
            .or((self.table.is_bits() || self.bit.is_some()).then_some(TagType::Bool))
    }

    /// How many addresses of its table it takes: bits or registers.
    pub fn width(&self) -> u16 {
        match self.resolved_type() {
            None | Some(TagType::Bool | TagType::U16 | TagType::I16) => 1,
            Some(TagType::U32 | TagType::I32 | TagType::F32) => 2,
            Some(TagType::U64 | TagType::I64 | TagType::F64) => 4,
            Some(TagType::String) => self.length.unwrap_or(1).div_ceil(2).max(1),
        }
    }
}

impl Configuration {
    /// The device of that name.
    pub fn device(&self, name: &str) -> Option<&Device> {
        self.devices.iter().find(|device| device.name == name)
    }

    /// The groups that read a device, in the order of the document.
    pub fn groups_of<'a>(&'a self, device: &'a str) -> impl Iterator<Item = &'a Arc<Group>> {
        self.groups
            .iter()
            .filter(move |group| group.devices.iter().any(|name| name == device))
    }

    /// The tag of that name of a device, in any of its groups.
    pub fn tag<'a>(&'a self, device: &'a str, tag: &str) -> Option<&'a Tag> {
        self.groups_of(device)
            .find_map(|group| group.tags.iter().find(|candidate| candidate.name == tag))
    }
}

fn one_second() -> Duration {
    Duration::from_secs(1)
}

fn modbus_port() -> u16 {
    502
}

fn baud_rate() -> u32 {
    19200
}

fn data_bits() -> u8 {
    8
}

fn stop_bits() -> u8 {
    1
}

fn unit() -> u8 {
    1
}

fn max_registers() -> u16 {
    125
}

fn max_bits() -> u16 {
    2000
}

fn max_gap() -> u16 {
    8
}

fn retries() -> u8 {
    1
}

fn park_after() -> u32 {
    3
}

fn park_for() -> Duration {
    Duration::from_secs(10)
}
