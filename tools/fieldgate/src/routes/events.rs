//! Reads events from files: JSON documents one after the other, on one line or on several.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::value::RawValue;

/// What is read of a file at most.
const MOST_BYTES: u64 = 256 << 20;

/// The content of a file.
#[derive(Debug)]
pub(super) struct Events {
    /// The file as it was given.
    pub(super) name: String,
    text: String,
}

/// One event of a file, or what keeps it from being read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found<'t> {
    /// Where it begins, from 1.
    pub(super) line: usize,
    pub(super) event: Result<&'t str, String>,
}

impl Events {
    /// Reads a file, or standard input for `-`.
    pub(super) fn read(file: &Path) -> Result<Self> {
        let is_stdin = file.as_os_str() == "-";
        let name = if is_stdin {
            "standard input".to_owned()
        } else {
            file.display().to_string()
        };
        let mut bytes = Vec::new();
        let read = if is_stdin {
            std::io::stdin()
                .lock()
                .take(MOST_BYTES + 1)
                .read_to_end(&mut bytes)
        } else {
            std::fs::File::open(file)
                .and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes))
        };
        read.with_context(|| format!("{name}: cannot be read"))?;
        if bytes.len() as u64 > MOST_BYTES {
            bail!(
                "{name}: is larger than {} MiB; try a part of it",
                MOST_BYTES >> 20
            );
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            anyhow::anyhow!(
                "{name}: is not UTF-8 from byte {} on",
                error.utf8_error().valid_up_to()
            )
        })?;
        let text = text.trim_start_matches('\u{feff}').to_owned();
        if text.trim().is_empty() {
            bail!("{name}: has no events");
        }
        Ok(Self { name, text })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Found<'_>> {
        let mut rest = self.text.as_str();
        let mut line = 1;
        std::iter::from_fn(move || {
            let begin = rest.trim_start_matches([' ', '\t', '\r', '\n']);
            line += lines(rest) - lines(begin);
            if begin.is_empty() {
                return None;
            }
            let at = line;
            let mut documents = serde_json::Deserializer::from_str(begin).into_iter::<&RawValue>();
            let event = match documents.next()? {
                Ok(document) => {
                    rest = begin.get(documents.byte_offset()..).unwrap_or_default();
                    line += lines(begin) - lines(rest);
                    Ok(document.get())
                }
                Err(error) => {
                    // Of one event a line the next one may be good; else nobody knows where the next one begins.
                    rest = match begin.split_once('\n') {
                        Some((_, next)) if error.line() == 1 => next,
                        _ => "",
                    };
                    let place = at + error.line() - 1;
                    line += lines(begin) - lines(rest);
                    Err(told(&error, place))
                }
            };
            Some(Found { line: at, event })
        })
    }
}

/// An error of the JSON reader with the line of the file.
fn told(error: &serde_json::Error, line: usize) -> String {
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or_default();
    format!(
        "is not JSON: {what} at line {line} column {}",
        error.column()
    )
}

fn lines(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(usize, Result<String, String>)> {
        let events = Events {
            name: "x".to_owned(),
            text: text.to_owned(),
        };
        let owned = |found: Found<'_>| (found.line, found.event.map(str::to_owned));
        events.iter().map(owned).collect()
    }

    #[test]
    fn documents_follow_each_other_in_any_layout() {
        let good = |line, text: &str| (line, Ok(text.to_owned()));
        assert_eq!(
            found("\n{\"a\": 1}\n\n{\n \"b\": 2\n}{\"c\": 3}\r\n  7\n"),
            [
                good(2, "{\"a\": 1}"),
                good(4, "{\n \"b\": 2\n}"),
                good(6, "{\"c\": 3}"),
                good(7, "7")
            ]
        );
    }

    #[test]
    fn a_bad_line_does_not_hide_the_next_ones() {
        let all = found("{\"a\": 1}\n{\"b\": }\n{\"c\": 3}\n{\"d\":\n x}\n{\"e\": 5}\n");
        let lines: Vec<usize> = all.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [1, 2, 3, 4]);
        assert_eq!(
            all[1].1,
            Err("is not JSON: expected value at line 2 column 7".to_owned())
        );
        assert_eq!(
            all[3].1,
            Err("is not JSON: expected value at line 5 column 2".to_owned())
        );
    }
}
