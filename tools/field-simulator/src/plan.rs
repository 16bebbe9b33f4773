//! The plan: which devices exist, where they listen, which points they hold.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// All simulated devices and how often their values change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Every value that is not writable changes at each multiple of this time since the Unix epoch.
    #[serde(default = "default_step", with = "crate::duration_text")]
    pub step: Duration,
    /// With `true` a request that touches an address without a point is answered with exception 02, as strict devices
    /// do; with `false` such addresses read as 0 and hold what is written to them.
    #[serde(default)]
    pub strict_addresses: bool,
    pub devices: Vec<Device>,
}

/// One Modbus server device. Devices with the same `listen` or `link` share the listener or line and differ by unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    pub name: String,
    /// Exactly one of `tcp` and `serial` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<TcpEndpoint>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<SerialEndpoint>,
    /// Unit identifier, 1 to 247.
    #[serde(default = "default_unit")]
    pub unit: u8,
    pub points: Vec<Point>,
}

/// Modbus TCP.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TcpEndpoint {
    /// Port 0 lets the system choose; devices that share the address `HOST:0` share one port.
    pub listen: SocketAddr,
}

/// Modbus RTU on a pseudo terminal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SerialEndpoint {
    /// A symbolic link of this name will lead to the end of the line that a master opens.
    pub link: PathBuf,
}

/// One value of a device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Point {
    pub name: String,
    pub table: Table,
    /// Zero-based protocol address of the first coil, input or register.
    pub address: u16,
    #[serde(rename = "type")]
    pub value_type: ValueType,
    #[serde(default)]
    pub order: Order,
    /// Engineering value = raw × scale + offset; numbers only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<f64>,
    /// Bytes of a string, 1 to 250.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u16>,
    /// For a `bool` in a register: 0 (least significant) to 15.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bit: Option<u8>,
    /// Holds what a master wrote, 0 at first, instead of following the steps. Coils and holding registers only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub writable: bool,
}

/// The four tables of the Modbus data model (MODBUS Application Protocol V1.1b3, 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Table {
    Coil,
    DiscreteInput,
    HoldingRegister,
    InputRegister,
}

/// How the registers of a point are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ValueType {
    Bool,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
    String,
}

/// Where the bytes of a value lie. With A the most significant byte of a 32-bit value:
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// A B C D
    #[default]
    BigEndian,
    /// C D A B
    WordSwapped,
    /// B A D C
    ByteSwapped,
    /// D C B A
    LittleEndian,
}

/// Why a plan cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error("cannot read the plan {path}: {source}", path = path.display())]
    Unreadable {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("the plan is not valid: {0}")]
    Syntax(#[from] serde_yaml_ng::Error),
    /// Every contradiction found, one a line.
    #[error("the plan contradicts itself:\n{}", .0.join("\n"))]
    Contradictions(Vec<String>),
}

fn default_step() -> Duration {
    Duration::from_millis(200)
}

fn default_unit() -> u8 {
    1
}

pub(crate) fn steps_since_epoch(step: Duration, time: SystemTime) -> u64 {
    let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_nanos() / step.as_nanos().max(1)).unwrap_or(u64::MAX)
}

impl Table {
    /// Whether one address holds one bit (and not a register of 16).
    #[must_use]
    pub fn is_bits(self) -> bool {
        matches!(self, Self::Coil | Self::DiscreteInput)
    }

    /// Whether a master may write to it.
    #[must_use]
    pub fn is_writable(self) -> bool {
        matches!(self, Self::Coil | Self::HoldingRegister)
    }
}

impl Point {
    /// How many addresses of its table the point takes.
    #[must_use]
    pub fn width(&self) -> u16 {
        match self.value_type {
            ValueType::Bool | ValueType::U16 | ValueType::I16 => 1,
            ValueType::U32 | ValueType::I32 | ValueType::F32 => 2,
            ValueType::U64 | ValueType::I64 | ValueType::F64 => 4,
            ValueType::String => self.length.unwrap_or(0).div_ceil(2),
        }
    }

