//! What stays and what goes, cut off at every step, and a provisioning file afterwards.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::LazyLock;

use proptest::prelude::*;
use time::macros::datetime;

use super::*;
use crate::document::Part;
use crate::places::{HOSTNAME, MACHINE_ID};
use crate::run::provision;
use crate::test_documents::{Bench, HUB, NOW, files, full};

const LATER: OffsetDateTime = datetime!(2027-03-01 12:00 UTC);
const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS a@b";

fn put(bench: &Bench, path: &str, content: &str, mode: u32) {
    let path = below(&bench.root(), path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A device that was provisioned and has worked: files of every kind and place.
fn worked() -> Bench {
    // Made once: each file of a provisioning waits for the disk several times.
    static PROVISIONED: LazyLock<Vec<(PathBuf, u32, String)>> = LazyLock::new(|| {
        let bench = Bench::new();
        bench.write(&full(&format!(
            "ssh: [\"{KEY}\"]\nfactory_reset: {{preserve: [name, network]}}\n"
        )));
        provision(&bench.document(), &bench.root(), NOW).unwrap();
        bench.tree()
    });
    let bench = Bench::new();
    for (path, mode, content) in PROVISIONED.iter() {
        put(&bench, &format!("/{}", path.display()), content, *mode);
    }
    for (path, mode) in [
        ("/data/etc/machine-id", 0o444),
        ("/data/etc/ssh/ssh_host_ed25519_key", 0o600),
        ("/data/etc/ssh/ssh_host_ed25519_key.pub", 0o644),
        ("/data/etc/network/20-own.network", 0o644),
        ("/data/etc/fieldgate/own.yaml", 0o644),
        ("/data/etc/fieldgate/firewall.d/10-plant.nft", 0o644),
        ("/data/etc/rancher/node/password", 0o600),
        (
            "/data/fieldgate/volumes/iothub-module-state/queue.db",
            0o600,
        ),
        ("/data/fieldgate/provision/boot.json", 0o600),
        ("/data/fieldgate/update/state.json", 0o644),
        ("/data/k3s/server/token", 0o600),
        ("/data/k3s/agent/containerd/a/b/c", 0o755),
        ("/data/kubelet/pods/x/volumes/y", 0o644),
        ("/data/systemd/random-seed", 0o600),
        ("/data/systemd/timesync/clock", 0o644),
        ("/data/lost+found/#12", 0o600),
        ("/data/etc/.hostname.new", 0o644),
    ] {
        put(&bench, path, "something", mode);
    }
    let links = below(&bench.root(), "/data/k3s/agent/images");
    fs::create_dir_all(&links).unwrap();
    symlink("/usr/share/fieldgate", links.join("bundle")).unwrap();
    bench
}

fn ask(bench: &Bench, preserve: &[Part]) {
    request_reset(&bench.root(), preserve, "command", NOW).unwrap();
}

/// The names of the device's files, without `data/`.
fn names(bench: &Bench) -> Vec<String> {
    let name = |(path, ..): (PathBuf, u32, String)| path.display().to_string()[5..].to_owned();
    bench.tree().into_iter().map(name).collect()
}

const ALWAYS: [&str; 3] = [
    "fieldgate/last-reset.json",
    "lost+found/#12",
    "systemd/timesync/clock",
];

fn with(more: &[&str]) -> Vec<String> {
    let mut all: Vec<String> = ALWAYS
        .iter()
        .chain(more)
        .map(|name| (*name).to_owned())
        .collect();
    all.sort();
    all
}

#[test]
fn without_a_request_nothing_happens() {
    let bench = worked();
    let before = bench.tree();
    assert_eq!(apply_reset(&bench.root(), LATER).unwrap(), None);
    assert_eq!(bench.tree(), before);
    assert_eq!(
        apply_reset(Bench::new().root().as_path(), LATER).unwrap(),
        None
    );
}

#[test]
fn with_nothing_preserved_everything_goes() {
    let bench = worked();
    ask(&bench, &[]);
    let last = apply_reset(&bench.root(), LATER).unwrap().unwrap();
    assert_eq!(names(&bench), with(&[]));
    let folders: Vec<String> = fs::read_dir(below(&bench.root(), "/data"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(folders.len(), 3, "no empty folder is left: {folders:?}");
    assert_eq!(last.requested, "2026-11-28T06:00:00Z");
    assert_eq!(last.completed, "2027-03-01T12:00:00Z");
    assert_eq!(last_reset(&bench.root()).unwrap(), Some(last));
    assert_eq!(pending_reset(&bench.root()).unwrap(), None);
    assert_eq!(apply_reset(&bench.root(), LATER).unwrap(), None);
}

#[test]
fn each_word_keeps_its_files_and_no_others() {
    let state = [
        "fieldgate/provision/preserve",
        "fieldgate/provision/record.json",
    ];
    for (part, files) in [
        (
            Part::Network,
            &[
                "etc/machine-id",
                "etc/network/10-fieldgate-eth0.network",
                "etc/network/10-fieldgate-wlan0.network",
                "etc/network/wpa_supplicant-wlan0.conf",
                "etc/proxy.env",
                "etc/timesyncd.conf.d/10-fieldgate.conf",
                "etc/timezone",
                "fieldgate/provision/secrets/proxy-http",
                "fieldgate/provision/secrets/wifi-wlan0",
            ][..],
        ),
        (Part::Name, &["etc/hostname"]),
        (
            Part::Hub,
            &["fieldgate/provision/secrets/hub-connection-string"],
        ),
        (
            Part::Modules,
            &[
                "etc/fieldgate/appliance.yaml",
                "etc/fieldgate/filter.yaml",
                "etc/fieldgate/modbus-reader.yaml",
                "etc/fieldgate/own.yaml",
            ],
        ),
        (
            Part::Ssh,
            &[
                "etc/ssh/authorized_keys",
                "etc/ssh/ssh_host_ed25519_key",
                "etc/ssh/ssh_host_ed25519_key.pub",
            ],
        ),
    ] {
        let bench = worked();
        let before: BTreeMap<_, _> = bench
            .tree()
            .into_iter()
            .map(|(path, mode, content)| (path, (mode, content)))
            .collect();
        ask(&bench, &[part]);
        let last = apply_reset(&bench.root(), LATER).unwrap().unwrap();
        let expected = with(&[files, &state].concat());
        assert_eq!(names(&bench), expected, "{part:?}");
        for (path, mode, content) in bench.tree() {
            let is_made = path.ends_with("record.json") || path.ends_with("last-reset.json");
            let same = before.get(&path) == Some(&(mode, content));
            assert!(same || is_made, "{path:?} is not as it was");
        }
        assert_eq!(last.kept.len(), files.len() + 2, "{:?}", last.kept);
    }
}

#[test]
fn the_preserve_list_of_the_document_is_the_default() {
    let bench = worked();
    let list = default_preserve(&bench.root()).unwrap();
    assert_eq!(list, [Part::Network, Part::Name]);
    ask(&bench, &list);
    apply_reset(&bench.root(), LATER).unwrap();
    assert_eq!(default_preserve(&bench.root()).unwrap(), list, "once more");

    put(&bench, PRESERVE, "name\neverything\n", 0o600);
    let error = default_preserve(&bench.root()).unwrap_err().to_string();
    assert!(
        error.contains("\"everything\"") && error.contains("--preserve"),
        "{error}"
    );
    assert!(
        default_preserve(Bench::new().root().as_path())
            .unwrap()
            .is_empty()
    );
}

#[test]
fn a_request_that_is_damaged_removes_nothing_and_does_not_come_again() {
    let bench = worked();
    let before = bench.tree();
    put(&bench, RESET, "{\"requested\": \"2026", 0o644);
    let error = pending_reset(&bench.root()).unwrap_err().to_string();
    assert!(error.contains("nothing was done; remove it"), "{error}");
    let error = apply_reset(&bench.root(), LATER).unwrap_err().to_string();
    assert!(error.contains("nothing was removed; it is"), "{error}");
    let aside = bench.on_device(DAMAGED_RESET);
    assert_eq!(aside.as_deref(), Some("{\"requested\": \"2026"));
    assert_eq!(apply_reset(&bench.root(), LATER).unwrap(), None);
    fs::remove_file(below(&bench.root(), DAMAGED_RESET)).unwrap();
    assert_eq!(bench.tree(), before);
}

#[test]
fn a_later_request_replaces_one_until_it_has_begun() {
    let bench = worked();
    ask(&bench, &[Part::Name]);
    ask(&bench, &[Part::Ssh, Part::Hub, Part::Ssh]);
    let pending = pending_reset(&bench.root()).unwrap().unwrap();
    assert_eq!(pending.preserve, [Part::Hub, Part::Ssh]);
    assert!(!pending.is_begun());
    apply_reset_with(&Disk::failing_after(12), &bench.root(), LATER).unwrap_err();
    let error = request_reset(&bench.root(), &[], "command", NOW).unwrap_err();
    assert!(matches!(error, ResetError::Begun(_)), "{error}");
    apply_reset(&bench.root(), LATER).unwrap();
    assert!(names(&bench).contains(&"etc/ssh/authorized_keys".to_owned()));
}

/// Whatever is deeper than a path can say, as containers may make it, goes as well.
#[test]
fn what_is_deeper_than_a_path_may_be_long_goes() {
    let bench = worked();
    let top = below(&bench.root(), "/data/k3s/agent/deep");
    fs::create_dir_all(&top).unwrap();
    let part = "d".repeat(200);
    // Built from the inside, because no path reaches its end.
    for _ in 0..3 {
        let inner = top.join("inner");
        let outer = top.join("outer");
        let mut below = outer.clone();
        for _ in 0..9 {
            below.push(&part);
        }
        fs::create_dir_all(&below).unwrap();
        if inner.exists() {
            fs::rename(&inner, below.join("inner")).unwrap();
        } else {
            fs::write(below.join("file"), "").unwrap();
        }
        fs::rename(&outer, &inner).unwrap();
    }
    ask(&bench, &[Part::Name]);
    apply_reset(&bench.root(), LATER).unwrap().unwrap();
    assert_eq!(
        fs::read_dir(below(&bench.root(), "/data")).unwrap().count(),
        4
    );
}

/// A word's later document replaces, removes and adds as on a device that was never reset.
#[test]
fn a_provisioning_file_applies_afterwards() {
    let bench = worked();
    // Edited on the device: not ours any more, and a reset makes it ours.
    put(
        &bench,
        "/data/etc/network/10-fieldgate-eth0.network",
        "[Match]\nName=eth0\n",
        0o644,
    );
    ask(&bench, &[Part::Network, Part::Name, Part::Modules]);
    apply_reset(&bench.root(), LATER).unwrap();
    bench.write(
        "name: gate-8\nnetwork: {interfaces: [{name: eth0, addresses: [10.0.0.2/8]}]}\nmodules: {}\n",
    );
    let done = provision(&bench.document(), &bench.root(), LATER).unwrap();
    assert!(done.applied.edited.is_empty(), "{:?}", done.applied);
    let unit = bench.on_device("/data/etc/network/10-fieldgate-eth0.network");
    assert!(unit.unwrap().contains("Address=10.0.0.2/8"));
    assert_eq!(bench.on_device(HOSTNAME).as_deref(), Some("gate-8\n"));
    for gone in [
        "/data/etc/network/10-fieldgate-wlan0.network",
        "/data/etc/fieldgate/filter.yaml",
        "/data/fieldgate/provision/secrets/wifi-wlan0",
        PRESERVE,
    ] {
        assert_eq!(bench.on_device(gone), None, "{gone}");
    }
}

/// The stick of the first time, whose secrets were taken over: with `hub` preserved it fits, without it says what is missing.
#[test]
fn the_same_document_applies_where_its_secrets_were_preserved() {
    let text = format!("name: gate-7\nhub: {{connection_string: \"{HUB}\"}}\n");
    for (preserve, fits) in [(vec![Part::Hub], true), (vec![], false)] {
        let bench = Bench::new();
        bench.write(&text);
        provision(&bench.document(), &bench.root(), NOW).unwrap();
        ask(&bench, &preserve);
        apply_reset(&bench.root(), LATER).unwrap();
        let again = provision(&bench.document(), &bench.root(), LATER);
        assert_eq!(again.is_ok(), fits, "{again:?}");
        if let Err(error) = again {
            let error = error.to_string();
            assert!(error.contains("write the value anew"), "{error}");
        }
    }
}

#[test]
fn secrets_are_written_over_before_they_are_removed() {
    let bench = worked();
    let paths = [
        "/data/fieldgate/provision/secrets/hub-connection-string",
        "/data/fieldgate/agent/request.json",
        "/data/fieldgate/update/request.json",
        "/data/etc/rancher/node/password",
        "/data/k3s/server/token",
        "/data/k3s/agent/client-kubelet.key",
    ];
    for path in &paths[1..] {
        put(&bench, path, "something", 0o600);
    }
    // Everybody may read it, so it holds none.
    let public = "/data/k3s/agent/client-kubelet.crt";
    put(&bench, public, "something", 0o644);
    // A file that is open still shows what its name held.
    let open = |path: &str| fs::File::open(below(&bench.root(), path)).unwrap();
    let mut secrets = paths.map(open);
    let mut certificate = open(public);
    ask(&bench, &[]);
    apply_reset(&bench.root(), LATER).unwrap();

    let left = |file: &mut fs::File| {
        let mut left = Vec::new();
        std::io::Read::read_to_end(file, &mut left).unwrap();
        left
    };
    for (path, file) in paths.iter().zip(&mut secrets) {
        let left = left(file);
        assert!(!below(&bench.root(), path).exists(), "{path}");
        assert!(left.len() >= "something".len(), "{path}");
        assert!(left.iter().all(|byte| *byte == 0), "{path}");
    }
    assert_eq!(left(&mut certificate), b"something");
}

/// Cut off after every step: what is preserved is whole, and the next start ends as if nothing had happened.
#[test]
fn cut_off_anywhere_it_is_completed_by_the_next_run() {
    let preserve = [Part::Name, Part::Network, Part::Hub];
    let whole = worked();
    ask(&whole, &preserve);
    let kept = apply_reset(&whole.root(), LATER).unwrap().unwrap().kept;
    let expected = whole.tree();
    let mut steps = 0;
    loop {
        let bench = worked();
        let before: Vec<_> = kept.iter().map(|path| on(&bench, path)).collect();
        ask(&bench, &preserve);
        let cut = apply_reset_with(&Disk::failing_after(steps), &bench.root(), LATER);
        for (path, before) in kept.iter().zip(&before) {
            assert_eq!(&on(&bench, path), before, "after {steps} steps: {path:?}");
        }
        if cut.is_ok() {
            assert_eq!(bench.tree(), expected);
            break;
        }
        // The last step makes durable that the request is gone.
        if pending_reset(&bench.root()).unwrap().is_some() {
            apply_reset(&bench.root(), LATER).unwrap().unwrap();
        }
        assert_eq!(bench.tree(), expected, "after {steps} steps");
        steps += 1;
    }
    assert!(steps > 50, "{steps} steps");
}

fn on(bench: &Bench, path: &Path) -> Option<Vec<u8>> {
    fs::read(below(&bench.root(), path)).ok()
}

fn parts() -> impl Strategy<Value = Vec<Part>> {
    proptest::sample::subsequence(Part::ALL.to_vec(), 0..=Part::ALL.len())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever is preserved, whatever else lies there and however often the power fails: the end is the same.
    #[test]
    fn however_often_it_is_cut_off_the_end_is_the_same(
        preserve in parts(),
        cuts in proptest::collection::vec(0..70usize, 0..4),
        more in proptest::collection::btree_map("(etc|fieldgate|k3s|kubelet|own)/[a-c]/[a-c]/[a-z.]{1,6}x", "[a-z]{0,9}", 0..12),
    ) {
        let bench = worked();
        for (path, content) in &more {
            put(&bench, &format!("/data/{path}"), content, 0o600);
        }
        let whole = Bench::new();
        for (path, mode, content) in files(&bench.root()) {
            put(&whole, &format!("/{}", path.display()), &content, mode);
        }
        for bench in [&bench, &whole] {
            ask(bench, &preserve);
        }
        apply_reset(&whole.root(), LATER).unwrap();
        for steps in cuts {
            let _ = apply_reset_with(&Disk::failing_after(steps), &bench.root(), LATER);
        }
        let _ = apply_reset(&bench.root(), LATER).unwrap();
        prop_assert_eq!(bench.tree(), whole.tree());
        prop_assert_eq!(bench.on_device(MACHINE_ID).is_some(), preserve.contains(&Part::Network));
        for (path, ..) in bench.tree() {
            let is_of_others = more.keys().any(|name| path.ends_with(name));
            prop_assert!(!is_of_others, "{:?} is left", path);
        }
    }
}
