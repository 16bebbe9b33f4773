//! Values in engineering units to registers, for writing.

use serde_json::Value as Json;

use crate::configuration::Order;
use crate::decode::{Codec, Kind};

/// What is written to a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encoded {
    /// To a coil.
    Bit(bool),
    /// To holding registers.
    Registers(Vec<u16>),
}

/// Why a value cannot be written; all of them are the caller's to mend.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EncodeError {
    /// A text for a number, and so on.
    #[error("the value must be {expected}, it is {found}")]
    Type {
        /// What is needed.
        expected: &'static str,
        /// What was given.
        found: &'static str,
    },
    /// Beyond what the registers hold.
    #[error("the value {value} is out of range: {low} to {high} can be written")]
    Range {
        /// What was given.
        value: String,
        /// In engineering units.
        low: f64,
        /// In engineering units.
        high: f64,
    },
    /// A fraction for an integer without a scale.
    #[error("the value {value} is not a whole number, and the tag has no scale")]
    Whole {
        /// What was given.
        value: f64,
    },
    /// The text does not fit.
    #[error("the text has {found} bytes, the tag has room for {room}")]
    Length {
        /// In bytes.
        found: usize,
        /// In bytes.
        room: u16,
    },
    /// Reading ends at the first NUL.
    #[error("the text contains a NUL character, which would cut it off when read")]
    Nul,
    /// A bit of a register would need a read first, and another writer could get in between.
    #[error("one bit of a register cannot be written alone")]
    Bit,
}

impl Codec {
    /// Encodes a value in engineering units. Scaled integers are rounded to the nearest raw value.
    ///
    /// # Errors
    /// [`EncodeError`], when the value does not fit the tag.
    pub fn encode(&self, value: &Json) -> Result<Encoded, EncodeError> {
        let raw = match self.kind {
            Kind::SingleBit => return boolean(value).map(Encoded::Bit),
            Kind::BitOfRegister(_) => return Err(EncodeError::Bit),
            Kind::Text(length) => return self.text(value, length),
            Kind::U16 => self.integer(value, 0, i128::from(u16::MAX))?,
            Kind::U32 => self.integer(value, 0, i128::from(u32::MAX))?,
            Kind::U64 => self.integer(value, 0, i128::from(u64::MAX))?,
            Kind::I16 => self.integer(value, i128::from(i16::MIN), i128::from(i16::MAX))?,
            Kind::I32 => self.integer(value, i128::from(i32::MIN), i128::from(i32::MAX))?,
            Kind::I64 => self.integer(value, i128::from(i64::MIN), i128::from(i64::MAX))?,
            Kind::F32 => {
                let real = self.real(value)?;
                let single = real as f32;
                if !single.is_finite() {
                    return Err(self.out_of_range(value, f64::from(f32::MIN), f64::from(f32::MAX)));
                }
                i128::from(single.to_bits())
            }
            Kind::F64 => {
                let real = self.real(value)?;
                if !real.is_finite() {
                    return Err(self.out_of_range(value, f64::MIN, f64::MAX));
                }
                i128::from(real.to_bits())
            }
        };
        // In range: the lowest bits are the two's complement.
        Ok(Encoded::Registers(self.registers(raw as u64)))
    }

    fn integer(&self, value: &Json, low: i128, high: i128) -> Result<i128, EncodeError> {
        let exact = match self.scaling {
            None => value
                .as_i64()
                .map(i128::from)
                .or_else(|| value.as_u64().map(i128::from)),
            Some(_) => None,
        };
        let raw = match exact {
            Some(exact) => exact,
            None => {
                let real = self.real(value)?;
                if self.scaling.is_none() && real.fract() != 0.0 {
                    return Err(EncodeError::Whole { value: real });
                }
                // The cast saturates far outside of every range here.
                real.round() as i128
            }
        };
        if (low..=high).contains(&raw) {
            Ok(raw)
        } else {
            Err(self.out_of_range(value, low as f64, high as f64))
        }
    }

    /// The raw number, not yet rounded.
    fn real(&self, value: &Json) -> Result<f64, EncodeError> {
        let number = value
            .as_f64()
            .ok_or_else(|| wrong_type("a number", value))?;
        Ok(match self.scaling {
            None => number,
            Some(scaling) => (number - scaling.offset) / scaling.scale,
        })
    }