    fn problem(&self) -> Option<String> {
        let text = match (self.table.is_bits(), self.value_type, self.bit) {
            (true, ValueType::Bool, None) | (false, ValueType::Bool, Some(0..=15)) => None,
            (true, _, _) => Some("a coil or discrete input has type bool and no bit"),
            (false, ValueType::Bool, _) => Some("a bool in a register needs bit: 0 to 15"),
            (false, _, Some(_)) => Some("bit goes with type bool only"),
            (false, ValueType::String, None) if !matches!(self.length, Some(1..=250)) => {
                Some("a string needs length: 1 to 250 bytes")
            }
            (false, ValueType::String, None)
                if matches!(self.order, Order::WordSwapped | Order::LittleEndian) =>
            {
                Some("the order of a string is big-endian or byte-swapped")
            }
            _ => None,
        };
        let text = text.or_else(|| {
            if self.length.is_some() && self.value_type != ValueType::String {
                Some("length goes with type string only")
            } else if self.bit.is_some() && self.order != Order::BigEndian {
                Some("a bit is counted in the register as transmitted: leave order out")
            } else if (self.scale.is_some() || self.offset.is_some())
                && matches!(self.value_type, ValueType::Bool | ValueType::String)
            {
                Some("scale and offset go with numbers only")
            } else if self.writable && !self.table.is_writable() {
                Some("only coils and holding registers are writable")
            } else if u32::from(self.address) + u32::from(self.width()) > 0x1_0000 {
                Some("it reaches past address 65535")
            } else {
                None
            }
        })?;
        Some(text.to_owned())
    }
}

impl Device {
    fn problems(&self, problems: &mut Vec<String>) {
        let name = &self.name;
        if self.name.is_empty() {
            problems.push("a device needs a name".to_owned());
        }
        if self.tcp.is_some() == self.serial.is_some() {
            problems.push(format!("{name}: give exactly one of tcp and serial"));
        }
        if !(1..=247).contains(&self.unit) {
            problems.push(format!("{name}: unit {} is outside 1 to 247", self.unit));
        }
        let mut names = BTreeSet::new();
        // What lives at an address: a whole value, or the bits of a register with their points.
        let mut taken: BTreeMap<(Table, u16), Vec<&Point>> = BTreeMap::new();
        for point in &self.points {
            if !names.insert(&point.name) {
                problems.push(format!("{name}/{}: this name is used twice", point.name));
            }
            if let Some(problem) = point.problem() {
                problems.push(format!("{name}/{}: {problem}", point.name));
                continue;
            }
            for address in (point.address..=u16::MAX).take(usize::from(point.width())) {
                let others = taken.entry((point.table, address)).or_default();
                // Bits share a register, but a register is either written by masters or by the steps.
                let apart = |other: &&&Point| {
                    other.bit.is_some()
                        && point.bit.is_some()
                        && other.bit != point.bit
                        && other.writable == point.writable
                };
                if let Some(other) = others.iter().find(|other| !apart(other)) {
                    problems.push(format!(
                        "{name}/{}: address {address} is already taken by {}",
                        point.name, other.name
                    ));
                    break;
                }
                others.push(point);
            }
        }
    }
}

impl Plan {
    /// Reads a plan from YAML and checks it.
    ///
    /// # Errors
    /// [`PlanError::Syntax`] with line and column, or [`PlanError::Contradictions`] with all of them.
    pub fn from_yaml(text: &str) -> Result<Self, PlanError> {
        let plan: Self = serde_yaml_ng::from_str(text)?;
        plan.check()?;
        Ok(plan)
    }

