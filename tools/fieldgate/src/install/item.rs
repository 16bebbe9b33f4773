//! One file that is to be on the device, and how it compares with what is there.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::places::Places;
use super::record::Record;
use crate::sha256::sha256_of;
use crate::whole_file;

/// What a file is for: decides what has to be restarted when it changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// k3s reads it at its start.
    K3s,
    /// k3s notices it while it runs.
    Watched,
    /// Program, document and unit of the serial device plugin.
    Plugin,
    /// Nothing runs from it.
    Program,
}

/// What the file is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    Text(String),
    Copy(PathBuf),
    Link(PathBuf),
}

/// One file that is to be on the device.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    /// On the device.
    pub(crate) path: PathBuf,
    pub(crate) source: Source,
    pub(crate) mode: u32,
    pub(crate) part: Part,
}

/// How an item compares with what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Absent,
    Same,
    /// Ours, from another version or description.
    Outdated,
    /// Not ours, or ours and edited since.
    Foreign,
}

impl Item {
    /// What the record will say of the file.
    pub(crate) fn content(&self) -> Result<String> {
        match &self.source {
            Source::Text(text) => Ok(file_content(text.as_bytes())?),
            Source::Copy(from) => {
                let file =
                    File::open(from).with_context(|| format!("opening {}", from.display()))?;
                file_content(file).with_context(|| format!("reading {}", from.display()))
            }
            Source::Link(target) => Ok(link_content(target)),
        }
    }

    pub(crate) fn state(&self, places: &Places, record: &Record) -> Result<State> {
        let Some(found) = content_of(&places.here(&self.path))? else {
            return Ok(State::Absent);
        };
        Ok(if found == self.content()? {
            State::Same
        } else if record.knows(&self.path, &found) {
            State::Outdated
        } else {
            State::Foreign
        })
    }

    pub(crate) fn put(&self, places: &Places) -> Result<()> {
        let path = places.here(&self.path);
        match &self.source {
            Source::Text(text) => whole_file::write(&path, text.as_bytes(), self.mode),
            Source::Copy(from) => whole_file::copy(from, &path, self.mode),
            Source::Link(target) => whole_file::link(target, &path),
        }
    }

    /// Whether owner and others may do what the mode says.
    pub(crate) fn mode_differs(&self, places: &Places) -> bool {
        !matches!(self.source, Source::Link(_))
            && fs::metadata(places.here(&self.path))
                .is_ok_and(|found| found.permissions().mode() & 0o7777 != self.mode)
    }
}

/// What is at a path of this process, as the record says it; nothing when there is nothing.
pub(crate) fn content_of(path: &Path) -> Result<Option<String>> {
    let context = || format!("reading {}", path.display());
    let kind = match fs::symlink_metadata(path) {
        Ok(found) => found.file_type(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(context),
    };
    if kind.is_symlink() {
        let target = fs::read_link(path).with_context(context)?;
        return Ok(Some(link_content(&target)));
    }
    if !kind.is_file() {
        return Ok(Some("other:".to_owned()));
    }
    let file = File::open(path).with_context(context)?;
    file_content(file).map(Some).with_context(context)
}

fn link_content(target: &Path) -> String {
    format!("link:{}", target.display())
}

fn file_content(source: impl Read) -> io::Result<String> {
    Ok(format!("sha256:{}", sha256_of(source)?))
}