    fn out_of_range(&self, value: &Json, low: f64, high: f64) -> EncodeError {
        let engineering = |raw: f64| match self.scaling {
            None => raw,
            Some(scaling) => raw * scaling.scale + scaling.offset,
        };
        let (low, high) = (shown(engineering(low)), shown(engineering(high)));
        EncodeError::Range {
            value: value.to_string(),
            low: low.min(high),
            high: low.max(high),
        }
    }

    fn registers(&self, raw: u64) -> Vec<u16> {
        let mut registers: Vec<u16> = (0..self.width())
            .rev()
            .map(|word| (raw >> (16 * word)) as u16)
            .collect();
        if matches!(self.order, Order::WordSwapped | Order::LittleEndian) {
            registers.reverse();
        }
        self.swap_bytes(&mut registers);
        registers
    }

    fn text(&self, value: &Json, room: u16) -> Result<Encoded, EncodeError> {
        let text = value.as_str().ok_or_else(|| wrong_type("a text", value))?;
        if text.len() > usize::from(room) {
            let found = text.len();
            return Err(EncodeError::Length { found, room });
        }
        if text.contains('\0') {
            return Err(EncodeError::Nul);
        }
        let mut registers = vec![0; usize::from(room).div_ceil(2)];
        for (register, pair) in registers.iter_mut().zip(text.as_bytes().chunks(2)) {
            let low = pair.get(1).copied().unwrap_or(0);
            *register = u16::from_be_bytes([pair[0], low]);
        }
        self.swap_bytes(&mut registers);
        Ok(Encoded::Registers(registers))
    }

    fn swap_bytes(&self, registers: &mut [u16]) {
        if matches!(self.order, Order::ByteSwapped | Order::LittleEndian) {
            for register in registers {
                *register = register.swap_bytes();
            }
        }
    }
}

/// Without the last digits, which are the rounding of the scale: 3276.7 and not 3276.7000000000003.
fn shown(bound: f64) -> f64 {
    format!("{bound:.12e}").parse().unwrap_or(bound)
}

fn boolean(value: &Json) -> Result<bool, EncodeError> {
    value
        .as_bool()
        .ok_or_else(|| wrong_type("true or false", value))
}

