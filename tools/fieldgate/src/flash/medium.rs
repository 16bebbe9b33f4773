//! The provisioning file and what it names, onto the boot partition.
//!
//! By a library, not by mounting: that would need root for a file, and the kernel to have read the new partition table of a disk.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use fatfs::{FileSystem, FormatVolumeOptions, FsOptions, ReadWriteSeek};
use provisioning::{ConfigurationError, FILE, Stored};

use super::gpt::Part;

/// What is put onto the medium: name and content. The first is the document.
pub(super) struct Files(Vec<(String, Vec<u8>)>);

/// Why there is nothing to put.
#[derive(Debug)]
pub(super) enum Fault {
    /// The document does not hold, for a device that has taken over nothing yet.
    Invalid(ConfigurationError),
    Other(anyhow::Error),
}

impl From<anyhow::Error> for Fault {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

impl Files {
    /// Reads and checks the document and the files beside it, as `fieldgate provision --check` does.
    pub(super) fn read(document: &Path) -> Result<Self, Fault> {
        let loaded =
            provisioning::load(document, Some(&Stored::default())).map_err(Fault::Invalid)?;
        let read = |path: &Path| {
            std::fs::read(path).with_context(|| format!("reading {}", path.display()))
        };
        let mut files = vec![(FILE.to_owned(), read(document)?)];
        for name in loaded.files() {
            files.push((name.clone(), read(&document.with_file_name(&name))?));
        }
        let files = Self(files);
        files.rehearse()?;
        Ok(files)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// Whether a FAT file system takes these names, before anything is erased.
    fn rehearse(&self) -> Result<()> {
        let mut different = BTreeSet::new();
        for name in self.names() {
            if !different.insert(name.to_lowercase()) {
                bail!(
                    "{name} differs from another file in capital letters only, and the boot partition takes them for one; rename it"
                );
            }
        }
        let bytes: usize = self
            .0
            .iter()
            .map(|(_, content)| content.len() + (64 << 10))
            .sum();
        let mut disk = Cursor::new(vec![0; bytes + (4 << 20)]);
        fatfs::format_volume(&mut disk, FormatVolumeOptions::new()).context("a trial in memory")?;
        self.write(&mut disk)
    }

    /// Puts them into the root of the file system in that part of the disk, and reads them back.
    pub(super) fn put(&self, disk: &File, part: Part) -> Result<()> {
        self.write(Window::new(disk, part))
            .context("writing the provisioning file onto the boot partition")?;
        disk.sync_all().context("writing the provisioning file")?;
        super::copy::forget(disk, part.start, part.bytes);
        self.compare(Window::new(disk, part))
    }

    fn write(&self, disk: impl ReadWriteSeek) -> Result<()> {
        let system = open(disk)?;
        {
            let root = system.root_dir();
            for (name, content) in &self.0 {
                let write = || -> io::Result<()> {
                    let mut file = root.create_file(name)?;
                    file.truncate()?;
                    file.write_all(content)?;
                    file.flush()
                };
                write().with_context(|| name.clone())?;
            }
        }
        system.unmount().context("the boot partition")
    }

    fn compare(&self, disk: impl ReadWriteSeek) -> Result<()> {
        let system = open(disk)?;
        let root = system.root_dir();
        for (name, content) in &self.0 {
            let mut found = Vec::new();
            root.open_file(name)
                .and_then(|mut file| file.read_to_end(&mut found))
                .with_context(|| format!("reading {name} back from the boot partition"))?;
            if found != *content {
                bail!("{name} is not on the boot partition as it was written; try another medium");
            }
        }
        Ok(())
    }
}

fn open<T: ReadWriteSeek>(disk: T) -> Result<FileSystem<T>> {
    FileSystem::new(disk, FsOptions::new())
        .context("the boot partition has no FAT file system; is this an image of Fieldgate?")
}

/// A part of a disk as if it were a file.
struct Window<'a> {
    disk: &'a File,
    part: Part,
    at: u64,
}

impl<'a> Window<'a> {
    fn new(disk: &'a File, part: Part) -> Self {
        Self { disk, part, at: 0 }
    }

