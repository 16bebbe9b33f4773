//! Documents and where each of their parts was written.

use std::collections::HashMap;
use std::ops::Range;

use module_runtime::Problem;
use module_runtime::configuration::{Path, Segment};
use saphyr::{LoadableYamlNode, MarkedYaml, Marker, Scalar, YamlData};
use serde_json::{Map, Number, Value};

/// The longest indentation of a line: reading descends with it, and the stack is finite.
const DEEPEST: usize = 400;

/// Line and column, both from 1.
type Place = (usize, usize);

/// A document and where each of its parts was written.
#[derive(Debug, Clone)]
pub struct Located {
    file: String,
    value: Value,
    /// Where it stands in what was read: nowhere deep, or the path of a part.
    base: Path,
    places: Places,
}

/// By the path's text.
#[derive(Debug, Clone, Default)]
struct Places {
    starts: HashMap<String, Place>,
    /// Of texts and numbers.
    characters: HashMap<String, Range<usize>>,
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
            base: Path::root(),
            places: Places::default(),
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
        let fail = |(line, column): Place, path: &Path, message: String| Problem {
            file: file.to_owned(),
            line,
            column,
            path: path.to_string(),
            message,
        };
        if let Some(line) = text.lines().position(is_too_deep) {
            let message = format!("a line may begin with at most {DEEPEST} spaces and dashes");
            return Err(fail((line + 1, DEEPEST + 1), &Path::root(), message));
        }
        let nodes = MarkedYaml::load_from_str(text).map_err(|error| {
            let mut message = format!("not valid YAML: {}", error.info());
            let line = text.lines().nth(error.marker().line().saturating_sub(1));
            if line.is_some_and(|line| line.trim_start_matches(' ').starts_with('\t')) {
                message.push_str("; indent with spaces, not with a tab");
            }
            fail(place(error.marker()), &Path::root(), message)
        })?;
        let mut all = Vec::with_capacity(nodes.len());
        for node in &nodes {
            let is_empty = matches!(
                node.data,
                YamlData::BadValue | YamlData::Value(Scalar::Null)
            );
            if is_empty {
                continue;
            }
            let mut places = Places::default();
            let value = convert(node, &Path::root(), &mut places)
                .map_err(|wrong| fail(wrong.place, &wrong.path, wrong.message))?;
            all.push(Self {
                file: file.to_owned(),
                value,
                base: Path::root(),
                places,
            });
        }
        Ok(all)
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
            base: self.whole(path),
            places: self.places.clone(),
        })
    }

    /// The characters of a text or number in what was read, its quotes included; blanks and line breaks may follow in it.
    pub fn characters(&self, path: &Path) -> Option<Range<usize>> {
        self.places
            .characters
            .get(&self.whole(path).to_string())
            .cloned()
    }

    /// Line and column of a path, both from 1, or of the nearest part of the document on the way to it.
    pub fn place(&self, path: &Path) -> (usize, usize) {
        let path = self.whole(path);
        (0..=path.segments().len())
            .rev()
            .filter_map(|length| path.segments().get(..length))
            .find_map(|above| {
                let above = Path::from(above.to_vec()).to_string();
                self.places.starts.get(&above)
            })
            .copied()
            .unwrap_or((1, 1))
    }

    fn whole(&self, path: &Path) -> Path {
        path.segments()
            .iter()
            .fold(self.base.clone(), |whole, segment| {
                whole.join(segment.clone())
            })
    }

    /// Something wrong at a path, or at the nearest part of the document on the way to it.
    pub fn problem(&self, path: &Path, message: impl Into<String>) -> Problem {
        let (line, column) = self.place(path);
        Problem {
            file: self.file.clone(),
            line,
            column,
            path: self.whole(path).to_string(),
            message: message.into(),
        }
    }
}

fn is_too_deep(line: &str) -> bool {
    line.bytes()
        .take_while(|byte| matches!(byte, b' ' | b'-' | b'?'))
        .nth(DEEPEST)
        .is_some()
}

/// saphyr counts lines from 1 and columns from 0.
fn place(marker: &Marker) -> Place {
    (marker.line().max(1), marker.col() + 1)
}

/// What JSON cannot hold of a document.
struct Wrong {
    place: Place,
    path: Path,
    message: String,
}

fn convert(node: &MarkedYaml<'_>, path: &Path, places: &mut Places) -> Result<Value, Wrong> {
    let at = place(&node.span.start);
    places.starts.insert(path.to_string(), at);
    if matches!(node.data, YamlData::Value(_)) {
        let characters = node.span.start.index()..node.span.end.index();
        places.characters.insert(path.to_string(), characters);
    }
    let wrong = |place: Place, message: &str| Wrong {
        place,
        path: path.clone(),
        message: message.to_owned(),
    };
    match &node.data {
        YamlData::Value(Scalar::Null) => Ok(Value::Null),
        YamlData::Value(Scalar::Boolean(flag)) => Ok(Value::Bool(*flag)),
        YamlData::Value(Scalar::Integer(number)) => Ok((*number).into()),
        YamlData::Value(Scalar::FloatingPoint(number)) => Number::from_f64(number.0)
            .map(Value::Number)
            .ok_or_else(|| wrong(at, "is not a finite number")),
        YamlData::Value(Scalar::String(text)) => Ok(Value::String(text.to_string())),
        YamlData::Sequence(items) => items
            .iter()
            .enumerate()
            .map(|(index, item)| convert(item, &path.join(index), places))
            .collect(),
        YamlData::Mapping(entries) => {
            let mut values = Map::with_capacity(entries.len());
            for (key, item) in entries {
                let key_place = place(&key.span.start);
                let name = match &key.data {
                    YamlData::Value(Scalar::String(text)) => text.to_string(),
                    YamlData::Value(Scalar::Integer(number)) => number.to_string(),
                    YamlData::Value(Scalar::Boolean(flag)) => flag.to_string(),
                    _ => return Err(wrong(key_place, "a key must be a plain text")),
                };
                let value = convert(item, &path.join(name.as_str()), places)?;
                if values.insert(name, value).is_some() {
                    return Err(wrong(
                        key_place,
                        "a key appears twice; remove one of the two",
                    ));
                }
            }
            Ok(Value::Object(values))
        }
        YamlData::Tagged(tag, _) => Err(wrong(
            at,
            &format!("has the tag {tag}, which means nothing here; remove it"),
        )),
        YamlData::Alias(_) => Err(wrong(at, "refers to an anchor that is not defined above")),
        YamlData::Representation(..) | YamlData::BadValue => {
            Err(wrong(at, "is not a value of the type its tag says"))
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
