//! What is linked into a Rust program.
//!
//! `cargo tree` resolves the features of the packages built together for this one target, as the build does; the graph of `cargo metadata` has the
//! features of the whole workspace and of tests, and so packages that are not linked. Licences and checksums come from there and from Cargo.lock.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context, Result};
use oci_image::Architecture;

use super::part::{Kind, Part, ProgramParts};
use super::purl;
use crate::architecture::rust_target;
use crate::compile::rust_compiler_version;
use crate::description::RustProgram;
use crate::process::output;
use crate::workspace::{PackageKey, Workspace};

const PROCEDURAL_MACRO: &str = "(proc-macro)";

pub(super) fn parts(
    workspace: &Workspace,
    program: &RustProgram,
    together: &[&RustProgram],
    architecture: Architecture,
) -> Result<ProgramParts> {
    let tree = output(
        Command::new("cargo")
            .current_dir(&workspace.root)
            .args(["tree", "--locked", "--no-dedupe"])
            .args(
                together
                    .iter()
                    .flat_map(|each| ["--package", each.package.as_str()]),
            )
            .args(["--target", rust_target(architecture)])
            .args([
                "--edges",
                "normal,no-proc-macro",
                "--prefix",
                "depth",
                "--format",
                " {p}",
            ]),
    )?;
    let mut found = linked(workspace, &tree_of(&tree, &program.package))
        .with_context(|| format!("what is linked into {}", program.package))?;
    found.program.kind = Kind::Application;
    found.linked.extend(toolchain(&rust_compiler_version()?));
    Ok(found)
}

/// One package as a library.
pub(super) fn part(workspace: &Workspace, key: &PackageKey) -> Result<Part> {
    let (name, version) = key;
    let package = workspace.package(key)?;
    let mut part = Part::new(Kind::Library, name, Some(version));
    // a package of ours may have the name of a stranger's on crates.io
    part.purl = package
        .checksum
        .as_ref()
        .map(|_| purl::cargo(name, version));
    part.sha256.clone_from(&package.checksum);
    // Cargo's older way to write a choice
    part.licence = package
        .licence
        .as_ref()
        .map(|licence| licence.replace('/', " OR "));
    Ok(part)
}

/// Every program has these, and no package says so.
fn toolchain(compiler: &str) -> [Part; 2] {
    let mut library = Part::new(Kind::Library, "rust-std", Some(compiler));
    library.purl = Some(purl::generic("rust-std", compiler));
    library.licence = Some("MIT OR Apache-2.0".to_owned());
    library.description = Some("the Rust standard library".to_owned());
    let mut c_library = Part::new(Kind::Library, "musl", None);
    c_library.licence = Some("MIT".to_owned());
    c_library.description = Some("the C library, as Zig brings it".to_owned());
    [library, c_library]
}

/// The tree of one package among those that `cargo tree` printed.
fn tree_of(trees: &str, package: &str) -> String {
    let mut inside = false;
    trees
        .lines()
        .filter(|line| {
            if let Some((0, (name, _))) = read_line(line) {
                inside = name == package;
            }
            inside
        })
        .flat_map(|line| [line, "\n"])
        .collect()
}

/// Reads the lines of `cargo tree --prefix depth`: depth, blank, package.
fn linked(workspace: &Workspace, tree: &str) -> Result<ProgramParts> {
    let mut parts: BTreeMap<PackageKey, Part> = BTreeMap::new();
    let mut needs: BTreeMap<PackageKey, BTreeSet<PackageKey>> = BTreeMap::new();
    // the packages from the program down to the line before
    let mut path: Vec<PackageKey> = Vec::new();
    for line in tree
        .lines()
        .filter(|line| !line.is_empty() && !line.contains(PROCEDURAL_MACRO))
    {
        let (depth, key) =
            read_line(line).with_context(|| format!("cargo tree printed '{line}'"))?;
        path.truncate(depth);
        anyhow::ensure!(
            path.len() == depth,
            "cargo tree printed '{line}' without what is above it"
        );
        if !parts.contains_key(&key) {
            parts.insert(key.clone(), part(workspace, &key)?);
        }
        if let Some(above) = path.last() {
            needs.entry(above.clone()).or_default().insert(key.clone());
        }
        path.push(key);
    }
    let references: BTreeMap<PackageKey, String> = parts
        .iter()
        .map(|(key, part)| (key.clone(), part.reference()))
        .collect();
    for (key, part) in &mut parts {
        let needed = needs.remove(key).unwrap_or_default();
        part.needs = needed
            .iter()
            .filter_map(|needed| references.get(needed).cloned())
            .collect();
    }
    let first = path.first().context("cargo tree printed nothing")?;
    let program = parts.remove(first).context("cargo tree printed nothing")?;
    Ok(ProgramParts {
        program,
        linked: parts.into_values().collect(),
    })
}

