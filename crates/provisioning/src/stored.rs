//! The secrets that a device has taken over.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use crate::places::{SECRETS, below};

/// The secrets that a device has taken over, by the names of their files.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Stored(BTreeMap<String, String>);

impl Stored {
    /// Reads them from the device's data partition below `root`; a device that has none is no error.
    ///
    /// # Errors
    /// When the folder or a file in it cannot be read.
    pub fn read(root: &Path) -> io::Result<Self> {
        let mut found = BTreeMap::new();
        let entries = match fs::read_dir(below(root, SECRETS)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // One that was cut off while it was written.
            if !name.starts_with('.') {
                found.insert(name, fs::read_to_string(entry.path())?);
            }
        }
        Ok(Self(found))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

impl fmt::Debug for Stored {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_set().entries(self.0.keys()).finish()
    }
}