fn wrong_type(expected: &'static str, value: &Json) -> EncodeError {
    let found = match value {
        Json::Null => "null",
        Json::Bool(_) => "true or false",
        Json::Number(_) => "a number",
        Json::String(_) => "a text",
        Json::Array(_) => "a list",
        Json::Object(_) => "an object",
    };
    EncodeError::Type { expected, found }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::Scaling;
    use measurement::{BadReason, Reading, Value};
    use proptest::prelude::*;
    use serde_json::json;

    const NUMBERS: [Kind; 8] = [
        Kind::U16,
        Kind::I16,
        Kind::U32,
        Kind::I32,
        Kind::U64,
        Kind::I64,
        Kind::F32,
        Kind::F64,
    ];
    const ORDERS: [Order; 4] = [
        Order::BigEndian,
        Order::WordSwapped,
        Order::ByteSwapped,
        Order::LittleEndian,
    ];

    fn codec(kind: Kind, order: Order, scaling: Option<Scaling>) -> Codec {
        Codec {
            kind,
            order,
            scaling,
        }
    }

    fn as_json(reading: &Reading) -> Option<Json> {
        Some(match reading {
            Reading::Bad(_) => return None,
            Reading::Good(Value::Bool(value)) => json!(value),
            Reading::Good(Value::Int(value)) => json!(value),
            Reading::Good(Value::UInt(value)) => json!(value),
            Reading::Good(Value::Float(value)) => json!(value),
            Reading::Good(Value::Text(value)) => json!(value),
        })
    }

    fn width(kind: Kind) -> usize {
        codec(kind, Order::BigEndian, None).registers(0).len()
    }

    fn scaling() -> impl Strategy<Value = Option<Scaling>> {
        let scale = prop_oneof![Just(0.1), Just(0.001), Just(-2.5), 0.01..1000.0f64];
        proptest::option::of(
            (scale, -1000.0..1000.0f64).prop_map(|(scale, offset)| Scaling { scale, offset }),
        )
    }

    proptest! {
        #[test]
        fn what_was_read_can_be_written_back(
            kind in proptest::sample::select(NUMBERS.to_vec()),
            order in proptest::sample::select(ORDERS.to_vec()),
            registers in proptest::array::uniform4(any::<u16>()),
            scaling in scaling(),
        ) {
            // A scaled 64-bit integer or float has more digits than the f64 it becomes.
            let scaling = scaling.filter(|_| matches!(kind, Kind::U16 | Kind::I16 | Kind::U32 | Kind::I32));
            let codec = codec(kind, order, scaling);
            let registers = &registers[..width(kind)];
            let mut reading = Reading::Bad(BadReason::NotRead);
            codec.decode(registers, &mut reading);
            match as_json(&reading) {
                Some(value) => prop_assert_eq!(codec.encode(&value), Ok(Encoded::Registers(registers.to_vec()))),
                None => prop_assert!(matches!(kind, Kind::F32 | Kind::F64)),
            }
        }

        #[test]
        fn texts_can_be_written_back(
            text in "[^\0]{0,20}",
            spare in 0u16..5,
            order in proptest::sample::select(vec![Order::BigEndian, Order::ByteSwapped]),
        ) {
            let codec = codec(Kind::Text(text.len() as u16 + spare), order, None);
            let Ok(Encoded::Registers(registers)) = codec.encode(&json!(text)) else {
                return Err(TestCaseError::fail("not encoded"));
            };
            let mut reading = Reading::Bad(BadReason::NotRead);
            codec.decode(&registers, &mut reading);
            prop_assert_eq!(as_json(&reading), Some(json!(text)));
        }

        #[test]
        fn no_value_panics(kind in proptest::sample::select(NUMBERS.to_vec()), value in any::<f64>(), scaling in scaling()) {
            let _ = codec(kind, Order::BigEndian, scaling).encode(&json!(value));
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_with_the_range() {
        let plain = codec(Kind::I16, Order::BigEndian, None);
        for value in [json!(-32769), json!(32768), json!(1e300), json!(u64::MAX)] {
            let error = plain.encode(&value).unwrap_err();
            assert!(
                matches!(
                    error,
                    EncodeError::Range {
                        low: -32768.0,
                        high: 32767.0,
                        ..
                    }
                ),
                "{error}"
            );
        }
        assert!(matches!(
            plain.encode(&json!(1.5)),
            Err(EncodeError::Whole { .. })
        ));
        assert_eq!(plain.encode(&json!(2.0)), Ok(Encoded::Registers(vec![2])));
        for value in [json!("1"), json!(true), json!(null), json!([1])] {
            assert!(matches!(
                plain.encode(&value),
                Err(EncodeError::Type { .. })
            ));
        }
        let scale = Scaling {
            scale: 0.1,
            offset: -40.0,
        };
        let scaled = codec(Kind::U16, Order::BigEndian, Some(scale));
        assert_eq!(
            scaled.encode(&json!(21.5)),
            Ok(Encoded::Registers(vec![615]))
        );
        let error = scaled.encode(&json!(-41)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the value -41 is out of range: -40 to 6513.5 can be written"
        );
        let error = codec(
            Kind::I16,
            Order::BigEndian,
            Some(Scaling {
                offset: 0.0,
                ..scale
            }),
        )
        .encode(&json!(4000))
        .unwrap_err();
        assert!(
            error.to_string().contains("-3276.8 to 3276.7 can"),
            "{error}"
        );
        let single = codec(Kind::F32, Order::BigEndian, None);
        assert!(matches!(
            single.encode(&json!(1e39)),
            Err(EncodeError::Range { .. })
        ));
        let wide = codec(Kind::U64, Order::BigEndian, None);
        assert_eq!(
            wide.encode(&json!(u64::MAX)),
            Ok(Encoded::Registers(vec![u16::MAX; 4]))
        );
    }

    #[test]
    fn coils_and_texts_are_checked() {
        let coil = codec(Kind::SingleBit, Order::BigEndian, None);
        assert_eq!(coil.encode(&json!(true)), Ok(Encoded::Bit(true)));
        assert!(coil.encode(&json!(1)).is_err());
        let text = codec(Kind::Text(3), Order::BigEndian, None);
        assert_eq!(
            text.encode(&json!("AB")),
            Ok(Encoded::Registers(vec![0x4142, 0]))
        );
        assert_eq!(
            text.encode(&json!("ABCD")),
            Err(EncodeError::Length { found: 4, room: 3 })
        );
        assert_eq!(text.encode(&json!("A\0")), Err(EncodeError::Nul));
    }
}
