//! `image-builder inspect`: what is in an archive.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Result, bail};
use oci_image::{Entry, EntryKind, StoredImage};

use crate::archive::{file_digest, only_image};
use crate::check::findings;

pub(crate) fn run(path: &Path) -> Result<()> {
    let image = only_image(path)?;
    print!("{}", describe(path, &image)?);
    let found = findings(&image);
    if !found.is_empty() {
        bail!(
            "{} must not go onto a device:\n  {}",
            path.display(),
            found.join("\n  ")
        );
    }
    Ok(())
}

fn describe(path: &Path, image: &StoredImage) -> Result<String> {
    let (digest, bytes) = file_digest(path)?;
    let settings = &image.settings;
    let words = |list: &[String]| {
        if list.is_empty() {
            "none".to_owned()
        } else {
            list.join(" ")
        }
    };
    let ports: Vec<String> = settings.exposed_ports.iter().cloned().collect();
    let mut text = String::new();
    writeln!(text, "archive       {} bytes, {digest}", bytes)?;
    writeln!(text, "image         {}", image.digest)?;
    for name in &image.names {
        writeln!(text, "name          {name}")?;
    }
    writeln!(text, "architecture  {}", image.architecture)?;
    writeln!(
        text,
        "created       {}",
        image.created.as_deref().unwrap_or("no time given")
    )?;
    writeln!(text, "user          {}", settings.user)?;
    writeln!(text, "entrypoint    {}", words(&settings.entrypoint))?;
    writeln!(text, "environment   {}", words(&settings.env))?;
    writeln!(text, "ports         {}", words(&ports))?;
    for (key, value) in &settings.labels {
        writeln!(text, "label         {key}={value}")?;
    }
    writeln!(text, "content       {} bytes", image.layer_bytes)?;
    for entry in &image.entries {
        writeln!(text, "  {}", line(entry))?;
    }
    Ok(text)
}

fn line(entry: &Entry) -> String {
    let (kind, size, target) = match &entry.kind {
        EntryKind::Directory => ('d', 0, String::new()),
        EntryKind::File { size } => ('-', *size, String::new()),
        EntryKind::Symlink { target } => ('l', 0, format!(" -> {target}")),
        EntryKind::HardLink { target } => ('h', 0, format!(" = {target}")),
        EntryKind::Special => ('?', 0, String::new()),
    };
    format!(
        "{kind}{:04o} {}:{} {size:>10} {}{target}",
        entry.mode, entry.uid, entry.gid, entry.path
    )
}
