//! From a description and built programs to an archive.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use oci_image::{
    Architecture, Digest, Image, SealedImage, Settings, Source, StoredImage, Tree, read_archive,
};

use crate::check::findings;
use crate::description::{Content, Description, FileDescription, ImageDescription};
use crate::roots;

const PROGRAM_MODE: u32 = 0o755;
const FILE_MODE: u32 = 0o644;

/// The name of an archive without its extension.
pub(crate) fn stem(image: &ImageDescription, architecture: Architecture) -> String {
    format!(
        "fieldgate-{}-{}-{architecture}",
        image.name,
        image.version()
    )
}

/// Puts an image together; `programs` are the built files in the order of the description, `created` is
/// in seconds since 1970.
pub(crate) fn seal(
    description: &Description,
    image: &ImageDescription,
    programs: &[PathBuf],
    architecture: Architecture,
    created: Option<u64>,
) -> Result<SealedImage> {
    let mut tree = Tree::default();
    for (program, file) in image.programs.iter().zip(programs) {
        tree.file(&program.path, PROGRAM_MODE, Source::File(file.clone()))?;
        for link in &program.links {
            tree.hard_link(link, &program.path)?;
        }
    }
    for file in &image.files {
        tree.file(&file.path, FILE_MODE, content(file))?;
    }
    let settings = Settings {
        user: description.user.clone(),
        exposed_ports: image.ports.clone(),
        env: image
            .env
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect(),
        entrypoint: image.entrypoint(),
        working_dir: "/".to_owned(),
        labels: description.labels(image),
    };
    let image = Image {
        architecture,
        names: description.names(image)?,
        settings,
        tree,
        created,
    };
    Ok(image.seal()?)
}

fn content(file: &FileDescription) -> Source {
    match file.content {
        Content::MozillaRoots => Source::Bytes(roots::pem().into_bytes()),
    }
}

/// Writes the archive unless it is there already, and reads back what is now in the file.
pub(crate) fn store(sealed: &SealedImage, path: &Path) -> Result<StoredImage> {
    if !sealed.is_stored_in(path) {
        eprintln!("writing {}", path.display());
        sealed.write(path)?;
    }
    let image = only_image(path)?;
    if &image.digest != sealed.digest() {
        bail!(
            "{}: what was read back is not what was written",
            path.display()
        );
    }
    let found = findings(&image);
    if !found.is_empty() {
        fs::remove_file(path).with_context(|| path.display().to_string())?;
        bail!(
            "{} must not be as it was described, and was removed:\n  {}",
            path.display(),
            found.join("\n  ")
        );
    }
    Ok(image)
}

/// Reads and verifies an archive with one image in it.
pub(crate) fn only_image(path: &Path) -> Result<StoredImage> {
    let archive = read_archive(path).with_context(|| path.display().to_string())?;
    let mut images = archive.images.into_iter();
    match (images.next(), images.next()) {
        (Some(image), None) => Ok(image),
        _ => bail!("{}: more than one image in an archive", path.display()),
    }
}

/// SHA-256 of a whole file, and its size in bytes.
pub(crate) fn file_digest(path: &Path) -> Result<(Digest, u64)> {
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    Ok((Digest::of(&bytes), bytes.len() as u64))
}
