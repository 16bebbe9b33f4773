//! Reasons of bad values as StatusCodes.

use measurement::BadReason;

/// A StatusCode (Part 4, 7.38): its severity is in the two highest bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusCode {
    /// The number.
    pub code: u32,
    /// Its name, if the message gives it.
    pub symbol: Option<String>,
}

impl StatusCode {
    /// Whether a value with it may be used: neither bad nor uncertain.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.code >> 30 == 0
    }
}

/// Bad, and nothing more is known.
pub(super) const BAD: (u32, &str) = (0x8000_0000, "Bad");
/// The status of a DataSetMessage with good and bad fields (Part 14, 6.2.4.2).
pub(super) const SUB_NORMAL: (u32, &str) = (0x4095_0000, "UncertainSubNormal");

/// The StatusCode of a bad reason. Numbers and names: Part 6, A.2 (Opc.Ua.StatusCodes.csv).
pub(super) fn of_reason(word: &str) -> (u32, &'static str) {
    let Some(reason) = BadReason::ALL
        .into_iter()
        .find(|reason| reason.as_str() == word)
    else {
        return BAD;
    };
    match reason {
        BadReason::NoConnection
        | BadReason::GatewayPathUnavailable
        | BadReason::GatewayTargetFailed => (0x8031_0000, "BadNoCommunication"),
        BadReason::Timeout => (0x800A_0000, "BadTimeout"),
        BadReason::BadResponse => (0x8005_0000, "BadCommunicationError"),
        BadReason::IllegalFunction => (0x803D_0000, "BadNotSupported"),
        BadReason::IllegalDataAddress => (0x803E_0000, "BadNotFound"),
        BadReason::IllegalDataValue => (0x80AB_0000, "BadInvalidArgument"),
        BadReason::DeviceFailure | BadReason::MemoryParity => (0x808B_0000, "BadDeviceFailure"),
        BadReason::Acknowledge => (0x80B2_0000, "BadWaitingForResponse"),
        BadReason::DeviceBusy => (0x807D_0000, "BadTcpServerTooBusy"),
        BadReason::OtherException(_) => BAD,
        BadReason::NotANumber => (0x803C_0000, "BadOutOfRange"),
        BadReason::InvalidText => (0x8007_0000, "BadDecodingError"),
        BadReason::Parked => (0x808D_0000, "BadOutOfService"),
        BadReason::NotRead => (0x809B_0000, "BadNoData"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_bad() {
        for reason in BadReason::ALL {
            let (code, symbol) = of_reason(reason.as_str());
            assert_eq!(code >> 30, 0b10, "{symbol}");
            assert!(symbol.starts_with("Bad"));
        }
        assert_eq!(of_reason("a word of somebody else's"), BAD);
    }
}
