//! The guard: ends every child process when the demo itself dies without a chance to do so (kill -9, abort).
//!
//! The guard is this program again (`fieldgate guard`), in a process group of its own. It reads `+PID` and `-PID` lines
//! from a pipe that only the demo holds; when the pipe ends, it kills the process groups that are still listed.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// The demo's end of the pipe.
#[derive(Debug)]
pub(crate) struct Guard {
    pipe: Option<ChildStdin>,
    child: Child,
    live: BTreeSet<i32>,
}

impl Guard {
    /// Starts the guard process.
    pub(crate) fn start() -> Result<Self> {
        let program = std::env::current_exe().context("the path of this program")?;
        let mut child = Command::new(&program)
            .arg("guard")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {} guard", program.display()))?;
        let pipe = child.stdin.take();
        Ok(Self {
            pipe,
            child,
            live: BTreeSet::new(),
        })
    }

    /// `group` is alive and must end with the demo.
    pub(crate) fn add(&mut self, group: i32) {
        self.live.insert(group);
        self.tell(&format!("+{group}\n"));
    }

    /// `group` has ended; its number may be reused by the system.
    pub(crate) fn remove(&mut self, group: i32) {
        self.live.remove(&group);
        self.tell(&format!("-{group}\n"));
    }

    fn tell(&mut self, line: &str) {
        // A guard that died leaves the ordinary stop paths, which do not need it.
        if let Some(pipe) = &mut self.pipe {
            let _ = pipe.write_all(line.as_bytes());
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        kill_groups(&self.live);
        self.pipe = None;
        let _ = self.child.wait();
    }
}

/// `fieldgate guard`: see the module's words.
pub(crate) fn run() -> Result<()> {
    let mut live = BTreeSet::new();
    for line in BufReader::new(std::io::stdin()).lines() {
        let Ok(line) = line else { break };
        apply(&mut live, &line);
    }
    kill_groups(&live);
    Ok(())
}

fn apply(live: &mut BTreeSet<i32>, line: &str) {
    let number = |text: &str| text.parse::<i32>().ok().filter(|group| *group > 1);
    if let Some(group) = line.strip_prefix('+').and_then(number) {
        live.insert(group);
    } else if let Some(group) = line.strip_prefix('-').and_then(number) {
        live.remove(&group);
    }
}

fn kill_groups(groups: &BTreeSet<i32>) {
    for group in groups {
        let _ = killpg(Pid::from_raw(*group), Signal::SIGKILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_groups_are_killed() {
        let mut live = BTreeSet::new();
        for line in ["+12", "+13", "-12", "", "+0", "+1", "+x", "-99"] {
            apply(&mut live, line);
        }
        assert_eq!(live, BTreeSet::from([13]));
    }
}
