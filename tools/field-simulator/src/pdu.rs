//! Answers request PDUs (MODBUS Application Protocol V1.1b3, section 6) from a device's memory.

use crate::memory::Memory;
use crate::plan::Table;

/// An exception code (MODBUS Application Protocol V1.1b3, section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exception(pub(crate) u8);

impl Exception {
    pub(crate) const ILLEGAL_FUNCTION: Self = Self(0x01);
    pub(crate) const ILLEGAL_DATA_ADDRESS: Self = Self(0x02);
    pub(crate) const ILLEGAL_DATA_VALUE: Self = Self(0x03);
    /// What a gateway answers for a unit that is not there.
    pub(crate) const GATEWAY_TARGET_FAILED: Self = Self(0x0b);
}

/// Appends the answer to `request` (function code first) to `out`. Returns the exception if it is one.
pub(crate) fn answer(request: &[u8], memory: &mut Memory, out: &mut Vec<u8>) -> Option<Exception> {
    let start = out.len();
    let function = request.first().copied().unwrap_or(0);
    out.push(function);
    let result = carry_out(function, request.get(1..).unwrap_or_default(), memory, out);
    let exception = result.err()?;
    out.truncate(start);
    refuse(function, exception, out);
    Some(exception)
}

/// Appends an exception answer.
pub(crate) fn refuse(function: u8, exception: Exception, out: &mut Vec<u8>) {
    out.extend_from_slice(&[function | 0x80, exception.0]);
}

fn carry_out(
    function: u8,
    body: &[u8],
    memory: &mut Memory,
    out: &mut Vec<u8>,
) -> Result<(), Exception> {
    let table = match function {
        1 | 5 | 15 => Table::Coil,
        2 => Table::DiscreteInput,
        3 | 6 | 16 => Table::HoldingRegister,
        4 => Table::InputRegister,
        _ => return Err(Exception::ILLEGAL_FUNCTION),
    };
    let ([a, b, c, d], rest) = body
        .split_first_chunk()
        .ok_or(Exception::ILLEGAL_DATA_VALUE)?;
    let address = u16::from_be_bytes([*a, *b]);
    // A quantity in all functions but the two single writes.
    let quantity = u16::from_be_bytes([*c, *d]);
    if matches!(function, 1..=6) && !rest.is_empty() {
        return Err(Exception::ILLEGAL_DATA_VALUE);
    }
    match function {
        1 | 2 => {
            out.push(byte_count(quantity, 2000, quantity.div_ceil(8))?);
            memory.read_bits(table, address, quantity, out)
        }
        3 | 4 => {
            out.push(byte_count(quantity, 125, quantity.saturating_mul(2))?);
            memory.read_registers(table, address, quantity, out)
        }
        5 => {
            let bit = match quantity {
                0x0000 => 0,
                0xff00 => 1,
                _ => return Err(Exception::ILLEGAL_DATA_VALUE),
            };
            memory.write(table, address, &[bit])?;
            out.extend_from_slice(&[*a, *b, *c, *d]);
            Ok(())
        }
        6 => {
            memory.write(table, address, &[*c, *d])?;
            out.extend_from_slice(&[*a, *b, *c, *d]);
            Ok(())
        }
        15 => {
            let bytes = counted(rest, byte_count(quantity, 1968, quantity.div_ceil(8))?)?;
            let bits = bytes
                .iter()
                .flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1));
            let bits: Vec<u8> = bits.take(usize::from(quantity)).collect();
            memory.write(table, address, &bits)?;
            out.extend_from_slice(&[*a, *b, *c, *d]);
            Ok(())
        }
        _ => {
            let bytes = counted(rest, byte_count(quantity, 123, quantity.saturating_mul(2))?)?;
            memory.write(table, address, bytes)?;
            out.extend_from_slice(&[*a, *b, *c, *d]);
            Ok(())
        }
    }
}

/// The byte count that belongs to a quantity between 1 and `limit`.
fn byte_count(quantity: u16, limit: u16, bytes: u16) -> Result<u8, Exception> {
    if !(1..=limit).contains(&quantity) {
        return Err(Exception::ILLEGAL_DATA_VALUE);
    }
    u8::try_from(bytes).map_err(|_| Exception::ILLEGAL_DATA_VALUE)
}

