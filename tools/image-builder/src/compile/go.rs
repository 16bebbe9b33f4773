//! Go programs: the toolchain of the machine, no C.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use oci_image::{Architecture, Digest};

use crate::description::GoProgram;
use crate::process::output;
use crate::workspace::Workspace;

/// Builds one program unless it is there from the same sources, toolchain and flags.
pub(super) fn build(
    workspace: &Workspace,
    program: &GoProgram,
    name: &str,
    architecture: Architecture,
) -> Result<PathBuf> {
    let folder = workspace.root.join(&program.folder);
    let file = workspace
        .target
        .join("image-programs")
        .join(architecture.name())
        .join(name);
    let flags = linker_flags(&folder, program)?;
    let stamp = format!(
        "{} {} {flags}\n",
        source_digest(&folder)?,
        output(Command::new("go").arg("version"))?.trim()
    );
    let stamp_file = file.with_extension("stamp");
    if file.is_file() && fs::read_to_string(&stamp_file).is_ok_and(|found| found == stamp) {
        return Ok(file);
    }
    eprintln!("building {name} for {architecture} with Go (some minutes the first time)");
    output(
        Command::new("go")
            .current_dir(&folder)
            .args([
                "build",
                "-trimpath",
                "-buildvcs=false",
                "-ldflags",
                &flags,
                "-o",
            ])
            .arg(&file)
            .arg(&program.package)
            .env("CGO_ENABLED", "0")
            .env("GOOS", "linux")
            .env("GOARCH", architecture.name())
            .env("GOAMD64", "v1")
            .env("GOARM64", "v8.0")
            .env("GOFLAGS", "")
            .env("GOEXPERIMENT", ""),
    )?;
    fs::write(&stamp_file, stamp).with_context(|| stamp_file.display().to_string())?;
    Ok(file)
}

fn linker_flags(folder: &Path, program: &GoProgram) -> Result<String> {
    let mut flags = "-s -w -buildid=".to_owned();
    for (variable, module) in &program.version_variables {
        let version = output(Command::new("go").current_dir(folder).args([
            "list",
            "-m",
            "-f",
            "{{.Version}}",
            module,
        ]))?;
        let version = version.trim();
        flags.push_str(&format!(
            " -X {variable}={}",
            version.strip_prefix('v').unwrap_or(version)
        ));
    }
    Ok(flags)
}

/// Over the names and contents of all sources and of the module files, in order.
fn source_digest(folder: &Path) -> Result<Digest> {
    let mut files = Vec::new();
    collect(folder, &mut files)?;
    files.sort();
    let mut all = String::new();
    for file in files {
        let content = fs::read(&file).with_context(|| file.display().to_string())?;
        let name = file.strip_prefix(folder)?.display();
        all.push_str(&format!("{name} {}\n", Digest::of(&content)));
    }
    Ok(Digest::of(all.as_bytes()))
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry.with_context(|| folder.display().to_string())?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if kind.is_dir() {
            collect(&path, files)?;
        } else if name.ends_with(".go") || name == "go.mod" || name == "go.sum" {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stamp_follows_sources_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("inner")).unwrap();
        let file = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        file("go.mod", "module x");
        file("inner/x.go", "package x");
        let first = source_digest(folder.path()).unwrap();
        file("README.md", "text");
        assert_eq!(source_digest(folder.path()).unwrap(), first);
        file("inner/x.go", "package x ");
        assert_ne!(source_digest(folder.path()).unwrap(), first);
    }
}
