//! What is written, changed, removed and left alone.

use super::*;

fn file(path: &str, content: &str) -> PlannedFile {
    PlannedFile {
        path: path.into(),
        content: content.to_owned(),
        mode: 0o600,
    }
}

fn paths(paths: &[PathBuf]) -> Vec<&str> {
    paths.iter().map(|path| path.to_str().unwrap()).collect()
}

#[test]
fn the_same_files_change_nothing_and_others_take_their_place() {
    let root = tempfile::tempdir().unwrap();
    let first = [file("/data/etc/a", "1"), file("/data/etc/b", "1")];
    let done = apply(&first, root.path()).unwrap();
    assert_eq!(paths(&done.written), ["/data/etc/a", "/data/etc/b"]);
    let again = apply(&first, root.path()).unwrap();
    assert_eq!(again, Applied::default());

    let second = [file("/data/etc/a", "2"), file("/data/etc/c", "1")];
    let done = apply(&second, root.path()).unwrap();
    assert_eq!(paths(&done.written), ["/data/etc/a", "/data/etc/c"]);
    assert_eq!(paths(&done.removed), ["/data/etc/b"]);
    assert_eq!(
        fs::read_to_string(root.path().join("data/etc/a")).unwrap(),
        "2"
    );
    assert!(!root.path().join("data/etc/b").exists());
}

#[test]
fn a_file_of_others_is_in_the_way_and_stays() {
    let root = tempfile::tempdir().unwrap();
    let etc = root.path().join("data/etc");
    fs::create_dir_all(&etc).unwrap();
    fs::write(etc.join("a"), "theirs").unwrap();
    fs::write(etc.join("b"), "1").unwrap();
    let wanted = [file("/data/etc/a", "1"), file("/data/etc/b", "1")];
    let error = apply(&wanted, root.path()).unwrap_err().to_string();
    assert!(
        error.contains("/data/etc/a;") && error.contains("move them away"),
        "{error}"
    );
    assert_eq!(fs::read_dir(root.path().join("data")).unwrap().count(), 1);

    // One that says the same is as good as ours, and is not ours to remove.
    fs::remove_file(etc.join("a")).unwrap();
    apply(&wanted, root.path()).unwrap();
    apply(&[], root.path()).unwrap();
    assert!(!etc.join("a").exists() && etc.join("b").exists());
}

#[test]
fn an_edit_stays_until_the_document_says_something_new() {
    let root = tempfile::tempdir().unwrap();
    apply(&[file("/data/etc/a", "1")], root.path()).unwrap();
    let path = root.path().join("data/etc/a");
    fs::write(&path, "edited").unwrap();
    let again = apply(&[file("/data/etc/a", "1")], root.path()).unwrap();
    assert!(again.is_unchanged());
    assert_eq!(paths(&again.edited), ["/data/etc/a"]);
    assert!(matches!(
        apply(&[file("/data/etc/a", "2")], root.path()),
        Err(ApplyError::Foreign(_))
    ));
    let gone = apply(&[], root.path()).unwrap();
    assert_eq!(paths(&gone.edited), ["/data/etc/a"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), "edited");
}

#[test]
fn modes_and_folders_keep_secrets_private() {
    let root = tempfile::tempdir().unwrap();
    let secret = file("/data/fieldgate/provision/secrets/x", "1");
    apply(std::slice::from_ref(&secret), root.path()).unwrap();
    let mode = |path: &str| {
        let found = fs::metadata(root.path().join(path)).unwrap();
        found.permissions().mode() & 0o777
    };
    assert_eq!(mode("data/fieldgate/provision/secrets"), 0o700);
    assert_eq!(mode("data/fieldgate/provision/secrets/x"), 0o600);
    let path = root.path().join("data/fieldgate/provision/secrets/x");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    apply(&[secret], root.path()).unwrap();
    assert_eq!(mode("data/fieldgate/provision/secrets/x"), 0o600);
}
