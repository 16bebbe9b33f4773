//! Registers and bits to values.

use measurement::{BadReason, Reading, Value};

use crate::configuration::{Order, Tag, TagType};

/// How one tag's registers become a value, and back (see `encode.rs`).
#[derive(Debug, Clone, PartialEq)]
pub struct Codec {
    pub(crate) kind: Kind,
    pub(crate) order: Order,
    pub(crate) scaling: Option<Scaling>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A coil or a discrete input.
    SingleBit,
    /// One bit of a register, 0 is the least significant.
    BitOfRegister(u8),
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
    /// So many bytes.
    Text(u16),
}

/// Value = raw × scale + offset, in f64.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scaling {
    pub(crate) scale: f64,
    pub(crate) offset: f64,
}

impl Codec {
    /// Of a tag that passed the configuration's checks.
    pub fn new(tag: &Tag) -> Self {
        let kind = match tag.resolved_type() {
            Some(TagType::Bool) if tag.table.is_bits() => Kind::SingleBit,
            Some(TagType::Bool) => Kind::BitOfRegister(tag.bit.unwrap_or(0) & 15),
            None | Some(TagType::U16) => Kind::U16,
            Some(TagType::I16) => Kind::I16,
            Some(TagType::U32) => Kind::U32,
            Some(TagType::I32) => Kind::I32,
            Some(TagType::U64) => Kind::U64,
            Some(TagType::I64) => Kind::I64,
            Some(TagType::F32) => Kind::F32,
            Some(TagType::F64) => Kind::F64,
            Some(TagType::String) => Kind::Text(tag.length.unwrap_or(1)),
        };
        let scaling = (tag.scale.is_some() || tag.offset.is_some()).then(|| Scaling {
            scale: tag.scale.unwrap_or(1.0),
            offset: tag.offset.unwrap_or(0.0),
        });
        Self {
            kind,
            order: tag.order,
            scaling,
        }
    }

    /// How many addresses of its table the tag takes.
    pub fn width(&self) -> usize {
        match self.kind {
            Kind::SingleBit | Kind::BitOfRegister(_) | Kind::U16 | Kind::I16 => 1,
            Kind::U32 | Kind::I32 | Kind::F32 => 2,
            Kind::U64 | Kind::I64 | Kind::F64 => 4,
            Kind::Text(length) => usize::from(length).div_ceil(2),
        }
    }

    /// Decodes the tag's registers; there must be as many as its width, further ones are ignored.
    /// `into` is written in place, so that a text that did not change costs no memory.
    pub fn decode(&self, registers: &[u16], into: &mut Reading) {
        if let Kind::Text(length) = self.kind {
            return decode_text(registers, length, self.order, into);
        }
        *into = self
            .number(registers)
            .unwrap_or(Reading::Bad(BadReason::BadResponse));
    }

    /// A coil or a discrete input.
    pub fn decode_bit(&self, bit: bool, into: &mut Reading) {
        *into = Reading::Good(Value::Bool(bit));
    }

    fn number(&self, registers: &[u16]) -> Option<Reading> {
        Some(match self.kind {
            Kind::SingleBit => Reading::Good(Value::Bool(*registers.first()? != 0)),
            Kind::BitOfRegister(bit) => {
                let register = self.assemble::<1>(registers)?;
                Reading::Good(Value::Bool((register >> bit) & 1 == 1))
            }
            Kind::U16 => self.unsigned(self.assemble::<1>(registers)?),
            Kind::U32 => self.unsigned(self.assemble::<2>(registers)?),
            Kind::U64 => self.unsigned(self.assemble::<4>(registers)?),
            Kind::I16 => self.signed(i64::from(self.assemble::<1>(registers)? as u16 as i16)),
            Kind::I32 => self.signed(i64::from(self.assemble::<2>(registers)? as u32 as i32)),
            Kind::I64 => self.signed(self.assemble::<4>(registers)? as i64),
            Kind::F32 => {
                let bits = self.assemble::<2>(registers)? as u32;
                self.float(f64::from(f32::from_bits(bits)))
            }
            Kind::F64 => self.float(f64::from_bits(self.assemble::<4>(registers)?)),
            Kind::Text(_) => return None,
        })
    }