fn read_line(line: &str) -> Option<(usize, PackageKey)> {
    let mut words = line.split_whitespace();
    let depth = words.next()?.parse().ok()?;
    let name = words.next()?;
    let version = words.next()?.strip_prefix('v')?;
    Some((depth, (name.to_owned(), version.to_owned())))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::workspace::{Package, for_test};

    fn foreign(licence: &str) -> Package {
        Package {
            licence: Some(licence.to_owned()),
            checksum: Some("ab".repeat(32)),
            ..Package::default()
        }
    }

    #[test]
    fn the_tree_becomes_parts_with_licence_checksum_and_needs() {
        let workspace = for_test(&[
            ("reader", "0.1.0", Package::default()),
            ("measurement", "0.1.0", Package::default()),
            ("serde", "1.0.229", foreign("MIT/Apache-2.0")),
        ]);
        let tree = "0 reader v0.1.0 (/repository/modules/reader)\n1 measurement v0.1.0 (/repository/crates/measurement)\n\
                    2 serde v1.0.229\n1 serde v1.0.229 (*)\n2 derive v1.0.0 (proc-macro)\n";
        let found = linked(&workspace, tree).unwrap();
        assert_eq!(found.program.reference(), "reader@0.1.0");
        assert!(
            found
                .program
                .needs
                .iter()
                .eq(["measurement@0.1.0", "pkg:cargo/serde@1.0.229"])
        );
        let [measurement, serde] = found.linked.as_slice() else {
            panic!("{found:?}")
        };
        assert_eq!(
            measurement.purl, None,
            "crates.io has another package of this name"
        );
        assert_eq!(serde.licence.as_deref(), Some("MIT OR Apache-2.0"));
        assert_eq!(serde.sha256, Some("ab".repeat(32)));
    }

    #[test]
    fn a_package_nobody_knows_is_an_error() {
        let error = linked(&for_test(&[]), "0 reader v0.1.0\n").unwrap_err();
        assert!(
            format!("{error:#}").contains("no package reader 0.1.0"),
            "{error:#}"
        );
        assert!(linked(&for_test(&[]), "").is_err());
    }

    /// This program itself: with Cargo, not a recording of it.
    #[test]
    fn what_only_tests_and_build_scripts_need_is_not_linked() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let workspace = Workspace::load(&root).unwrap();
        let program: RustProgram = serde_yaml_ng::from_str("package: store-forward").unwrap();
        let found = parts(&workspace, &program, &[&program], Architecture::Arm64).unwrap();
        let names: BTreeSet<&str> = found.linked.iter().map(|part| part.name.as_str()).collect();
        for linked in ["rusqlite", "libsqlite3-sys", "tokio", "rust-std", "musl"] {
            assert!(names.contains(linked), "{linked} is linked");
        }
        // for tests, for the build of SQLite, for derives, for another system
        for other in [
            "proptest",
            "tempfile",
            "cc",
            "thiserror-impl",
            "windows-sys",
        ] {
            assert!(!names.contains(other), "{other} is not linked");
        }
        let sqlite = found
            .linked
            .iter()
            .find(|part| part.name == "libsqlite3-sys")
            .unwrap();
        assert!(
            sqlite.sha256.as_ref().is_some_and(|sum| sum.len() == 64) && sqlite.licence.is_some()
        );
    }
}
