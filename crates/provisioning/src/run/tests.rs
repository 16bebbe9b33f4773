//! A document from beginning to end: repeated, replaced, refused, and cut off at every step.

use proptest::prelude::*;

use super::*;
use crate::medium::ERRORS;
use crate::test_documents::{Bench, HUB, KEY, NOW, files, full};

fn run(bench: &Bench) -> Result<Provisioned, ProvisionError> {
    provision(&bench.document(), &bench.root(), NOW)
}

const SECRETS: [&str; 3] = ["correct horse", "hunter2", "SharedAccessKey"];

fn assert_no_secret(bench: &Bench, secrets: &[&str]) {
    for (name, _, content) in files(&bench.medium()) {
        for secret in secrets {
            assert!(
                !content.contains(secret),
                "{name:?} has {secret}: {content}"
            );
        }
    }
}

#[test]
fn a_document_becomes_files() {
    let bench = Bench::new();
    bench.write(&full("factory_reset: {preserve: [name, network]}\n"));
    let done = run(&bench).unwrap();
    assert!(done.is_wiped);
    assert_no_secret(&bench, &SECRETS);
    let has = |path: &str, part: &str| {
        let text = bench.on_device(path).unwrap_or_default();
        assert!(text.contains(part), "{path}: {text}");
    };
    has("/data/etc/hostname", "gate-7\n");
    has(
        "/data/etc/network/10-fieldgate-eth0.network",
        "Address=192.168.1.20/24\n",
    );
    has(
        "/data/etc/network/10-fieldgate-wlan0.network",
        "DHCP=ipv4\n",
    );
    has(
        "/data/etc/network/wpa_supplicant-wlan0.conf",
        "psk=\"correct horse\"\n",
    );
    has(
        "/data/etc/timesyncd.conf.d/10-fieldgate.conf",
        "NTP=ntp.plant.example\n",
    );
    has("/data/etc/timezone", "Europe/Berlin\n");
    has(
        "/data/etc/proxy.env",
        "http_proxy=\"http://user:hunter2hunter2@proxy:3128\"\n",
    );
    has("/data/etc/proxy.env", ".cluster.local,.plant.example\"\n");
    has(
        "/data/etc/fieldgate/modbus-reader.yaml",
        "links: []   # none yet\n",
    );
    has("/data/etc/fieldgate/filter.yaml", "limit: 3\n");
    has("/data/fieldgate/provision/preserve", "network\nname\n");
    assert_eq!(
        bench
            .on_device("/data/fieldgate/provision/secrets/hub-connection-string")
            .as_deref(),
        Some(HUB)
    );
    let description = crate::places::below(&bench.root(), "/data/etc/fieldgate/appliance.yaml");
    let (appliance, documents) = k3s_manifest_gen::Appliance::load(&description).unwrap();
    assert_eq!(
        (appliance.appliance.as_str(), documents.files.len()),
        ("gate-7", 2)
    );
    for (name, mode, content) in bench.tree() {
        let is_secret = SECRETS.iter().any(|secret| content.contains(secret));
        assert!(!is_secret || mode == 0o600, "{name:?} is {mode:o}");
    }
    let status = Status::read(&bench.root()).unwrap().unwrap();
    assert_eq!(status.result, Outcome::Applied);
    assert_eq!(status.time, "2026-11-28T06:00:00Z");
}

#[test]
fn applied_again_it_changes_nothing() {
    let bench = Bench::new();
    bench.write(&full(""));
    run(&bench).unwrap();
    let (device, medium) = (bench.tree(), files(&bench.medium()));
    let again = provision(&bench.document(), &bench.root(), NOW + time::Duration::DAY).unwrap();
    assert!(again.applied.is_unchanged() && !again.is_wiped);
    assert_eq!((bench.tree(), files(&bench.medium())), (device, medium));
}

#[test]
fn a_later_document_replaces_and_removes() {
    let bench = Bench::new();
    bench.write(&full(""));
    run(&bench).unwrap();
    bench.write("name: gate-8\nhub: {connection_string: <taken>}\n");
    let done = run(&bench).unwrap();
    assert_eq!(done.applied.written.len(), 1, "{:?}", done.applied.written);
    let names: Vec<String> = bench
        .tree()
        .into_iter()
        .map(|(name, ..)| name.display().to_string())
        .collect();
    assert_eq!(
        names,
        [
            "data/etc/hostname",
            "data/fieldgate/provision/record.json",
            "data/fieldgate/provision/secrets/hub-connection-string",
            "data/fieldgate/provision/status.json",
        ]
    );
}

