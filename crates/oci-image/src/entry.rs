//! The files of a layer, as they are listed.

use std::io::Read;

use tar::EntryType;

use crate::error::ReadError;

/// A file of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// absolute
    pub path: String,
    /// what it is
    pub kind: EntryKind,
    /// permission bits, setuid, setgid and sticky
    pub mode: u32,
    /// user id
    pub uid: u64,
    /// group id
    pub gid: u64,
    /// seconds since 1970
    pub modified: u64,
}

/// What an entry of a layer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// a directory
    Directory,
    /// a regular file
    File {
        /// in bytes
        size: u64,
    },
    /// a symbolic link
    Symlink {
        /// as written
        target: String,
    },
    /// another name of a file
    HardLink {
        /// absolute
        target: String,
    },
    /// a device, a pipe or something else no image of ours has
    Special,
}

impl Entry {
    /// Reads the header, not the content.
    pub(crate) fn read(entry: &tar::Entry<'_, impl Read>) -> Result<Self, ReadError> {
        let path = absolute(&entry.path_bytes())?;
        let header = entry.header();
        let target = || {
            Ok::<_, ReadError>(
                String::from_utf8_lossy(&entry.link_name_bytes().unwrap_or_default()).into_owned(),
            )
        };
        let kind = match header.entry_type() {
            EntryType::Directory => EntryKind::Directory,
            EntryType::Regular | EntryType::Continuous => EntryKind::File { size: entry.size() },
            EntryType::Symlink => EntryKind::Symlink { target: target()? },
            EntryType::Link => EntryKind::HardLink {
                target: absolute(target()?.as_bytes())?,
            },
            _ => EntryKind::Special,
        };
        Ok(Self {
            path,
            kind,
            mode: header.mode()?,
            uid: header.uid()?,
            gid: header.gid()?,
            modified: header.mtime()?,
        })
    }
}

fn absolute(path: &[u8]) -> Result<String, ReadError> {
    let text = String::from_utf8_lossy(path);
    let text = text.trim_start_matches("./").trim_matches('/');
    if text.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(ReadError::Rule(format!(
            "a layer has an entry with the path '{text}'"
        )));
    }
    Ok(format!("/{text}"))
}
