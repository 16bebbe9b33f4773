//! What a point is worth at a step: the function that simulator and checker share.

use serde_json::Value;

use crate::plan::{Device, Order, Point, ValueType};

/// A value as a reader should report it, in engineering units.
#[derive(Debug, Clone, PartialEq)]
pub enum Expected {
    Bool(bool),
    Int(i64),
    UInt(u64),
    /// A 32-bit float; to be reported as exactly the same number in 64 bits.
    Single(f32),
    Double(f64),
    /// raw × scale + offset. `magnitude` is the largest number of that sum: the rounding errors go with it.
    Scaled {
        value: f64,
        magnitude: f64,
    },
    Text(String),
}

impl Expected {
    /// The value as JSON, for people to see.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::Bool(value) => Value::from(*value),
            Self::Int(value) => Value::from(*value),
            Self::UInt(value) => Value::from(*value),
            Self::Single(value) => Value::from(f64::from(*value)),
            Self::Double(value) | Self::Scaled { value, .. } => Value::from(*value),
            Self::Text(value) => Value::from(value.as_str()),
        }
    }
}

/// The value of `point` at `step`. A writable point has no such value: what it held at first (zero) is given.
///
/// The value follows from the two names and the step alone: `splitmix64(fnv1a(device) ^ fnv1a(point) ^ step)`, mapped
/// into the point's type. Floats are normal numbers between 2^-32 and 2^32 in size, strings are filled with A–Z and 0–9.
#[must_use]
pub fn expected(device: &Device, point: &Point, step: u64) -> Expected {
    let (scale, offset) = (point.scale.unwrap_or(1.0), point.offset.unwrap_or(0.0));
    let exact = if point.writable {
        zero(point)
    } else {
        exact(point, noise(seed(&device.name, &point.name), step))
    };
    if point.scale.is_none() && point.offset.is_none() {
        return exact;
    }
    let raw = match exact {
        Expected::Int(raw) => raw as f64,
        Expected::UInt(raw) => raw as f64,
        Expected::Single(raw) => f64::from(raw),
        Expected::Double(raw) => raw,
        other => return other,
    };
    let value = raw * scale + offset;
    Expected::Scaled {
        value,
        magnitude: value.abs().max((raw * scale).abs()).max(offset.abs()),
    }
}

/// Whether a reported JSON value is the expected one: integers, floats and strings exactly, scaled values within 1e-9 of
/// their size.
#[must_use]
pub fn matches(value: &Value, expected: &Expected) -> bool {
    match expected {
        Expected::Bool(wanted) => value.as_bool() == Some(*wanted),
        Expected::Int(wanted) => value.as_i64() == Some(*wanted),
        Expected::UInt(wanted) => value.as_u64() == Some(*wanted),
        Expected::Single(wanted) => value.as_f64() == Some(f64::from(*wanted)),
        Expected::Double(wanted) => value.as_f64() == Some(*wanted),
        Expected::Scaled {
            value: wanted,
            magnitude,
        } => value
            .as_f64()
            .is_some_and(|value| (value - wanted).abs() <= magnitude * 1e-9),
        Expected::Text(wanted) => value.as_str() == Some(wanted),
    }
}

/// What stays the same of a point through all steps.
pub(crate) fn seed(device: &str, point: &str) -> u64 {
    fnv1a(device) ^ fnv1a(point)
}

/// 64 random-looking bits for a point at a step.
pub(crate) fn noise(seed: u64, step: u64) -> u64 {
    splitmix64(seed ^ step)
}

/// Writes the point's value into its registers as they are transmitted; `wire` is exactly as long as they are.
pub(crate) fn write_registers(point: &Point, noise: u64, wire: &mut [u8]) {
    match point.value_type {
        ValueType::Bool => {}
        ValueType::U16 | ValueType::I16 => {
            copy_ordered(&high16(noise).to_be_bytes(), point.order, wire)
        }
        ValueType::U32 | ValueType::I32 => {
            copy_ordered(&high32(noise).to_be_bytes(), point.order, wire)
        }
        ValueType::U64 | ValueType::I64 => copy_ordered(&noise.to_be_bytes(), point.order, wire),
        ValueType::F32 => copy_ordered(&single(noise).to_be_bytes(), point.order, wire),
        ValueType::F64 => copy_ordered(&double(noise).to_be_bytes(), point.order, wire),
        ValueType::String => {
            wire.fill(0);
            // A byte-swapped register carries its first character in its low byte.
            let swap = usize::from(point.order == Order::ByteSwapped);
            for (index, character) in characters(noise)
                .take(usize::from(point.length.unwrap_or(0)))
                .enumerate()
            {
                if let Some(byte) = wire.get_mut(index ^ swap) {
                    *byte = character;
                }
            }
        }
    }
}

