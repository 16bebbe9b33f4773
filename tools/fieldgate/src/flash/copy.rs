//! The image onto the target, and read back.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, PosixFadviseAdvice, fallocate, posix_fadvise};
use tokio_util::sync::CancellationToken;

use super::image::{Image, fill};
use super::progress::Progress;
use super::target::Target;
use crate::size::size;

const BLOCK: usize = 4 << 20;
/// What direct access needs at most.
const ALIGNMENT: usize = 4096;
/// As much may wait in memory, where there is no direct access.
const IN_MEMORY: u64 = 32 << 20;
/// Where partition tables may be, at both ends of a disk.
const ENDS: u64 = 1 << 20;

/// The person pressed Ctrl-C.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Stopped(String);

/// A block of memory that direct access takes.
struct Block {
    bytes: Vec<u8>,
    start: usize,
}

impl Block {
    fn new() -> Self {
        let bytes = vec![0; BLOCK + ALIGNMENT];
        // Past the end, it is not aligned, and the disk says so.
        let start = bytes.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        Self { bytes, start }
    }

    fn all(&mut self) -> &mut [u8] {
        let end = self.start + BLOCK;
        self.bytes.get_mut(self.start..end).unwrap_or_default()
    }
}

/// Writes the image. Its first block comes last: until everything else is on the disk, the disk has no partition table, and nobody takes what
/// was cut off for an image.
pub(super) fn write(
    image: &Image,
    target: &Target,
    may_skip_zeros: bool,
    stop: &CancellationToken,
) -> Result<()> {
    let (disk, is_direct) = target.open_direct()?;
    let mut zeros = Zeros::new(target, &disk, may_skip_zeros, image.bytes)?;
    let (mut first, mut block) = (Block::new(), Block::new());
    let mut progress = Progress::begin("writing", image.bytes);
    let mut source = image.read()?;
    let read = |source: &mut dyn io::Read, buffer: &mut [u8]| {
        fill(source, buffer).with_context(|| format!("reading {}", image.path().display()))
    };
    if target.is_disk() {
        let all = block.all();
        let ends = usize::try_from(ENDS.min(target.bytes(0))).unwrap_or_default();
        let empty = all.get(..ends).unwrap_or_default();
        for at in [target.bytes(0) - ends as u64, 0] {
            disk.write_all_at(empty, at).map_err(failed(target, at))?;
        }
    }
    let begin = read(&mut *source, first.all())?;
    let mut at = begin as u64;
    let mut in_memory = 0;
    loop {
        if stop.is_cancelled() {
            return Err(Stopped(format!(
                "stopped after {}; {} has no partition table now and can be used for nothing until it is written again",
                size(at),
                target.path().display()
            ))
            .into());
        }
        let count = read(&mut *source, block.all())?;
        if count == 0 {
            break;
        }
        let bytes = block.all().get(..count).unwrap_or_default();
        let end = at + count as u64;
        if end > image.bytes {
            bail!(
                "{} is larger than it says ({} bytes); get it anew",
                image.path().display(),
                image.bytes
            );
        }
        if !zeros.skip(&disk, bytes, at).map_err(failed(target, at))? {
            disk.write_all_at(bytes, at).map_err(failed(target, at))?;
            in_memory += count as u64;
            if !is_direct && in_memory >= IN_MEMORY {
                disk.sync_data().map_err(failed(target, at))?;
                in_memory = 0;
            }
        }
        at = end;
        progress.at(at);
    }
    if at != image.bytes {
        bail!(
            "{} has {at} bytes and says {}; get it anew",
            image.path().display(),
            image.bytes
        );
    }
    disk.sync_all().map_err(failed(target, at))?;
    let bytes = first.all().get(..begin).unwrap_or_default();
    disk.write_all_at(bytes, 0).map_err(failed(target, 0))?;
    disk.sync_all().map_err(failed(target, 0))?;
    progress.at(at);
    Ok(())
}

/// Compares the target with the image, byte by byte, as the medium has it.
pub(super) fn verify(image: &Image, target: &Target, stop: &CancellationToken) -> Result<()> {
    let (disk, _) = target.open_direct()?;
    forget(&disk, 0, image.bytes);
    let (mut wanted, mut found) = (Block::new(), Block::new());
    let mut progress = Progress::begin("verifying", image.bytes);
    let mut source = image.read()?;
    let mut at = 0;
    loop {
        if stop.is_cancelled() {
            return Err(Stopped(format!(
                "stopped; {} of {} are verified",
                size(at),
                size(image.bytes)
            ))
            .into());
        }
        let count = fill(&mut *source, wanted.all())
            .with_context(|| format!("reading {}", image.path().display()))?;
        if count == 0 {
            return Ok(());
        }
        let wanted = wanted.all().get(..count).unwrap_or_default();
        let found = found.all().get_mut(..count).unwrap_or_default();
        disk.read_exact_at(found, at).map_err(failed(target, at))?;
        // As a whole first: that is fast.
        if wanted != found
            && let Some(offset) = wanted.iter().zip(found.iter()).position(|(a, b)| a != b)
        {
            bail!(
                "{} does not keep what was written: it differs at byte {}; the medium is worn out, or smaller than it says; use another",
                target.path().display(),
                at + offset as u64
            );
        }
        at += count as u64;
        progress.at(at);
    }
}