#[test]
fn a_key_becomes_a_connection_string_and_is_kept_for_its_identity_only() {
    let bench = Bench::new();
    let with = |device: &str, key: &str| {
        format!("name: a\nhub: {{sas: {{host: h.example, device: {device}, key: \"{key}\"}}}}\n")
    };
    bench.write(&with("gate-7", KEY));
    run(&bench).unwrap();
    let stored = || bench.on_device("/data/fieldgate/provision/secrets/hub-connection-string");
    let expected = format!("HostName=h.example;DeviceId=gate-7;SharedAccessKey={KEY}");
    assert_eq!(stored(), Some(expected.clone()));
    assert_no_secret(&bench, &[KEY]);
    assert!(run(&bench).unwrap().applied.is_unchanged());

    bench.write(&with("gate-8", "<taken>"));
    let error = run(&bench).unwrap_err().to_string();
    assert!(
        error.contains("taken over for gate-7 at h.example"),
        "{error}"
    );
    assert_eq!(stored(), Some(expected));
}

#[test]
fn what_was_taken_over_elsewhere_is_missing_here() {
    let bench = Bench::new();
    bench.write("name: a\nhub: {connection_string: <taken>}\n");
    let error = run(&bench).unwrap_err().to_string();
    assert!(
        error.contains(":2:26: hub.connection_string: was taken over already"),
        "{error}"
    );
    bench.write("name: a\nhub: {connection_string: {file: hub.txt}}\n");
    let error = run(&bench).unwrap_err().to_string();
    assert!(
        error.contains(":2:33: hub.connection_string.file: hub.txt is not beside"),
        "{error}"
    );
    std::fs::write(bench.medium().join("hub.txt"), HUB).unwrap();
    assert!(run(&bench).unwrap().is_wiped);
    assert!(
        run(&bench).unwrap().applied.is_unchanged(),
        "the file is gone, the device has it"
    );
}

#[test]
fn what_is_wrong_is_told_beside_the_document_and_in_the_status() {
    let bench = Bench::new();
    bench.write("name: Gate\nhub: {connection_string: 'HostName=h;SharedAccessKey=hunter2'}\n");
    let ProvisionError::Invalid(error) = run(&bench).unwrap_err() else {
        panic!("it holds");
    };
    assert_eq!(error.problems.len(), 2, "{error}");
    let told = std::fs::read_to_string(bench.medium().join(ERRORS)).unwrap();
    assert_eq!(told.lines().count(), 2);
    assert!(!told.contains("hunter2"), "{told}");
    let status = Status::read(&bench.root()).unwrap().unwrap();
    assert_eq!((status.result, status.errors.len()), (Outcome::Invalid, 2));
    assert_eq!(bench.tree().len(), 1, "the status and nothing else");

    bench.write("name: gate\n");
    run(&bench).unwrap();
    assert!(!bench.medium().join(ERRORS).exists());
    let status = Status::read(&bench.root()).unwrap().unwrap();
    assert_eq!(status.result, Outcome::Applied);
}

/// A failure at every step, then a repeat: the same tree, and the same medium, as without one.
#[test]
fn cut_off_anywhere_and_repeated_it_ends_the_same() {
    let before =
        format!("name: old\nssh: []\nhub: {{connection_string: \"{HUB}\"}}\ntime: {{zone: UTC}}\n");
    let file = |bench: &Bench| {
        let text = full("").replace(HUB, "{file: hub.txt}");
        bench.write(&text);
        std::fs::write(
            bench.medium().join("hub.txt"),
            HUB.replace("gate-7", "gate-9"),
        )
        .unwrap();
    };
    let start = || {
        let bench = Bench::new();
        bench.write(&before);
        run(&bench).unwrap();
        file(&bench);
        bench
    };
    let whole = start();
    run(&whole).unwrap();
    let expected = (whole.tree(), files(&whole.medium()));
    let mut steps = 0;
    loop {
        let bench = start();
        let disk = Disk::failing_after(steps);
        let cut = provision_with(&disk, &bench.document(), &bench.root(), NOW);
        let is_finished = cut.is_ok();
        run(&bench).unwrap_or_else(|error| panic!("after {steps} steps: {error}"));
        assert_eq!(
            (bench.tree(), files(&bench.medium())),
            expected,
            "after {steps} steps"
        );
        if is_finished {
            break;
        }
        steps += 1;
    }
    assert!(steps > 60, "{steps} steps");
}

