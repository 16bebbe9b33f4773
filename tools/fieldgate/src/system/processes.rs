//! The supervisor: starts processes with a log file and a process group each, restarts what dies, and ends them all.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::guard::Guard;
use crate::notes::Notes;

/// Pause before the first restart; doubles up to [`LONGEST_PAUSE`] while the process dies young.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// A process that lived this long starts again with the first pause.
const GROWN_UP: Duration = Duration::from_secs(10);
/// Deaths in a row, each younger than [`GROWN_UP`], after which the supervisor gives up.
const MAX_EARLY_DEATHS: u32 = 8;
/// Exit status of a module whose configuration is invalid (design 3.6): no restart helps.
const EXIT_CONFIGURATION: i32 = 78;

/// What to start.
#[derive(Debug, Clone)]
pub(crate) struct ProcessSpec {
    /// Shown to the person and used for the log file `{name}.log`.
    pub(crate) name: &'static str,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) environment: Vec<(&'static str, OsString)>,
}

/// What is known of a process.
#[derive(Debug, Clone, Default)]
pub(crate) struct ProcessState {
    /// While it runs.
    pub(crate) pid: Option<i32>,
    /// Starts after the first.
    pub(crate) restarts: u32,
    /// The supervisor gave up, and why.
    pub(crate) failed: Option<String>,
    /// Stopped on request.
    pub(crate) stopped: bool,
}

/// Starts processes; dropping it kills what still runs.
#[derive(Debug, Clone)]
pub(crate) struct Supervisor {
    guard: Arc<Mutex<Guard>>,
    logs: PathBuf,
    notes: Notes,
}

impl Supervisor {
    /// Log files go to the folder `logs`.
    pub(crate) fn new(logs: &Path, notes: Notes) -> Result<Self> {
        std::fs::create_dir_all(logs).with_context(|| format!("creating {}", logs.display()))?;
        Ok(Self {
            guard: Arc::new(Mutex::new(Guard::start()?)),
            logs: logs.to_owned(),
            notes,
        })
    }

    /// Starts `spec` and keeps it running until [`Process::stop`].
    pub(crate) fn start(&self, spec: ProcessSpec) -> Result<Process> {
        if !spec.program.is_file() {
            bail!(
                "{}: the program {} does not exist; build it, or name its folder with --bin-dir or --platform-dir",
                spec.name,
                spec.program.display()
            );
        }
        let name = spec.name;
        let log = self.logs.join(format!("{name}.log"));
        let (orders, inbox) = mpsc::channel(1);
        let (sender, state) = watch::channel(ProcessState::default());
        let task = tokio::spawn(
            Keeper {
                supervisor: self.clone(),
                spec,
                log: log.clone(),
                state: sender,
            }
            .run(inbox),
        );
        Ok(Process {
            name,
            log,
            orders,
            state,
            task: Some(task),
        })
    }

