//! What was read of one tag: a good value, or the reason why there is none.

use std::fmt;

/// A good value in engineering units.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A coil, a discrete input or one bit of a register.
    Bool(bool),
    /// A signed integer, exact in JSON.
    Int(i64),
    /// An unsigned integer, exact in JSON.
    UInt(u64),
    /// A finite number, exact in JSON. Build it with [`Reading::float`]: a NaN or an infinity has no JSON and is
    /// rendered as [`BadReason::NotANumber`].
    Float(f64),
    /// Text, escaped when rendered.
    Text(Box<str>),
}

/// Why a tag has no good value: a closed list, so that receivers can switch over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BadReason {
    /// There is no connection to the device's link.
    NoConnection,
    /// The device did not answer in time.
    Timeout,
    /// The answer broke the protocol: wrong length, checksum, unit or function code.
    BadResponse,
    /// Modbus exception 1.
    IllegalFunction,
    /// Modbus exception 2.
    IllegalDataAddress,
    /// Modbus exception 3.
    IllegalDataValue,
    /// Modbus exception 4, server device failure.
    DeviceFailure,
    /// Modbus exception 5, acknowledge: the device needs longer than it may take.
    Acknowledge,
    /// Modbus exception 6, server device busy.
    DeviceBusy,
    /// Modbus exception 8, memory parity error.
    MemoryParity,
    /// Modbus exception 10.
    GatewayPathUnavailable,
    /// Modbus exception 11: the device behind the gateway did not answer.
    GatewayTargetFailed,
    /// An exception code outside the Modbus specification.
    OtherException(u8),
    /// The device sent a NaN or an infinity, or scaling made one.
    NotANumber,
    /// The bytes of a string are not UTF-8.
    InvalidText,
    /// The device failed repeatedly and is not asked for a while.
    Parked,
    /// The source had nothing for this tag in this cycle.
    NotRead,
}

impl BadReason {
    /// Every reason once, for documentation and for tests of receivers.
    pub const ALL: [BadReason; 17] = [
        BadReason::NoConnection,
        BadReason::Timeout,
        BadReason::BadResponse,
        BadReason::IllegalFunction,
        BadReason::IllegalDataAddress,
        BadReason::IllegalDataValue,
        BadReason::DeviceFailure,
        BadReason::Acknowledge,
        BadReason::DeviceBusy,
        BadReason::MemoryParity,
        BadReason::GatewayPathUnavailable,
        BadReason::GatewayTargetFailed,
        BadReason::OtherException(0),
        BadReason::NotANumber,
        BadReason::InvalidText,
        BadReason::Parked,
        BadReason::NotRead,
    ];

    /// The word that stands in an event's `bad` object.
    pub const fn as_str(self) -> &'static str {
        match self {
            BadReason::NoConnection => "no-connection",
            BadReason::Timeout => "timeout",
            BadReason::BadResponse => "bad-response",
            BadReason::IllegalFunction => "illegal-function",
            BadReason::IllegalDataAddress => "illegal-data-address",
            BadReason::IllegalDataValue => "illegal-data-value",
            BadReason::DeviceFailure => "device-failure",
            BadReason::Acknowledge => "acknowledge",
            BadReason::DeviceBusy => "device-busy",
            BadReason::MemoryParity => "memory-parity",
            BadReason::GatewayPathUnavailable => "gateway-path-unavailable",
            BadReason::GatewayTargetFailed => "gateway-target-failed",
            BadReason::OtherException(_) => "other-exception",
            BadReason::NotANumber => "not-a-number",
            BadReason::InvalidText => "invalid-text",
            BadReason::Parked => "parked",
            BadReason::NotRead => "not-read",
        }
    }

    /// The reason for a Modbus exception code.
    /// Source: MODBUS Application Protocol V1.1b3, section 7.
    pub const fn from_modbus_exception(code: u8) -> Self {
        match code {
            1 => BadReason::IllegalFunction,
            2 => BadReason::IllegalDataAddress,
            3 => BadReason::IllegalDataValue,
            4 => BadReason::DeviceFailure,
            5 => BadReason::Acknowledge,
            6 => BadReason::DeviceBusy,
            8 => BadReason::MemoryParity,
            10 => BadReason::GatewayPathUnavailable,
            11 => BadReason::GatewayTargetFailed,
            other => BadReason::OtherException(other),
        }
    }
}

impl fmt::Display for BadReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// What was read of one tag.
#[derive(Debug, Clone, PartialEq)]
pub enum Reading {
    /// The value.
    Good(Value),
    /// Why there is none.
    Bad(BadReason),
}

impl Reading {
    /// A finite number is good, anything else is [`BadReason::NotANumber`].
    pub fn float(value: f64) -> Self {
        if value.is_finite() {
            Reading::Good(Value::Float(value))
        } else {
            Reading::Bad(BadReason::NotANumber)
        }
    }
}
