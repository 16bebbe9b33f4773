//! Rust programs: cargo-zigbuild for musl.
//!
//! Zig is the C compiler and the linker for both architectures, in the version scripts/lib/images.sh pins, so what is built does not
//! depend on the compiler of the machine. (Debian's musl-gcc cannot link what Rust makes for musl: the result asks for a loader and crashes.)

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use oci_image::Architecture;

use super::source_date_epoch;
use crate::architecture::rust_target;
use crate::description::RustProgram;
use crate::process::output;
use crate::workspace::Workspace;

/// Between flags in `CARGO_ENCODED_RUSTFLAGS` (The Cargo Book, environment variables).
const SEPARATOR: &str = "\x1f";

/// Builds one program, always together with all those of the description: what they share is compiled once, with the union of the features
/// they ask for, so the choice of images to build does not change the bytes.
pub(super) fn build(
    workspace: &Workspace,
    program: &RustProgram,
    together: &[&RustProgram],
    architecture: Architecture,
) -> Result<PathBuf> {
    let target = rust_target(architecture);
    let renames = renames(workspace)?;
    let mut flags: Vec<String> = renames
        .iter()
        .map(|(from, to)| format!("--remap-path-prefix={from}={to}"))
        .collect();
    // Zig links static programs at a fixed address unless it is told not to
    flags.push("-Clink-arg=-pie".to_owned());
    let c_flags: Vec<String> = renames
        .iter()
        .map(|(from, to)| format!("'-ffile-prefix-map={from}={to}'"))
        .collect();

    let mut command = Command::new("cargo");
    command
        .current_dir(&workspace.root)
        .args(["zigbuild", "--locked", "--release", "--target", target])
        .args(
            together
                .iter()
                .flat_map(|each| ["--package", &each.package, "--bin", each.bin()]),
        )
        .env_remove("RUSTFLAGS")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join(SEPARATOR))
        .env("CC_SHELL_ESCAPED_FLAGS", "1")
        .env(
            format!("CFLAGS_{}", target.replace('-', "_")),
            c_flags.join(" "),
        )
        .env("CARGO_TARGET_DIR", &workspace.target)
        .env("CARGO_INCREMENTAL", "0")
        .env(
            "SOURCE_DATE_EPOCH",
            source_date_epoch()?.unwrap_or(0).to_string(),
        );
    for (name, _) in std::env::vars_os().filter(|(name, _)| changes_the_profile(name)) {
        command.env_remove(name);
    }
    output(&mut command)?;
    Ok(workspace
        .target
        .join(target)
        .join("release")
        .join(program.bin()))
}

/// The version of the compiler, as it goes into a bill of material.
pub(crate) fn compiler_version() -> Result<String> {
    let about = output(Command::new("rustc").arg("-vV"))?;
    field(&about, "release: ").map(str::to_owned)
}

/// Folders of this machine and what stands for them in a program: shorter ones first, because the last that fits is taken.
fn renames(workspace: &Workspace) -> Result<Vec<(String, String)>> {
    let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]))?;
    let about = output(Command::new("rustc").arg("-vV"))?;
    let commit = field(&about, "commit-hash: ")?;
    // where the standard library's sources are installed they show; elsewhere they are called this already
    let library = Path::new(sysroot.trim()).join("lib/rustlib/src/rust");
    let mut renames = vec![
        (shown(&library), format!("/rustc/{commit}")),
        (shown(&workspace.root), "/fieldgate".to_owned()),
        (shown(&workspace.target), "/fieldgate/target".to_owned()),
    ];
    renames.extend(
        workspace
            .source_folders()
            .into_iter()
            .map(|folder| (shown(folder), "/crates".to_owned())),
    );
    renames.sort_by_key(|(from, _)| (from.len(), from.clone()));
    Ok(renames)
}

fn field<'a>(about: &'a str, name: &str) -> Result<&'a str> {
    let mut values = about.lines().filter_map(|line| line.strip_prefix(name));
    values
        .next()
        .with_context(|| format!("`rustc -vV` does not say {name}"))
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn changes_the_profile(name: &OsString) -> bool {
    name.to_string_lossy().starts_with("CARGO_PROFILE_RELEASE_")
}
