//! What is written is read back as it was, and what is damaged is found.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use oci_image::{
    Architecture, BuildError, EntryKind, Image, ReadError, Settings, Source, Tree, read_archive,
};
use tempfile::TempDir;

fn image(tree: Tree) -> Image {
    Image {
        architecture: Architecture::Arm64,
        names: [
            "fieldgate.io/dapr/sentry:1.18.2-fieldgate",
            "fieldgate.io/dapr/daprd:1.18.2-fieldgate",
        ]
        .map(|name| name.parse().unwrap())
        .to_vec(),
        settings: Settings {
            user: "65532:65532".into(),
            entrypoint: vec!["/program".into()],
            labels: [(
                "org.opencontainers.image.title".to_owned(),
                "Program".to_owned(),
            )]
            .into(),
            ..Settings::default()
        },
        tree,
        created: None,
    }
}

fn tree() -> Tree {
    let mut tree = Tree::default();
    tree.file("/program", 0o755, Source::Bytes(vec![42; 3000]))
        .and_then(|tree| tree.hard_link("/daprd", "/program"))
        .and_then(|tree| tree.symlink("/etc/link", "../program"))
        .and_then(|tree| tree.directory("/tmp", 0o1777))
        .unwrap();
    tree
}

fn written(folder: &TempDir) -> PathBuf {
    let path = folder.path().join("image.tar.zst");
    image(tree()).seal().unwrap().write(&path).unwrap();
    path
}

/// The tar inside, as name and content in order.
fn unpack(archive: &Path) -> Vec<(String, Vec<u8>)> {
    let tar = zstd::decode_all(fs::File::open(archive).unwrap()).unwrap();
    let mut files = Vec::new();
    for entry in tar::Archive::new(Cursor::new(tar)).entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        files.push((entry.path().unwrap().display().to_string(), content));
    }
    files
}

/// A sound tar around these files, so that only the content is wrong.
fn pack(archive: &Path, files: &[(String, Vec<u8>)]) {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files.iter().filter(|(name, _)| !name.ends_with('/')) {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder
            .append_data(&mut header, name, content.as_slice())
            .unwrap();
    }
    fs::write(
        archive,
        zstd::encode_all(Cursor::new(builder.into_inner().unwrap()), 1).unwrap(),
    )
    .unwrap();
}

#[test]
fn an_archive_reads_back_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(&folder);
    let sealed = image(tree()).seal().unwrap();
    assert!(sealed.is_stored_in(&path));

    let archive = read_archive(&path).unwrap();
    let [stored] = archive.images.as_slice() else {
        panic!("{archive:?}")
    };
    assert_eq!(&stored.digest, sealed.digest());
    assert_eq!(
        stored.names,
        [
            "fieldgate.io/dapr/daprd:1.18.2-fieldgate",
            "fieldgate.io/dapr/sentry:1.18.2-fieldgate"
        ]
    );
    assert_eq!(stored.architecture, Architecture::Arm64);
    assert_eq!(stored.settings, image(tree()).settings);
    let found: Vec<_> = stored
        .entries
        .iter()
        .map(|entry| (entry.path.as_str(), entry.mode, &entry.kind))
        .collect();
    assert_eq!(
        found,
        [
            ("/etc", 0o755, &EntryKind::Directory),
            (
                "/etc/link",
                0o777,
                &EntryKind::Symlink {
                    target: "../program".into()
                }
            ),
            ("/program", 0o755, &EntryKind::File { size: 3000 }),
            ("/tmp", 0o1777, &EntryKind::Directory),
            (
                "/daprd",
                0o755,
                &EntryKind::HardLink {
                    target: "/program".into()
                }
            ),
        ]
    );
    assert!(
        stored
            .entries
            .iter()
            .all(|entry| (entry.uid, entry.gid, entry.modified) == (0, 0, 0))
    );
}