    fn unsigned(&self, raw: u64) -> Reading {
        match self.scaling {
            None => Reading::Good(Value::UInt(raw)),
            Some(scaling) => scaling.apply(raw as f64),
        }
    }

    fn signed(&self, raw: i64) -> Reading {
        match self.scaling {
            None => Reading::Good(Value::Int(raw)),
            Some(scaling) => scaling.apply(raw as f64),
        }
    }

    fn float(&self, raw: f64) -> Reading {
        match self.scaling {
            None => Reading::float(raw),
            Some(scaling) => scaling.apply(raw),
        }
    }

    /// The N registers as one number, most significant first.
    fn assemble<const N: usize>(&self, registers: &[u16]) -> Option<u64> {
        let registers: &[u16; N] = registers.get(..N)?.try_into().ok()?;
        let append = |number: u64, register: &u16| {
            let register = match self.order {
                Order::BigEndian | Order::WordSwapped => *register,
                Order::ByteSwapped | Order::LittleEndian => register.swap_bytes(),
            };
            number << 16 | u64::from(register)
        };
        Some(match self.order {
            Order::BigEndian | Order::ByteSwapped => registers.iter().fold(0, append),
            Order::WordSwapped | Order::LittleEndian => registers.iter().rev().fold(0, append),
        })
    }
}

impl Scaling {
    fn apply(self, raw: f64) -> Reading {
        Reading::float(raw * self.scale + self.offset)
    }
}

/// The longest string a tag may have, rounded up to whole registers.
const LONGEST_TEXT: usize = 250;

