//! `fieldgate queue status`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use queue_inspection::{SinceOpened, Status};
use serde::Serialize;
use store_forward::{Files, Held};

use super::place::Place;
use super::source::Source;
use super::{StatusArgs, shown};
use crate::install::say;
use crate::size::size;

pub(super) async fn run(args: &StatusArgs) -> Result<()> {
    let place = args.place.find();
    let files = place.files()?;
    let source = Source::find(&args.place, &place, &files).await?;
    let report = Report::new(place, files, &source, source.status().await?);
    if args.json {
        say(&serde_json::to_string(&report)?);
    } else {
        for line in report.lines() {
            say(&line);
        }
    }
    Ok(())
}

/// What is said; with `--json` as it is.
#[derive(Debug, Serialize)]
struct Report {
    file: PathBuf,
    /// Version of the file's layout; null if it does not say it clearly.
    layout: Option<u32>,
    /// Whether a process has it open; null if that cannot be told.
    open: Option<bool>,
    /// `module`: the process that has it open answered. `copy`: a copy of the file was looked at.
    asked: &'static str,
    #[serde(flatten)]
    status: Status,
    /// Files that were set aside as damaged.
    set_aside: Vec<Aside>,
}

#[derive(Debug, Serialize)]
struct Aside {
    file: PathBuf,
    bytes: u64,
}

impl Report {
    fn new(place: Place, files: Files, source: &Source, mut status: Status) -> Self {
        let asked = match source {
            Source::Module(_) => "module",
            Source::Copy(_) => {
                // Those of the copy mean nothing.
                status.file_bytes = files.database_bytes + files.log_bytes;
                status.max_bytes = place.max_bytes;
                status.when_full = place.when_full;
                "copy"
            }
        };
        Self {
            file: place.path,
            layout: files.layout,
            open: match files.held {
                Held::Yes => Some(true),
                Held::No => Some(false),
                Held::Unknown(_) => None,
            },
            asked,
            status,
            set_aside: files
                .damaged
                .into_iter()
                .map(|(file, bytes)| Aside { file, bytes })
                .collect(),
        }
    }

    fn lines(&self) -> Vec<String> {
        let status = &self.status;
        let age = |seconds: Option<f64>| {
            seconds.map_or_else(String::new, |age| format!(", oldest {}", words(age)))
        };
        let open = match (self.open, self.asked) {
            (_, "module") => "in a process, which was asked",
            (Some(true), _) => "in a process that does not answer",
            (Some(false), _) => "in no process",
            (None, _) => "not known",
        };
        let layout = self
            .layout
            .map_or_else(|| "not known".to_owned(), |layout| layout.to_string());
        let mut disk = size(status.file_bytes);
        if let Some(bound) = status.max_bytes {
            disk.push_str(&format!(" of {}", size(bound)));
        }
        if let Some(when_full) = &status.when_full {
            disk.push_str(&format!(", {} when full", shown(when_full)));
        }
        let mut lines = vec![
            format!("file      {}", self.file.display()),
            format!("open      {open}"),
            format!("layout    {layout}"),
            format!(
                "events    {}, {}{}",
                status.events,
                size(status.bytes),
                age(status.oldest_age_seconds)
            ),
            format!("disk      {disk}"),
        ];
        for of in &status.priorities {
            let numbers = match (of.first, of.last) {
                (Some(first), Some(last)) => format!(", numbers {first} to {last}"),
                _ => String::new(),
            };
            lines.push(format!(
                "priority  {}: {}, {}{}{numbers}",
                of.priority,
                of.events,
                size(of.bytes),
                age(of.oldest_age_seconds)
            ));
        }
        for of in &status.routes {
            lines.push(format!(
                "route     {}: {}, {}",
                shown(&of.route),
                of.events,
                size(of.bytes)
            ));
        }
        lines.extend(lost(&status.since_opened));
        for aside in &self.set_aside {
            lines.push(format!(
                "set aside {}, {}",
                aside.file.display(),
                size(aside.bytes)
            ));
        }
        lines
    }
}

/// What did not get to the hub since the queue was opened.
fn lost(since: &SinceOpened) -> Vec<String> {
    let mut lines: Vec<String> = since
        .dropped
        .iter()
        .map(|dropped| {
            format!(
                "dropped   {} as {}, of priority {} and route {}",
                dropped.events,
                dropped.reason,
                dropped.priority,
                shown(&dropped.route)
            )
        })
        .collect();
    for (count, what) in [
        (
            since.rejected,
            "events were refused because there was no room",
        ),
        (
            since.left_behind,
            "events of a newer release cannot be kept",
        ),
        (since.damaged_events, "events are damaged"),
        (since.damaged_files, "files are damaged"),
        (since.storage_errors, "failures of the disk"),
    ] {
        if count > 0 {
            lines.push(format!("trouble   {count} {what}"));
        }
    }
    if let Some(error) = &since.last_error {
        lines.push(format!("trouble   last: {}", shown(error)));
    }
    lines
}

/// `3 h 12 min`.
fn words(seconds: f64) -> String {
    let seconds = Duration::try_from_secs_f64(seconds).map_or(0, |age| age.as_secs());
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min {} s", seconds % 60),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn an_age_is_in_two_units() {
        let ages = [0.4, 61.0, 3600.0 * 3.2, 86_400.0 * 2.5].map(words);
        assert_eq!(ages, ["0 s", "1 min 1 s", "3 h 12 min", "2 d 12 h"]);
    }
}
