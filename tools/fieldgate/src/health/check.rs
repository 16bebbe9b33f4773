//! What an examination found: one check per thing that must work, each failure with its reason and the remedy.

use serde::Serialize;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    Passed,
    /// Not as it could be, and no reason to call the device unhealthy.
    Noted,
    Failed,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    /// `node gate-7`, `module modbus-reader`, …
    pub(crate) name: String,
    pub(crate) outcome: Outcome,
    /// What is the case.
    pub(crate) reason: String,
    /// What to do; for failures and notes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remedy: Option<String>,
}

impl Check {
    pub(crate) fn passed(name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            outcome: Outcome::Passed,
            reason: reason.into(),
            remedy: None,
        }
    }

    pub(crate) fn failed(
        name: impl Into<String>,
        reason: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            outcome: Outcome::Failed,
            reason: reason.into(),
            remedy: Some(remedy.into()),
        }
    }

    /// A failure becomes a note: it is told, and does not count.
    pub(crate) fn only_noted(mut self, why: &str) -> Self {
        if self.outcome == Outcome::Failed {
            self.outcome = Outcome::Noted;
            self.reason = format!("{}; {why}", self.reason);
        }
        self
    }
}

/// Everything that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Report {
    pub(crate) healthy: bool,
    pub(crate) checks: Vec<Check>,
}

impl Report {
    pub(crate) fn new(checks: Vec<Check>) -> Self {
        Self {
            healthy: checks.iter().all(|check| check.outcome != Outcome::Failed),
            checks,
        }
    }

    /// A line for each failure.
    pub(crate) fn failures(&self) -> Vec<String> {
        self.checks
            .iter()
            .filter(|check| check.outcome == Outcome::Failed)
            .map(|check| format!("{}: {}", check.name, check.reason))
            .collect()
    }

    /// Lines for a person.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for check in &self.checks {
            let word = match check.outcome {
                Outcome::Passed => "ok  ",
                Outcome::Noted => "note",
                Outcome::Failed => "FAIL",
            };
            lines.push(format!("{word}  {}: {}", check.name, check.reason));
            lines.extend(
                check
                    .remedy
                    .iter()
                    .map(|remedy| format!("      -> {remedy}")),
            );
        }
        let failed = self.failures().len();
        lines.push(if self.healthy {
            "healthy".to_owned()
        } else {
            format!("not healthy: {failed} of {} checks fail", self.checks.len())
        });
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_told_and_does_not_count() {
        let failed = Check::failed("hub", "not connected", "look at the log");
        let report = Report::new(vec![failed.clone(), Check::passed("node gate", "ready")]);
        assert!(!report.healthy);
        assert_eq!(report.failures(), ["hub: not connected"]);
        let report = Report::new(vec![failed.only_noted("it was not before")]);
        assert!(report.healthy && report.failures().is_empty());
        assert_eq!(
            report.lines(),
            [
                "note  hub: not connected; it was not before",
                "      -> look at the log",
                "healthy"
            ]
        );
    }
}
