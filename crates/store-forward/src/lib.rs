//! The durable outbound queue: SQLite, group commit, bounded by bytes; no MQTT, no Dapr.
