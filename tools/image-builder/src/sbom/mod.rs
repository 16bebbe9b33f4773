//! Bills of material: CycloneDX 1.6 (ECMA-424) as JSON, the same bytes for the same image.

mod cargo;
mod document;
mod golang;
mod part;
mod purl;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use oci_image::{Digest, StoredImage};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::archive::file_digest;
use crate::description::{Content, ImageDescription, Origin, RustProgram};
use crate::roots;
use crate::workspace::Workspace;
use document::{Bill, Facts};
use part::{Kind, Part, Parts};

/// The bill of an image: everything that is linked into its programs, and its other files.
pub(crate) fn of_image(
    workspace: &Workspace,
    image: &ImageDescription,
    together: &[&RustProgram],
    programs: &[PathBuf],
    stored: &StoredImage,
    created: Option<u64>,
) -> Result<String> {
    let mut parts = Parts::default();
    for (program, file) in image.programs.iter().zip(programs) {
        let found = match program.origin()? {
            Origin::Rust(origin) => cargo::parts(workspace, origin, together, stored.architecture)?,
            Origin::Go(_) => golang::parts(file)?,
        };
        parts.add_program(found, file_digest(file)?.0);
    }
    for file in &image.files {
        parts.add_file(match file.content {
            Content::MozillaRoots => mozilla_roots(workspace, &file.path)?,
        });
    }
    let facts = Facts {
        image: stored,
        version: image.version(),
        time: created.map(rfc3339).transpose()?,
    };
    let mut text = serde_json::to_string_pretty(&Bill::new(&facts, &parts)?)?;
    text.push('\n');
    Ok(text)
}

/// Checks that a bill is one of ours for this image.
pub(crate) fn check_belongs_to(text: &str, image: &Digest) -> Result<()> {
    let bill: Bill = serde_json::from_str(text)
        .context("is not a bill of material as this program writes it")?;
    let named = bill.image_digest();
    ensure!(
        named == Some(image.hex()),
        "is for image {}, not for {image}",
        named.unwrap_or("without digest")
    );
    bill.check()
}

fn mozilla_roots(workspace: &Workspace, path: &str) -> Result<Part> {
    let key = workspace.only_version(roots::CRATE)?;
    let mut part = cargo::part(workspace, key)?;
    part.kind = Kind::Data;
    part.description = Some(format!(
        "certificate authorities trusted by Mozilla, as {path}"
    ));
    Ok(part)
}

fn rfc3339(seconds: u64) -> Result<String> {
    let time = OffsetDateTime::from_unix_timestamp(i64::try_from(seconds)?)?;
    Ok(time.format(&Rfc3339)?)
}
