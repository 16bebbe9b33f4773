//! Why the sidecar did not do what was asked.

use std::time::Duration;

use tonic::Code;

/// A failed call to the sidecar.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SidecarError {
    /// There is no sidecar, it is starting or stopping, or what it needs behind it is away.
    #[error("the sidecar is not available: {0}")]
    Unavailable(String),
    /// No answer in time; what was asked may have been done.
    #[error("the sidecar did not answer {operation} within {after:?}")]
    Timeout {
        /// What was asked.
        operation: String,
        /// The deadline.
        after: Duration,
    },
    /// The sidecar answered no.
    #[error("the sidecar refused ({code}): {message}")]
    Refused {
        /// gRPC's name of the code, such as `InvalidArgument`.
        code: String,
        /// The sidecar's words.
        message: String,
        /// Whether the same request may work later without anyone changing anything.
        retryable: bool,
    },
    /// The request cannot be put on the wire, or the answer not be understood.
    #[error("{0}")]
    Invalid(String),
}

impl SidecarError {
    /// Whether the same request may work later without anyone changing configuration, permissions or the request.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::Timeout { .. } => true,
            Self::Refused { retryable, .. } => *retryable,
            Self::Invalid(_) => false,
        }
    }

    /// A refused gRPC call.
    pub(crate) fn from_status(status: &tonic::Status, operation: &str, after: Duration) -> Self {
        match status.code() {
            Code::Unavailable => Self::Unavailable(status.message().to_owned()),
            Code::DeadlineExceeded | Code::Cancelled => Self::Timeout {
                operation: operation.to_owned(),
                after,
            },
            // tonic reports a connection that could not be made, or broke, as Unknown with a source.
            Code::Unknown if std::error::Error::source(status).is_some() => {
                Self::Unavailable(with_sources(status))
            }
            code => Self::Refused {
                code: format!("{code:?}"),
                message: status.message().to_owned(),
                // dapr answers Internal when the broker is away, and InvalidArgument, NotFound, FailedPrecondition and
                // PermissionDenied for what is missing or forbidden in its configuration.
                retryable: matches!(code, Code::Internal | Code::Unknown | Code::Aborted),
            },
        }
    }
}

/// An error and what is behind it, in one line.
pub(crate) fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_later_try_may_mend_is_retryable() {
        let of = |code| {
            SidecarError::from_status(&tonic::Status::new(code, "x"), "publish", Duration::ZERO)
                .is_retryable()
        };
        for code in [
            Code::Unavailable,
            Code::DeadlineExceeded,
            Code::Internal,
            Code::Unknown,
        ] {
            assert!(of(code), "{code:?}");
        }
        for code in [
            Code::InvalidArgument,
            Code::NotFound,
            Code::PermissionDenied,
            Code::FailedPrecondition,
            Code::Unauthenticated,
            Code::ResourceExhausted,
        ] {
            assert!(!of(code), "{code:?}");
        }
    }
}
