//! `fieldgate uninstall`: takes off exactly what was installed. A person's own stays, and so does what modules have stored, unless
//! `--purge` is given.

use std::fs;
use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;

use super::item::content_of;
use super::places::{KEPT, PLUGIN_UNIT, Places, RECORD, STATE};
use super::record::Record;
use super::{Device, apply, machine, manifests, say};
use crate::secrets::Kubectl;
use crate::whole_file;

/// Takes Fieldgate off this machine; k3s stays.
#[derive(Debug, Args)]
pub(crate) struct UninstallArgs {
    #[command(flatten)]
    device: Device,

    /// Also delete what modules and broker have stored, the Secrets, and the module configurations
    #[arg(long)]
    purge: bool,

    /// Do not ask before --purge
    #[arg(long)]
    yes: bool,
}

/// Kinds that stay in the cluster without --purge, because something of the user's hangs on them: the Secrets on their namespace, the
/// stored events on claims and volumes.
const LASTING: [&str; 4] = [
    "Namespace",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "StorageClass",
];

/// The key of k3s's settings, and the file that keeps it. k3s with encrypted Secrets in its database does not start without it.
const ENCRYPTION: &str = "secrets-encryption";
const STILL_ENCRYPTED: &str = "\
# Left by `fieldgate uninstall`: Secrets in the database of k3s are encrypted, and without this setting it does not start any more.
# Before you take it away: `k3s secrets-encrypt disable`, a restart of k3s, `k3s secrets-encrypt reencrypt --force --skip` (docs.k3s.io).
secrets-encryption: true
";

/// `fieldgate uninstall`
pub(crate) async fn run(args: UninstallArgs) -> Result<()> {
    if args.device.root.is_none() && !args.device.dry_run {
        machine::need_root()?;
    }
    let places = Places::new(args.device.root.as_deref(), &args.device.data_dir)?;
    let record = Record::load(&places)?;
    if record.files.is_empty() {
        bail!(
            "nothing to take off: {} tells of no installation",
            places.here(Path::new(RECORD)).display()
        );
    }
    if args.purge && !args.yes && !args.device.dry_run {
        confirm()?;
    }
    let on_device = args.device.root.is_none() && !args.device.dry_run;
    let unit = machine::k3s_unit(record.agent);
    if on_device {
        // The objects are the server's to delete.
        if !record.agent {
            let kubectl = Kubectl::new(
                args.device.kubectl.as_deref(),
                args.device.kubeconfig.as_deref(),
            )?;
            delete_objects(&places, &record, &kubectl, args.purge).await?;
        }
        // A unit that is gone already is not worth stopping for.
        if machine::has_systemd()
            && let Err(error) = machine::systemctl(&["disable", "--now", PLUGIN_UNIT]).await
        {
            eprintln!("{error:#}");
        }
    }
    let tell = &mut say;
    if args.device.dry_run {
        return dry_run(&places, &record, args.purge, tell);
    }
    files(&places, record, args.purge, tell)?;
    if on_device && !machine::has_systemd() {
        say(&format!(
            "this machine has no systemd: end serial-device-plugin and restart {unit} in its own way"
        ));
    } else if on_device {
        machine::systemctl(&["daemon-reload"]).await?;
        say(&format!("restarting {unit}"));
        machine::systemctl(&["restart", unit]).await?;
    }
    Ok(())
}

fn confirm() -> Result<()> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        bail!("--purge deletes stored events and keys; confirm with --yes");
    }
    print!("--purge deletes every event that is still stored here, and all keys. Type yes: ");
    std::io::stdout().flush().context("asking")?;
    let mut answer = String::new();
    input.lock().read_line(&mut answer).context("asking")?;
    if answer.trim() != "yes" {
        bail!("nothing was changed");
    }
    Ok(())
}

/// Removing a file from k3s's folder leaves its objects: they are deleted first, modules before Dapr, then Dapr's kinds.
async fn delete_objects(
    places: &Places,
    record: &Record,
    kubectl: &Kubectl,
    purge: bool,
) -> Result<()> {
    let folder = places.here(&places.manifests());
    let modules: Vec<&str> = record
        .generated
        .iter()
        .map(String::as_str)
        .filter(|name| name.ends_with(".yaml"))
        .collect();
    let mut files: Vec<Vec<&str>> = vec![modules];
    files.push(vec!["dapr.yaml"]);
    files.push(vec!["dapr-crds.yaml"]);
    for group in files {
        // k3s would make them again while they go.
        let mut objects = Vec::new();
        for name in &group {
            let path = folder.join(name);
            if path.is_file() {
                objects.extend(manifests::objects(&path)?);
                whole_file::write(&folder.join(format!("{name}.skip")), b"", 0o600)?;
            }
        }
        let objects = going(objects, purge);
        if !objects.is_empty() {
            say(&format!(
                "deleting {} objects of {}",
                objects.len(),
                group.join(", ")
            ));
            kubectl.delete(&objects).await?;
        }
        for name in &group {
            let addon = name.trim_end_matches(".yaml");
            let arguments = [
                "--namespace",
                "kube-system",
                "delete",
                "addons.k3s.cattle.io",
                addon,
                "--ignore-not-found",
            ];
            // Only k3s's own book-keeping, and not there on another Kubernetes.
            let _ = kubectl.run(&arguments).await;
        }
    }
    Ok(())
}

/// The objects to delete, what was applied last first.
fn going(mut objects: Vec<Value>, purge: bool) -> Vec<Value> {
    objects.retain(|object| {
        let kind = object.get("kind").and_then(Value::as_str).unwrap_or("");
        let of_dapr =
            object.pointer("/metadata/name").and_then(Value::as_str) == Some("dapr-system");
        purge || of_dapr || !LASTING.contains(&kind)
    });
    objects.reverse();
    objects
}

