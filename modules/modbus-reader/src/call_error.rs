//! Why a request has no good answer.

use std::io;
use std::time::Duration;

use measurement::BadReason;

/// Why a request has no good answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    /// Nothing, or not all of it, in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The device refused; code of MODBUS Application Protocol V1.1b3, section 7.
    #[error("the device answered exception {0} ({reason})", reason = BadReason::from_modbus_exception(*.0))]
    Exception(u8),
    /// What came is not the answer to what was asked.
    #[error("the answer is wrong: {0}")]
    BadResponse(String),
    /// The connection broke, or there is none.
    #[error("no connection: {text}")]
    Transport {
        /// What kind of failure.
        kind: io::ErrorKind,
        /// In the system's words.
        text: String,
    },
}

impl CallError {
    /// For events.
    pub fn reason(&self) -> BadReason {
        match self {
            CallError::Timeout(_) => BadReason::Timeout,
            CallError::Exception(code) => BadReason::from_modbus_exception(*code),
            CallError::BadResponse(_) => BadReason::BadResponse,
            CallError::Transport { .. } => BadReason::NoConnection,
        }
    }

    /// Whether the device is there and spoke for itself. A gateway's exceptions 10 and 11 say the opposite.
    pub fn is_answer(&self) -> bool {
        matches!(self, CallError::Exception(code) if !matches!(code, 10 | 11))
    }

    /// Whether the connection broke, rather than the device failing to answer on it.
    pub fn is_transport(&self) -> bool {
        matches!(self, CallError::Transport { .. })
    }
}

impl From<io::Error> for CallError {
    fn from(error: io::Error) -> Self {
        CallError::Transport {
            kind: error.kind(),
            text: if is_closed(&error) {
                "the device closed the connection".to_owned()
            } else {
                error.to_string()
            },
        }
    }
}

/// Whether the other side closed. tokio-modbus 0.17 reports an orderly close as whatever errno its thread saw last (its issue 360): on a socket that
/// is read and written through readiness these three cannot mean what they say.
fn is_closed(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(0 | 11 /* EAGAIN */ | 115 /* EINPROGRESS */)
    ) || matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_connection_is_called_that() {
        for code in [0, 11, 115, 104, 32] {
            let text = CallError::from(io::Error::from_raw_os_error(code)).to_string();
            assert_eq!(text, "no connection: the device closed the connection");
        }
        let refused = CallError::from(io::Error::from_raw_os_error(111)).to_string();
        assert!(refused.contains("refused"), "{refused}");
    }
}