    fn with_guard(&self, action: impl FnOnce(&mut Guard)) {
        action(&mut self.guard.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// A supervised process.
#[derive(Debug)]
pub(crate) struct Process {
    name: &'static str,
    log: PathBuf,
    orders: mpsc::Sender<Duration>,
    state: watch::Receiver<ProcessState>,
    task: Option<JoinHandle<()>>,
}

impl Process {
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn state(&self) -> ProcessState {
        self.state.borrow().clone()
    }

    /// SIGKILL to the whole group, as a fault; the supervisor starts it again.
    pub(crate) fn kill(&self) -> Result<()> {
        let pid = self
            .state()
            .pid
            .with_context(|| format!("{} is not running", self.name))?;
        killpg(Pid::from_raw(pid), Signal::SIGKILL)
            .with_context(|| format!("killing {} ({pid})", self.name))
    }

    /// Returns when the supervisor has given up on the process, with its reason and the end of its log.
    pub(crate) async fn failure(&self) -> anyhow::Error {
        let mut state = self.state.clone();
        let failed = match state.wait_for(|state| state.failed.is_some()).await {
            Ok(state) => state.failed.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await,
        };
        anyhow::anyhow!(
            "{}: {failed}; the end of its log {}:\n{}",
            self.name,
            self.log.display(),
            tail(&self.log, 12)
        )
    }

    /// SIGTERM, then SIGKILL after `grace`; returns when it has ended.
    pub(crate) async fn stop(&mut self, grace: Duration) {
        // The keeper may have ended already, having given up.
        let _ = self.orders.send(grace).await;
        if let Some(task) = self.task.take() {
            let _ = task.await;
        }
    }
}

struct Keeper {
    supervisor: Supervisor,
    spec: ProcessSpec,
    log: PathBuf,
    state: watch::Sender<ProcessState>,
}

impl Keeper {
    async fn run(self, mut orders: mpsc::Receiver<Duration>) {
        let mut pause = FIRST_PAUSE;
        let mut early_deaths = 0;
        loop {
            let born = Instant::now();
            let ended = match self.spawn() {
                Err(error) => format!("{error:#}"),
                Ok((child, group)) => match self.watch(child, group, &mut orders).await {
                    Some(Ended { words, code }) => {
                        if code == Some(EXIT_CONFIGURATION) {
                            return self.give_up("its configuration is invalid".to_owned());
                        }
                        words
                    }
                    None => return self.state.send_modify(|state| state.stopped = true),
                },
            };
            if born.elapsed() >= GROWN_UP {
                (pause, early_deaths) = (FIRST_PAUSE, 0);
            } else {
                early_deaths += 1;
            }
            if early_deaths > MAX_EARLY_DEATHS {
                return self.give_up(format!("{ended}, {early_deaths} times in a row"));
            }
            self.supervisor.notes.say(format!(
                "{}: {ended}; starting it again in {} ms",
                self.spec.name,
                pause.as_millis()
            ));
            if timeout(pause, orders.recv()).await.is_ok() {
                return self.state.send_modify(|state| state.stopped = true);
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
            self.state.send_modify(|state| state.restarts += 1);
        }
    }

    fn give_up(&self, why: String) {
        self.supervisor
            .notes
            .say(format!("{}: gave up: {why}", self.spec.name));
        self.state.send_modify(|state| state.failed = Some(why));
    }

    fn spawn(&self) -> Result<(Child, i32)> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("opening {}", self.log.display()))?;
        let child = Command::new(&self.spec.program)
            .args(&self.spec.arguments)
            .envs(
                self.spec
                    .environment
                    .iter()
                    .map(|(name, value)| (*name, value)),
            )
            .stdin(Stdio::null())
            .stdout(Stdio::from(log.try_clone().context("log file")?))
            .stderr(Stdio::from(log))
            // A group of its own: a Ctrl-C at the terminal reaches only the demo, which stops the others in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {}", self.spec.program.display()))?;
        let group = child
            .id()
            .and_then(|pid| i32::try_from(pid).ok())
            .context("the process has no id")?;
        self.supervisor.with_guard(|guard| guard.add(group));
        self.state.send_modify(|state| state.pid = Some(group));
        Ok((child, group))
    }

    /// Waits for the end: `None` when it was ordered.
    async fn watch(
        &self,
        mut child: Child,
        group: i32,
        orders: &mut mpsc::Receiver<Duration>,
    ) -> Option<Ended> {
        let ended = tokio::select! {
            status = child.wait() => Some(match status {
                Ok(status) => Ended { words: format!("ended ({status})"), code: status.code() },
                Err(error) => Ended { words: format!("lost ({error})"), code: None },
            }),
            grace = orders.recv() => {
                let _ = killpg(Pid::from_raw(group), Signal::SIGTERM);
                if timeout(grace.unwrap_or_default(), child.wait()).await.is_err() {
                    if grace.is_some() {
                        self.supervisor.notes.say(format!("{}: did not end in time, killed", self.spec.name));
                    }
                    let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
                    let _ = child.wait().await;
                }
                None
            }
        };
        self.supervisor.with_guard(|guard| guard.remove(group));
        self.state.send_modify(|state| state.pid = None);
        ended
    }
}

struct Ended {
    words: String,
    code: Option<i32>,
}

/// The last `lines` lines of a log file.
pub(crate) fn tail(log: &Path, lines: usize) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
