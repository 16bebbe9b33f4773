//! What the program tells the person at the terminal while it runs: lines on stderr, or in the live view.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Lines the live view keeps.
const KEPT: usize = 200;

/// Where notes go; clones share one.
#[derive(Debug, Clone)]
pub(crate) struct Notes(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    started: Instant,
    /// The live view shows the lines; else they go to stderr at once.
    on_screen: AtomicBool,
    lines: Mutex<VecDeque<String>>,
}

impl Notes {
    /// Notes for the view to show, if there is a `screen`, or else on stderr.
    pub(crate) fn new(screen: bool) -> Self {
        Self(Arc::new(Shared {
            started: Instant::now(),
            on_screen: AtomicBool::new(screen),
            lines: Mutex::new(VecDeque::new()),
        }))
    }

    /// The view is gone: from now on notes go to stderr.
    pub(crate) fn leave_screen(&self) {
        self.0.on_screen.store(false, Ordering::Relaxed);
    }

    /// Tells one line, with the seconds since the start.
    pub(crate) fn say(&self, text: impl AsRef<str>) {
        let line = format!(
            "[{:7.2}] {}",
            self.0.started.elapsed().as_secs_f64(),
            text.as_ref()
        );
        if !self.0.on_screen.load(Ordering::Relaxed) {
            eprintln!("{line}");
            return;
        }
        let mut lines = self.0.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == KEPT {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    /// The newest `count` lines, oldest first.
    pub(crate) fn latest(&self, count: usize) -> Vec<String> {
        let lines = self.0.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines
            .iter()
            .skip(lines.len().saturating_sub(count))
            .cloned()
            .collect()
    }
}
