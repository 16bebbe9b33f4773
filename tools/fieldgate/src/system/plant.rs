//! The plant: which devices, poll groups and tags a run has. Every configuration document is made from it.

use std::time::Duration;

use serde::Serialize;

/// How often the simulated values change.
pub(crate) const STEP: Duration = Duration::from_millis(200);
/// The demo's writable coil, on every TCP device.
pub(crate) const DEMO_COIL: &str = "pump";

/// A Modbus table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Table {
    Coil,
    DiscreteInput,
    HoldingRegister,
    InputRegister,
}

/// How a device is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Connection {
    /// An own address and port.
    Tcp,
    /// The serial line, a pseudo-terminal.
    Serial,
}

#[derive(Debug, Clone)]
pub(crate) struct PlantDevice {
    pub(crate) name: String,
    pub(crate) connection: Connection,
    pub(crate) unit: u8,
}

/// A poll group: the same tags on each of its devices.
#[derive(Debug, Clone)]
pub(crate) struct PlantGroup {
    pub(crate) name: String,
    pub(crate) devices: Vec<String>,
    pub(crate) period: Duration,
    pub(crate) tags: Vec<Tag>,
}

/// A tag of the reader and a point of the simulator: both documents use the same keys for it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Tag {
    pub(crate) name: String,
    pub(crate) table: Table,
    /// Zero-based protocol address.
    pub(crate) address: u16,
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) order: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) scale: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) offset: Option<f64>,
    /// Of a string, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) length: Option<u16>,
    /// Of a register, 0 is the least significant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bit: Option<u8>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) writable: bool,
}

impl Tag {
    fn new(name: &str, table: Table, kind: &'static str) -> Self {
        Self {
            name: name.to_owned(),
            table,
            address: 0,
            kind,
            order: None,
            scale: None,
            offset: None,
            length: None,
            bit: None,
            writable: false,
        }
    }

    fn order(mut self, order: &'static str) -> Self {
        self.order = Some(order);
        self
    }

    fn scaled(mut self, scale: f64, offset: f64) -> Self {
        (self.scale, self.offset) = (Some(scale), Some(offset));
        self
    }

    fn bit(mut self, bit: u8) -> Self {
        self.bit = Some(bit);
        self
    }

    fn length(mut self, bytes: u16) -> Self {
        self.length = Some(bytes);
        self
    }

    fn writable(mut self) -> Self {
        self.writable = true;
        self
    }

