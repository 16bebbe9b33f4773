//! `fieldgate queue export`.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use tempfile::NamedTempFile;

use super::ExportArgs;
use super::list::{Lines, left_out};
use super::source::Source;

pub(super) async fn run(args: &ExportArgs) -> Result<()> {
    let place = args.place.find();
    let output = args.output.as_deref().map(Output::new).transpose()?;
    let source = Source::find(&args.place, &place, &place.files()?).await?;
    let mut lines = Lines::new(match &output {
        Some(output) => Box::new(BufWriter::new(output.writer()?)),
        None => Box::new(BufWriter::new(std::io::stdout())),
    });
    let mut events: u64 = 0;
    let selection = args.filter.selection(args.limit);
    let numbered = args.numbered;
    let end = source
        .each(&selection, true, &mut |item| {
            events += 1;
            match &item.event {
                Some(event) if !numbered => lines.put(event.get()),
                _ => lines.put(&serde_json::to_string(&item)?),
            }
        })
        .await?;
    lines.flush()?;
    let Some(end) = end else { return Ok(()) };
    if let Some(output) = output {
        output.finish()?;
    }
    eprintln!("{events} events; they are in the queue as before");
    left_out(end);
    Ok(())
}

/// A file that is there when it is whole; or something that is no file, such as a terminal, as it is.
enum Output<'a> {
    Whole(&'a Path, NamedTempFile),
    Other(&'a Path),
}

impl<'a> Output<'a> {
    fn new(path: &'a Path) -> Result<Self> {
        if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
            return Ok(Self::Other(path));
        }
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let file = NamedTempFile::new_in(folder)
            .with_context(|| format!("--output {}", path.display()))?;
        Ok(Self::Whole(path, file))
    }

    fn writer(&self) -> Result<Box<dyn Write + Send>> {
        let (path, file) = match self {
            Self::Whole(path, file) => (path, file.as_file().try_clone()),
            Self::Other(path) => (path, File::options().write(true).open(path)),
        };
        let file = file.with_context(|| format!("--output {}", path.display()))?;
        Ok(Box::new(file))
    }

    fn finish(self) -> Result<()> {
        let Self::Whole(path, file) = self else {
            return Ok(());
        };
        let context = || format!("--output {}", path.display());
        file.as_file().sync_all().with_context(context)?;
        file.persist(path).with_context(context)?;
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))
            .and_then(|folder| folder.sync_all())
            .with_context(context)
    }
}
