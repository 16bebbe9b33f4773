//! The four tables of one device, kept as they go over the wire and renewed once a step.

use crate::pdu::Exception;
use crate::plan::{Device, Point, Table};
use crate::value;

/// What masters may do at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Nothing,
    ReadOnly,
    Writable,
}

/// A point whose value follows the steps.
#[derive(Debug)]
struct Live {
    seed: u64,
    point: Point,
}

/// One table. Both vectors end at the last address in use.
#[derive(Debug, Default)]
struct Area {
    /// A byte for each bit, or two for each register with the high one first.
    cells: Vec<u8>,
    access: Vec<Access>,
    live: Vec<Live>,
}

/// The memory of one device.
#[derive(Debug)]
pub(crate) struct Memory {
    areas: [Area; 4],
    strict: bool,
    step: Option<u64>,
}

fn index(table: Table) -> usize {
    match table {
        Table::Coil => 0,
        Table::DiscreteInput => 1,
        Table::HoldingRegister => 2,
        Table::InputRegister => 3,
    }
}

fn bytes_per_address(table: Table) -> usize {
    if table.is_bits() { 1 } else { 2 }
}

impl Memory {
    pub(crate) fn new(device: &Device, strict: bool) -> Self {
        let mut areas = [
            Area::default(),
            Area::default(),
            Area::default(),
            Area::default(),
        ];
        for point in &device.points {
            let area = &mut areas[index(point.table)];
            let first = usize::from(point.address);
            let end = first + usize::from(point.width());
            if area.access.len() < end {
                area.access.resize(end, Access::Nothing);
                area.cells.resize(end * bytes_per_address(point.table), 0);
            }
            let access = if point.writable {
                Access::Writable
            } else {
                Access::ReadOnly
            };
            area.access[first..end].fill(access);
            if !point.writable {
                let seed = value::seed(&device.name, &point.name);
                area.live.push(Live {
                    seed,
                    point: point.clone(),
                });
            }
        }
        Self {
            areas,
            strict,
            step: None,
        }
    }

    /// Brings every value to `step`; costs nothing while the step stays the same.
    pub(crate) fn advance(&mut self, step: u64) {
        if self.step == Some(step) {
            return;
        }
        self.step = Some(step);
        for area in &mut self.areas {
            for live in &area.live {
                let (point, noise) = (&live.point, value::noise(live.seed, step));
                let first = usize::from(point.address) * bytes_per_address(point.table);
                let length = usize::from(point.width()) * bytes_per_address(point.table);
                let Some(cells) = area.cells.get_mut(first..first + length) else {
                    continue;
                };
                match (point.bit, cells) {
                    (Some(bit), [high, low]) => {
                        let byte = if bit < 8 { low } else { high };
                        let mask = 1 << (bit % 8);
                        *byte = if value::is_set(noise) {
                            *byte | mask
                        } else {
                            *byte & !mask
                        };
                    }
                    (_, [cell]) => *cell = u8::from(value::is_set(noise)),
                    (_, cells) => value::write_registers(point, noise, cells),
                }
            }
        }
    }

    /// Appends `quantity` bits from `address` on, eight to a byte, the first one lowest.
    pub(crate) fn read_bits(
        &self,
        table: Table,
        address: u16,
        quantity: u16,
        out: &mut Vec<u8>,
    ) -> Result<(), Exception> {
        let cells = self.cells(table, address, quantity)?;
        let packed = cells
            .chunks(8)
            .map(|bits| bits.iter().rev().fold(0, |byte, bit| byte << 1 | bit));
        let length = out.len() + usize::from(quantity).div_ceil(8);
        out.extend(packed);
        out.resize(length, 0);
        Ok(())
    }

    /// Appends `quantity` registers from `address` on, high bytes first.
    pub(crate) fn read_registers(
        &self,
        table: Table,
        address: u16,
        quantity: u16,
        out: &mut Vec<u8>,
    ) -> Result<(), Exception> {
        let length = out.len() + usize::from(quantity) * 2;
        out.extend_from_slice(self.cells(table, address, quantity)?);
        out.resize(length, 0);
        Ok(())
    }

    /// Holds `cells` (a byte for each coil, two for each register) from `address` on; all of them or none.
    pub(crate) fn write(
        &mut self,
        table: Table,
        address: u16,
        cells: &[u8],
    ) -> Result<(), Exception> {
        let width = bytes_per_address(table);
        let first = usize::from(address);
        let end = first + cells.len() / width;
        if end > 0x1_0000 {
            return Err(Exception::ILLEGAL_DATA_ADDRESS);
        }
        let strict = self.strict;
        let area = &mut self.areas[index(table)];
        let allowed = |address: usize| match area.access.get(address).unwrap_or(&Access::Nothing) {
            Access::Writable => true,
            Access::ReadOnly => false,
            Access::Nothing => !strict,
        };
        if !(first..end).all(allowed) {
            return Err(Exception::ILLEGAL_DATA_ADDRESS);
        }
        if area.access.len() < end {
            area.access.resize(end, Access::Nothing);
            area.cells.resize(end * width, 0);
        }
        area.cells[first * width..end * width].copy_from_slice(cells);
        Ok(())
    }

    /// The raw value of a point as JSON, before scaling, with its registers as they are transmitted.
    pub(crate) fn inspect(&self, point: &Point) -> (serde_json::Value, Vec<u16>) {
        let width = bytes_per_address(point.table);
        let first = usize::from(point.address) * width;
        let cells = &self.areas[index(point.table)].cells;
        let cells = cells
            .get(first..first + usize::from(point.width()) * width)
            .unwrap_or_default();
        if point.table.is_bits() {
            return (
                cells.first().is_some_and(|bit| *bit != 0).into(),
                Vec::new(),
            );
        }
        let registers: Vec<u16> = cells
            .chunks_exact(2)
            .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
            .collect();
        let value = match point.bit {
            Some(bit) => registers
                .first()
                .is_some_and(|register| register >> bit & 1 == 1)
                .into(),
            None => value::read_registers(point, cells),
        };
        (value, registers)
    }

    /// The cells of a range as far as they are in use; what is behind them is 0.
    fn cells(&self, table: Table, address: u16, quantity: u16) -> Result<&[u8], Exception> {
        let area = &self.areas[index(table)];
        let (first, quantity) = (usize::from(address), usize::from(quantity));
        let end = first + quantity;
        let mapped =
            |range: Option<&[Access]>| range.is_some_and(|range| !range.contains(&Access::Nothing));
        if end > 0x1_0000 || (self.strict && !mapped(area.access.get(first..end))) {
            return Err(Exception::ILLEGAL_DATA_ADDRESS);
        }
        let width = bytes_per_address(table);
        let used = area.cells.len();
        Ok(&area.cells[used.min(first * width)..used.min(end * width)])
    }
}