/// A document on the boot partition, which is there again at every start.
struct Boot<'a>(&'a Bench);

impl Boot<'_> {
    fn document(&self) -> std::path::PathBuf {
        let folder = crate::places::below(&self.0.root(), crate::places::BOOT);
        std::fs::create_dir_all(&folder).unwrap();
        folder.join(crate::medium::FILE)
    }

    fn write(&self, text: &str) {
        let document = self.document();
        std::fs::write(document.with_file_name("filter.yaml"), "limit: 3\n").unwrap();
        std::fs::write(document, text).unwrap();
    }

    /// What a start of the device does: the source of what is in force instead, or what applying did.
    fn start(&self) -> Result<Provisioned, String> {
        match crate::superseded_by(&self.document(), &self.0.root()).unwrap() {
            Some(source) => Err(source),
            None => Ok(provision(&self.document(), &self.0.root(), NOW).unwrap()),
        }
    }

    /// The files that the system reads.
    fn effect(&self) -> Vec<(std::path::PathBuf, u32, String)> {
        let mut tree = self.0.tree();
        tree.retain(|(path, ..)| {
            let is_temporary = path.file_name().unwrap().to_string_lossy().starts_with('.');
            let is_read = path.starts_with("data/etc")
                || path.starts_with("data/fieldgate/provision/secrets");
            is_read && !is_temporary
        });
        tree
    }
}

#[test]
fn a_restart_does_not_undo_what_came_after_the_boot_partition() {
    let bench = Bench::new();
    let boot = Boot(&bench);
    boot.write(&format!(
        "name: gate-7\nhub: {{connection_string: \"{HUB}\"}}\n"
    ));
    assert!(boot.start().unwrap().is_wiped);
    let first = bench.tree();
    assert!(boot.start().unwrap().applied.is_unchanged());
    assert_eq!(bench.tree(), first, "the same file at the second start");

    bench.write("name: gate-8\nhub: {connection_string: <taken>}\n");
    run(&bench).unwrap();
    let later = bench.tree();
    let source = bench.document().display().to_string();
    assert_eq!(boot.start(), Err(source.clone()));
    assert_eq!(bench.tree(), later);
    let in_force = || {
        Status::read(&bench.root())
            .unwrap()
            .unwrap()
            .in_force
            .unwrap()
    };
    assert_eq!(in_force().source, source);

    // Somebody takes it over again by hand, as it is.
    provision(&boot.document(), &bench.root(), NOW).unwrap();
    assert_eq!(
        bench.on_device("/data/etc/hostname").as_deref(),
        Some("gate-7\n")
    );
    assert_eq!(in_force().source, "the boot partition");
    assert!(boot.start().unwrap().applied.is_unchanged());
}

/// The hash of what a document says would not tell: a new secret says the same, and files beside it are not in it.
#[test]
fn any_change_on_the_boot_partition_counts() {
    let beside = |boot: &Boot<'_>, name: &str, text: &str| {
        std::fs::write(boot.document().with_file_name(name), text).unwrap();
    };
    let new = HUB.replace("MDEy", "MDEz");
    let document = "name: gate-7\nhub: {connection_string: {file: hub.txt}}\nmodules: {filter: {image: x/filter:1, configuration: filter.yaml}}\n";
    for change in 0..4 {
        let bench = Bench::new();
        let boot = Boot(&bench);
        boot.write(document);
        beside(&boot, "hub.txt", HUB);
        boot.start().unwrap();
        // Also of a run that found the file with the secret gone.
        std::fs::remove_file(crate::places::below(
            &bench.root(),
            crate::places::BOOT_TAKEN,
        ))
        .unwrap();
        boot.start().unwrap();
        bench.write("name: gate-8\nhub: {connection_string: <taken>}\n");
        run(&bench).unwrap();
        boot.start().unwrap_err();
        match change {
            0 => boot.write(&document.replace("{file: hub.txt}", &new)),
            1 => beside(&boot, "hub.txt", &new),
            2 => beside(&boot, "filter.yaml", "limit: 4\n"),
            _ => boot.write(&format!("{document}# once more\n")),
        }
        boot.start().unwrap();
        let name = bench.on_device("/data/etc/hostname");
        assert_eq!(name.as_deref(), Some("gate-7\n"), "change {change}");
        boot.start().unwrap();
    }
}

