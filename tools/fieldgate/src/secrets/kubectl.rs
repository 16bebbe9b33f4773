//! Speaks to the cluster through kubectl. Objects go in on its standard input, never on a command line.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

use crate::install::find_program;

const DEADLINE: Duration = Duration::from_secs(120);
/// Between two questions while waiting.
const PAUSE: Duration = Duration::from_secs(2);

/// kubectl, as it is called on this machine.
#[derive(Debug, Clone)]
pub(crate) struct Kubectl {
    program: OsString,
    first: Vec<OsString>,
}

impl Kubectl {
    /// `words` is a command line such as `k3s kubectl`; without it k3s's own kubectl is taken, else the one in PATH.
    pub(crate) fn new(words: Option<&str>, kubeconfig: Option<&Path>) -> Result<Self> {
        let words = match words {
            Some(words) => words.to_owned(),
            None => default_words()?,
        };
        let mut words = words.split_whitespace();
        let Some(program) = words.next() else {
            bail!("--kubectl is empty; give a command, such as \"k3s kubectl\"");
        };
        let program = find_program(program)
            .map_or_else(|| OsString::from(program), |found| found.into_os_string());
        let mut first: Vec<OsString> = words.map(OsString::from).collect();
        if let Some(path) = kubeconfig {
            first.extend(["--kubeconfig".into(), path.into()]);
        }
        Ok(Self { program, first })
    }

    async fn call(
        &self,
        arguments: &[&str],
        input: Option<&str>,
        deadline: Duration,
    ) -> Result<Output> {
        // Enough to find the mistake; without the input.
        let words = format!("kubectl {}", arguments.join(" "));
        let mut child = Command::new(&self.program)
            .args(&self.first)
            .args(arguments)
            .stdin(if input.is_some() {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| {
                format!(
                    "starting {}; name kubectl with --kubectl",
                    self.program.to_string_lossy()
                )
            })?;
        let pipe = child.stdin.take();
        let exchange = async {
            if let (Some(mut pipe), Some(input)) = (pipe, input) {
                // A program that does not read tells why by its exit status.
                let _ = pipe.write_all(input.as_bytes()).await;
            }
            child.wait_with_output().await
        };
        timeout(deadline, exchange)
            .await
            .with_context(|| {
                format!(
                    "`{words}` did not end within {} s; is the API server running?",
                    deadline.as_secs()
                )
            })?
            .with_context(|| format!("running `{words}`"))
    }

    /// Runs a command and gives what it wrote.
    ///
    /// # Errors
    /// With what kubectl said.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Result<String> {
        self.run_for(arguments, DEADLINE).await
    }

    /// As [`Self::run`], for a command that waits by itself.
    pub(crate) async fn run_for(&self, arguments: &[&str], deadline: Duration) -> Result<String> {
        let output = self.call(arguments, None, deadline).await?;
        if !output.status.success() {
            bail!("`kubectl {}`: {}", arguments.join(" "), said(&output));
        }
        String::from_utf8(output.stdout).context("kubectl wrote something that is no text")
    }

    /// The object, or nothing when there is none.
    pub(crate) async fn get(
        &self,
        namespace: &str,
        kind: &str,
        name: &str,
    ) -> Result<Option<Value>> {
        let text = self
            .run(&[
                "--namespace",
                namespace,
                "get",
                kind,
                name,
                "--ignore-not-found",
                "--output",
                "json",
            ])
            .await?;
        if text.trim().is_empty() {
            return Ok(None);
        }
        serde_json::from_str(&text)
            .map(Some)
            .with_context(|| format!("what kubectl wrote about {kind} {name}"))
    }

