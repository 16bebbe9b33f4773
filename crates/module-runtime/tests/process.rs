//! A module as a process: its exit codes, its endpoints, its end. This program is the module when it is started with
//! arguments, and runs the tests when it is not (or gets the arguments of a test runner).

// A test ends with a panic; clippy knows that only inside of #[test].
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Output, Stdio};
use std::time::{Duration, Instant};

use module_runtime::{ModuleConfiguration, Problems, Runtime, module, path};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Configuration {
    level: u8,
    #[serde(default)]
    on_shutdown: OnShutdown,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum OnShutdown {
    #[default]
    Return,
    Hang,
    Fail,
}

impl ModuleConfiguration for Configuration {
    fn check(&self, problems: &mut Problems) {
        if self.level == 13 {
            problems.add(path!["level"], "13 brings bad luck; choose another");
        }
    }
}

type Test = fn(&Path);

const MODULE: &str = "MODULE_RUNTIME_TEST_MODULE";
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    if std::env::var_os(MODULE).is_some() {
        return module_runtime::run(module!(), work);
    }
    let tests: [(&str, Test); 8] = [
        ("an invalid first configuration ends with 78", invalid_first),
        ("check prints every problem", check),
        ("the schema is printed", schema),
        ("a reader that leaves is no failure", reader_leaves),
        ("a module works until SIGTERM", works_until_terminated),
        ("a module that hangs is ended after its grace", hangs),
        ("a module that fails ends with 1", fails),
        ("a port in use is named", port_in_use),
    ];
    for (name, test) in tests {
        let directory = tempfile::tempdir().unwrap();
        let began = Instant::now();
        test(directory.path());
        println!("test {name} ... ok ({:?})", began.elapsed());
    }
    ExitCode::SUCCESS
}

async fn work(mut runtime: Runtime<Configuration>) -> anyhow::Result<()> {
    let ready = runtime.health.component("work");
    ready.ready();
    let mut level = runtime.configuration.configuration.level;
    loop {
        runtime
            .status
            .details(serde_json::json!({ "level": level }));
        tokio::select! {
            () = runtime.shutdown.cancelled() => break,
            next = runtime.watch.next() => match next {
                Ok(loaded) => {
                    level = loaded.configuration.level;
                    tracing::info!(level, "applied");
                    runtime.status.in_force(&loaded);
                }
                Err(error) => runtime.status.rejected(&error),
            },
        }
    }
    match runtime.configuration.configuration.on_shutdown {
        OnShutdown::Return => Ok(()),
        OnShutdown::Hang => std::future::pending().await,
        OnShutdown::Fail => anyhow::bail!("cannot flush"),
    }
}

fn module(configuration: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .env(MODULE, "1")
        .arg("--config")
        .arg(configuration)
        .args(["--ops-address", "127.0.0.1:0", "--app-port", "0"])
        // Nobody listens there: a module runs without its sidecar.
        .args(["--dapr-http-port", "1", "--dapr-grpc-port", "1"])
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
    let mut running = Running::start(&path, &[]);
    let listening = running.wait_for("listening");
    let address = |name: &str| -> SocketAddr { listening[name].as_str().unwrap().parse().unwrap() };
    assert!(get(address("operation"), "/healthz").starts_with("HTTP/1.1 200"));
    // Its own part is ready, its sidecar is not there.
    let readyz = get(address("operation"), "/readyz");
    assert!(readyz.starts_with("HTTP/1.1 503"), "{readyz}");
    assert!(
        readyz.contains("Dapr sidecar") && !readyz.contains("\"work\""),
        "{readyz}"
    );
    assert!(get(address("operation"), "/metrics").starts_with("HTTP/1.1 200"));
    assert!(get(address("commands"), "/commands").contains("\"commands\":[]"));

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
    running.terminate(0);
}

fn hangs(directory: &Path) {
    let path = write(directory, "level: 1\non_shutdown: hang\n");
    let mut running = Running::start(&path, &["--grace-period", "200ms"]);
    running.wait_for("listening");
    running.terminate(1);
}

fn fails(directory: &Path) {
    let path = write(directory, "level: 1\non_shutdown: fail\n");
    let mut running = Running::start(&path, &[]);
    running.wait_for("listening");
    running.terminate(1);
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

struct Running {
    child: Child,
    lines: BufReader<std::process::ChildStderr>,
}

impl Running {
    fn start(configuration: &Path, arguments: &[&str]) -> Self {
        let mut child = module(configuration, arguments).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap());
        Self { child, lines }
    }

    /// The first log line from here whose message begins so.
    fn wait_for(&mut self, message: &str) -> Value {
        let mut seen = String::new();
        loop {
            let mut line = String::new();
            assert!(
                self.lines.read_line(&mut line).unwrap() > 0,
                "no {message:?} in\n{seen}"
            );
            let value: Value = serde_json::from_str(&line).unwrap();
            if value["message"].as_str().unwrap().starts_with(message) {
                return value;
            }
            seen.push_str(&line);
        }
    }

    fn terminate(mut self, code: i32) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).unwrap();
        let status = self.child.wait().unwrap();
        assert_eq!(status.code(), Some(code), "{rest}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
