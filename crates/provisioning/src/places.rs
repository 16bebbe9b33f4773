//! Where things are on a device, below the root that the caller gives.

use std::path::{Path, PathBuf};

/// The boot partition, where a document may lie at every start.
pub(crate) const BOOT: &str = "/efi";
/// What the device keeps: the data partition.
pub(crate) const DATA: &str = "/data";
pub(crate) const MACHINE_ID: &str = "/data/etc/machine-id";
pub(crate) const HOSTNAME: &str = "/data/etc/hostname";
pub(crate) const NETWORK: &str = "/data/etc/network";
pub(crate) const TIMESYNCD: &str = "/data/etc/timesyncd.conf.d/10-fieldgate.conf";
pub(crate) const TIME_ZONE: &str = "/data/etc/timezone";
pub(crate) const SSH: &str = "/data/etc/ssh";
pub(crate) const AUTHORIZED_KEYS: &str = "/data/etc/ssh/authorized_keys";
pub(crate) const PROXY: &str = "/data/etc/proxy.env";
/// The appliance description and the modules' documents.
pub(crate) const APPLIANCE: &str = "/data/etc/fieldgate";

/// What only root may read.
pub(crate) const STATE: &str = "/data/fieldgate/provision";
pub(crate) const SECRETS: &str = "/data/fieldgate/provision/secrets";
pub(crate) const RECORD: &str = "/data/fieldgate/provision/record.json";
pub(crate) const STATUS: &str = "/data/fieldgate/provision/status.json";
/// What was last taken over from the boot partition.
pub(crate) const BOOT_TAKEN: &str = "/data/fieldgate/provision/boot.json";
/// What is to be wiped from the medium, while that is not finished.
pub(crate) const WIPE: &str = "/data/fieldgate/provision/wipe.json";
/// What a factory reset keeps, a word a line.
pub(crate) const PRESERVE: &str = "/data/fieldgate/provision/preserve";

/// That a factory reset is asked for, or has begun. It lies on the data partition itself: no folder has to be there.
pub(crate) const RESET: &str = "/data/fieldgate-reset.json";
/// A request that cannot be read, set aside.
pub(crate) const DAMAGED_RESET: &str = "/data/fieldgate-reset.json.damaged";
/// What the last factory reset did.
pub(crate) const LAST_RESET: &str = "/data/fieldgate/last-reset.json";

/// Where a path of the device is for this process.
pub(crate) fn below(root: &Path, path: impl AsRef<Path>) -> PathBuf {
    let path = path.as_ref();
    root.join(path.strip_prefix("/").unwrap_or(path))
}
