//! The requests of one poll cycle: tags planned and made ready to decode.

use measurement::{BadReason, Reading};

use crate::configuration::{Device, Table, Tag};
use crate::decode::Codec;
use crate::planner::{self, Limits, Span};

/// One read request and what of its answer goes where.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Which table.
    pub table: Table,
    /// First address.
    pub address: u16,
    /// How many bits or registers.
    pub count: u16,
    points: Vec<Point>,
}

#[derive(Debug, Clone, PartialEq)]
struct Point {
    /// Position in the list of tags.
    tag: usize,
    /// From the request's first address.
    offset: usize,
    codec: Codec,
}

/// The data of a good answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Coils or discrete inputs; may be longer than asked for, since devices answer whole bytes.
    Bits(Vec<bool>),
    /// Registers.
    Registers(Vec<u16>),
}

/// The requests that read all `tags` of `device`, by table and address.
pub fn plan<'a>(device: &Device, tags: impl IntoIterator<Item = &'a Tag>) -> Vec<Request> {
    let tags: Vec<&Tag> = tags.into_iter().collect();
    let tables = [
        Table::Coil,
        Table::DiscreteInput,
        Table::HoldingRegister,
        Table::InputRegister,
    ];
    tables
        .into_iter()
        .flat_map(|table| plan_table(device, table, &tags))
        .collect()
}

fn plan_table(device: &Device, table: Table, tags: &[&Tag]) -> Vec<Request> {
    let (places, spans): (Vec<usize>, Vec<Span>) = tags
        .iter()
        .enumerate()
        .filter(|(_, tag)| tag.table == table)
        .map(|(place, tag)| {
            let span = Span {
                address: tag.address,
                width: tag.width(),
            };
            (place, span)
        })
        .unzip();
    let limits = if table.is_bits() {
        Limits {
            max_width: device.max_bits,
            // As many bytes on the wire as the registers would be.
            max_gap: device.max_gap.saturating_mul(16),
        }
    } else {
        Limits {
            max_width: device.max_registers,
            max_gap: device.max_gap,
        }
    };
    planner::plan(&spans, limits)
        .into_iter()
        .map(|block| Request {
            table,
            address: block.address,
            count: block.width,
            points: block
                .members
                .iter()
                .map(|&member| Point {
                    tag: places[member],
                    offset: usize::from(spans[member].address - block.address),
                    codec: Codec::new(tags[places[member]]),
                })
                .collect(),
        })
        .collect()
}

impl Request {
    /// Decodes an answer into the readings of all tags. What the answer is too short for is a bad response.
    pub fn decode(&self, answer: &Answer, readings: &mut [Reading]) {
        for point in &self.points {
            let Some(reading) = readings.get_mut(point.tag) else {
                continue;
            };
            match answer {
                Answer::Registers(registers) => {
                    let registers = registers.get(point.offset..).unwrap_or_default();
                    point.codec.decode(registers, reading);
                }
                Answer::Bits(bits) => match bits.get(point.offset) {
                    Some(bit) => point.codec.decode_bit(*bit, reading),
                    None => *reading = Reading::Bad(BadReason::BadResponse),
                },
            }
        }
    }

    /// Marks every tag of this request as bad.
    pub fn fail(&self, reason: BadReason, readings: &mut [Reading]) {
        for point in &self.points {
            if let Some(reading) = readings.get_mut(point.tag) {
                *reading = Reading::Bad(reason);
            }
        }
    }

    /// Whether it reads addresses that no tag needs.
    pub fn has_gaps(&self) -> bool {
        let needed: usize = self.points.iter().map(|point| point.codec.width()).sum();
        needed < usize::from(self.count)
    }
}

/// `holding-register 100 to 224`: for messages.
impl std::fmt::Display for Request {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let last = u32::from(self.address) + u32::from(self.count.max(1)) - 1;
        write!(
            formatter,
            "{} {} to {last}",
            self.table.as_str(),
            self.address
        )
    }
}