    /// Applies an object on the server, so that its values are not kept a second time in an annotation.
    ///
    /// # Errors
    /// Without what kubectl said of the values.
    pub(crate) async fn apply(&self, object: &Value) -> Result<()> {
        let arguments = [
            "apply",
            "--server-side",
            "--force-conflicts",
            "--field-manager",
            "fieldgate-secrets",
            "--filename",
            "-",
        ];
        let output = self
            .call(&arguments, Some(&object.to_string()), DEADLINE)
            .await?;
        if !output.status.success() {
            bail!(
                "writing {}: {}",
                super::objects::name_of(object),
                super::objects::redact(&said(&output), object)
            );
        }
        Ok(())
    }

    /// Deletes the objects; those that are gone already are no error.
    pub(crate) async fn delete(&self, objects: &[Value]) -> Result<()> {
        let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": objects});
        let arguments = [
            "delete",
            "--ignore-not-found",
            "--wait=true",
            "--timeout=180s",
            "--filename",
            "-",
        ];
        let output = self
            .call(
                &arguments,
                Some(&list.to_string()),
                Duration::from_secs(200),
            )
            .await?;
        if !output.status.success() {
            bail!("deleting what was installed: {}", said(&output));
        }
        Ok(())
    }

    /// Waits until a command writes something.
    pub(crate) async fn wait_for(
        &self,
        arguments: &[&str],
        what: &str,
        within: Duration,
    ) -> Result<()> {
        self.wait_for_text(arguments, "", what, within).await
    }

    /// Waits until a command writes a text, or anything when the text is empty.
    pub(crate) async fn wait_for_text(
        &self,
        arguments: &[&str],
        wanted: &str,
        what: &str,
        within: Duration,
    ) -> Result<()> {
        let end = Instant::now() + within;
        loop {
            match self.run(arguments).await {
                Ok(text) if wanted.is_empty() && !text.trim().is_empty() => return Ok(()),
                Ok(text) if !wanted.is_empty() && text.trim() == wanted => return Ok(()),
                result if Instant::now() >= end => {
                    let why = match result {
                        Ok(_) => String::new(),
                        Err(error) => format!(": {error:#}"),
                    };
                    bail!("{what} within {} s{why}", within.as_secs());
                }
                _ => sleep(PAUSE).await,
            }
        }
    }
}

/// k3s's kubectl knows where its API server is. It is a link beside k3s; builds of k3s that have no `k3s kubectl` have the link, too.
fn default_words() -> Result<String> {
    let kubectl = find_program("kubectl");
    if let Some(k3s) = find_program("k3s") {
        let link = k3s.with_file_name("kubectl");
        let same = |path: &Path| path.canonicalize().ok();
        return Ok(if same(&link).is_some() && same(&link) == same(&k3s) {
            link.display().to_string()
        } else {
            format!("{} kubectl", k3s.display())
        });
    }
    match kubectl {
        Some(program) => Ok(program.display().to_string()),
        None => bail!(
            "there is neither k3s nor kubectl on this machine; name the program with --kubectl"
        ),
    }
}

fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty() && !is_log(line))
        .collect();
    if lines.is_empty() {
        format!("ended with {}", output.status)
    } else {
        lines.join("\n")
    }
}

/// kubectl's own log (`E1122 19:17:24.056894 …`), which says the same as its last line, several times.
fn is_log(line: &str) -> bool {
    let mut characters = line.chars();
    characters.next().is_some_and(|first| "EWI".contains(first))
        && characters
            .by_ref()
            .take(4)
            .all(|digit| digit.is_ascii_digit())
        && characters.next() == Some(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubectls_log_is_left_out() {
        assert!(is_log("E1122 19:17:24.056894   28508 memcache.go:265] x"));
        assert!(!is_log("Error from server (NotFound): secrets"));
        assert!(!is_log("E"));
    }

    #[test]
    fn a_command_line_of_several_words() {
        let kubectl = Kubectl::new(Some("/opt/k3s kubectl"), Some(Path::new("/k"))).unwrap();
        assert_eq!(kubectl.program, "/opt/k3s");
        assert_eq!(kubectl.first, ["kubectl", "--kubeconfig", "/k"]);
        assert!(Kubectl::new(Some(" "), None).is_err());
    }
}
