//! Documents and where each of their parts was written.

use std::ops::Range;
use std::sync::Arc;

use module_runtime::Problem;
use module_runtime::configuration::{Document, Path, Position, Segment};
use serde_json::Value;

/// A document and where each of its parts was written.
#[derive(Debug, Clone)]
pub struct Located {
    file: String,
    value: Value,
    /// What was read; an empty text is none.
    whole: Option<Arc<Document>>,
    /// Where it stands in what was read: nowhere deep, or the path of a part.
    base: Path,
}

impl Located {
    /// Reads a text of exactly one document; an empty text is nothing ([`Value::Null`]).
    ///
    /// # Errors
    /// What keeps it from being YAML, with its place.
    pub fn parse(file: &str, text: &str) -> Result<Self, Problem> {
        let mut all = Self::parse_all(file, text)?.into_iter();
        let first = all.next().unwrap_or_else(|| Self {
            file: file.to_owned(),
            value: Value::Null,
            whole: None,
            base: Path::root(),
        });
        match all.next() {
            None => Ok(first),
            Some(second) => Err(second.problem(
                &Path::root(),
                "a second document starts here; this file holds exactly one",
            )),
        }
    }

    /// Reads a text of any number of documents; empty ones are left out.
    ///
    /// # Errors
    /// What keeps it from being YAML, with its place.
    pub fn parse_all(file: &str, text: &str) -> Result<Vec<Self>, Problem> {
        let all = Document::parse_all(file, text)?;
        Ok(all
            .into_iter()
            .map(|document| Self {
                file: file.to_owned(),
                value: document.value().clone(),
                whole: Some(Arc::new(document)),
                base: Path::root(),
            })
            .collect())
    }

    /// What the document, or the part of it, holds.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// A part of the document, if it is there; what is wrong with it is told with its place in the whole.
    pub fn part(&self, path: &Path) -> Option<Self> {
        Some(Self {
            file: self.file.clone(),
            value: value_at(&self.value, path)?.clone(),
            whole: self.whole.clone(),
            base: self.path_in_whole(path),
        })
    }

    /// The characters of a text or number in what was read, its quotes included; blanks and line breaks may follow in it.
    pub fn characters(&self, path: &Path) -> Option<Range<usize>> {
        self.whole.as_ref()?.characters(&self.path_in_whole(path))
    }

    /// Where a path is, or the nearest part of the document on the way to it.
    pub fn place(&self, path: &Path) -> Position {
        match &self.whole {
            Some(whole) => whole.position(&self.path_in_whole(path), false),
            None => Position { line: 1, column: 1 },
        }
    }

    fn path_in_whole(&self, path: &Path) -> Path {
        path.segments()
            .iter()
            .fold(self.base.clone(), |whole, segment| {
                whole.join(segment.clone())
            })
    }

    /// Something wrong at a path, or at the nearest part of the document on the way to it.
    pub fn problem(&self, path: &Path, message: impl Into<String>) -> Problem {
        let Position { line, column } = self.place(path);
        Problem {
            file: self.file.clone(),
            line,
            column,
            path: self.path_in_whole(path).to_string(),
            message: message.into(),
        }
    }
}

/// The value at a path.
pub fn value_at<'v>(value: &'v Value, path: &Path) -> Option<&'v Value> {
    path.segments()
        .iter()
        .try_fold(value, |value, segment| match segment {
            Segment::Key(key) => value.get(key),
            Segment::Index(index) => value.get(index),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use module_runtime::path;

    #[test]
    fn every_document_knows_its_lines() {
        let text = "# comment\na: 1\n---\n---\nb:\n- name: x\n  c: true\n";
        let all = Located::parse_all("f.yaml", text).unwrap();
        assert_eq!(all.len(), 2);
        let problem = all[1].problem(&path!["b", 0, "c"], "is wrong");
        assert_eq!(problem.to_string(), "f.yaml:7:6: b[0].c: is wrong");
        let nearest = all[1].problem(&path!["b", 0, "d", 3], "is missing");
        assert_eq!((nearest.line, nearest.column), (6, 3));
        assert_eq!(
            value_at(all[1].value(), &path!["b", 0, "c"]),
            Some(&true.into())
        );
    }

    #[test]
    fn a_part_is_told_with_its_place_in_the_whole() {
        let text = "ä: 1\na:\n  b: {c: \"x\", d: plain # why\n  }\n";
        let whole = Located::parse("f.yaml", text).unwrap();
        let part = whole.part(&path!["a", "b"]).unwrap();
        let problem = part.problem(&path!["c"], "is wrong");
        assert_eq!(problem.to_string(), "f.yaml:3:10: a.b.c: is wrong");
        let written = |key: &str| -> String {
            let characters = part.characters(&path![key]).unwrap();
            text.chars()
                .skip(characters.start)
                .take(characters.len())
                .collect()
        };
        assert_eq!(written("c"), "\"x\"");
        assert_eq!(written("d").trim(), "plain");
        assert!(whole.part(&path!["a", "c"]).is_none());
    }

    #[test]
    fn what_is_no_yaml_is_told_with_its_line() {
        let tab = Located::parse("f.yaml", "a:\n\tb: 1\n").unwrap_err();
        assert!(tab.to_string().contains("not with a tab"), "{tab}");
        assert_eq!(tab.line, 2);
        let twice = Located::parse("f.yaml", "a: 1\n---\nb: 1\n").unwrap_err();
        assert!(twice.to_string().starts_with("f.yaml:3:"), "{twice}");
        assert_eq!(
            Located::parse("f.yaml", "# nothing\n").unwrap().value(),
            &Value::Null
        );
    }
}
