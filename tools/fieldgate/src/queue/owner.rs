//! The rights of the user whose file it is. What root would write into the folder of a module, the module could not change.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use nix::unistd::{Gid, Uid, User, getegid, geteuid, getuid, setegid, seteuid};

/// While it lives, this process has no more rights than the file's owner.
#[derive(Debug)]
pub(super) struct AsOwner {
    back: Option<(Uid, Gid)>,
}

impl AsOwner {
    pub(super) fn of(path: &Path) -> Result<Self> {
        let metadata = std::fs::metadata(path).with_context(|| path.display().to_string())?;
        let (own, owner) = (geteuid(), Uid::from_raw(metadata.uid()));
        if own == owner {
            return Ok(Self { back: None });
        }
        if !own.is_root() {
            bail!(
                "{} belongs to the user {owner}; run this as that user or as root",
                path.display()
            );
        }
        let back = Some((own, getegid()));
        let become_owner = || {
            setegid(Gid::from_raw(metadata.gid()))?;
            seteuid(owner)
        };
        become_owner().with_context(|| format!("taking the rights of the user {owner}"))?;
        Ok(Self { back })
    }
}

impl Drop for AsOwner {
    fn drop(&mut self) {
        if let Some((user, group)) = self.back.take() {
            // Who was root may be again; if not, less can be done, not more.
            let _ = seteuid(user).and_then(|()| setegid(group));
        }
    }
}

/// Who sits at the keyboard, as far as that is known.
pub(super) fn person() -> Option<String> {
    std::env::var("SUDO_USER").ok().or_else(|| {
        let user = User::from_uid(getuid()).ok().flatten()?;
        Some(user.name)
    })
}
