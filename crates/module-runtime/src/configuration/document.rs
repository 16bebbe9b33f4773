//! A YAML or JSON text as a JSON value that still knows where each of its parts was written.

use std::collections::BTreeMap;
use std::ops::Range;

use saphyr::{LoadableYamlNode, MarkedYaml, Marker, Scalar, YamlData};
use serde_json::{Map, Number, Value};

use super::path::{Path, Segment};
use super::problem::Problem;

/// The longest indentation of a line: reading descends with it, and the stack is finite. (Brackets saphyr bounds itself.)
const DEEPEST: usize = 400;

/// A place in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// From 1.
    pub line: usize,
    /// From 1, counted in characters.
    pub column: usize,
}

impl Position {
    /// saphyr counts lines from 1 and columns from 0.
    fn of(marker: &Marker) -> Self {
        Self {
            line: marker.line().max(1),
            column: marker.col() + 1,
        }
    }
}

/// One node's position and those of its children.
#[derive(Debug)]
struct Place {
    at: Position,
    children: Children,
}

#[derive(Debug)]
enum Children {
    /// A text, a number, a word, with its characters in what was read; none for what is not there.
    Leaf(Range<usize>),
    List(Vec<Place>),
    Mapping(BTreeMap<String, (Position, Place)>),
}

/// A document's value and the position of every node in it.
#[derive(Debug)]
pub struct Document {
    value: Value,
    root: Place,
}

impl Document {
    /// Parses a text of exactly one document. An empty text is an empty mapping.
    ///
    /// # Errors
    /// What keeps it from being one document, with its place; `file` is only for the message.
    pub fn parse(file: &str, text: &str) -> Result<Self, Problem> {
        let mut nodes = nodes(file, text)?.into_iter();
        let Some(node) = nodes.next() else {
            return Ok(Self::empty());
        };
        if let Some(second) = nodes.next() {
            return Err(problem(
                file,
                Position::of(&second.span.start),
                &Path::root(),
                "a second document starts here; a configuration file holds exactly one".to_owned(),
            ));
        }
        if is_empty(&node) {
            return Ok(Self::empty());
        }
        Self::of(file, text, &node)
    }

    /// Parses a text of any number of documents; empty ones are left out.
    ///
    /// # Errors
    /// What keeps it from being YAML, with its place; `file` is only for the message.
    pub fn parse_all(file: &str, text: &str) -> Result<Vec<Self>, Problem> {
        nodes(file, text)?
            .iter()
            .filter(|node| !is_empty(node))
            .map(|node| Self::of(file, text, node))
            .collect()
    }

    fn of(file: &str, text: &str, node: &MarkedYaml<'_>) -> Result<Self, Problem> {
        let (value, root) = convert(node, &Path::root(), text)
            .map_err(|wrong| problem(file, wrong.position, &wrong.path, wrong.message))?;
        Ok(Self { value, root })
    }

    fn empty() -> Self {
        Self {
            value: Value::Object(Map::new()),
            root: Place {
                at: Position { line: 1, column: 1 },
                children: Children::Leaf(0..0),
            },
        }
    }

    /// What the document holds.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// Where a path is, or the nearest part of the document on the way to it; with `at_key`, where its key is.
    pub fn position(&self, path: &Path, at_key: bool) -> Position {
        let mut place = &self.root;
        let mut position = place.at;
        let last = path.segments().len();
        for (depth, segment) in path.segments().iter().enumerate() {
            match (segment, &place.children) {
                (Segment::Key(key), Children::Mapping(children)) => {
                    let Some((key_at, child)) = children.get(key) else {
                        break;
                    };
                    position = if at_key && depth + 1 == last {
                        *key_at
                    } else {
                        child.at
                    };
                    place = child;
                }
                (Segment::Index(index), Children::List(children)) => {
                    let Some(child) = children.get(*index) else {
                        break;
                    };
                    position = child.at;
                    place = child;
                }
                _ => break,
            }
        }
        position
    }

    /// The characters of a text or number in what was read, its quotes included; blanks and line breaks may follow in it.
    pub fn characters(&self, path: &Path) -> Option<Range<usize>> {
        let place = path
            .segments()
            .iter()
            .try_fold(&self.root, |place, segment| {
                match (segment, &place.children) {
                    (Segment::Key(key), Children::Mapping(children)) => {
                        children.get(key).map(|(_, child)| child)
                    }
                    (Segment::Index(index), Children::List(children)) => children.get(*index),
                    _ => None,
                }
            })?;
        match &place.children {
            Children::Leaf(characters) => Some(characters.clone()),
            Children::List(_) | Children::Mapping(_) => None,
        }
    }
}

/// Every document of a text.
fn nodes<'t>(file: &str, text: &'t str) -> Result<Vec<MarkedYaml<'t>>, Problem> {
    if let Some(line) = text.lines().position(is_too_deep) {
        let position = Position {
            line: line + 1,
            column: DEEPEST + 1,
        };
        let message = format!(
            "is nested too deep; a line may begin with at most {DEEPEST} spaces and dashes"
        );
        return Err(problem(file, position, &Path::root(), message));
    }
    MarkedYaml::load_from_str(text).map_err(|error| {
        problem(
            file,
            Position::of(error.marker()),
            &Path::root(),
            syntax_message(error.info(), text, error.marker()),
        )
    })
}

