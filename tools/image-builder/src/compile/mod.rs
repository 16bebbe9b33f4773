//! From sources to static programs, the same bytes wherever they are built.

mod go;
mod rust;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use memchr::memmem;
use oci_image::Architecture;

use crate::description::{Origin, ProgramDescription, RustProgram};
use crate::elf;
use crate::workspace::Workspace;

pub(crate) use rust::compiler_version as rust_compiler_version;

/// Builds one program (a Rust one with all those of the description), or finds it built, and checks that it can live in an image.
pub(crate) fn program(
    workspace: &Workspace,
    program: &ProgramDescription,
    together: &[&RustProgram],
    architecture: Architecture,
) -> Result<PathBuf> {
    let file = match program.origin()? {
        Origin::Rust(origin) => rust::build(workspace, origin, together, architecture)?,
        Origin::Go(origin) => go::build(workspace, origin, program.name(), architecture)?,
    };
    let bytes = fs::read(&file).with_context(|| file.display().to_string())?;
    elf::check_static(&bytes, architecture).with_context(|| file.display().to_string())?;
    if let Some(path) = machine_path(&bytes, workspace) {
        bail!(
            "{} contains the path {path} of this machine, so another machine would build other bytes",
            file.display()
        );
    }
    Ok(file)
}

/// `SOURCE_DATE_EPOCH` (reproducible-builds.org), seconds since 1970.
pub(crate) fn source_date_epoch() -> Result<Option<u64>> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => {
            let seconds = text.parse().with_context(|| {
                format!("SOURCE_DATE_EPOCH is '{text}', not a number of seconds")
            })?;
            Ok(Some(seconds))
        }
        Err(_) => Ok(None),
    }
}

/// A source path that got into a program. Folders of sources only: a short path of a repository may occur in any program.
fn machine_path(bytes: &[u8], workspace: &Workspace) -> Option<String> {
    let own =
        ["crates", "modules", "tools", "image", "target"].map(|folder| workspace.root.join(folder));
    let folders = workspace
        .source_folders()
        .into_iter()
        .map(Path::to_owned)
        .chain(own);
    folders
        .map(|folder| format!("{}/", folder.display()))
        .find(|folder| memmem::find(bytes, folder.as_bytes()).is_some())
}