    /// Addresses it occupies.
    pub(crate) fn width(&self) -> u16 {
        match self.kind {
            "u32" | "i32" | "f32" => 2,
            "u64" | "i64" | "f64" => 4,
            "string" => self.length.unwrap_or(2).div_ceil(2),
            _ => 1,
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Plant {
    pub(crate) devices: Vec<PlantDevice>,
    pub(crate) groups: Vec<PlantGroup>,
}

impl Plant {
    /// Three presses on TCP and a meter on a serial line, 200 tags of every table and type, 58 events a second.
    pub(crate) fn demo() -> Self {
        let presses = ["press-1", "press-2", "press-3"];
        let mut plant = Self {
            devices: presses
                .iter()
                .map(|name| device(name, Connection::Tcp, 1))
                .collect(),
            groups: Vec::new(),
        };
        plant.devices.push(device("meter-1", Connection::Serial, 7));
        plant.add_class(
            "",
            &presses,
            &[(100, 8), (250, 12), (500, 16), (1000, 18)],
            true,
        );
        plant.add_class(
            "meter-",
            &["meter-1"],
            &[(250, 8), (500, 12), (1000, 18)],
            false,
        );
        plant
    }

    /// `devices` TCP devices of `registers` 16-bit holding registers each, all polled every `period`.
    pub(crate) fn load(devices: usize, registers: u16, period: Duration) -> Self {
        let names: Vec<String> = (1..=devices).map(|n| format!("device-{n}")).collect();
        Self {
            devices: names
                .iter()
                .map(|name| device(name, Connection::Tcp, 1))
                .collect(),
            groups: vec![PlantGroup {
                name: "load".to_owned(),
                devices: names,
                period,
                tags: (0..registers)
                    .map(|address| Tag {
                        address,
                        ..Tag::new(&format!("r{address}"), Table::HoldingRegister, "u16")
                    })
                    .collect(),
            }],
        }
    }

    /// Tags over all devices.
    pub(crate) fn tag_count(&self) -> usize {
        self.groups
            .iter()
            .map(|group| group.devices.len() * group.tags.len())
            .sum()
    }

    /// Events a second that the plan asks for.
    pub(crate) fn events_per_second(&self) -> f64 {
        self.groups
            .iter()
            .map(|group| group.devices.len() as f64 / group.period.as_secs_f64())
            .sum()
    }

    pub(crate) fn tcp_devices(&self) -> usize {
        self.devices
            .iter()
            .filter(|device| device.connection == Connection::Tcp)
            .count()
    }

    /// Adds groups of `(period in ms, tags)` for devices with one register map.
    fn add_class(
        &mut self,
        prefix: &str,
        devices: &[&str],
        periods: &[(u64, usize)],
        demo_tags: bool,
    ) {
        let mut addresses = Addresses::default();
        let mut recipes = Recipes::default();
        for (index, (period, count)) in periods.iter().enumerate() {
            let mut tags = Vec::with_capacity(*count);
            if demo_tags && index == 0 {
                tags.push(Tag::new(DEMO_COIL, Table::Coil, "bool").writable());
                tags.push(Tag::new("setpoint", Table::HoldingRegister, "u16").writable());
            }
            while tags.len() < *count {
                tags.push(recipes.next());
            }
            // Tags of one table lie together, as in a real register map.
            tags.sort_by_key(|tag| tag.table);
            for tag in &mut tags {
                addresses.assign(tag);
            }
            self.groups.push(PlantGroup {
                name: format!("{prefix}{period}ms"),
                devices: devices.iter().map(|name| (*name).to_owned()).collect(),
                period: Duration::from_millis(*period),
                tags,
            });
        }
    }
}

fn device(name: &str, connection: Connection, unit: u8) -> PlantDevice {
    PlantDevice {
        name: name.to_owned(),
        connection,
        unit,
    }
}

/// Hands out every table and type in turn.
#[derive(Debug, Default)]
struct Recipes {
    made: usize,
}

impl Recipes {
    fn next(&mut self) -> Tag {
        use Table::{Coil, DiscreteInput, HoldingRegister as Holding, InputRegister as Input};
        let recipes = [
            Tag::new("temperature", Holding, "f32").order("big-endian"),
            Tag::new("pressure", Holding, "f32").order("word-swapped"),
            Tag::new("speed", Input, "u16").scaled(0.1, 0.0),
            Tag::new("torque", Input, "i16").scaled(0.01, -40.0),
            Tag::new("running", Coil, "bool"),
            Tag::new("fault", DiscreteInput, "bool"),
            Tag::new("position", Input, "i32").order("byte-swapped"),
            Tag::new("pieces", Holding, "u32").order("little-endian"),
            Tag::new("door-open", Holding, "bool").bit(3),
            Tag::new("lubricated", Holding, "bool").bit(11),
            Tag::new("energy", Input, "f64").order("big-endian"),
            Tag::new("runtime", Holding, "u64").order("word-swapped"),
            Tag::new("balance", Holding, "i64").order("big-endian"),
            Tag::new("serial-number", Holding, "string").length(8),
            Tag::new("level", Holding, "u16"),
        ];
        let count = recipes.len();
        let round = self.made / count + 1;
        let mut tag = recipes
            .into_iter()
            .nth(self.made % count)
            .unwrap_or_else(|| Tag::new("level", Holding, "u16"));
        tag.name = format!("{}-{round}", tag.name);
        self.made += 1;
        tag
    }
}

/// The next free address of each table.
#[derive(Debug, Default)]
struct Addresses {
    next: [u16; 4],
    /// Register whose bits are being handed out, and which bits are.
    bits: Option<(u16, Vec<u8>)>,
}

impl Addresses {
    fn assign(&mut self, tag: &mut Tag) {
        if let Some(bit) = tag.bit
            && let Some((register, used)) = &mut self.bits
            && !used.contains(&bit)
        {
            used.push(bit);
            tag.address = *register;
            return;
        }
        let next = &mut self.next[tag.table as usize];
        tag.address = *next;
        *next += tag.width();
        if let Some(bit) = tag.bit {
            self.bits = Some((tag.address, vec![bit]));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_demo_plant_is_what_issue_3_asks_for() {
        let plant = Plant::demo();
        assert!(plant.tcp_devices() >= 3);
        assert!(
            plant
                .devices
                .iter()
                .any(|device| device.connection == Connection::Serial)
        );
        assert_eq!(plant.tag_count(), 200);
        assert!((50.0..90.0).contains(&plant.events_per_second()));
        let periods: BTreeSet<_> = plant
            .groups
            .iter()
            .map(|group| group.period.as_millis())
            .collect();
        assert_eq!(periods, BTreeSet::from([100, 250, 500, 1000]));
        let kinds: BTreeSet<_> = all_tags(&plant).map(|tag| tag.kind).collect();
        let all = [
            "bool", "u16", "i16", "u32", "i32", "u64", "i64", "f32", "f64", "string",
        ];
        assert_eq!(kinds, BTreeSet::from(all));
        let tables: BTreeSet<_> = all_tags(&plant).map(|tag| tag.table).collect();
        assert_eq!(tables.len(), 4);
        assert!(all_tags(&plant).any(|tag| tag.writable && tag.table == Table::Coil));
    }

    #[test]
    fn no_two_tags_of_a_device_overlap_or_share_a_name() {
        for plant in [
            Plant::demo(),
            Plant::load(10, 500, Duration::from_millis(100)),
        ] {
            for device in &plant.devices {
                let mut names = BTreeSet::new();
                let mut places = BTreeSet::new();
                for tag in tags_of(&plant, &device.name) {
                    assert!(names.insert(tag.name.clone()), "{} twice", tag.name);
                    for address in tag.address..tag.address + tag.width() {
                        let place = (tag.table, address, tag.bit);
                        let free = places.insert(place)
                            && (tag.bit.is_none() || !places.contains(&(tag.table, address, None)));
                        assert!(free, "{} {} overlaps at {place:?}", device.name, tag.name);
                    }
                }
            }
        }
    }

    fn all_tags(plant: &Plant) -> impl Iterator<Item = &Tag> {
        plant.groups.iter().flat_map(|group| &group.tags)
    }

    fn tags_of<'a>(plant: &'a Plant, device: &str) -> impl Iterator<Item = &'a Tag> {
        let device = device.to_owned();
        plant
            .groups
            .iter()
            .filter(move |group| group.devices.contains(&device))
            .flat_map(|group| &group.tags)
    }
}
