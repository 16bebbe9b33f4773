//! `fieldgate queue list`.

use std::io::{BufWriter, ErrorKind, Write};

use anyhow::{Context, Result};
use queue_inspection::{End, Item};

use super::source::Source;
use super::{ListArgs, shown};

pub(super) async fn run(args: &ListArgs) -> Result<()> {
    let place = args.place.find();
    let source = Source::find(&args.place, &place, &place.files()?).await?;
    let mut lines = Lines::new(Box::new(BufWriter::new(std::io::stdout())));
    let selection = args.filter.selection(args.limit);
    let json = args.json;
    let end = source
        .each(&selection, false, &mut |item| {
            if json {
                lines.put(&serde_json::to_string(&item)?)
            } else {
                lines.put(&line(&item))
            }
        })
        .await?;
    lines.flush()?;
    if let Some(end) = end {
        left_out(end);
    }
    Ok(())
}

fn line(item: &Item) -> String {
    format!(
        "{:>10}  {}  {}  {:>8}  {:16}  {:16}  {}",
        item.number,
        item.stored,
        item.priority,
        item.bytes,
        shown(&item.route),
        shown(&item.key),
        shown(&item.id)
    )
}

/// Says what is missing from what was written.
pub(super) fn left_out(end: End) {
    for (count, why) in [
        (end.damaged, "damaged and cannot be read"),
        (end.not_json, "no JSON and left out"),
    ] {
        if count > 0 {
            eprintln!("{count} more: {why}");
        }
    }
}

/// Whole lines to whoever reads them.
pub(super) struct Lines {
    out: Box<dyn Write + Send>,
}

impl Lines {
    pub(super) fn new(out: Box<dyn Write + Send>) -> Self {
        Self { out }
    }

    /// Says whether more is wanted: who reads may have had enough.
    pub(super) fn put(&mut self, line: &str) -> Result<bool> {
        let written = self
            .out
            .write_all(line.as_bytes())
            .and_then(|()| self.out.write_all(b"\n"));
        wanted(written)
    }

    pub(super) fn flush(&mut self) -> Result<()> {
        wanted(self.out.flush()).map(drop)
    }
}

fn wanted(written: std::io::Result<()>) -> Result<bool> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        written => written.map(|()| true).context("writing the lines"),
    }
}
