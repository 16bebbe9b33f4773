//! Progress for a person: one line that changes on a terminal, few lines elsewhere.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use super::install::Progress;

const REDRAW: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub(crate) struct Printer {
    is_terminal: bool,
    drawn: Option<Instant>,
    is_open: bool,
    told: String,
}

impl Printer {
    pub(crate) fn new() -> Self {
        Self {
            is_terminal: std::io::stderr().is_terminal(),
            drawn: None,
            is_open: false,
            told: String::new(),
        }
    }

    pub(crate) fn show(&mut self, progress: &Progress) {
        let (line, step) = match progress {
            Progress::Downloading { bytes, size } => {
                let mib = bytes >> 20;
                let line = match size {
                    Some(size) if *size > 0 => {
                        let percent = bytes.saturating_mul(100) / size;
                        format!("downloading {percent} %, {mib} of {} MiB", size >> 20)
                    }
                    _ => format!("downloading, {mib} MiB"),
                };
                let tenth = size.filter(|size| *size > 0);
                let tenth = tenth.map_or(mib / 64, |size| bytes.saturating_mul(10) / size);
                (line, format!("downloading {tenth}"))
            }
            Progress::Installing { percent, what } => {
                let line = format!("installing {percent} %, {what}");
                (line, format!("installing {}", percent / 10))
            }
            Progress::Checking { bundle } => self.line(&format!("checking {bundle}")),
            Progress::Recording => self.line("noting what works now"),
            Progress::Unknown { reason } => self.line(&format!(
                "what works now could not be learnt ({reason}); after the update only what must always work is demanded"
            )),
        };
        if self.is_terminal {
            let late = self.drawn.is_none_or(|at| at.elapsed() >= REDRAW);
            if !line.is_empty() && late {
                self.drawn = Some(Instant::now());
                self.is_open = true;
                let _ = write!(std::io::stderr(), "\r\x1b[K{line}");
            }
        } else if !line.is_empty() && step != self.told {
            say(&line);
        }
        self.told = step;
    }

    /// A line that stays.
    fn line(&mut self, text: &str) -> (String, String) {
        self.end();
        say(text);
        (String::new(), String::new())
    }

    /// Leaves the line that changes.
    pub(crate) fn end(&mut self) {
        if self.is_open {
            let _ = writeln!(std::io::stderr());
            self.is_open = false;
        }
        self.drawn = None;
    }
}

/// That the terminal has gone is no reason to stop half-way.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
