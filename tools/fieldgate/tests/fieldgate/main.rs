//! `fieldgate` as a person, a script, systemd or the device's start runs it.

#![allow(clippy::unwrap_used, clippy::panic)]

mod agent;
mod manifests;
mod program;
mod provision;
mod queue;
mod reset;
mod routes;
mod update;
