//! Everything that is wrong with what was read.

use std::fmt;

use module_runtime::Problem;

/// Everything that is wrong with what was read: a description, the documents it names, or the overrides. `Display` gives one line each:
/// `file:line:column: path: message`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// At least one, sorted by place.
    pub problems: Vec<Problem>,
}

impl Invalid {
    /// Nothing where there is no problem.
    pub(crate) fn unless_empty(mut problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() {
            return Ok(());
        }
        problems.sort();
        problems.dedup();
        Err(Self { problems })
    }

    pub(crate) fn one(problem: Problem) -> Self {
        Self {
            problems: vec![problem],
        }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, problem) in self.problems.iter().enumerate() {
            if position > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Invalid {}

/// A problem of a file as a whole.
pub(crate) fn of_file(file: impl fmt::Display, message: impl Into<String>) -> Problem {
    Problem {
        file: file.to_string(),
        line: 0,
        column: 0,
        path: String::new(),
        message: message.into(),
    }
}