/// The raw number or text that registers hold, the reverse of [`write_registers`].
pub(crate) fn read_registers(point: &Point, wire: &[u8]) -> Value {
    let mut bytes = [0; 8];
    let width = wire.len().min(8);
    if point.value_type != ValueType::String {
        // Each order is its own reverse.
        copy_ordered(&wire[..width], point.order, &mut bytes[..width]);
    }
    let [a, b, c, d, ..] = bytes;
    match point.value_type {
        ValueType::Bool => Value::Null,
        ValueType::U16 => Value::from(u16::from_be_bytes([a, b])),
        ValueType::I16 => Value::from(i16::from_be_bytes([a, b])),
        ValueType::U32 => Value::from(u32::from_be_bytes([a, b, c, d])),
        ValueType::I32 => Value::from(i32::from_be_bytes([a, b, c, d])),
        ValueType::F32 => Value::from(f32::from_be_bytes([a, b, c, d])),
        ValueType::U64 => Value::from(u64::from_be_bytes(bytes)),
        ValueType::I64 => Value::from(i64::from_be_bytes(bytes)),
        ValueType::F64 => Value::from(f64::from_be_bytes(bytes)),
        ValueType::String => {
            let swap = usize::from(point.order == Order::ByteSwapped);
            let characters = (0..usize::from(point.length.unwrap_or(0)))
                .filter_map(|index| wire.get(index ^ swap).copied());
            let characters: Vec<u8> = characters.take_while(|character| *character != 0).collect();
            Value::from(String::from_utf8_lossy(&characters))
        }
    }
}

/// Whether a bool is set.
pub(crate) fn is_set(noise: u64) -> bool {
    noise >> 63 == 1
}

fn exact(point: &Point, noise: u64) -> Expected {
    match point.value_type {
        ValueType::Bool => Expected::Bool(is_set(noise)),
        ValueType::U16 => Expected::UInt(u64::from(high16(noise))),
        ValueType::I16 => Expected::Int(i64::from(high16(noise).cast_signed())),
        ValueType::U32 => Expected::UInt(u64::from(high32(noise))),
        ValueType::I32 => Expected::Int(i64::from(high32(noise).cast_signed())),
        ValueType::U64 => Expected::UInt(noise),
        ValueType::I64 => Expected::Int(noise.cast_signed()),
        ValueType::F32 => Expected::Single(single(noise)),
        ValueType::F64 => Expected::Double(double(noise)),
        ValueType::String => Expected::Text(
            characters(noise)
                .take(usize::from(point.length.unwrap_or(0)))
                .map(char::from)
                .collect(),
        ),
    }
}

fn zero(point: &Point) -> Expected {
    match point.value_type {
        ValueType::Bool => Expected::Bool(false),
        ValueType::U16 | ValueType::U32 | ValueType::U64 => Expected::UInt(0),
        ValueType::I16 | ValueType::I32 | ValueType::I64 => Expected::Int(0),
        ValueType::F32 => Expected::Single(0.0),
        ValueType::F64 => Expected::Double(0.0),
        ValueType::String => Expected::Text(String::new()),
    }
}

fn high16(noise: u64) -> u16 {
    (noise >> 48) as u16
}

fn high32(noise: u64) -> u32 {
    (noise >> 32) as u32
}

/// Sign and fraction from the noise, exponent between 2^-16 and 2^15.
fn single(noise: u64) -> f32 {
    let bits = high32(noise);
    let exponent = 127 - 16 + (bits >> 23 & 31);
    f32::from_bits(bits & 0x807f_ffff | exponent << 23)
}

/// Sign and fraction from the noise, exponent between 2^-32 and 2^31.
fn double(noise: u64) -> f64 {
    let exponent = 1023 - 32 + (noise >> 52 & 63);
    f64::from_bits(noise & 0x800f_ffff_ffff_ffff | exponent << 52)
}

/// Endless characters A–Z and 0–9.
fn characters(noise: u64) -> impl Iterator<Item = u8> {
    (0u64..).map(move |index| {
        let digit = (splitmix64(noise ^ index) % 36) as u8;
        if digit < 26 {
            b'A' + digit
        } else {
            b'0' + (digit - 26)
        }
    })
}

/// Copies a value, most significant byte first, into registers in the order of the device.
fn copy_ordered(value: &[u8], order: Order, wire: &mut [u8]) {
    let last = value.len().saturating_sub(1);
    for (index, byte) in wire.iter_mut().enumerate() {
        let source = match order {
            Order::BigEndian => index,
            Order::ByteSwapped => index ^ 1,
            Order::LittleEndian => last - index.min(last),
            Order::WordSwapped => (last - index.min(last)) ^ 1,
        };
        *byte = value.get(source).copied().unwrap_or(0);
    }
}

fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

