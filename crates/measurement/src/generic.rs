//! Builds every event that is not a measurement: status, configuration, commands, dead letters.

use bytes::Bytes;
use serde::Serialize;
use time::OffsetDateTime;

use crate::Event;
use crate::identity::unique;
use crate::json::rfc3339_micros;

/// A CloudEvent with any data. Rare events only: it goes through serde.
#[derive(Debug, Clone)]
pub struct GenericEvent<'a> {
    /// Unique for ever; `None`: `{last part of source}/{time and random}`.
    pub id: Option<String>,
    /// `/fieldgate/{appliance}/{module}`, see [`crate::event_source`].
    pub source: &'a str,
    /// The event's `type`, for example [`crate::STATUS_TYPE`].
    pub kind: &'a str,
    /// What of the source the event is about.
    pub subject: Option<&'a str>,
    /// Events with the same key stay in order where the transport has partitions.
    pub partition_key: Option<&'a str>,
    /// When it happened.
    pub time: OffsetDateTime,
}

#[derive(Serialize)]
struct Document<'a, T> {
    specversion: &'static str,
    id: &'a str,
    source: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    time: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    partitionkey: Option<&'a str>,
    datacontenttype: &'static str,
    data: &'a T,
}

impl GenericEvent<'_> {
    /// Renders the event.
    ///
    /// # Errors
    /// If `data` cannot be JSON (a map with keys that are not strings, a failing `Serialize`).
    pub fn render<T: Serialize + ?Sized>(&self, data: &T) -> Result<Event, serde_json::Error> {
        let id = match &self.id {
            Some(id) => id.clone(),
            None => {
                let name = self.source.rsplit('/').next().unwrap_or_default();
                format!("{name}/{}", unique())
            }
        };
        let body = serde_json::to_vec(&Document {
            specversion: "1.0",
            id: &id,
            source: self.source,
            kind: self.kind,
            subject: self.subject,
            time: &rfc3339_micros(self.time),
            partitionkey: self.partition_key,
            datacontenttype: "application/json",
            data: &data,
        })?;
        let body = Bytes::from(body);
        Ok(Event { id, body })
    }
}

/// A CloudEvent that happened now, with an id of its own. See [`GenericEvent`] for the parts.
///
/// # Errors
/// If `data` cannot be JSON.
pub fn event<T: Serialize + ?Sized>(
    source: &str,
    kind: &str,
    subject: Option<&str>,
    data: &T,
) -> Result<Event, serde_json::Error> {
    GenericEvent {
        id: None,
        source,
        kind,
        subject,
        partition_key: None,
        time: OffsetDateTime::now_utc(),
    }
    .render(data)
}