#[test]
fn the_layout_is_the_one_containerd_reads() {
    let folder = tempfile::tempdir().unwrap();
    let files = unpack(&written(&folder));
    let names: Vec<_> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names[..2], ["blobs/", "blobs/sha256/"]);
    assert_eq!(names[5..], ["index.json", "oci-layout"]);
    let json = |name: &str| -> serde_json::Value {
        let (_, bytes) = files.iter().find(|(found, _)| found == name).unwrap();
        serde_json::from_slice(bytes).unwrap()
    };
    assert_eq!(
        json("oci-layout"),
        serde_json::json!({"imageLayoutVersion": "1.0.0"})
    );
    let index = json("index.json");
    let manifests = index["manifests"].as_array().unwrap();
    assert_eq!(manifests.len(), 2);
    assert_eq!(manifests[0]["digest"], manifests[1]["digest"]);
    assert_eq!(
        manifests[0]["annotations"],
        serde_json::json!({
            "io.containerd.image.name": "fieldgate.io/dapr/daprd:1.18.2-fieldgate",
            "org.opencontainers.image.ref.name": "1.18.2-fieldgate"
        })
    );
    assert_eq!(
        manifests[0]["platform"],
        serde_json::json!({"architecture": "arm64", "os": "linux"})
    );
}

#[test]
fn a_flipped_byte_is_found_wherever_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(&folder);
    let whole = fs::read(&path).unwrap();
    let content = zstd::decode_all(whole.as_slice()).unwrap();
    let mut harmless_flips = 0;
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        fs::write(&path, &damaged).unwrap();
        // the format has a few bits that mean nothing for the content; nothing else may pass
        let harmless = zstd::decode_all(damaged.as_slice()).is_ok_and(|found| found == content);
        harmless_flips += usize::from(harmless);
        assert_eq!(read_archive(&path).is_ok(), harmless, "byte {at}");
    }
    assert!(harmless_flips < 5, "{harmless_flips}");
    for length in [0, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        assert!(read_archive(&path).is_err(), "{length} bytes");
    }
}

#[test]
fn content_that_does_not_match_its_digest_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(&folder);
    let files = unpack(&path);
    pack(&path, &files);
    assert!(read_archive(&path).is_ok(), "packing alone changes nothing");
    for at in 2..5 {
        let mut damaged = files.clone();
        damaged[at].1[10] ^= 1;
        pack(&path, &damaged);
        let error = read_archive(&path).unwrap_err();
        assert!(
            matches!(&error, ReadError::Damaged { name, .. } if files[at].0.ends_with(name.hex())),
            "{error}"
        );
    }
}

#[test]
fn missing_extra_and_foreign_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(&folder);
    let files = unpack(&path);
    for at in 2..files.len() {
        let mut less = files.clone();
        less.remove(at);
        pack(&path, &less);
        assert!(read_archive(&path).is_err(), "without {}", files[at].0);
    }
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    for extra in [
        format!("blobs/sha256/{empty}"),
        "blobs/sha256/short".to_owned(),
        "manifest.json".to_owned(),
    ] {
        let mut more = files.clone();
        more.push((extra.clone(), Vec::new()));
        pack(&path, &more);
        assert!(read_archive(&path).is_err(), "with {extra}");
    }
}

#[test]
fn a_source_that_changes_after_sealing_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("program");
    for (before, after) in [("one", "two"), ("one", "longer"), ("one", "")] {
        fs::write(&source, before).unwrap();
        let mut tree = Tree::default();
        tree.file("/program", 0o755, Source::File(source.clone()))
            .unwrap();
        let sealed = image(tree).seal().unwrap();
        fs::write(&source, after).unwrap();
        let path = folder.path().join("image.tar.zst");
        assert!(
            matches!(sealed.write(&path), Err(BuildError::SourceChanged)),
            "{after:?}"
        );
        assert!(!path.exists(), "nothing incomplete is left");
    }
}

#[test]
fn long_paths_survive() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image.tar.zst");
    let long = format!("/{}/{}", "d".repeat(120), "f".repeat(150));
    let mut tree = Tree::default();
    tree.file(&long, 0o644, Source::Bytes(vec![1]))
        .and_then(|tree| tree.hard_link("/program", &long))
        .unwrap();
    image(tree).seal().unwrap().write(&path).unwrap();
    let archive = read_archive(&path).unwrap();
    assert_eq!(archive.images[0].entries[1].path, long);
    assert_eq!(
        archive.images[0].entries[2].kind,
        EntryKind::HardLink { target: long }
    );
}