/// A cut in the middle of a later document, or of taking the boot partition's over again: after the next start the device is as one of the two
/// says, and stays so.
#[test]
fn cut_off_anywhere_the_device_is_as_one_document_says() {
    let later = format!("name: gate-8\nhub: {{connection_string: \"{HUB}\"}}\n");
    let start = || {
        let bench = Bench::new();
        Boot(&bench).write(&format!(
            "name: gate-7\ntime: {{zone: UTC}}\nhub: {{connection_string: \"{HUB}\"}}\n"
        ));
        Boot(&bench).start().unwrap();
        bench.write(&later);
        bench
    };
    let whole = start();
    let of_boot = Boot(&whole).effect();
    run(&whole).unwrap();
    let of_later = Boot(&whole).effect();
    for again in [false, true] {
        let mut steps = 0;
        loop {
            let bench = start();
            let mut document = bench.document();
            if again {
                run(&bench).unwrap();
                document = Boot(&bench).document();
            }
            let cut = provision_with(&Disk::failing_after(steps), &document, &bench.root(), NOW);
            let first = Boot(&bench).start();
            let effect = Boot(&bench).effect();
            assert!(
                effect == of_boot || effect == of_later && first.is_err(),
                "after {steps} steps"
            );
            let second = Boot(&bench).start();
            assert_eq!(second.is_err(), first.is_err(), "after {steps} steps");
            assert_eq!(Boot(&bench).effect(), effect, "after {steps} steps");
            if cut.is_ok() {
                assert_eq!(
                    effect,
                    if again {
                        of_boot.clone()
                    } else {
                        of_later.clone()
                    }
                );
                break;
            }
            steps += 1;
        }
        assert!(steps > 20, "{steps} steps");
    }
}

/// As above, but the repeat is another document: nothing of the first is left.
#[test]
fn cut_off_anywhere_another_document_takes_over() {
    let other = "name: gate-8\n";
    let whole = Bench::new();
    whole.write(other);
    run(&whole).unwrap();
    let expected = whole.tree();
    for steps in (0..80).step_by(3) {
        let bench = Bench::new();
        bench.write(&full(""));
        let _ = provision_with(
            &Disk::failing_after(steps),
            &bench.document(),
            &bench.root(),
            NOW,
        );
        bench.write(other);
        run(&bench).unwrap_or_else(|error| panic!("after {steps} steps: {error}"));
        assert_eq!(bench.tree(), expected, "after {steps} steps");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever the secrets are and however they are written, applying twice changes nothing and the medium has none of them.
    #[test]
    fn twice_is_once_and_no_secret_stays(
        passphrase in "[ -~]{6,61}",
        password in "[A-Za-z0-9%_.~-]{8,24}",
        key in proptest::collection::vec(any::<u8>(), 16..64),
        form in 0..3usize,
        in_file: bool,
    ) {
        // A literal block would take blanks at its beginning for its indentation.
        let passphrase = format!("<{passphrase} ");
        let key = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, key);
        let hub = format!("HostName=h.example;DeviceId=d;SharedAccessKey={key}");
        let written = |text: &str, indent: &str| match form {
            0 => format!("'{}'", text.replace('\'', "''")),
            1 => serde_json::to_string(text).unwrap(),
            _ => format!("|-\n{indent}{text}"),
        };
        let bench = Bench::new();
        let connection_string = if in_file {
            std::fs::write(bench.medium().join("hub.txt"), &hub).unwrap();
            "{file: hub.txt}".to_owned()
        } else {
            written(&hub, "    ")
        };
        let proxy = format!("http://u:{password}@proxy:1");
        bench.write(&format!(
            "# {passphrase}\nname: a\nhub:\n  connection_string: {connection_string}\nnetwork:\n  proxy:\n    https: {}\n  interfaces:\n  - name: w0\n    wifi:\n      ssid: s\n      passphrase: {}\n# {hub}\n",
            written(&proxy, "      "),
            written(&passphrase, "        "),
        ));
        let done = run(&bench);
        prop_assert!(done.is_ok(), "{}", done.unwrap_err());
        assert_no_secret(&bench, &[&passphrase, &password, &key]);
        let stored = |name: &str| bench.on_device(&format!("/data/fieldgate/provision/secrets/{name}"));
        prop_assert_eq!(stored("wifi-w0"), Some(passphrase));
        prop_assert_eq!(stored("proxy-https"), Some(proxy));
        prop_assert_eq!(stored("hub-connection-string"), Some(hub));
        let tree = (bench.tree(), files(&bench.medium()));
        let again = run(&bench).unwrap();
        prop_assert!(again.applied.is_unchanged() && !again.is_wiped);
        prop_assert_eq!((bench.tree(), files(&bench.medium())), tree);
    }
}
