//! What the program tells the person at the terminal while it runs: lines on stderr, or in the live view.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Lines the live view keeps.
const KEPT: usize = 200;

/// Where notes go; clones share one.
#[derive(Debug, Clone)]
pub(crate) struct Notes {
    started: Instant,
    screen: Option<Arc<Mutex<VecDeque<String>>>>,
}

impl Notes {
    /// Notes on stderr, or, with a `screen`, in memory for the view to show.
    pub(crate) fn new(screen: bool) -> Self {
        Self {
            started: Instant::now(),
            screen: screen.then(|| Arc::new(Mutex::new(VecDeque::new()))),
        }
    }

    /// Tells one line, with the seconds since the start.
    pub(crate) fn say(&self, text: impl AsRef<str>) {
        let line = format!(
            "[{:7.2}] {}",
            self.started.elapsed().as_secs_f64(),
            text.as_ref()
        );
        match &self.screen {
            None => eprintln!("{line}"),
            Some(lines) => {
                let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
                if lines.len() == KEPT {
                    lines.pop_front();
                }
                lines.push_back(line);
            }
        }
    }

    /// The newest `count` lines, oldest first.
    pub(crate) fn latest(&self, count: usize) -> Vec<String> {
        self.screen.as_ref().map_or_else(Vec::new, |lines| {
            let lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
            lines
                .iter()
                .skip(lines.len().saturating_sub(count))
                .cloned()
                .collect()
        })
    }
}
