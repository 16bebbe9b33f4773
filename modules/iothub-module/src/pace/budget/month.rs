//! Calendar months in UTC.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use time::{Date, OffsetDateTime};

/// 2025-01-01: this program is younger.
const CLOCK_IS_SET: i64 = 1_735_689_600;

/// A calendar month, written `2026-11`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Month(u32);

impl Month {
    /// The month of `utc`, if the clock is set.
    pub(super) fn of(utc: SystemTime) -> Option<Self> {
        let date = OffsetDateTime::from(utc);
        if date.unix_timestamp() < CLOCK_IS_SET {
            return None;
        }
        let month = u32::from(u8::from(date.month())) - 1;
        Some(Self(u32::try_from(date.year()).ok()? * 12 + month))
    }

    /// Its last moment's successor.
    pub(super) fn end(self) -> Option<SystemTime> {
        let next = self.0 + 1;
        let month = time::Month::try_from(u8::try_from(next % 12).ok()? + 1).ok()?;
        let date = Date::from_calendar_date(i32::try_from(next / 12).ok()?, month, 1).ok()?;
        Some(date.midnight().assume_utc().into())
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.0 / 12, self.0 % 12 + 1)
    }
}

impl From<Month> for String {
    fn from(month: Month) -> Self {
        month.to_string()
    }
}

/// Not a month.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a month such as 2026-11")]
pub struct NotAMonth(String);

impl FromStr for Month {
    type Err = NotAMonth;

    fn from_str(text: &str) -> Result<Self, NotAMonth> {
        let number = |part: &str, digits: usize| {
            let plain = part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit());
            plain.then(|| part.parse::<u32>().ok()).flatten()
        };
        let parts = text
            .split_once('-')
            .and_then(|(year, month)| Some((number(year, 4)?, number(month, 2)?)));
        match parts {
            Some((year, month)) if (1..=12).contains(&month) => Ok(Self(year * 12 + month - 1)),
            _ => Err(NotAMonth(text.to_owned())),
        }
    }
}

impl TryFrom<String> for Month {
    type Error = NotAMonth;

    fn try_from(text: String) -> Result<Self, NotAMonth> {
        text.parse()
    }
}
