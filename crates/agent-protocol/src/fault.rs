//! Why a request was not done.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One for each thing that a caller does something else about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// The request is not as the protocol or its schema says.
    InvalidInput,
    /// The two programs are of versions that do not understand each other.
    UnknownVersion,
    /// There is no such command.
    UnknownCommand,
    /// The confirmation is not the device's name.
    WrongName,
    /// No update was asked for that has this id.
    UnknownUpdate,
    /// An update is being installed.
    Busy,
    /// This machine cannot do it: it is no appliance, or has no systemd.
    NotHere,
    /// It went wrong.
    Failed,
    /// It did not end in time.
    Deadline,
}

impl Code {
    /// As it stands in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidInput => "invalid-input",
            Self::UnknownVersion => "unknown-version",
            Self::UnknownCommand => "unknown-command",
            Self::WrongName => "wrong-name",
            Self::UnknownUpdate => "unknown-update",
            Self::Busy => "busy",
            Self::NotHere => "not-here",
            Self::Failed => "failed",
            Self::Deadline => "deadline",
        }
    }

    /// As an HTTP status: 4xx for what the caller can mend.
    pub const fn status(self) -> u16 {
        match self {
            Self::InvalidInput => 400,
            Self::UnknownCommand | Self::UnknownUpdate => 404,
            Self::Busy => 409,
            Self::WrongName => 422,
            Self::Failed => 500,
            Self::NotHere | Self::UnknownVersion => 501,
            Self::Deadline => 504,
        }
    }
}

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// For programs.
    pub code: Code,
    /// For people: what is wrong and what would be right.
    pub message: String,
    /// The argument that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

impl Fault {
    /// About the whole request.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            field: None,
        }
    }

    /// About one argument.
    #[must_use]
    pub fn at(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.field {
            Some(field) => write!(out, "{field}: {}", self.message),
            None => out.write_str(&self.message),
        }
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_the_same_word_everywhere() {
        for code in [
            Code::InvalidInput,
            Code::UnknownVersion,
            Code::UnknownCommand,
            Code::WrongName,
            Code::UnknownUpdate,
            Code::Busy,
            Code::NotHere,
            Code::Failed,
            Code::Deadline,
        ] {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
    }
}
