//! The steps in their order: everything is looked at before anything is erased.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use tokio_util::sync::CancellationToken;

use super::FlashArgs;
use super::copy::{Stopped, verify, write};
use super::disk::Machine;
use super::gpt::{boot_partition, move_backup};
use super::image::Image;
use super::medium::{Fault, Files};
use super::target::{Target, list};
use crate::confirm::confirm;
use crate::install::say;
use crate::signals::Signals;
use crate::size::size;

/// The provisioning file does not hold, as for `fieldgate provision`.
const INVALID: u8 = 78;
const STOPPED: u8 = 130;

pub(super) fn run(args: &FlashArgs) -> Result<ExitCode> {
    let machine = Machine::default();
    let Some(named) = &args.target else {
        bail!("name the disk to write; {}", list(&machine)?);
    };
    let image = Image::open(&args.image)?;
    let files = match args.provision.as_deref().map(Files::read).transpose() {
        Ok(files) => files,
        Err(Fault::Invalid(error)) => {
            eprintln!("{error}");
            return Ok(ExitCode::from(INVALID));
        }
        Err(Fault::Other(error)) => return Err(error),
    };
    let target = Target::look(&machine, named, args.fixed_disk)?;
    target.check_room(image.bytes)?;
    check_different(image.path(), &target)?;
    for line in target.erases() {
        say(&line);
    }
    if !args.yes && !target.erases().is_empty() {
        confirm(
            &target.word(),
            &format!("Write {}?", image.path().display()),
        )?;
    }
    let runtime = crate::runtime()?;
    let signals = runtime.block_on(async { Signals::listen() })?;
    match flash(args, &image, &target, files.as_ref(), &signals.stop) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) if error.downcast_ref::<Stopped>().is_some() => {
            eprintln!("{error}");
            Ok(ExitCode::from(STOPPED))
        }
        Err(error) => Err(error),
    }
}

fn flash(
    args: &FlashArgs,
    image: &Image,
    target: &Target,
    files: Option<&Files>,
    stop: &CancellationToken,
) -> Result<()> {
    let disk = target.take()?;
    // A disk that only claims to have made zeros is found out by reading back.
    write(image, target, !args.no_verify, stop)?;
    if args.no_verify {
        say(&format!("wrote {}, not verified", size(image.bytes)));
    } else {
        verify(image, target, stop)?;
        say(&format!("wrote and verified {}", size(image.bytes)));
    }
    finish(&disk, target, image, files).with_context(|| {
        format!(
            "after the image was written onto {}",
            target.path().display()
        )
    })?;
    if target.is_disk() {
        say(&format!("{} may be taken out", target.path().display()));
    }
    Ok(())
}

/// What the image cannot know: how large the disk is, and whose device it becomes.
fn finish(disk: &File, target: &Target, image: &Image, files: Option<&Files>) -> Result<()> {
    if move_backup(disk, target.bytes(image.bytes)).context("the partition table")? {
        say("the second copy of the partition table is at the end of the disk now");
    }
    let Some(files) = files else {
        return Ok(());
    };
    let part = boot_partition(disk)
        .context("the partition table")?
        .context("the image has no boot partition for the provisioning file")?;
    files.put(disk, part)?;
    for name in files.names() {
        say(&format!("wrote {name} onto the boot partition"));
    }
    Ok(())
}

/// An image that is written onto itself is lost.
fn check_different(image: &Path, target: &Target) -> Result<()> {
    let (Ok(image), Ok(other)) = (image.metadata(), target.path().metadata()) else {
        return Ok(());
    };
    if !target.is_disk() && (image.dev(), image.ino()) == (other.dev(), other.ino()) {
        bail!("{} is the image itself", target.path().display());
    }
    Ok(())
}
