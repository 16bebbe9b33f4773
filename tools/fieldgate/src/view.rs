//! The live terminal view. Drawn on standard error: standard output carries the report alone.

use std::io::{Stderr, stderr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, Row, Table};
use ratatui::{Frame, Terminal};
use tokio_util::sync::CancellationToken;

use crate::notes::Notes;
use crate::snapshot::Snapshot;

/// How long a look at the keyboard takes; bounds how long leaving the view takes.
const KEY_WAIT: Duration = Duration::from_millis(100);
/// A device whose newest event is older is silent.
const SILENT: Duration = Duration::from_secs(3);

/// The terminal while the view is shown; dropping it restores the terminal.
#[derive(Debug)]
pub(crate) struct View {
    terminal: Terminal<CrosstermBackend<Stderr>>,
    leaving: Arc<AtomicBool>,
}

impl View {
    /// Takes the terminal. `q` and Ctrl-C cancel `quit`.
    pub(crate) fn open(quit: CancellationToken) -> Result<Self> {
        enable_raw_mode().context("the terminal's raw mode")?;
        let default_hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            default_hook(panic);
        }));
        execute!(stderr(), EnterAlternateScreen).context("the terminal's second screen")?;
        let terminal = Terminal::new(CrosstermBackend::new(stderr())).inspect_err(|_| restore())?;
        let leaving = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&leaving);
        // Nobody waits for this thread: when the terminal has gone away, crossterm's poll may never return, and the run must end
        // all the same.
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                match event::poll(KEY_WAIT) {
                    Ok(true) => {}
                    Ok(false) => continue,
                    Err(_) => return,
                }
                match event::read() {
                    Ok(event) if asks_to_quit(&event) => quit.cancel(),
                    Ok(_) => {}
                    Err(_) => return,
                }
            }
        });
        Ok(Self { terminal, leaving })
    }

    pub(crate) fn draw(&mut self, snapshot: &Snapshot, notes: &Notes) -> Result<()> {
        self.terminal
            .draw(|frame| draw(frame, snapshot, notes))
            .map(drop)
            .context("drawing the view")
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.leaving.store(true, Ordering::Relaxed);
        restore();
    }
}

fn restore() {
    let _ = execute!(stderr(), LeaveAlternateScreen);
    let _ = disable_raw_mode();
}

fn asks_to_quit(event: &Event) -> bool {
    let Event::Key(key) = event else {
        return false;
    };
    key.kind != KeyEventKind::Release
        && match key.code {
            KeyCode::Char('q') => true,
            KeyCode::Char('c') => key.modifiers.contains(KeyModifiers::CONTROL),
            _ => false,
        }
}

fn draw(frame: &mut Frame<'_>, snapshot: &Snapshot, notes: &Notes) {
    let devices_height = u16::try_from(snapshot.devices.len())
        .unwrap_or(u16::MAX)
        .saturating_add(3);
    let [head, devices, below] = Layout::vertical([
        Constraint::Length(6),
        Constraint::Length(devices_height),
        Constraint::Min(4),
    ])
    .areas(frame.area());
    let [processes, messages] =
        Layout::horizontal([Constraint::Length(34), Constraint::Min(20)]).areas(below);
    frame.render_widget(summary(snapshot), head);
    frame.render_widget(device_table(snapshot), devices);
    frame.render_widget(process_table(snapshot), processes);
    frame.render_widget(message_list(notes, messages), messages);
}

fn summary(snapshot: &Snapshot) -> Paragraph<'static> {
    let verdict = &snapshot.verdict;
    let optional = |value: Option<f64>, unit: &str| {
        value.map_or_else(|| "?".to_owned(), |value| format!("{value:.1} {unit}"))
    };
    let hub = match snapshot.hub_connected {
        Some(true) => Span::from("connected").green(),
        _ => Span::from(snapshot.hub_state()).red(),
    };
    let wrong = format!(
        "{} wrong, {} duplicates",
        verdict.values_wrong, verdict.duplicates
    );
    Paragraph::new(vec![
        Line::from(vec![
            Span::from(format!("{:6.1} events/s", snapshot.events_per_second)).bold(),
            Span::from(format!(
                " of {:.0} planned · {} at the hub · {} on the way",
                snapshot.planned_events_per_second, verdict.events_delivered, snapshot.outstanding
            )),
        ]),
        Line::from(vec![
            Span::from("IoT Hub "),
            hub,
            Span::from(format!(
                " · queue {} events, oldest {}",
                snapshot
                    .queue_depth
                    .map_or_else(|| "?".to_owned(), |depth| format!("{depth:.0}")),
                optional(snapshot.queue_age_s, "s")
            )),
        ]),
        Line::from(format!(
            "poll answer → hub: p50 {}, p99 {}",
            optional(verdict.latency_ms_p50, "ms"),
            optional(verdict.latency_ms_p99, "ms")
        )),
        Line::from(vec![
            Span::from(format!("{} values checked, ", verdict.values_checked)),
            if verdict.values_wrong > 0 {
                Span::from(wrong).red()
            } else {
                Span::from(wrong)
            },
        ]),
    ])
    .block(Block::bordered().title(format!(
        " Fieldgate demo · {} s · q quits ",
        snapshot.running.as_secs()
    )))
}

