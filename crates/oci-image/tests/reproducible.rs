//! The same image is the same bytes, whatever the machine does. In a file of its own: the umask belongs to the whole process.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::sys::stat::{Mode, umask};
use oci_image::{Architecture, Image, Settings, Source, Tree};

/// Writes the program below the folder with this mode, makes the image of it and returns the archive.
fn archive(folder: &Path, mode: u32) -> Vec<u8> {
    let program = folder.join("program");
    fs::write(&program, vec![7; 300_000]).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(mode)).unwrap();
    let mut tree = Tree::default();
    tree.file("/program", 0o755, Source::File(program))
        .and_then(|tree| tree.hard_link("/another", "/program"))
        .and_then(|tree| tree.file("/etc/name", 0o644, Source::Bytes(b"x".to_vec())))
        .unwrap();
    let image = Image {
        architecture: Architecture::Amd64,
        names: vec!["fieldgate.io/x:1".parse().unwrap()],
        settings: Settings {
            exposed_ports: ["9600/tcp".to_owned(), "6000/tcp".to_owned()].into(),
            ..Settings::default()
        },
        tree,
        created: Some(1_700_000_000),
    };
    let path = folder.join("x.tar.zst");
    image.seal().unwrap().write(&path).unwrap();
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o644
    );
    fs::read(path).unwrap()
}

#[test]
fn folder_umask_mode_and_time_of_the_sources_do_not_show() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    umask(Mode::from_bits_truncate(0o022));
    let one = archive(first.path(), 0o755);
    umask(Mode::from_bits_truncate(0o077));
    let deeper = second.path().join("another/folder");
    fs::create_dir_all(&deeper).unwrap();
    let two = archive(&deeper, 0o700);
    assert!(one == two, "{} and {} bytes differ", one.len(), two.len());
}
