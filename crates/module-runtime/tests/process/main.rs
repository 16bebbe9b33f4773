//! A module as a process: its exit codes, its endpoints, its end. This program is the module when it is started with
//! arguments, and runs the tests when it is not (or gets the arguments of a test runner).

// A test ends with a panic; clippy knows that only inside of #[test].
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod take_over;
mod work;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};
use std::time::Instant;

use module_runtime::module;
use module_runtime::test_support::ModuleProcess;
use serde_json::Value;

type Test = (&'static str, fn(&Path));

const MODULE: &str = "MODULE_RUNTIME_TEST_MODULE";

fn main() -> ExitCode {
    if std::env::var_os(MODULE).is_some() {
        return module_runtime::run(module!(), work::work);
    }
    let tests: [Test; 8] = [
        ("an invalid first configuration ends with 78", invalid_first),
        ("check prints every problem", check),
        ("the schema is printed", schema),
        ("a reader that leaves is no failure", reader_leaves),
        ("a module works until SIGTERM", works_until_terminated),
        ("a module that hangs is ended after its grace", hangs),
        ("a module that fails ends with 1", fails),
        ("a port in use is named", port_in_use),
    ];
    for (name, test) in tests.into_iter().chain(take_over::TESTS) {
        let directory = tempfile::tempdir().unwrap();
        let began = Instant::now();
        test(directory.path());
        println!("test {name} ... ok ({:?})", began.elapsed());
    }
    ExitCode::SUCCESS
}

fn module(configuration: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .env(MODULE, "1")
        .arg("--config")
        .arg(configuration)
        .args(["--ops-address", "127.0.0.1:0", "--app-port", "0"])
        // Nobody listens there: a module runs without its sidecar.
        .envs([("DAPR_HTTP_PORT", "1"), ("DAPR_GRPC_PORT", "1")])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn write(directory: &Path, text: &str) -> PathBuf {
    let path = directory.join("module.yaml");
    std::fs::write(&path, text).unwrap();
    path
}

fn ended(output: &Output, code: i32) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    stderr
}

fn invalid_first(directory: &Path) {
    let path = write(directory, "level: high\nlevle: 2\n");
    let stderr = ended(&module(&path, &[]).output().unwrap(), 78);
    let problems: Vec<Value> = stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(problems.len(), 2, "{stderr}");
    assert!(
        problems[1]["problem"]
            .as_str()
            .unwrap()
            .contains(":2:1: levle"),
        "{stderr}"
    );
}

fn check(directory: &Path) {
    let path = write(directory, "level: high\nlevle: 2\n");
    let stderr = ended(&module(&path, &["--check"]).output().unwrap(), 78);
    let file = path.display();
    assert_eq!(
        stderr,
        format!(
            "{file}:1:8: level: must be a whole number from 0 to 255, not the text \"high\"\n\
             {file}:2:1: levle: unknown key; did you mean \"level\"?\n"
        )
    );
    let path = write(directory, "level: 13\n");
    let stderr = ended(&module(&path, &["--check"]).output().unwrap(), 78);
    assert!(
        stderr.contains(":1:8: level: 13 brings bad luck"),
        "{stderr}"
    );
    // What the schema says and what the check says come together.
    let path = write(directory, "level: 13\nlevle: 2\n");
    let stderr = ended(&module(&path, &["--check"]).output().unwrap(), 78);
    assert_eq!(stderr.lines().count(), 2, "{stderr}");
    let path = write(directory, "level: 1\n");
    ended(&module(&path, &["--check"]).output().unwrap(), 0);
    ended(&module(&path, &["--chekc"]).output().unwrap(), 2);
}

fn schema(directory: &Path) {
    let output = module(directory, &["--print-schema"]).output().unwrap();
    ended(&output, 0);
    let schema: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(schema["properties"]["level"]["maximum"], 255);
    assert_eq!(schema["properties"]["version"]["type"], "string");
}

fn reader_leaves(directory: &Path) {
    let closed = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        writer
    };
    let mut printing = module(directory, &["--print-schema"]);
    ended(&printing.stdout(closed()).output().unwrap(), 0);
    let path = write(directory, "level: high\n");
    for arguments in [&["--check"][..], &[]] {
        let mut failing = module(&path, arguments);
        ended(&failing.stderr(closed()).output().unwrap(), 78);
    }
}

fn works_until_terminated(directory: &Path) {
    let path = write(directory, "name: a\nlevel: 1\n");
    let mut running = ModuleProcess::start(&mut module(&path, &[]));
    running.wait_for("begins");
    assert_eq!(running.get("/healthz").0, 200);
    // Its own part is ready, its sidecar is not there.
    running.until("the sidecar to be missed", |running| {
        let (status, answer) = running.readiness();
        let reasons = answer["reasons"].as_object().unwrap();
        status == 503
            && reasons.len() == 1
            && reasons["sidecar"]
                .as_str()
                .unwrap()
                .contains("Dapr sidecar")
    });
    let (status, figures) = running.get("/metrics");
    assert_eq!(status, 200);
    assert!(!figures.contains("standby"), "{figures}");
    let (_, listed) = running.command("GET", "/commands", "");
    assert!(listed.contains(r#""name":"level""#), "{listed}");
    assert_eq!(
        running.command("POST", "/level", ""),
        (200, r#"{"level":1}"#.to_owned())
    );

    std::fs::write(&path, "level: high\n").unwrap();
    let rejected = running.wait_for("configuration rejected");
    assert!(
        rejected["problem"]
            .as_str()
            .unwrap()
            .contains(":1:8: level"),
        "{rejected}"
    );
    std::fs::write(&path, "level: 2\n").unwrap();
    assert_eq!(running.wait_for("applied")["level"], 2);
    terminate(running, 0);
}

fn hangs(directory: &Path) {
    let path = write(directory, "level: 1\non_shutdown: hang\n");
    let mut running = ModuleProcess::start(&mut module(&path, &["--grace-period", "200ms"]));
    running.wait_for("begins");
    terminate(running, 1);
}

fn fails(directory: &Path) {
    let path = write(directory, "level: 1\non_shutdown: fail\n");
    let mut running = ModuleProcess::start(&mut module(&path, &[]));
    running.wait_for("begins");
    terminate(running, 1);
}

fn port_in_use(directory: &Path) {
    let path = write(directory, "level: 1\n");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = module(&path, &[]);
    command.env("FIELDGATE_LOG", "error");
    // The last one given counts.
    let output = Command::new(command.get_program())
        .envs(
            command
                .get_envs()
                .filter_map(|(key, value)| Some((key, value?))),
        )
        .arg("--config")
        .arg(&path)
        .args(["--ops-address", &address])
        .output()
        .unwrap();
    let stderr = ended(&output, 1);
    assert!(
        stderr.contains(&address) && stderr.contains("--ops-address"),
        "{stderr}"
    );
}

fn terminate(running: ModuleProcess, code: i32) {
    running.terminate();
    let (status, log) = running.ended();
    assert_eq!(status, Some(code), "{log}");
}