fn device_table(snapshot: &Snapshot) -> Table<'static> {
    let now = SystemTime::now();
    let rows = snapshot.devices.iter().map(|(name, device)| {
        let age = now.duration_since(device.at).unwrap_or_default();
        let (state, color) = match &device.bad {
            _ if age > SILENT => (format!("silent {} s", age.as_secs()), Color::Red),
            Some(reason) => (reason.clone(), Color::Yellow),
            None => ("good".to_owned(), Color::Green),
        };
        let values: Vec<String> = device
            .values
            .iter()
            .step_by(device.values.len().div_ceil(5).max(1))
            .map(|(tag, value)| format!("{tag} {}", short(value)))
            .collect();
        Row::new(vec![
            Line::from(name.clone()),
            Line::from(Span::styled(state, Style::new().fg(color))),
            Line::from(values.join("  ")),
        ])
    });
    Table::new(
        rows,
        [
            Constraint::Length(12),
            Constraint::Length(20),
            Constraint::Min(20),
        ],
    )
    .header(Row::new(["device", "state", "last values"]).bold())
    .block(Block::bordered())
}

fn short(value: &serde_json::Value) -> String {
    let text = match value.as_f64() {
        Some(number) if value.is_f64() => {
            if (1e-3..1e7).contains(&number.abs()) {
                format!("{number:.3}")
            } else {
                format!("{number:.3e}")
            }
        }
        _ => value.to_string(),
    };
    text.chars().take(14).collect()
}

fn process_table(snapshot: &Snapshot) -> Table<'static> {
    let rows = snapshot.processes.iter().map(|(name, running, restarts)| {
        let (state, color) = if *running {
            ("up", Color::Green)
        } else {
            ("down", Color::Red)
        };
        Row::new(vec![
            Line::from(*name),
            Line::from(Span::styled(state, Style::new().fg(color))),
            Line::from(if *restarts == 0 {
                String::new()
            } else {
                format!("×{restarts}")
            }),
        ])
    });
    Table::new(
        rows,
        [
            Constraint::Length(22),
            Constraint::Length(5),
            Constraint::Length(4),
        ],
    )
    .block(Block::bordered().title(" processes "))
}

fn message_list(notes: &Notes, area: Rect) -> Paragraph<'static> {
    let (width, height) = (
        usize::from(area.width.saturating_sub(2)).max(1),
        usize::from(area.height.saturating_sub(2)),
    );
    // The newest lines that fit, long ones wrapped: a command line must be there in full.
    let mut rows = 0;
    let mut lines = notes.latest(height);
    let fitting = lines
        .iter()
        .rev()
        .take_while(|line| {
            rows += line.chars().count().div_ceil(width).max(1);
            rows <= height
        })
        .count();
    lines.drain(..lines.len() - fitting);
    let rows = lines.iter().flat_map(|line| {
        let letters: Vec<char> = line.chars().collect();
        let rows: Vec<Line<'static>> = letters
            .chunks(width)
            .map(|row| Line::from(row.iter().collect::<String>()))
            .collect();
        rows
    });
    Paragraph::new(rows.collect::<Vec<_>>()).block(Block::bordered())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ratatui::backend::TestBackend;

    use super::*;
    use crate::evidence::{DeviceView, Verdict};

    #[test]
    fn shows_devices_rates_queue_and_hub() {
        let snapshot = Snapshot {
            running: Duration::from_secs(12),
            events_per_second: 58.0,
            planned_events_per_second: 58.0,
            verdict: Verdict::default(),
            outstanding: 3,
            queue_depth: Some(17.0),
            queue_age_s: Some(0.4),
            hub_connected: Some(false),
            devices: BTreeMap::from([(
                "press-1".to_owned(),
                DeviceView {
                    at: SystemTime::now(),
                    good: 8,
                    bad: Some("timeout".to_owned()),
                    values: BTreeMap::from([("level-1".to_owned(), serde_json::json!(42))]),
                },
            )]),
            processes: vec![("nats-server", false, 2)],
        };
        let notes = Notes::new(true);
        notes.say(format!("{}END", "long ".repeat(30)));
        notes.say("chaos 1/7");
        let mut terminal = Terminal::new(TestBackend::new(110, 24)).unwrap();
        terminal
            .draw(|frame| draw(frame, &snapshot, &notes))
            .unwrap();
        let screen = terminal.backend().to_string();
        for expected in [
            "58.0 events/s",
            "queue 17",
            "disconnected",
            "press-1",
            "timeout",
            "level-1 42",
            "nats-server",
            "chaos 1/7",
            "END",
        ] {
            assert!(screen.contains(expected), "{expected}: {screen}");
        }
    }
}
