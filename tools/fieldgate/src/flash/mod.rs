//! `fieldgate flash`: an image onto a stick, a card, a disk, or into a file.

#[cfg(target_os = "linux")]
mod copy;
#[cfg(target_os = "linux")]
mod disk;
#[cfg(target_os = "linux")]
mod gpt;
#[cfg(target_os = "linux")]
mod image;
#[cfg(target_os = "linux")]
mod medium;
#[cfg(target_os = "linux")]
mod progress;
#[cfg(target_os = "linux")]
#[cfg(target_os = "linux")]
mod target;
#[cfg(target_os = "linux")]
mod work;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

/// Writes an image onto a stick, a card or a disk, reads it back, and puts the provisioning file beside its boot loader
///
/// Without TARGET it lists what may be meant. Exit status: 0 written; 78 the provisioning file does not hold, and nothing was done; 130
/// stopped by Ctrl-C; 1 anything else.
#[derive(Debug, Args)]
pub(crate) struct FlashArgs {
    /// The image: .img or .wic, as it is or compressed by zstd
    image: PathBuf,

    /// A whole disk, such as /dev/sdb, or a file
    target: Option<PathBuf>,

    /// The provisioning file; it is checked before anything is erased, and the files that it names come along
    #[arg(long, value_name = "FILE")]
    provision: Option<PathBuf>,

    /// Do not ask
    #[arg(long)]
    yes: bool,

    /// Do not read back what was written
    #[arg(long)]
    no_verify: bool,

    /// Also take a disk that is built in; never the one that this machine runs from
    #[arg(long)]
    fixed_disk: bool,
}

#[cfg(target_os = "linux")]
pub(crate) fn run(args: &FlashArgs) -> Result<ExitCode> {
    work::run(args)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn run(_: &FlashArgs) -> Result<ExitCode> {
    anyhow::bail!(
        "fieldgate flash works on Linux; elsewhere unpack the image (unzstd), write it with a program such as Raspberry Pi Imager, and copy the provisioning file onto the partition ESP"
    )
}
