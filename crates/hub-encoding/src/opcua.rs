//! `opcua-pubsub-json`: a NetworkMessage with DataSetMessages, OPC UA Part 14 (1.05), 7.2.5.
//!
//! | mask | value | set |
//! |---|---|---|
//! | JsonNetworkMessageContentMask (6.3.2.1.1) | 0x0B | NetworkMessageHeader, DataSetMessageHeader, PublisherId |
//! | JsonDataSetMessageContentMask (6.3.2.3.1) | 0xA7F | DataSetWriterId, MetaDataVersion, SequenceNumber, Timestamp, Status, MessageType, DataSetWriterName, WriterGroupName; FieldEncoding2 without FieldEncoding1: VerboseEncoding |
//! | DataSetFieldContentMask (6.2.4.2) | 0x03 | StatusCode, SourceTimestamp: fields are DataValues |
//!
//! No DataSetMetaData are published, so every field counts as one of the abstract type BaseDataType and carries its `UaType` (7.2.5.4.3).

mod network_message;
mod reader;
mod status;
mod writers;

pub(crate) use network_message::NetworkMessage;
pub(crate) use reader::read;
pub use reader::{DataSet, Field};
pub use status::StatusCode;
pub use writers::Writers;

/// `MessageType` of a NetworkMessage with DataSetMessages (7.2.5.3).
pub(crate) const MESSAGE_TYPE: &str = "ua-data";

/// Numbers of built-in types (Part 6, 5.1.2).
mod ua_type {
    pub(super) const BOOLEAN: u8 = 1;
    pub(super) const INT64: u8 = 8;
    pub(super) const UINT64: u8 = 9;
    pub(super) const DOUBLE: u8 = 11;
    pub(super) const STRING: u8 = 12;
}
