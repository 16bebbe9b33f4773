//! A button on a GPIO line that resets the device when it is held.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use gpiocdev::Request;
use gpiocdev::line::{EdgeDetection, Value};

/// Contacts bounce for some milliseconds; what lasts shorter is no press.
const DEBOUNCE: Duration = Duration::from_millis(20);
/// A line says nothing by itself that it was lost, so it is looked at again.
const LOOK: Duration = Duration::from_secs(60);

/// A line of a GPIO chip, as in `gpiochip0:17:low`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Button {
    chip: String,
    line: u32,
    is_low: bool,
}

impl FromStr for Button {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fault = || "give CHIP:LINE or CHIP:LINE:low, such as gpiochip0:17:low".to_owned();
        let (text, is_low) = match text.strip_suffix(":low") {
            Some(text) => (text, true),
            None => (text, false),
        };
        let (chip, line) = text.split_once(':').ok_or_else(fault)?;
        let chip = chip.strip_prefix("/dev/").unwrap_or(chip);
        let is_name = !chip.is_empty()
            && chip
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
        if !is_name {
            return Err(fault());
        }
        Ok(Self {
            chip: chip.to_owned(),
            line: line.parse().map_err(|_| fault())?,
            is_low,
        })
    }
}

impl fmt::Display for Button {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.chip, self.line)
    }
}

impl Button {
    /// Waits until it was held that long.
    pub(super) fn wait(&self, hold: Duration) -> Result<()> {
        let mut request = Request::builder();
        request
            .on_chip(Path::new("/dev").join(&self.chip))
            .with_consumer("fieldgate-reset")
            .with_line(self.line)
            .with_edge_detection(EdgeDetection::BothEdges)
            .with_debounce_period(DEBOUNCE);
        if self.is_low {
            request.as_active_low();
        }
        let line = request.request().with_context(|| {
            format!("the button {self}: check chip and line with gpioinfo, and that no other program has it")
        })?;
        let is_pressed = || {
            line.value(self.line)
                .map(|value| value == Value::Active)
                .with_context(|| format!("reading the button {self}"))
        };
        let mut press = Press::new(hold);
        loop {
            if press.look(is_pressed()?, Instant::now()) {
                return Ok(());
            }
            let pause = press.left(Instant::now()).unwrap_or(LOOK);
            let waited = line.wait_edge_event(pause);
            if waited.with_context(|| format!("waiting for the button {self}"))? {
                let event = line.read_edge_event();
                let event = event.with_context(|| format!("reading the button {self}"))?;
                // A release and a press between two looks begin anew.
                press.edge(
                    event.kind == gpiocdev::line::EdgeKind::Rising,
                    Instant::now(),
                );
            }
        }
    }
}

/// One press of the button.
#[derive(Debug)]
struct Press {
    hold: Duration,
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Not seen released yet: a button that is stuck would reset the device at every start.
    Unknown,
    Released,
    Since(Instant),
}

impl Press {
    fn new(hold: Duration) -> Self {
        Self {
            hold,
            state: State::Unknown,
        }
    }

    /// The line changed.
    fn edge(&mut self, is_pressed: bool, now: Instant) {
        self.state = match (self.state, is_pressed) {
            (_, false) => State::Released,
            // An edge to pressed comes from released.
            (_, true) => State::Since(now),
        };
    }

    /// The line is so now. Says whether it was held long enough.
    fn look(&mut self, is_pressed: bool, now: Instant) -> bool {
        self.state = match (self.state, is_pressed) {
            (_, false) => State::Released,
            (State::Released, true) => State::Since(now),
            (same, true) => same,
        };
        self.left(now).is_some_and(|left| left.is_zero())
    }

    /// How long it has to be held on.
    fn left(&self, now: Instant) -> Option<Duration> {
        match self.state {
            State::Since(since) => Some((since + self.hold).saturating_duration_since(now)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_a_chip_and_a_number() {
        let button = |text: &str| text.parse::<Button>();
        let low = button("gpiochip0:17:low").unwrap();
        assert!(low.is_low && low.line == 17 && low.to_string() == "gpiochip0:17");
        assert!(!button("/dev/gpiochip1:0").unwrap().is_low);
        for wrong in [
            "",
            "17",
            "gpiochip0",
            "gpiochip0:x",
            ":17",
            "a/../b:1",
            "c:1:high",
        ] {
            assert!(button(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_a_press_that_lasts_and_began_while_watched_counts() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut press = Press::new(Duration::from_secs(5));
        assert!(!press.look(true, at(0)) && press.left(at(0)).is_none());
        assert!(!press.look(true, at(9)), "it was down from the beginning");
        assert!(!press.look(false, at(10)));
        assert!(!press.look(true, at(11)));
        assert_eq!(press.left(at(12)), Some(Duration::from_secs(4)));
        press.edge(false, at(13));
        press.edge(true, at(13));
        assert!(!press.look(true, at(16)), "let go in between");
        assert!(press.look(true, at(18)));
    }
}
