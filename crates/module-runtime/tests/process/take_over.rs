//! Two instances with one lock: one works, the other is ready and takes over.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use module_runtime::test_support::{ModuleProcess, SidecarPort};
use serde_json::{Value, json};

use super::{Test, module};

pub(crate) const TESTS: [Test; 6] = [
    (
        "a standby takes over when the other ends in order",
        after_an_orderly_end,
    ),
    (
        "a standby takes over from one that was killed",
        after_a_kill,
    ),
    (
        "nobody works while the other still flushes",
        not_before_the_flush,
    ),
    (
        "an instance that cannot work replaces nothing",
        what_cannot_work_replaces_nothing,
    ),
    (
        "a standby checks new configurations",
        configurations_in_standby,
    ),
    ("a standby ends at once", standby_ends),
];

const STANDBY: &str = "fieldgate_module_runtime_standby";

/// A folder, a sidecar, a lock and a journal for the instances of one test.
struct Place<'a> {
    folder: &'a Path,
    sidecar: SidecarPort,
}

impl<'a> Place<'a> {
    fn new(folder: &'a Path) -> Self {
        Self {
            folder,
            sidecar: SidecarPort::start(true),
        }
    }

    fn configuration(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.join(name);
        let journal = self.folder.join("journal");
        std::fs::write(&path, format!("journal: {}\n{text}", journal.display())).unwrap();
        path
    }

    fn start(&self, configuration: &Path) -> ModuleProcess {
        self.start_beside(&self.sidecar, configuration)
    }

    fn start_beside(&self, sidecar: &SidecarPort, configuration: &Path) -> ModuleProcess {
        let lock = self.folder.join("module.lock");
        let mut command = module(configuration, &["--lock", lock.to_str().unwrap()]);
        ModuleProcess::start(command.env("DAPR_HTTP_PORT", sidecar.port().to_string()))
    }

    /// One at work and one in standby.
    fn pair(&self, first: &str) -> (ModuleProcess, ModuleProcess) {
        let first = self.configuration("first.yaml", first);
        let second = self.configuration("second.yaml", "level: 2\n");
        let mut active = self.start(&first);
        active.wait_for("begins");
        assert_eq!(active.figure(STANDBY), Some(0.0));
        let mut standby = self.start(&second);
        standby.wait_for("standby: another instance");
        standby.until("the standby to be ready", ModuleProcess::is_standby);
        (active, standby)
    }

    /// Who began and ended, in order: `begin`, `end`, without the process ids.
    fn journal(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder.join("journal")).unwrap_or_default();
        let words = text.lines().map(|line| line.split(' ').next().unwrap());
        words.map(str::to_owned).collect()
    }
}

fn is_at_work(module: &ModuleProcess) -> bool {
    let (status, answer) = module.readiness();
    status == 200 && answer["standby"] == Value::Null && module.figure(STANDBY) == Some(0.0)
}

fn after_an_orderly_end(folder: &Path) {
    let place = Place::new(folder);
    let (active, mut standby) = place.pair("level: 1\n");
    assert_eq!(standby.get("/healthz").0, 200);
    assert_eq!(
        standby.readiness(),
        (200, json!({"ready": true, "standby": true, "reasons": {}}))
    );
    assert_eq!(standby.figure(STANDBY), Some(1.0));
    assert!(
        standby
            .get("/metrics")
            .1
            .contains(&format!("# HELP {STANDBY} "))
    );
    let (status, answer) = standby.command("POST", "/level", "{}");
    assert_eq!(status, 503);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["error"]["code"], "standby", "{answer}");
    assert_eq!(standby.command("GET", "/commands", "").0, 200);
    assert_eq!(active.command("POST", "/level", "").0, 200);
    assert_eq!(place.journal(), ["begin"]);

    active.terminate();
    let (status, log) = active.ended();
    let ended = Instant::now();
    assert_eq!(status, Some(0), "{log}");
    assert!(standby.wait_for("standby ended")["waited_seconds"].is_f64());
    assert_eq!(standby.wait_for("begins")["level"], 2);
    assert!(ended.elapsed() < Duration::from_secs(1), "{ended:?}");
    assert!(is_at_work(&standby), "{}", standby.log());
    assert_eq!(
        standby.command("POST", "/level", ""),
        (200, r#"{"level":2}"#.to_owned())
    );
    assert_eq!(place.journal(), ["begin", "end", "begin"]);
    super::terminate(standby, 0);
}

