//! The device that is to be reset: whether it is one, what it would lose, and its restart.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use provisioning::Part;

use super::{kept_files, undelivered, words};

/// Made at the first start of every appliance.
const MACHINE_ID: &str = "data/etc/machine-id";
const HOSTNAME: &str = "data/etc/hostname";

#[derive(Debug)]
pub(super) struct Device {
    root: PathBuf,
}

impl Device {
    pub(super) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    pub(super) fn is_this_machine(&self) -> bool {
        self.root == Path::new("/")
    }

    /// A folder `/data` may be anybody's: only an appliance's is erased.
    pub(super) fn check(&self) -> Result<()> {
        let id = self.root.join(MACHINE_ID);
        if !id.is_file() {
            bail!(
                "{} is not there, so this is no appliance with a data partition; on a machine of another kind, `fieldgate uninstall` takes Fieldgate off",
                id.display()
            );
        }
        if self.is_this_machine() && !nix::unistd::geteuid().is_root() {
            bail!("this erases the device: run it as root");
        }
        Ok(())
    }

    /// Folders of the data partition are bound to their places after the reset, and programs use them from then on.
    pub(super) fn check_unused(&self) -> Result<()> {
        if !self.is_this_machine() {
            return Ok(());
        }
        let mounts =
            fs::read_to_string("/proc/self/mountinfo").context("reading /proc/self/mountinfo")?;
        match bound(&mounts, "/data") {
            Some(place) => bail!(
                "the data partition is in use, at {place} too; restart the device: the reset is carried out at its start"
            ),
            None => Ok(()),
        }
    }

    pub(super) fn name(&self) -> Result<String> {
        let path = self.root.join(HOSTNAME);
        let name = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Ok(name.trim().to_owned())
    }

    /// What goes and what stays, in lines for a person.
    pub(super) fn goes(&self, preserve: &[Part]) -> Result<Vec<String>> {
        let name = self.name()?;
        let mut lines = vec![format!("Factory reset of {name}.")];
        let id = if preserve.contains(&Part::Network) {
            ""
        } else {
            " its machine id,"
        };
        lines.push(format!("Goes: everything that it measured and has not delivered, the state of Kubernetes and of every module, its keys,{id} and what was edited on it."));
        if self.is_this_machine() {
            lines.push(match undelivered::count() {
                Ok(Some(count)) => {
                    format!("Undelivered: {count} events in the queue to the hub.")
                }
                Ok(None) => "Undelivered: nothing; no module delivers to a hub.".to_owned(),
                Err(error) => format!("Undelivered: not known ({error:#})."),
            });
        }
        lines.push(format!(
            "Stays: the system itself, and {}.",
            words(preserve)
        ));
        for path in kept_files(&self.root, preserve)? {
            lines.push(format!("  {}", path.display()));
        }
        if preserve.contains(&Part::Hub) && !self.has_connection_string() {
            lines.push("Note: no connection string was provisioned, so there is none to preserve; one that `fieldgate secrets iothub` set goes.".to_owned());
        }
        Ok(lines)
    }

    fn has_connection_string(&self) -> bool {
        self.root
            .join("data/fieldgate/provision/secrets/hub-connection-string")
            .is_file()
    }

    pub(super) fn restart(&self) -> Result<()> {
        let status = Command::new("systemctl")
            .arg("reboot")
            .status()
            .context("the reset is asked for, but systemctl could not be started; restart the device by hand")?;
        if !status.success() {
            bail!(
                "the reset is asked for, but `systemctl reboot` failed ({status}); restart the device by hand"
            );
        }
        Ok(())
    }
}

/// Where else the device of a mount point is mounted (proc_pid_mountinfo(5)).
fn bound(mounts: &str, point: &str) -> Option<String> {
    let fields = |line: &str| {
        let mut words = line.split(' ').skip(2);
        Some((words.next()?.to_owned(), words.nth(1)?.to_owned()))
    };
    let all: Vec<(String, String)> = mounts.lines().filter_map(fields).collect();
    let (device, _) = all.iter().find(|(_, place)| place == point)?;
    all.iter()
        .find(|(other, place)| other == device && place != point)
        .map(|(_, place)| place.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_partition_that_is_bound_elsewhere_is_in_use() {
        let early = "\
21 1 254:2 / / ro,relatime shared:1 - ext4 /dev/root ro
22 21 254:4 / /data rw,noatime shared:2 - ext4 /dev/vda4 rw
";
        assert_eq!(bound(early, "/data"), None);
        let late = format!(
            "{early}23 21 254:4 /etc/fieldgate /etc/fieldgate rw,noatime shared:2 - ext4 /dev/vda4 rw\n"
        );
        assert_eq!(bound(&late, "/data").as_deref(), Some("/etc/fieldgate"));
        assert_eq!(bound("", "/data"), None);
    }
}