fn splitmix64(state: u64) -> u64 {
    let z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::{Expected, exact, expected, matches, read_registers, write_registers};
    use crate::plan::{Device, Order, Plan, Point, Table, ValueType};

    fn point(value_type: ValueType, order: Order) -> Point {
        let length = (value_type == ValueType::String).then_some(7);
        Point {
            name: "p".to_owned(),
            table: Table::HoldingRegister,
            address: 0,
            value_type,
            order,
            scale: None,
            offset: None,
            length,
            bit: None,
            writable: false,
        }
    }

    fn orders() -> impl Strategy<Value = Order> {
        prop::sample::select(vec![
            Order::BigEndian,
            Order::WordSwapped,
            Order::ByteSwapped,
            Order::LittleEndian,
        ])
    }

    fn types() -> impl Strategy<Value = ValueType> {
        use ValueType::{F32, F64, I16, I32, I64, String, U16, U32, U64};
        prop::sample::select(vec![U16, I16, U32, I32, U64, I64, F32, F64, String])
    }

    #[test]
    fn orders_are_those_of_the_plan() {
        // The high half of the noise is a 32-bit value: here its bytes A B C D are 0a 0b 0c 0d.
        let noise = 0x0a0b_0c0d_0000_0000;
        for (order, wire) in [
            (Order::BigEndian, [0x0a, 0x0b, 0x0c, 0x0d]),
            (Order::WordSwapped, [0x0c, 0x0d, 0x0a, 0x0b]),
            (Order::ByteSwapped, [0x0b, 0x0a, 0x0d, 0x0c]),
            (Order::LittleEndian, [0x0d, 0x0c, 0x0b, 0x0a]),
        ] {
            let mut registers = [0; 4];
            write_registers(&point(ValueType::U32, order), noise, &mut registers);
            assert_eq!(registers, wire, "{order:?}");
        }
        let mut registers = [0; 2];
        write_registers(
            &point(ValueType::I16, Order::WordSwapped),
            noise,
            &mut registers,
        );
        assert_eq!(registers, [0x0a, 0x0b]);
        write_registers(
            &point(ValueType::I16, Order::LittleEndian),
            noise,
            &mut registers,
        );
        assert_eq!(registers, [0x0b, 0x0a]);
    }

    #[test]
    fn scaled_values_match_within_their_rounding_and_exact_ones_exactly() {
        let scaled = Expected::Scaled {
            value: 0.0,
            magnitude: 100.0,
        };
        assert!(matches(&json!(1e-12), &scaled));
        assert!(!matches(&json!(1e-6), &scaled));
        assert!(matches(&json!(u64::MAX), &Expected::UInt(u64::MAX)));
        assert!(!matches(&json!(u64::MAX - 1), &Expected::UInt(u64::MAX)));
        assert!(matches(&json!(i64::MIN), &Expected::Int(i64::MIN)));
        assert!(
            !matches(&json!(0.1), &Expected::Single(0.1)),
            "an f32 is not what its shortest text says"
        );
        assert!(matches(&json!(f64::from(0.1f32)), &Expected::Single(0.1)));
        assert!(!matches(&json!("1"), &Expected::UInt(1)));
        assert!(!matches(&json!(null), &Expected::Bool(false)));
    }

    #[test]
    fn a_value_depends_on_device_point_and_step() {
        let plan = "
devices:
  - {name: a, tcp: {listen: '127.0.0.1:1'}, points: [{name: p, table: input-register, address: 0, type: u64}, {name: q, table: input-register, address: 4, type: u64}]}
  - {name: b, unit: 2, tcp: {listen: '127.0.0.1:1'}, points: [{name: p, table: input-register, address: 0, type: u64}]}";
        let plan = Plan::from_yaml(plan).unwrap();
        let value = |device: &Device, point: &str, step| {
            expected(device, device.point(point).unwrap(), step)
        };
        let [a, b] = &plan.devices[..] else {
            panic!("two devices")
        };
        let all = [
            value(a, "p", 1),
            value(a, "p", 2),
            value(a, "q", 1),
            value(b, "p", 1),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(!all[..index].contains(one), "{all:?}");
        }
        assert_eq!(value(a, "p", 1), value(a, "p", 1));
    }

    proptest! {
        /// The registers hold exactly what a checker expects, and floats are finite.
        #[test]
        fn registers_hold_what_is_expected(value_type in types(), order in orders(), noise: u64) {
            let order = match (value_type, order) {
                (ValueType::String, Order::WordSwapped) => Order::BigEndian,
                (ValueType::String, Order::LittleEndian) => Order::ByteSwapped,
                (_, order) => order,
            };
            let point = point(value_type, order);
            let mut wire = vec![0; usize::from(point.width()) * 2];
            write_registers(&point, noise, &mut wire);
            let wanted = exact(&point, noise);
            prop_assert!(matches(&read_registers(&point, &wire), &wanted));
            if let Some(number) = wanted.to_json().as_f64() {
                prop_assert!(number.is_finite());
            }
        }
    }
}