    fn within(&self, wanted: usize) -> usize {
        let left = self.part.bytes.saturating_sub(self.at);
        wanted.min(usize::try_from(left).unwrap_or(usize::MAX))
    }
}

impl Read for Window<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.within(buffer.len());
        let place = self.part.start + self.at;
        let read = self
            .disk
            .read_at(buffer.get_mut(..count).unwrap_or_default(), place)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Write for Window<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.within(buffer.len());
        let place = self.part.start + self.at;
        let written = self
            .disk
            .write_at(buffer.get(..count).unwrap_or_default(), place)?;
        self.at += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Window<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (base, offset) = match to {
            SeekFrom::Start(at) => (at, 0),
            SeekFrom::Current(offset) => (self.at, offset),
            SeekFrom::End(offset) => (self.part.bytes, offset),
        };
        self.at = base
            .checked_add_signed(offset)
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HUB: &str = "HostName=h.example;DeviceId=gate-7;SharedAccessKey=MDEyMzQ1Njc4OWFiY2RlZg==";

    fn read(document: &str, beside: &[(&str, &str)]) -> Result<Files, Fault> {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in beside {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        let path = folder.path().join("my document.yaml");
        std::fs::write(&path, document).unwrap();
        Files::read(&path)
    }

    #[test]
    fn the_document_and_every_file_it_names_come_onto_the_partition() {
        let files = read(
            "name: gate-7\nhub: {connection_string: {file: a long name of a file.txt}}\nmodules: {modbus-reader: {configuration: reader.yaml}}\n",
            &[("a long name of a file.txt", HUB), ("reader.yaml", "links: []\n"), ("other.txt", "")],
        )
        .ok()
        .unwrap();
        let names: Vec<&str> = files.names().collect();
        assert_eq!(names, [FILE, "a long name of a file.txt", "reader.yaml"]);

        let disk = tempfile::tempfile().unwrap();
        disk.set_len(80 << 20).unwrap();
        let part = Part {
            start: 1 << 20,
            bytes: 64 << 20,
        };
        fatfs::format_volume(Window::new(&disk, part), FormatVolumeOptions::new()).unwrap();
        files.put(&disk, part).unwrap();
        files.put(&disk, part).unwrap();
        let elsewhere = [(0, 1 << 20), (65 << 20, 15 << 20)];
        for (start, bytes) in elsewhere {
            let mut found = vec![1; bytes];
            disk.read_exact_at(&mut found, start).unwrap();
            assert!(
                found.iter().all(|byte| *byte == 0),
                "nothing outside is touched"
            );
        }
    }

    #[test]
    fn what_a_new_device_could_not_apply_is_told_before() {
        let Err(Fault::Invalid(error)) = read("name: a\nhub: {connection_string: <taken>}\n", &[])
        else {
            panic!("it holds");
        };
        assert!(
            error.to_string().contains("write the value anew"),
            "{error}"
        );
        let Err(Fault::Other(error)) = read(
            "name: a\nmodules: {b: {image: x/b:1, configuration: B.yaml}, c: {image: x/c:1, configuration: b.yaml}}\n",
            &[("B.yaml", "x: 1\n"), ("b.yaml", "x: 1\n")],
        ) else {
            panic!("it holds");
        };
        assert!(error.to_string().contains("capital letters"), "{error}");
    }

    #[test]
    fn a_partition_without_fat_is_told() {
        let files = read("name: a\n", &[]).ok().unwrap();
        let disk = tempfile::tempfile().unwrap();
        disk.set_len(4 << 20).unwrap();
        let part = Part {
            start: 0,
            bytes: 4 << 20,
        };
        let error = format!("{:#}", files.put(&disk, part).unwrap_err());
        assert!(error.contains("no FAT file system"), "{error}");
    }
}