/// Takes the files away; the record goes last.
pub(super) fn files(
    places: &Places,
    mut record: Record,
    purge: bool,
    tell: &mut dyn FnMut(&str),
) -> Result<()> {
    generated(places, &record, purge, tell)?;
    keep_encryption(places, &record, tell)?;
    for path in record.files.keys() {
        if apply::remove(places, path, &record)? {
            tell(&format!("removed {}", path.display()));
        } else if content_of(&places.here(path))?.is_some() {
            tell(&format!("left {}: it was edited", path.display()));
        }
    }
    let cache = places.here(&places.image_cache());
    if cache.is_file() && fs::read_dir(places.here(&places.images()))?.count() == 1 {
        fs::remove_file(&cache).with_context(|| format!("removing {}", cache.display()))?;
    }
    if purge {
        let state = places.here(Path::new(STATE));
        if state.is_dir() {
            fs::remove_dir_all(&state).with_context(|| format!("removing {}", state.display()))?;
            tell(&format!("removed {STATE}"));
        }
        record.directories.retain(|path| !path.starts_with(STATE));
    } else {
        let own = places.here(Path::new(RECORD));
        fs::remove_file(&own).with_context(|| format!("removing {}", own.display()))?;
    }
    // The deepest first; one that holds something stays.
    for path in record.directories.iter().rev() {
        let _ = fs::remove_dir(places.here(path));
    }
    Ok(())
}

/// Before the settings go, what of them is in force for good.
fn keep_encryption(places: &Places, record: &Record, tell: &mut dyn FnMut(&str)) -> Result<()> {
    let settings = places.k3s_config();
    let here = places.here(&settings);
    if !record.files.contains_key(&settings) || !here.is_file() {
        return Ok(());
    }
    let text = fs::read_to_string(&here).with_context(|| format!("reading {}", here.display()))?;
    let encrypts = text.lines().any(|line| {
        line.split_once(':')
            .is_some_and(|(key, value)| key == ENCRYPTION && value.trim() == "true")
    });
    if encrypts {
        let kept = places.k3s_kept();
        whole_file::write(&places.here(&kept), STILL_ENCRYPTED.as_bytes(), 0o600)?;
        tell(&format!(
            "left {ENCRYPTION} in {}: k3s needs it",
            kept.display()
        ));
    }
    Ok(())
}

/// The generator's files go; what is a person's own is kept for the next installation, out of k3s's sight.
fn generated(
    places: &Places,
    record: &Record,
    purge: bool,
    tell: &mut dyn FnMut(&str),
) -> Result<()> {
    let folder = places.manifests();
    let mut names: Vec<String> = record.generated.iter().cloned().collect();
    // Overrides are not the generator's, but mean nothing without its files.
    for name in manifests::names(places)? {
        let overrides = name
            .strip_suffix(".override")
            .is_some_and(|file| record.generated.contains(file));
        if overrides && !record.generated.contains(&name) {
            names.push(name);
        }
    }
    for name in names {
        let path: PathBuf = folder.join(&name);
        let here = places.here(&path);
        let skip = folder.join(format!("{name}.skip"));
        let _ = fs::remove_file(places.here(&skip));
        if !here.is_file() {
            continue;
        }
        if !purge && !manifests::has_mark(&here) {
            let kept = places.here(Path::new(KEPT));
            fs::create_dir_all(&kept).with_context(|| format!("making {}", kept.display()))?;
            whole_file::copy(&here, &kept.join(&name), 0o600)?;
            tell(&format!("kept {} in {KEPT}", path.display()));
        }
        fs::remove_file(&here).with_context(|| format!("removing {}", here.display()))?;
        tell(&format!("removed {}", path.display()));
    }
    // What the generator remembers of its files.
    let memory = places.here(&folder.join(manifests::MEMORY));
    if memory.is_dir() {
        fs::remove_dir_all(&memory).with_context(|| format!("removing {}", memory.display()))?;
    }
    for name in ["dapr.yaml", "dapr-crds.yaml"] {
        let _ = fs::remove_file(places.here(&folder.join(format!("{name}.skip"))));
    }
    Ok(())
}

fn dry_run(
    places: &Places,
    record: &Record,
    purge: bool,
    tell: &mut dyn FnMut(&str),
) -> Result<()> {
    for name in &record.generated {
        let path = places.manifests().join(name);
        tell(&format!("would remove {}", path.display()));
    }
    for path in record.files.keys() {
        let found = content_of(&places.here(path))?;
        match found {
            Some(found) if record.knows(path, &found) => {
                tell(&format!("would remove {}", path.display()));
            }
            Some(_) => tell(&format!("would leave {}: it was edited", path.display())),
            None => {}
        }
    }
    if purge {
        tell(&format!("would remove {STATE} with everything in it"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_users_data_hangs_on_stays_without_purge() {
        let objects = vec![
            json!({"kind": "Namespace", "metadata": {"name": "fieldgate"}}),
            json!({"kind": "PersistentVolume", "metadata": {"name": "a"}}),
            json!({"kind": "Deployment", "metadata": {"name": "b"}}),
            json!({"kind": "Namespace", "metadata": {"name": "dapr-system"}}),
        ];
        let names = |purge| -> Vec<String> {
            going(objects.clone(), purge)
                .iter()
                .map(|object| object["metadata"]["name"].as_str().unwrap().to_owned())
                .collect()
        };
        assert_eq!(names(false), ["dapr-system", "b"]);
        assert_eq!(names(true), ["dapr-system", "b", "a", "fieldgate"]);
    }
}
