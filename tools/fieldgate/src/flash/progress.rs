//! How far a long work is, on the standard error.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::size::size;

/// Between two lines on a terminal.
const PAUSE: Duration = Duration::from_millis(250);

/// One phase. What is told is on the medium, not in memory.
#[derive(Debug)]
pub(super) struct Progress {
    what: &'static str,
    total: u64,
    begun: Instant,
    told: Option<Instant>,
    /// Where nobody watches, a line for each tenth.
    tenths: u64,
    is_terminal: bool,
}

impl Progress {
    pub(super) fn begin(what: &'static str, total: u64) -> Self {
        Self {
            what,
            total,
            begun: Instant::now(),
            told: None,
            tenths: 0,
            is_terminal: io::stderr().is_terminal(),
        }
    }

    pub(super) fn at(&mut self, done: u64) {
        let now = Instant::now();
        let line = line(self.what, done, self.total, now - self.begun);
        let mut out = io::stderr();
        // Nobody's work fails because nobody reads.
        if self.is_terminal {
            let is_due = self.told.is_none_or(|told| now - told >= PAUSE);
            if is_due || done >= self.total {
                self.told = Some(now);
                let _ = write!(out, "\r{line}\x1b[K");
                let _ = out.flush();
            }
        } else if let Some(tenths) = (done * 10).checked_div(self.total)
            && tenths > self.tenths
        {
            self.tenths = tenths;
            let _ = writeln!(out, "{line}");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_terminal && self.told.is_some() {
            let _ = writeln!(io::stderr());
        }
    }
}

fn line(what: &str, done: u64, total: u64, elapsed: Duration) -> String {
    let mut line = format!("{what} {} of {}", size(done), size(total));
    if let Some(percent) = (done * 100).checked_div(total) {
        line.push_str(&format!(", {percent} %"));
    }
    let milliseconds = elapsed.as_millis();
    // The first moments say nothing of the rest.
    if milliseconds >= 1000
        && done > 0
        && let Ok(rate) = u64::try_from(u128::from(done) * 1000 / milliseconds)
        && let Some(left) = total.saturating_sub(done).checked_div(rate)
    {
        line.push_str(&format!(", {}/s, {left} s left", size(rate)));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_rate_and_remaining_time() {
        let gib = 1 << 30;
        assert_eq!(
            line("writing", gib, 3 * gib, Duration::from_secs(32)),
            "writing 1.0 GiB of 3.0 GiB, 33 %, 32.0 MiB/s, 64 s left"
        );
        assert_eq!(
            line("writing", 0, gib, Duration::ZERO),
            "writing 0 bytes of 1.0 GiB, 0 %"
        );
        assert_eq!(
            line("writing", 0, 0, Duration::from_secs(9)),
            "writing 0 bytes of 0 bytes"
        );
    }
}
