//! The image: a file as it is, or compressed by zstd.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use zstd::stream::read::Decoder;
use zstd::zstd_safe::get_frame_content_size;

use super::gpt::disk_bytes;
use super::target::SECTOR;

const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// How others begin (file(1)), for a message that helps.
const OTHERS: [(&[u8], &str); 4] = [
    (&[0x1f, 0x8b], "gunzip"),
    (&[0xfd, b'7', b'z', b'X', b'Z'], "unxz"),
    (b"BZh", "bunzip2"),
    (b"PK\x03\x04", "unzip"),
];
/// What a boot sector ends with.
const BOOT: [u8; 2] = [0x55, 0xaa];

#[derive(Debug)]
pub(super) struct Image {
    path: PathBuf,
    is_compressed: bool,
    /// Uncompressed.
    pub(super) bytes: u64,
}

impl Image {
    /// Looks at its beginning: whether it is a disk, and how large.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let shown = path.display();
        let context = || format!("the image {shown}");
        let mut file = File::open(path).with_context(context)?;
        let length = file.metadata().with_context(context)?.len();
        let mut begin = Vec::new();
        file.by_ref()
            .take(64)
            .read_to_end(&mut begin)
            .with_context(context)?;
        if let Some((_, program)) = OTHERS.iter().find(|(other, _)| begin.starts_with(other)) {
            bail!(
                "{shown} is compressed in a way that is not read here; unpack it first ({program})"
            );
        }
        let is_compressed = begin.starts_with(&ZSTD);
        let mut image = Self {
            path: path.to_owned(),
            is_compressed,
            bytes: length,
        };
        let mut sectors = Vec::new();
        image
            .read()?
            .take(2 * SECTOR)
            .read_to_end(&mut sectors)
            .with_context(context)?;
        if sectors.get(510..512) != Some(&BOOT) {
            bail!("{shown} is no image of a disk: it has no partition table");
        }
        if is_compressed {
            // What a compressor did not know beforehand, or said of its first piece only, the partition table says: an image ends with its
            // second copy.
            let told = get_frame_content_size(&begin).ok().flatten();
            image.bytes = told.max(disk_bytes(&sectors)).with_context(|| {
                format!("{shown} does not say how large it is unpacked; unpack it first (unzstd)")
            })?;
        }
        if !image.bytes.is_multiple_of(SECTOR) {
            bail!("{shown} ends within a sector; was it downloaded to its end?");
        }
        if let Some(disk) = disk_bytes(&sectors).filter(|disk| *disk > image.bytes) {
            bail!(
                "{shown} has {} bytes, and its partition table says {disk}; was it downloaded to its end?",
                image.bytes
            );
        }
        Ok(image)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// From its beginning, uncompressed.
    pub(super) fn read(&self) -> Result<Box<dyn Read>> {
        let context = || format!("the image {}", self.path.display());
        let mut file = File::open(&self.path).with_context(context)?;
        file.seek(SeekFrom::Start(0)).with_context(context)?;
        Ok(if self.is_compressed {
            Box::new(Decoder::new(file).with_context(context)?)
        } else {
            Box::new(BufReader::new(file))
        })
    }
}

/// Fills a buffer as far as there is something.
pub(super) fn fill(from: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match from.read(rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::super::gpt::tests::disk;
    use super::*;

    fn open(name: &str, content: &[u8]) -> Result<(u64, Vec<u8>)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        let image = Image::open(&path)?;
        let mut read = Vec::new();
        image.read()?.read_to_end(&mut read)?;
        Ok((image.bytes, read))
    }

    #[test]
    fn an_image_is_known_by_its_content_not_its_name() {
        let disk = disk();
        let bytes = disk.len() as u64;
        assert_eq!(open("a.zst", &disk).unwrap(), (bytes, disk.clone()));
        let told = zstd::bulk::compress(&disk, 1).unwrap();
        assert_eq!(open("a.img", &told).unwrap(), (bytes, disk.clone()));
        let mut stream = Vec::new();
        zstd::stream::copy_encode(&disk[..], &mut stream, 1).unwrap();
        assert!(get_frame_content_size(&stream[..64]).unwrap().is_none());
        assert_eq!(open("a.wic.zst", &stream).unwrap(), (bytes, disk));
    }

    #[test]
    fn what_is_no_whole_image_is_refused() {
        let fault = |content: &[u8]| format!("{:#}", open("a.img", content).unwrap_err());
        assert!(fault(b"").contains("no partition table"));
        assert!(fault(&[0; 4096]).contains("no partition table"));
        assert!(fault(&[0x1f, 0x8b, 8, 0]).contains("gunzip"));
        let disk = disk();
        assert!(fault(&disk[..disk.len() - 512]).contains("downloaded"));
        assert!(fault(&disk[..disk.len() - 100]).contains("downloaded"));
        let packed = zstd::bulk::compress(&disk, 1).unwrap();
        assert!(open("a", &packed[..packed.len() - 9]).is_err(), "cut off");
    }
}
