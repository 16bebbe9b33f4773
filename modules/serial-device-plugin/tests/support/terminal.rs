//! Pseudo-terminals in the place of serial adapters.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// A terminal; its slave vanishes when it is dropped.
pub(crate) struct Terminal {
    _master: OwnedFd,
    slave: PathBuf,
}

impl Terminal {
    pub(crate) fn open() -> Self {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let slave = ptsname(&master, Vec::new()).unwrap();
        Self {
            _master: master,
            slave: slave.into_string().unwrap().into(),
        }
    }

    pub(crate) fn slave(&self) -> &Path {
        &self.slave
    }
}
