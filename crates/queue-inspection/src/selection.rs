//! Which events are meant.

use serde::{Deserialize, Serialize};
use store_forward::{Priority, StoredItem};

/// Events that have all of this; what is not said holds for all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Selection {
    /// 0 to 9.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// Name of the route by which they came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// Partition key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// From this number on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// Up to and with this number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
    /// The first so many of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

/// A selection that selects nothing that can be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("priority {0} is none: they are 0 to 9")]
pub struct SelectionError(pub u8);

impl Selection {
    /// # Errors
    /// A priority above 9.
    pub fn priority(&self) -> Result<Option<Priority>, SelectionError> {
        self.priority
            .map(|number| Priority::new(number).ok_or(SelectionError(number)))
            .transpose()
    }

    /// Whether route and key are as wanted. The rest is for who walks.
    pub(crate) fn wants(&self, item: &StoredItem) -> bool {
        self.route
            .as_deref()
            .is_none_or(|route| route == item.route.as_str())
            && self.key.as_deref().is_none_or(|key| key == item.key)
    }
}