    /// Reads a plan from a file; see [`Plan::from_yaml`].
    ///
    /// # Errors
    /// Also [`PlanError::Unreadable`].
    pub fn load(path: &Path) -> Result<Self, PlanError> {
        let text = std::fs::read_to_string(path).map_err(|source| PlanError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        Self::from_yaml(&text)
    }

    /// Finds what contradicts itself, for plans that were built in code.
    ///
    /// # Errors
    /// [`PlanError::Contradictions`].
    pub fn check(&self) -> Result<(), PlanError> {
        let mut problems = Vec::new();
        if self.step < Duration::from_millis(1) {
            problems.push("step: at least 1ms".to_owned());
        }
        let mut names = BTreeSet::new();
        let mut units = BTreeSet::new();
        for device in &self.devices {
            device.problems(&mut problems);
            if !names.insert(&device.name) {
                problems.push(format!("{}: this name is used twice", device.name));
            }
            if !units.insert((&device.tcp, &device.serial, device.unit)) {
                problems.push(format!(
                    "{}: unit {} is used twice on its listener or line",
                    device.name, device.unit
                ));
            }
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(PlanError::Contradictions(problems))
        }
    }

    /// The step in force at a time: whole steps since the Unix epoch.
    #[must_use]
    pub fn step_at(&self, time: SystemTime) -> u64 {
        steps_since_epoch(self.step, time)
    }

    #[must_use]
    pub fn device(&self, name: &str) -> Option<&Device> {
        self.devices.iter().find(|device| device.name == name)
    }
}

impl Device {
    #[must_use]
    pub fn point(&self, name: &str) -> Option<&Point> {
        self.points.iter().find(|point| point.name == name)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::{Plan, PlanError};

    fn problems(points: &str) -> Vec<String> {
        let plan = format!(
            "devices:\n  - {{name: press, tcp: {{listen: '127.0.0.1:0'}}, points: [{points}]}}"
        );
        match Plan::from_yaml(&plan) {
            Ok(_) => Vec::new(),
            Err(PlanError::Contradictions(problems)) => problems,
            Err(other) => vec![other.to_string()],
        }
    }

    #[test]
    fn each_contradiction_names_its_point() {
        for (points, told) in [
            (
                "{name: a, table: coil, address: 0, type: u16}",
                "press/a: a coil",
            ),
            (
                "{name: a, table: holding-register, address: 0, type: bool}",
                "press/a: a bool in a register",
            ),
            (
                "{name: a, table: holding-register, address: 0, type: string}",
                "press/a: a string needs length",
            ),
            (
                "{name: a, table: input-register, address: 0, type: u16, writable: true}",
                "press/a: only coils",
            ),
            (
                "{name: a, table: input-register, address: 65533, type: u64}",
                "press/a: it reaches past",
            ),
            (
                "{name: a, table: coil, address: 0, type: bool}, {name: a, table: coil, address: 1, type: bool}",
                "press/a: this name",
            ),
            (
                "{name: a, table: input-register, address: 0, type: u32}, {name: b, table: input-register, address: 1, type: u16}",
                "press/b: address 1 is already taken by a",
            ),
            (
                "{name: a, table: input-register, address: 0, type: bool, bit: 3}, {name: b, table: input-register, address: 0, type: bool, bit: 3}",
                "press/b: address 0",
            ),
            (
                "{name: a, table: input-register, address: 0, type: bool, bit: 3, scale: 2}",
                "press/a: scale",
            ),
            (
                "{name: a, table: input-register, address: 0, type: u16, typ: 3}",
                "typ",
            ),
        ] {
            let problems = problems(points);
            assert!(
                problems.len() == 1 && problems[0].contains(told),
                "{told}: {problems:?}"
            );
        }
        let fine = "{name: a, table: input-register, address: 0, type: bool, bit: 3}, {name: b, table: input-register, address: 0, type: bool, bit: 4}";
        assert_eq!(problems(fine), Vec::<String>::new());
    }

    #[test]
    fn steps_count_from_the_epoch() {
        let plan = Plan {
            step: Duration::from_millis(200),
            strict_addresses: false,
            devices: Vec::new(),
        };
        assert_eq!(plan.step_at(UNIX_EPOCH + Duration::from_millis(199)), 0);
        assert_eq!(plan.step_at(UNIX_EPOCH + Duration::from_millis(1000)), 5);
    }

    #[test]
    fn a_plan_survives_its_own_writing() {
        let text = "step: 100ms\ndevices:\n  - {name: a, serial: {link: /run/x}, unit: 3, points: [{name: p, table: coil, address: 0, type: bool, writable: true}]}";
        let plan = Plan::from_yaml(text).unwrap();
        assert_eq!(
            Plan::from_yaml(&serde_yaml_ng::to_string(&plan).unwrap()).unwrap(),
            plan
        );
    }
}
