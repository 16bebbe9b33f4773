//! Gives pods their serial ports: a device plugin of the kubelet (device plugin API v1beta1).
//!
//! It runs on the host under systemd: the kubelet's socket folder and the container runtime's socket belong to root, and no
//! pod of ours is root. It opens no port itself.
//!
//! ```text
//! document ─► engine ─┬─► plug_watch ─► PortStates ─┬─► endpoint, one per port ◄─► kubelet
//!                     │   (path_watch: inotify)     │     plugin: ListAndWatch, Allocate
//!                     ├─► kubelet_watch ────────────┘
//!                     └─► replug ◄─ PortStates          ◄─► container runtime (CRI): what a container was given, stop it
//!                           given, verdict
//! ```
//!
//! # What a container gets
//! The configured path, not what it leads to: the runtime follows links each time it makes a container, and the kubelet
//! repeats the first answer of `Allocate` at every restart of a container. So a restart is all that a container needs after
//! its port came back with other numbers. A pseudo-terminal is given as a bind mount instead of a device node, because a node
//! with its numbers in another devpts answers EIO.
//!
//! # Who holds a port, and which device
//! Asked of the runtime each time, nothing is remembered: `ContainerStatus` with `verbose` gives the container's OCI
//! specification, in which the runtime has written the numbers (or the mount's source) that it found when it made the
//! container. That survives a restart of this program, of the kubelet and of the runtime, needs no state file and no clock.
//! The kubelet's pod-resources API would say only who holds a port, not which device, so it is not used. Sources: containerd
//! `pkg/cri/server/container_status.go` (1.6 to 2.2 alike), `pkg/cri/opts/spec_linux*.go`.
//!
//! # Messages by hand
//! `wire` has the 20 messages and 8 calls that are used, with their field numbers, as prost structs. Generating them would need
//! protoc, or protox and prost-build with some 40 crates at build time, and the whole CRI has 200 messages. The field
//! numbers of these interfaces never change, and the tests compare with bytes made by the kubelet's own Go types.

pub mod backoff;
pub mod configuration;
pub mod endpoint;
pub mod engine;
pub mod figures;
pub mod given;
pub mod kubelet_watch;
pub mod path_watch;
pub mod plug;
pub mod plug_watch;
pub mod plugin;
pub mod plugin_server;
pub mod program;
pub mod replug;
pub mod runtime_client;
pub mod verdict;
pub mod wire;