fn after_a_kill(folder: &Path) {
    let place = Place::new(folder);
    let (mut active, mut standby) = place.pair("level: 1\n");
    active.kill();
    let ended = Instant::now();
    standby.wait_for("begins");
    assert!(ended.elapsed() < Duration::from_secs(1), "{ended:?}");
    assert!(is_at_work(&standby), "{}", standby.log());
    // The killed one is started again, and finds its place taken.
    let mut again = place.start(&folder.join("first.yaml"));
    again.wait_for("standby: another instance");
    assert_eq!(place.journal(), ["begin", "begin"]);
}

fn not_before_the_flush(folder: &Path) {
    let place = Place::new(folder);
    let flushed = folder.join("flushed");
    let (mut active, mut standby) =
        place.pair(&format!("level: 1\nflushed: {}\n", flushed.display()));
    active.terminate();
    active.wait_for("flushing");
    standby.stays("in standby", ModuleProcess::is_standby);
    std::fs::write(&flushed, "").unwrap();
    standby.wait_for("begins");
    assert_eq!(place.journal(), ["begin", "end", "begin"]);
    assert_eq!(active.ended().0, Some(0));
}

fn what_cannot_work_replaces_nothing(folder: &Path) {
    let place = Place::new(folder);
    let first = place.configuration("first.yaml", "level: 1\n");
    let mut active = place.start(&first);
    active.wait_for("begins");

    let invalid = place.configuration("invalid.yaml", "level: high\n");
    let (status, log) = place.start(&invalid).ended();
    assert_eq!(status, Some(78), "{log}");

    let away = SidecarPort::start(false);
    let valid = place.configuration("second.yaml", "level: 2\n");
    let mut alone = place.start_beside(&away, &valid);
    alone.wait_for("not ready");
    let (status, answer) = alone.readiness();
    assert_eq!(status, 503, "{answer}");
    assert!(answer["reasons"]["sidecar"].is_string(), "{answer}");
    // Not even when nobody holds the lock: the other one comes back.
    active.kill();
    alone.stays("waiting for its sidecar", |alone| {
        alone.readiness().0 == 503 && !alone.has_logged("begins")
    });
    away.set_healthy(true);
    alone.wait_for("lock taken");
    alone.wait_for("begins");
    assert!(is_at_work(&alone), "{}", alone.log());
}

fn configurations_in_standby(folder: &Path) {
    let place = Place::new(folder);
    let (mut active, mut standby) = place.pair("level: 1\n");
    place.configuration("second.yaml", "level: 3\n");
    standby.wait_for("new configuration");
    place.configuration("second.yaml", "level: high\n");
    standby.wait_for("configuration rejected");
    assert!(standby.is_standby(), "{}", standby.log());
    active.kill();
    let begins = standby.wait_for("begins");
    assert_eq!(
        (&begins["level"], &begins["configuration"]),
        (&json!(3), &json!("rejected"))
    );
    place.configuration("second.yaml", "level: 4\n");
    assert_eq!(standby.wait_for("applied")["level"], 4);
}

fn standby_ends(folder: &Path) {
    let place = Place::new(folder);
    let (active, standby) = place.pair("level: 1\n");
    super::terminate(standby, 0);
    assert!(is_at_work(&active));
    assert_eq!(place.journal(), ["begin"]);
}
