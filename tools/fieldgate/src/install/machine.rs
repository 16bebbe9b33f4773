//! The machine below: k3s, systemd, space.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::statvfs::statvfs;
use tokio::process::Command;
use tokio::time::timeout;

/// Native sidecars, and archives that are not imported anew at every start.
const OLDEST_K3S: (u32, u32) = (1, 33);
/// A restart of k3s lasts until its API server answers; the first one unpacks all images before.
const SYSTEMCTL: Duration = Duration::from_secs(900);
const QUESTION: Duration = Duration::from_secs(30);

/// Whether k3s is there and new enough.
pub(crate) async fn check_k3s() -> Result<()> {
    let Some(program) = find_program("k3s") else {
        bail!(
            "there is no k3s on this machine (PATH, /usr/local/bin); install k3s 1.{} or newer first (https://docs.k3s.io), or prepare a file system with --root DIR",
            OLDEST_K3S.1
        );
    };
    let output = run(
        Command::new(&program).arg("--version"),
        QUESTION,
        "k3s --version",
    )
    .await?;
    let text = String::from_utf8_lossy(&output.stdout);
    match version(&text) {
        Some(found) if found < OLDEST_K3S => bail!(
            "{} is version {}.{}; Fieldgate needs 1.{} or newer",
            program.display(),
            found.0,
            found.1,
            OLDEST_K3S.1
        ),
        Some(_) => Ok(()),
        None => bail!(
            "`{} --version` does not tell a version but {:?}",
            program.display(),
            text.lines().next().unwrap_or_default()
        ),
    }
}

/// Files and services of the machine are root's.
pub(crate) fn need_root() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("this changes files of the system: run it as root (sudo)");
    }
    Ok(())
}

/// `k3s version v1.35.2+k3s1 (…)`.
fn version(text: &str) -> Option<(u32, u32)> {
    let word = text.split_whitespace().find_map(|word| {
        word.strip_prefix('v')
            .filter(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
    })?;
    let mut parts = word.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// A program in PATH, or where k3s puts its own.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/local/bin")])
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
}

/// Whether what k3s unpacks from the archives fits: their bytes, three times over (archive, content store, unpacked).
pub(crate) fn check_space(folder: &Path, archives: u64) -> Result<()> {
    let existing = folder
        .ancestors()
        .find(|folder| folder.is_dir())
        .unwrap_or(Path::new("/"));
    let found = statvfs(existing)
        .with_context(|| format!("asking how much space {} has", existing.display()))?;
    let free = found
        .blocks_available()
        .saturating_mul(found.fragment_size());
    let needed = archives.saturating_mul(3);
    if free < needed {
        bail!(
            "{} has {} MiB free; the images need {} MiB; make room",
            existing.display(),
            free >> 20,
            needed >> 20
        );
    }
    Ok(())
}

/// The unit that k3s's own installation makes.
pub(crate) fn k3s_unit(agent: bool) -> &'static str {
    if agent { "k3s-agent" } else { "k3s" }
}

/// Whether systemd runs this machine (sd_booted(3)); k3s also runs under OpenRC and others.
pub(crate) fn has_systemd() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// `systemctl …`
pub(crate) async fn systemctl(arguments: &[&str]) -> Result<()> {
    let words = format!("systemctl {}", arguments.join(" "));
    let output = run(Command::new("systemctl").args(arguments), SYSTEMCTL, &words).await?;
    if !output.status.success() {
        bail!(
            "`{words}` failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

async fn run(command: &mut Command, deadline: Duration, words: &str) -> Result<Output> {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .output();
    timeout(deadline, child)
        .await
        .with_context(|| format!("`{words}` did not end within {} s", deadline.as_secs()))?
        .with_context(|| format!("starting `{words}`"))
}

/// The name Kubernetes knows this machine by, unless it was given another.
pub(crate) fn host_name() -> Result<String> {
    let name = nix::unistd::gethostname().context("this machine's name")?;
    Ok(name.to_string_lossy().to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_k3s() {
        assert_eq!(
            version("k3s version v1.35.2+k3s1 (4841276d)\ngo version go1.25.1\n"),
            Some((1, 35))
        );
        assert_eq!(version("k3s version dev\n"), None);
    }

    #[test]
    fn too_little_space_is_told_before_anything_is_written() {
        let folder = tempfile::tempdir().unwrap();
        check_space(&folder.path().join("not/yet/there"), 1).unwrap();
        let error = check_space(folder.path(), u64::MAX / 4).unwrap_err();
        assert!(error.to_string().contains("make room"), "{error}");
    }
}
