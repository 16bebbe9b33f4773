//! images.txt: what a folder of archives holds, and whether it still does.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use oci_image::Digest;

use crate::archive::{file_digest, only_image};
use crate::check::findings;
use crate::sbom;

const FILE_NAME: &str = "images.txt";
const ARCHIVE: &str = ".tar.zst";
const HEADER: &str = "# name, digest of the image, size of the archive in bytes, archive, digest of the archive. Not for k3s's agent/images: it would pull these.\n";

/// One line: one name of an image.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    name: String,
    image: Digest,
    bytes: u64,
    archive: String,
    archive_digest: Digest,
}

/// Writes the list of those archives that are there, and returns one line for a person about each.
pub(crate) fn write(folder: &Path, stems: impl Iterator<Item = String>) -> Result<Vec<String>> {
    let mut text = HEADER.to_owned();
    let mut shown = Vec::new();
    for archive in stems.map(|stem| format!("{stem}{ARCHIVE}")) {
        let path = folder.join(&archive);
        if !path.exists() {
            continue;
        }
        let image = only_image(&path)?;
        let (digest, bytes) = file_digest(&path)?;
        for name in &image.names {
            writeln!(text, "{name} {} {bytes} {archive} {digest}", image.digest)?;
        }
        shown.push(format!(
            "{bytes:>10} bytes  {}  {}",
            path.display(),
            image.names.join(" ")
        ));
    }
    let path = folder.join(FILE_NAME);
    fs::write(&path, &text).with_context(|| path.display().to_string())?;
    Ok(shown)
}

/// Verifies all folders with a list: the one given, or those below it.
pub(crate) fn verify(folder: &Path) -> Result<()> {
    let folders = listed_folders(folder)?;
    ensure!(
        !folders.is_empty(),
        "{}: no {FILE_NAME} there: name the folder that scripts/build-images wrote",
        folder.display()
    );
    for folder in folders {
        let (archives, bytes) = verify_folder(&folder)?;
        println!(
            "{}: {archives} archives, {bytes} bytes, all as listed",
            folder.display()
        );
    }
    Ok(())
}

fn listed_folders(folder: &Path) -> Result<Vec<PathBuf>> {
    if folder.join(FILE_NAME).exists() {
        return Ok(vec![folder.to_owned()]);
    }
    let mut folders = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry.with_context(|| folder.display().to_string())?.path();
        if path.join(FILE_NAME).exists() {
            folders.push(path);
        }
    }
    folders.sort();
    Ok(folders)
}

fn verify_folder(folder: &Path) -> Result<(usize, u64)> {
    let path = folder.join(FILE_NAME);
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let mut rows: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    for (number, line) in text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.starts_with('#'))
    {
        let row = parse(line).with_context(|| format!("{} line {}", path.display(), number + 1))?;
        rows.entry(row.archive.clone()).or_default().push(row);
    }
    ensure!(!rows.is_empty(), "{} lists no image", path.display());
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        ensure!(
            !name.ends_with(ARCHIVE) || rows.contains_key(&name),
            "{}/{name} is not in {FILE_NAME}: remove it if it is from another version",
            folder.display()
        );
    }
    let mut total = 0;
    for (archive, rows) in &rows {
        total += verify_archive(&folder.join(archive), rows)
            .with_context(|| format!("{}/{archive}", folder.display()))?;
    }
    Ok((rows.len(), total))
}

fn verify_archive(path: &Path, rows: &[Row]) -> Result<u64> {
    let (digest, bytes) = file_digest(path)?;
    let image = only_image(path)?;
    for row in rows {
        ensure!(
            (row.bytes, &row.archive_digest) == (bytes, &digest),
            "the file has {bytes} bytes and is {digest}, {FILE_NAME} says {} bytes and {}",
            row.bytes,
            row.archive_digest
        );
        ensure!(
            row.image == image.digest,
            "the image is {}, {FILE_NAME} says {}",
            image.digest,
            row.image
        );
    }
    let listed: BTreeSet<&String> = rows.iter().map(|row| &row.name).collect();
    ensure!(
        listed == image.names.iter().collect(),
        "the image has the names {:?}, {FILE_NAME} says {listed:?}",
        image.names
    );
    let found = findings(&image);
    ensure!(
        found.is_empty(),
        "must not go onto a device: {}",
        found.join("; ")
    );

    let bill =
        PathBuf::from(path.to_string_lossy().trim_end_matches(ARCHIVE).to_owned() + ".cdx.json");
    let text = fs::read_to_string(&bill).with_context(|| bill.display().to_string())?;
    sbom::check_belongs_to(&text, &image.digest).with_context(|| bill.display().to_string())?;
    Ok(bytes)
}

fn parse(line: &str) -> Result<Row> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [name, image, bytes, archive, archive_digest] = words.as_slice() else {
        bail!("has {} words, not 5", words.len());
    };
    ensure!(
        !archive.contains('/'),
        "archive '{archive}' is not in this folder"
    );
    Ok(Row {
        name: (*name).to_owned(),
        image: image.parse().map_err(anyhow::Error::msg)?,
        bytes: bytes.parse().context("size")?,
        archive: (*archive).to_owned(),
        archive_digest: archive_digest.parse().map_err(anyhow::Error::msg)?,
    })
}
