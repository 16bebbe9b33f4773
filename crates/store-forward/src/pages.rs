//! The pages of a database that nobody has open, as bytes: those of its file, under the newer ones of its log.
//!
//! Source: SQLite, "Database file format", 1.3, 1.5 and 4.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::folder::log_of;
use crate::log;
use crate::log_checksum::word;
use crate::space::PAGE;

/// See the module's documentation. Pages are numbered from 1.
#[derive(Debug)]
pub(crate) struct Pages {
    file: File,
    log: Option<File>,
    newer: HashMap<u32, u64>,
    count: u32,
    /// How many the database should have beyond these.
    absent: u64,
    /// Pages that the list of free ones names, if it holds.
    free: Option<HashSet<u32>>,
}

impl Pages {
    pub(crate) fn open(path: &Path) -> std::io::Result<Self> {
        let file = File::open(path)?;
        let committed = log::committed(&log_of(path)).unwrap_or_default();
        let in_file = file.metadata()?.len().div_ceil(PAGE);
        let in_file = u32::try_from(in_file).unwrap_or(u32::MAX);
        let mut pages = Self {
            file,
            log: File::open(log_of(path)).ok(),
            newer: committed.pages,
            count: committed.count.unwrap_or(in_file),
            absent: 0,
            free: None,
        };
        let stated = pages.read(1).map_or(0, |first| word(&first, 28));
        // The file is longer than the database: blocks are reserved before they are needed.
        while pages.count > 1 && pages.is_empty(pages.count) {
            pages.count -= 1;
        }
        pages.absent = u64::from(stated.saturating_sub(pages.count));
        pages.free = pages.free_list();
        Ok(pages)
    }

    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// How many the file says that it should have beyond these.
    pub(crate) fn absent(&self) -> u64 {
        self.absent
    }

    /// A page, with zeros for what is beyond the end of the file. None if the disk does not read it or there is none.
    pub(crate) fn read(&self, number: u32) -> Option<Vec<u8>> {
        if number == 0 || number > self.count {
            return None;
        }
        let mut page = vec![0; PAGE as usize];
        if let (Some(log), Some(at)) = (&self.log, self.newer.get(&number)) {
            log.read_exact_at(&mut page, *at).ok()?;
            return Some(page);
        }
        let mut filled = 0;
        let start = u64::from(number - 1) * PAGE;
        while filled < page.len() {
            match self
                .file
                .read_at(&mut page[filled..], start + filled as u64)
            {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
        Some(page)
    }

    /// Whether the list of free pages names it.
    pub(crate) fn is_free(&self, number: u32) -> bool {
        self.free
            .as_ref()
            .is_some_and(|free| free.contains(&number))
    }

    fn is_empty(&self, number: u32) -> bool {
        self.read(number)
            .is_some_and(|page| page.iter().all(|byte| *byte == 0))
    }

    fn free_list(&self) -> Option<HashSet<u32>> {
        let first = self.read(1)?;
        let mut free = HashSet::new();
        let mut trunk = word(&first, 32);
        while trunk != 0 {
            let page = self.read(trunk)?;
            let leaves = usize::try_from(word(&page, 4)).ok()?;
            if !free.insert(trunk) || leaves > PAGE as usize / 4 - 2 {
                return None;
            }
            for leaf in 0..leaves {
                let leaf = word(&page, 8 + 4 * leaf);
                if leaf < 2 || leaf > self.count || !free.insert(leaf) {
                    return None;
                }
            }
            trunk = word(&page, 0);
        }
        (free.len() == word(&first, 36) as usize).then_some(free)
    }
}