fn decode_text(registers: &[u16], length: u16, order: Order, into: &mut Reading) {
    let length = usize::from(length).min(LONGEST_TEXT);
    let Some(registers) = registers.get(..length.div_ceil(2)) else {
        *into = Reading::Bad(BadReason::BadResponse);
        return;
    };
    let mut bytes = [0; LONGEST_TEXT];
    for (pair, register) in bytes.chunks_exact_mut(2).zip(registers) {
        let register = match order {
            Order::BigEndian | Order::WordSwapped => register.to_be_bytes(),
            Order::ByteSwapped | Order::LittleEndian => register.to_le_bytes(),
        };
        pair.copy_from_slice(&register);
    }
    let bytes = &bytes[..length];
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(length);
    match std::str::from_utf8(&bytes[..end]) {
        Ok(text) => match into {
            Reading::Good(Value::Text(old)) if **old == *text => {}
            _ => *into = Reading::Good(Value::Text(text.into())),
        },
        Err(_) => *into = Reading::Bad(BadReason::InvalidText),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codec(kind: Kind, order: Order) -> Codec {
        Codec {
            kind,
            order,
            scaling: None,
        }
    }

    fn read(codec: &Codec, registers: &[u16]) -> Reading {
        let mut reading = Reading::Bad(BadReason::NotRead);
        codec.decode(registers, &mut reading);
        reading
    }

    #[test]
    fn the_four_orders() {
        let cases = [
            (Order::BigEndian, [0x0A0B, 0x0C0D]),
            (Order::WordSwapped, [0x0C0D, 0x0A0B]),
            (Order::ByteSwapped, [0x0B0A, 0x0D0C]),
            (Order::LittleEndian, [0x0D0C, 0x0B0A]),
        ];
        for (order, registers) in cases {
            let reading = read(&codec(Kind::U32, order), &registers);
            assert_eq!(
                reading,
                Reading::Good(Value::UInt(0x0A0B_0C0D)),
                "{order:?}"
            );
        }
        let cases = [
            (Order::BigEndian, [0x0102, 0x0304, 0x0506, 0x0708]),
            (Order::WordSwapped, [0x0708, 0x0506, 0x0304, 0x0102]),
            (Order::ByteSwapped, [0x0201, 0x0403, 0x0605, 0x0807]),
            (Order::LittleEndian, [0x0807, 0x0605, 0x0403, 0x0201]),
        ];
        for (order, registers) in cases {
            let reading = read(&codec(Kind::U64, order), &registers);
            assert_eq!(reading, Reading::Good(Value::UInt(0x0102_0304_0506_0708)));
        }
        for (order, register) in [(Order::WordSwapped, 0x0102), (Order::ByteSwapped, 0x0201)] {
            let reading = read(&codec(Kind::U16, order), &[register]);
            assert_eq!(reading, Reading::Good(Value::UInt(0x0102)));
        }
    }

    #[test]
    fn numbers_and_bits() {
        let big = Order::BigEndian;
        assert_eq!(
            read(&codec(Kind::I16, big), &[0xFFFF]),
            Reading::Good(Value::Int(-1))
        );
        assert_eq!(
            read(&codec(Kind::I64, big), &[0x8000, 0, 0, 0]),
            Reading::Good(Value::Int(i64::MIN))
        );
        // 0.1f32 is shown as the f64 it is, not as a rounded 0.1.
        assert_eq!(
            read(&codec(Kind::F32, big), &[0x3DCC, 0xCCCD]),
            Reading::Good(Value::Float(f64::from(0.1f32)))
        );
        assert_eq!(
            read(&codec(Kind::F32, big), &[0x7FC0, 0]),
            Reading::Bad(BadReason::NotANumber)
        );
        assert_eq!(
            read(&codec(Kind::BitOfRegister(15), big), &[0x8000]),
            Reading::Good(Value::Bool(true))
        );
        assert_eq!(
            read(
                &codec(Kind::BitOfRegister(7), Order::ByteSwapped),
                &[0x8000]
            ),
            Reading::Good(Value::Bool(true))
        );
        assert_eq!(
            read(&codec(Kind::BitOfRegister(0), big), &[0x8000]),
            Reading::Good(Value::Bool(false))
        );
        let scaled = Codec {
            scaling: Some(Scaling {
                scale: 0.1,
                offset: -40.0,
            }),
            ..codec(Kind::U16, big)
        };
        assert_eq!(
            read(&scaled, &[1234]),
            Reading::Good(Value::Float(1234.0 * 0.1 - 40.0))
        );
    }

    #[test]
    fn texts_end_at_nul_and_keep_their_memory() {
        let text = codec(Kind::Text(5), Order::BigEndian);
        let mut reading = read(&text, &[0x4142, 0x4300, 0x5858]);
        assert_eq!(reading, Reading::Good(Value::Text("ABC".into())));
        let address = |reading: &Reading| match reading {
            Reading::Good(Value::Text(text)) => text.as_ptr(),
            _ => std::ptr::null(),
        };
        let before = address(&reading);
        text.decode(&[0x4142, 0x4300, 0], &mut reading);
        assert_eq!(before, address(&reading));
        let swapped = codec(Kind::Text(3), Order::ByteSwapped);
        assert_eq!(
            read(&swapped, &[0x4241, 0x0043]),
            Reading::Good(Value::Text("ABC".into()))
        );
        assert_eq!(
            read(&text, &[0xFFFF; 3]),
            Reading::Bad(BadReason::InvalidText)
        );
    }

    #[test]
    fn too_few_registers_are_a_bad_response() {
        for kind in [Kind::U16, Kind::F64, Kind::Text(4), Kind::BitOfRegister(1)] {
            let reading = read(&codec(kind, Order::BigEndian), &[]);
            assert_eq!(reading, Reading::Bad(BadReason::BadResponse));
        }
    }
}
