//! What is asked of a device in one request, and how the answer to it begins: MODBUS Application Protocol V1.1b3,
//! section 6.

use tokio_modbus::{Request as Pdu, Response};

use crate::configuration::Table;
use crate::encode::Encoded;

/// One request, whatever the transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Query<'a> {
    /// Functions 1 to 4.
    Read {
        /// Which table.
        table: Table,
        /// First address.
        address: u16,
        /// How many bits or registers.
        count: u16,
    },
    /// Function 5.
    WriteCoil {
        /// Its address.
        address: u16,
        /// Set or cleared.
        on: bool,
    },
    /// Function 6.
    WriteRegister {
        /// Its address.
        address: u16,
        /// What it is to hold.
        value: u16,
    },
    /// Function 16.
    WriteRegisters {
        /// First address.
        address: u16,
        /// What they are to hold, at most 123.
        values: &'a [u16],
    },
}

impl<'a> Query<'a> {
    /// The function that writes `value` with the fewest bytes.
    pub fn write(address: u16, value: &'a Encoded) -> Self {
        match value {
            Encoded::Bit(on) => Query::WriteCoil { address, on: *on },
            Encoded::Registers(registers) => match registers.as_slice() {
                [value] => Query::WriteRegister {
                    address,
                    value: *value,
                },
                values => Query::WriteRegisters { address, values },
            },
        }
    }

    /// The function code.
    pub fn function(&self) -> u8 {
        match self {
            Query::Read { table, .. } => match table {
                Table::Coil => 1,
                Table::DiscreteInput => 2,
                Table::HoldingRegister => 3,
                Table::InputRegister => 4,
            },
            Query::WriteCoil { .. } => 5,
            Query::WriteRegister { .. } => 6,
            Query::WriteRegisters { .. } => 16,
        }
    }

    /// How many bytes of data the answer to a read has; `None` for a write.
    pub fn data_bytes(&self) -> Option<usize> {
        let Query::Read { table, count, .. } = self else {
            return None;
        };
        let count = usize::from(*count);
        // Bits come in whole bytes (6.1), registers exactly as many as asked for (6.3).
        Some(match table.is_bits() {
            true => count.div_ceil(8),
            false => count * 2,
        })
    }

    /// Appends function code and data of the request.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.function());
        let (address, second) = match *self {
            Query::Read { address, count, .. } => (address, count),
            Query::WriteCoil { address, on } => (address, if on { 0xFF00 } else { 0 }),
            Query::WriteRegister { address, value } => (address, value),
            Query::WriteRegisters { address, values } => (address, length(values)),
        };
        out.extend(address.to_be_bytes());
        out.extend(second.to_be_bytes());
        if let Query::WriteRegisters { values, .. } = self {
            out.push(u8::try_from(values.len() * 2).unwrap_or(u8::MAX));
            out.extend(values.iter().flat_map(|value| value.to_be_bytes()));
        }
    }

    /// As tokio-modbus has it.
    pub fn pdu(&self) -> Pdu<'a> {
        match *self {
            Query::Read {
                table,
                address,
                count,
            } => match table {
                Table::Coil => Pdu::ReadCoils(address, count),
                Table::DiscreteInput => Pdu::ReadDiscreteInputs(address, count),
                Table::HoldingRegister => Pdu::ReadHoldingRegisters(address, count),
                Table::InputRegister => Pdu::ReadInputRegisters(address, count),
            },
            Query::WriteCoil { address, on } => Pdu::WriteSingleCoil(address, on),
            Query::WriteRegister { address, value } => Pdu::WriteSingleRegister(address, value),
            Query::WriteRegisters { address, values } => {
                Pdu::WriteMultipleRegisters(address, values.into())
            }
        }
    }

    /// What confirms a write; `None` for a read.
    pub fn confirmation(&self) -> Option<Response> {
        Some(match *self {
            Query::Read { .. } => return None,
            Query::WriteCoil { address, on } => Response::WriteSingleCoil(address, on),
            Query::WriteRegister { address, value } => {
                Response::WriteSingleRegister(address, value)
            }
            Query::WriteRegisters { address, values } => {
                Response::WriteMultipleRegisters(address, length(values))
            }
        })
    }
}

fn length(values: &[u16]) -> u16 {
    u16::try_from(values.len()).unwrap_or(u16::MAX)
}
