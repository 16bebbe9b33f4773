//! The plan's file: read at start, and again when its content changes.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use broker_setup::{Plan, PlanError};

/// How often the file is looked at. Kubernetes takes up to a minute to bring a changed ConfigMap; no need to be faster, and
/// a look costs less than keeping a watch.
const LOOK: Duration = Duration::from_secs(2);
const MAX_BYTES: u64 = 1 << 20;

/// The file could not be read, or holds no valid plan.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlanFileError {
    #[error("{}: {source}; give the plan's file as the argument or in FIELDGATE_CONFIG", .path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{}: {source}", .path.display())]
    Plan { path: PathBuf, source: PlanError },
}

impl PlanFileError {
    /// One line for each problem.
    pub(crate) fn lines(&self) -> Vec<String> {
        match self {
            Self::Read { .. } => vec![self.to_string()],
            Self::Plan { path, source } => source
                .lines()
                .iter()
                .map(|line| format!("{}: {line}", path.display()))
                .collect(),
        }
    }
}

/// A plan's file, and what it held when it was last looked at.
#[derive(Debug)]
pub(crate) struct PlanFile {
    path: PathBuf,
    seen: Option<String>,
}

impl PlanFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, seen: None }
    }

    /// The plan in the file now.
    pub(crate) fn load(&mut self) -> Result<Plan, PlanFileError> {
        let text = self.read()?;
        let plan = Plan::parse(&text);
        self.seen = Some(text);
        plan.map_err(|source| PlanFileError::Plan {
            path: self.path.clone(),
            source,
        })
    }

    /// Returns the new plan, or why it is none, when the content has changed. A file that cannot be read for a moment is
    /// one that is being replaced. Cancel-safe.
    pub(crate) async fn changed(&mut self) -> Result<Plan, PlanFileError> {
        loop {
            tokio::time::sleep(LOOK).await;
            match self.read() {
                Ok(text) if self.seen.as_ref() != Some(&text) => return self.load(),
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "the plan cannot be read now"),
            }
        }
    }

    fn read(&self) -> Result<String, PlanFileError> {
        read_bounded(&self.path).map_err(|source| PlanFileError::Read {
            path: self.path.clone(),
            source,
        })
    }
}

fn read_bounded(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let read = File::open(path)?
        .take(MAX_BYTES + 1)
        .read_to_string(&mut text)?;
    if read as u64 > MAX_BYTES {
        return Err(std::io::Error::other(
            "is larger than 1 MiB, that is no plan",
        ));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use broker_setup::StreamLimits;

    use super::*;

    fn plan(max_bytes: u64) -> Plan {
        let mut plan = Plan::standard(&StreamLimits::default(), &[], 1);
        plan.streams[0].max_bytes = max_bytes;
        plan
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_is_told_once_and_a_moment_without_file_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("plan.yaml");
        let put = |text: &str| std::fs::write(&path, text).unwrap();
        put(&plan(1 << 20).to_yaml().unwrap());
        let mut file = PlanFile::new(path.clone());
        assert_eq!(file.load().unwrap(), plan(1 << 20));

        let quiet = async |file: &mut PlanFile| {
            let change = tokio::time::timeout(LOOK * 10, file.changed()).await;
            assert!(change.is_err(), "{change:?}");
        };
        quiet(&mut file).await;
        std::fs::remove_file(&path).unwrap();
        quiet(&mut file).await;
        put(&plan(2 << 20).to_yaml().unwrap());
        assert_eq!(file.changed().await.unwrap(), plan(2 << 20));
        quiet(&mut file).await;
        put("streams: 7");
        assert!(matches!(
            file.changed().await,
            Err(PlanFileError::Plan { .. })
        ));
        quiet(&mut file).await;
    }

    #[test]
    fn a_missing_file_is_named_with_the_remedy() {
        let error = PlanFile::new("/nonexistent/plan.yaml".into())
            .load()
            .unwrap_err();
        assert!(
            error.to_string().contains("/nonexistent/plan.yaml"),
            "{error}"
        );
        assert!(error.to_string().contains("FIELDGATE_CONFIG"), "{error}");
    }
}