/// What is read next comes from the medium, not from memory. Advice: where it is not taken, reading still works.
pub(super) fn forget(disk: &File, start: u64, bytes: u64) {
    if let (Ok(start), Ok(bytes)) = (i64::try_from(start), i64::try_from(bytes)) {
        let _ = posix_fadvise(disk, start, bytes, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
    }
}

/// Blocks of zeros that need not be written.
enum Zeros {
    /// The file was emptied: what is not written is zero.
    Hole,
    /// The disk makes zeros itself. It is asked for them, and says when it cannot; what it had there is not relied on.
    Ask,
    Write,
}

impl Zeros {
    fn new(target: &Target, disk: &File, may_skip: bool, bytes: u64) -> Result<Self> {
        Ok(match target {
            Target::File(_) => {
                disk.set_len(0)
                    .and_then(|()| disk.set_len(bytes))
                    .map_err(failed(target, bytes))?;
                Self::Hole
            }
            Target::Disk { .. } if may_skip => Self::Ask,
            Target::Disk { .. } => Self::Write,
        })
    }

    /// Whether this block is there without being written.
    fn skip(&mut self, disk: &File, bytes: &[u8], at: u64) -> io::Result<bool> {
        if matches!(self, Self::Write) || !is_zero(bytes) {
            return Ok(false);
        }
        if matches!(self, Self::Hole) {
            return Ok(true);
        }
        let (Ok(start), Ok(length)) = (i64::try_from(at), i64::try_from(bytes.len())) else {
            return Ok(false);
        };
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        match fallocate(disk, flags, start, length) {
            Ok(()) => Ok(true),
            Err(Errno::EOPNOTSUPP | Errno::EINVAL | Errno::ENOSYS | Errno::ENODEV) => {
                *self = Self::Write;
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    // Equal neighbours and a zero at the beginning: one comparison of memory.
    bytes.first().is_none_or(|first| *first == 0)
        && bytes.get(1..).unwrap_or_default()
            == bytes
                .get(..bytes.len().saturating_sub(1))
                .unwrap_or_default()
}

/// What an error at a place of the target means for the person in front of it.
fn failed(target: &Target, at: u64) -> impl FnOnce(io::Error) -> anyhow::Error {
    let name = target.path().display().to_string();
    let is_disk = target.is_disk();
    move |error| {
        let place = size(at);
        let means = match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EIO | Errno::EREMOTEIO | Errno::EILSEQ) => {
                "the medium or its reader is worn out; try another"
            }
            Some(Errno::ENODEV | Errno::ENXIO | Errno::ENOMEDIUM) => "was it pulled out?",
            Some(Errno::ENOSPC) if is_disk => "it is smaller than it says; try another",
            Some(Errno::ENOSPC | Errno::EFBIG | Errno::EDQUOT) => "there is no more room",
            _ if error.kind() == ErrorKind::UnexpectedEof => {
                "it is smaller than it says; try another"
            }
            _ => "it is not usable as it is",
        };
        anyhow::Error::new(error).context(format!("{name} at {place}: {means}"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::gpt::tests::disk;
    use super::*;
    use std::path::Path;

    fn image(folder: &Path) -> (Image, Vec<u8>) {
        let mut content = disk();
        content[3 << 20..(3 << 20) + 7].copy_from_slice(b"content");
        // Three blocks, the second of zeros.
        let mut large = vec![0; 12 << 20];
        large[..4 << 20].copy_from_slice(&content);
        large[(9 << 20) + 3] = 1;
        let path = folder.join("disk.img");
        std::fs::write(&path, &large).unwrap();
        (Image::open(&path).unwrap(), large)
    }

    #[test]
    fn a_file_becomes_the_image_and_what_differs_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let (image, content) = image(folder.path());
        let path = folder.path().join("target.img");
        std::fs::write(&path, vec![7; 20 << 20]).unwrap();
        let target = Target::File(path.clone());
        let stop = CancellationToken::new();
        write(&image, &target, true, &stop).unwrap();
        verify(&image, &target, &stop).unwrap();
        assert!(std::fs::read(&path).unwrap() == content);
        let taken = target.take().unwrap();
        taken.write_all_at(b"x", (9 << 20) + 3).unwrap();
        let error = verify(&image, &target, &stop).unwrap_err().to_string();
        assert!(
            error.contains(&format!("byte {}", (9 << 20) + 3)),
            "{error}"
        );
        taken.set_len(5 << 20).unwrap();
        let error = verify(&image, &target, &stop).unwrap_err().to_string();
        assert!(error.contains("smaller than it says"), "{error}");
    }

    #[test]
    fn one_that_was_stopped_has_no_partition_table() {
        let folder = tempfile::tempdir().unwrap();
        let (image, _) = image(folder.path());
        let target = Target::File(folder.path().join("target.img"));
        target.take().unwrap();
        let stop = CancellationToken::new();
        stop.cancel();
        let error = write(&image, &target, true, &stop).unwrap_err();
        assert!(error.downcast_ref::<Stopped>().is_some(), "{error}");
        assert!(Image::open(target.path()).is_err());
    }

    #[test]
    fn zeros_are_known() {
        assert!(is_zero(&[]) && is_zero(&[0; 9]));
        assert!(!is_zero(&[1; 9]) && !is_zero(&[0, 0, 1]) && !is_zero(&[1, 0, 0]));
    }
}