/// The bytes behind a byte count that must be `wanted` and be true.
fn counted(rest: &[u8], wanted: u8) -> Result<&[u8], Exception> {
    match rest.split_first() {
        Some((count, bytes)) if *count == wanted && bytes.len() == usize::from(wanted) => Ok(bytes),
        _ => Err(Exception::ILLEGAL_DATA_VALUE),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Exception, answer};
    use crate::memory::Memory;
    use crate::plan::Plan;

    fn memory(strict: bool) -> Memory {
        let plan = "
devices:
  - name: press
    tcp: {listen: '127.0.0.1:0'}
    points:
      - {name: a, table: holding-register, address: 10, type: u16}
      - {name: b, table: holding-register, address: 20, type: u32, writable: true}
      - {name: c, table: coil, address: 5, type: bool, writable: true}";
        let plan = Plan::from_yaml(plan).unwrap();
        let mut memory = Memory::new(&plan.devices[0], strict);
        memory.advance(1);
        memory
    }

    fn refused(request: &[u8], memory: &mut Memory) -> Option<Exception> {
        let mut out = Vec::new();
        let exception = answer(request, memory, &mut out);
        if let Some(Exception(code)) = exception {
            assert_eq!(
                out,
                [request[0] | 0x80, code],
                "an exception answer and nothing else"
            );
        }
        exception
    }

    #[test]
    fn wrong_requests_get_the_exception_of_the_specification() {
        let memory = &mut memory(false);
        for (request, exception) in [
            (&[7u8][..], Exception::ILLEGAL_FUNCTION),
            (&[23, 0, 0, 0, 1], Exception::ILLEGAL_FUNCTION),
            (&[3, 0, 0, 0, 0], Exception::ILLEGAL_DATA_VALUE),
            (&[3, 0, 0, 0, 126], Exception::ILLEGAL_DATA_VALUE),
            (&[1, 0, 0, 0x07, 0xd1], Exception::ILLEGAL_DATA_VALUE),
            (&[3, 0, 0], Exception::ILLEGAL_DATA_VALUE),
            (&[3, 0, 0, 0, 1, 0], Exception::ILLEGAL_DATA_VALUE),
            (&[5, 0, 5, 0x12, 0x34], Exception::ILLEGAL_DATA_VALUE),
            (&[15, 0, 5, 0, 9, 1, 0xff], Exception::ILLEGAL_DATA_VALUE),
            (
                &[16, 0, 20, 0, 2, 4, 0, 0, 0],
                Exception::ILLEGAL_DATA_VALUE,
            ),
            (&[16, 0, 20, 0, 0, 0], Exception::ILLEGAL_DATA_VALUE),
            (&[3, 0xff, 0xff, 0, 2], Exception::ILLEGAL_DATA_ADDRESS),
            (&[2, 0xff, 0xff, 0, 2], Exception::ILLEGAL_DATA_ADDRESS),
            (&[6, 0, 10, 0, 1], Exception::ILLEGAL_DATA_ADDRESS),
        ] {
            assert_eq!(refused(request, memory), Some(exception), "{request:?}");
        }
        assert_eq!(refused(&[3, 0xff, 0xff, 0, 1], memory), None);
    }

    #[test]
    fn a_write_that_is_partly_forbidden_changes_nothing() {
        let memory = &mut memory(true);
        assert_eq!(
            refused(&[16, 0, 20, 0, 3, 6, 1, 1, 1, 1, 1, 1], memory),
            Some(Exception::ILLEGAL_DATA_ADDRESS)
        );
        let mut out = Vec::new();
        assert_eq!(answer(&[3, 0, 20, 0, 2], memory, &mut out), None);
        assert_eq!(out, [3, 4, 0, 0, 0, 0]);
    }

    proptest! {
        /// Whatever arrives is answered with a valid PDU of at most 253 bytes.
        #[test]
        fn any_request_gets_a_wellformed_answer(request in prop::collection::vec(any::<u8>(), 1..260), strict: bool) {
            let mut out = Vec::new();
            let exception = answer(&request, &mut memory(strict), &mut out);
            prop_assert!(out.len() <= 253);
            match exception {
                Some(Exception(code)) => prop_assert_eq!(out, [request[0] | 0x80, code]),
                None if request[0] <= 4 => prop_assert_eq!(out.len(), 2 + usize::from(out[1])),
                None => prop_assert_eq!(out, &request[..5]),
            }
        }

        /// What is written is read back, at any address and in any amount, in both writable tables.
        #[test]
        fn what_was_written_is_read_back(address in 100u16..0xff00, registers in prop::collection::vec(any::<u8>(), 1..=123)) {
            let quantity = registers.len() as u8;
            let [high, low] = address.to_be_bytes();
            let memory = &mut memory(false);
            let bytes: Vec<u8> = registers.iter().flat_map(|register| [*register, !*register]).collect();
            let mut out = Vec::new();
            let write = [&[16, high, low, 0, quantity, quantity * 2], &bytes[..]].concat();
            prop_assert_eq!(answer(&write, memory, &mut out), None);
            out.clear();
            prop_assert_eq!(answer(&[3, high, low, 0, quantity], memory, &mut out), None);
            prop_assert_eq!(&out[2..], bytes);

            out.clear();
            let write = [&[15, high, low, 0, quantity, quantity.div_ceil(8)], &registers[..usize::from(quantity.div_ceil(8))]].concat();
            prop_assert_eq!(answer(&write, memory, &mut out), None);
            out.clear();
            prop_assert_eq!(answer(&[1, high, low, 0, quantity], memory, &mut out), None);
            let unused = (8 - quantity % 8) % 8;
            let mut bits = registers[..usize::from(quantity.div_ceil(8))].to_vec();
            *bits.last_mut().unwrap() &= 0xff >> unused;
            prop_assert_eq!(&out[2..], bits);
        }
    }
}
