//! Delivers what modules publish to Azure IoT Hub and brings commands back.
//!
//! ```text
//! broker ─ deliveries ─► sequencer ─► queue ─► sender ─► hub        status ─► reported properties
//!        ◄─ accepted ────────────────┘ (durable)  ◄─ PUBACK          desired ─► config topic, methods ─► invocation, C2D ─► commands topic
//! ```
//!
//! The program is `main.rs`; everything else is here, so that tests reach it.

pub mod app;
pub mod cloud_message;
pub mod configuration;
pub mod credentials;
pub mod dead_letter;
pub mod desired;
pub mod dispatch;
pub mod figures;
pub mod hash;
pub mod hub;
pub mod intake;
pub mod message;
pub mod metered;
pub mod methods;
mod metrics;
mod oversize;
pub mod owners;
pub mod pace;
pub mod payload;
pub mod publisher;
pub mod queue_view;
pub mod reported;
pub mod sender;
pub mod sequencer;
#[cfg(test)]
mod testing;
pub mod twin;
