//! A file system (FUSE) whose disk can lose power, fill up, fail, slow down and rot, on command.
//!
//! [`Disk`] is the disk: one folder of files, in memory, that keeps apart what programs see and what a disk would still have
//! if the power failed now. [`Mount`] shows it to the system as a file system. What of a real disk it models, and what it
//! does not, is in the README.
//!
//! [`queue`] runs the queue of iothub-module on it and checks what is left after power cuts.

mod content;
mod disk;
mod fault;
mod filesystem;
mod folder;
mod mount;
pub mod queue;

pub use content::{PAGE, SECTOR};
pub use disk::{Disk, DiskError, Image, Survival};
pub use fault::{Failing, Faults, Operation};
pub use mount::{Mount, MountError};