fn is_empty(node: &MarkedYaml<'_>) -> bool {
    matches!(
        node.data,
        YamlData::BadValue | YamlData::Value(Scalar::Null)
    )
}

fn problem(file: &str, position: Position, path: &Path, message: String) -> Problem {
    Problem {
        file: file.to_owned(),
        line: position.line,
        column: position.column,
        path: path.to_string(),
        message,
    }
}

fn is_too_deep(line: &str) -> bool {
    line.bytes()
        .take_while(|byte| matches!(byte, b' ' | b'-' | b'?'))
        .nth(DEEPEST)
        .is_some()
}

/// What JSON cannot hold of a YAML document.
struct Wrong {
    position: Position,
    path: Path,
    message: String,
}

fn convert(node: &MarkedYaml<'_>, path: &Path, text: &str) -> Result<(Value, Place), Wrong> {
    let at = Position::of(&node.span.start);
    let wrong = |message: &str| Wrong {
        position: at,
        path: path.clone(),
        message: message.to_owned(),
    };
    let leaf = |value: Value| {
        Ok((
            value,
            Place {
                at,
                children: Children::Leaf(node.span.start.index()..node.span.end.index()),
            },
        ))
    };
    match &node.data {
        YamlData::Value(Scalar::Null) => leaf(Value::Null),
        YamlData::Value(Scalar::Boolean(flag)) => leaf(Value::Bool(*flag)),
        YamlData::Value(Scalar::Integer(number)) => leaf(Value::Number((*number).into())),
        YamlData::Value(Scalar::FloatingPoint(number)) => {
            if let Some(exact) = wide_integer(number.0, node, text) {
                return leaf(Value::Number(exact.into()));
            }
            match Number::from_f64(number.0) {
                Some(number) => leaf(Value::Number(number)),
                None => Err(wrong(
                    "is not a finite number; a configuration has no use for .inf and .nan",
                )),
            }
        }
        YamlData::Value(Scalar::String(string)) => leaf(Value::String(string.to_string())),
        YamlData::Sequence(items) => {
            let mut values = Vec::with_capacity(items.len());
            let mut places = Vec::with_capacity(items.len());
            for (index, item) in items.iter().enumerate() {
                let (value, place) = convert(item, &path.join(index), text)?;
                values.push(value);
                places.push(place);
            }
            let children = Children::List(places);
            Ok((Value::Array(values), Place { at, children }))
        }
        YamlData::Mapping(entries) => {
            let mut values = Map::with_capacity(entries.len());
            let mut places = BTreeMap::new();
            for (key, item) in entries {
                let key_at = Position::of(&key.span.start);
                let name = key_text(key).ok_or_else(|| Wrong {
                    position: key_at,
                    path: path.clone(),
                    message: "a key must be a plain text".to_owned(),
                })?;
                let (value, place) = convert(item, &path.join(name.as_str()), text)?;
                if values.insert(name.clone(), value).is_some() {
                    // saphyr compares keys by type; 1 and "1" are one key here.
                    return Err(Wrong {
                        position: key_at,
                        path: path.join(name.as_str()),
                        message: "appears twice; remove one of the two".to_owned(),
                    });
                }
                places.insert(name, (key_at, place));
            }
            let children = Children::Mapping(places);
            Ok((Value::Object(values), Place { at, children }))
        }
        YamlData::Tagged(tag, _) => Err(wrong(&format!(
            "has the tag {tag}, which means nothing here; remove it"
        ))),
        YamlData::Alias(_) => Err(wrong("refers to an anchor that is not defined above")),
        YamlData::Representation(..) | YamlData::BadValue => {
            Err(wrong("is not a value of the type its tag says"))
        }
    }
}

/// Keys are texts in JSON; YAML reads `1:` and `true:` as other types.
fn key_text(key: &MarkedYaml<'_>) -> Option<String> {
    match &key.data {
        YamlData::Value(Scalar::String(text)) => Some(text.to_string()),
        YamlData::Value(Scalar::Integer(number)) => Some(number.to_string()),
        YamlData::Value(Scalar::Boolean(flag)) => Some(flag.to_string()),
        _ => None,
    }
}

/// saphyr reads integers beyond i64 as floats; up to u64 they are kept exact.
fn wide_integer(number: f64, node: &MarkedYaml<'_>, text: &str) -> Option<u64> {
    if number < 9.2e18 {
        return None;
    }
    let length = node.span.end.index().checked_sub(node.span.start.index())?;
    let written: String = text
        .chars()
        .skip(node.span.start.index())
        .take(length)
        .collect();
    written.trim().parse().ok()
}

/// saphyr's words for the mistakes people make most, with the remedy.
fn syntax_message(info: &str, text: &str, marker: &Marker) -> String {
    let line = text
        .lines()
        .nth(marker.line().saturating_sub(1))
        .unwrap_or_default();
    if info.contains("duplicated key") {
        let key: String = line
            .chars()
            .skip(marker.col())
            .take_while(|letter| !matches!(letter, ':' | ',' | '}'))
            .collect();
        let key = key.trim().trim_matches(|quote| matches!(quote, '"' | '\''));
        return format!("the key \"{key}\" appears twice in this mapping; remove one of the two");
    }
    if line.starts_with('\t') || line.trim_start_matches(' ').starts_with('\t') {
        return format!("not valid YAML: {info}; indent with spaces, not with a tab");
    }
    format!("not valid YAML: {info}")
}
