//! A copy of a document in which everything the schema forbids has been replaced, so that the rest of it can be checked.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::ModuleConfiguration;
use super::explain::Sentence;
use super::filler::{Filler, is_any_text, may_fit, schema_of};
use super::path::{Path, Segment};
use super::problem::Found;
use super::schema::CheckedSchema;
use super::words::{meant, resolve};

/// One mistake may hide another behind it, and the type refuses one value at a time; but not many.
const ROUNDS: usize = 32;

/// What would make a document hold at one place.
#[derive(Debug)]
pub(crate) enum Mend<'s> {
    /// Another value, or further keys where it is a mapping.
    Value { at: Path, schema: &'s Value },
    /// A key less, or the key that was meant.
    Unknown {
        mapping: Path,
        key: String,
        known: Vec<(String, &'s Value)>,
    },
}

impl<'s> Mend<'s> {
    pub(crate) fn value(at: &Path, schema: &'s Value) -> Self {
        let at = at.clone();
        Self::Value { at, schema }
    }
}

/// Where a repaired document is not what somebody wrote.
#[derive(Debug, Default)]
pub(crate) struct Places {
    filled: HashSet<Vec<Segment>>,
    /// Keys that were taken for another one, and how they were written.
    moved: HashMap<Vec<Segment>, Segment>,
}

impl Places {
    /// A path as the document has it.
    pub(crate) fn written(&self, path: &Path) -> Path {
        let now = path.segments();
        let mut written = now.to_vec();
        if !self.moved.is_empty() {
            for (last, segment) in written.iter_mut().enumerate() {
                let moved = now.get(..=last).and_then(|path| self.moved.get(path));
                if let Some(key) = moved {
                    segment.clone_from(key);
                }
            }
        }
        written.into()
    }

    /// Whether a value was put in here or above.
    pub(crate) fn is_filled(&self, path: &Path) -> bool {
        let segments = path.segments();
        !self.filled.is_empty()
            && (0..=segments.len()).any(|length| {
                segments
                    .get(..length)
                    .is_some_and(|above| self.filled.contains(above))
            })
    }

    /// Whether the path is a key that was taken for another one.
    pub(crate) fn is_moved(&self, path: &Path) -> bool {
        self.moved.contains_key(path.segments())
    }

    fn fill(&mut self, path: &Path) -> bool {
        self.filled.insert(path.segments().to_vec())
    }
}

/// A document that holds, after its repair.
#[derive(Debug)]
pub(crate) struct Repaired<C> {
    pub(crate) configuration: C,
    pub(crate) places: Places,
    /// What else is wrong with what was written, found on the way.
    pub(crate) told: Vec<Found>,
    /// A value was chosen where others would do too.
    pub(crate) has_choice: bool,
    /// A text was chosen that might be anything.
    pub(crate) has_any_text: bool,
}

/// Repairs a copy of `document`. None where that is not possible: then only what the schema says can be told.
pub(crate) fn repair<C: ModuleConfiguration>(
    schema: &CheckedSchema,
    document: &Value,
    filler: &Filler<'_>,
) -> Option<Repaired<C>> {
    let mut work = Work {
        value: document.clone(),
        filler,
        places: Places::default(),
        guessed: HashSet::new(),
        anew: HashSet::new(),
        has_choice: false,
        has_any_text: false,
    };
    let mut told = Vec::new();
    for round in 0..ROUNDS {
        let mut found = schema.violations(&work.value);
        if found.is_empty() {
            let error = match serde_path_to_error::deserialize::<_, C>(&work.value) {
                Ok(configuration) => {
                    return Some(Repaired {
                        configuration,
                        places: work.places,
                        told,
                        has_choice: work.has_choice,
                        has_any_text: work.has_any_text,
                    });
                }
                Err(error) => error,
            };
            let path = Path::from(error.path());
            let of_path = schema_of(schema.schema(), schema.schema(), path.segments())?;
            if !work.places.is_filled(&path) {
                told.push(Found {
                    path: work.places.written(&path),
                    at_key: false,
                    message: error.inner().to_string(),
                });
            }
            found.push(Sentence::at(path, String::new(), of_path));
        } else if round > 0 {
            // Under the wrong key the schema could not look; what is wrong there is told as well.
            told.extend(found.iter().filter_map(|sentence| {
                let written = work.places.written(&sentence.path);
                let is_new = written != sentence.path
                    && !work.places.is_moved(&sentence.path)
                    && !work.places.is_filled(&sentence.path);
                is_new.then(|| Found {
                    path: written,
                    at_key: sentence.at_key,
                    message: sentence.message.clone(),
                })
            }));
        }
        if !work.apply(found) {
            return None;
        }
    }
    None
}

struct Work<'f, 's> {
    value: Value,
    filler: &'f Filler<'s>,
    places: Places,
    /// Keys that an unknown one was only tried as.
    guessed: HashSet<Path>,
    /// Mappings that were replaced as a whole.
    anew: HashSet<Path>,
    has_choice: bool,
    has_any_text: bool,
}

impl<'s> Work<'_, 's> {
    /// Whether anything could be done.
    fn apply(&mut self, found: Vec<Sentence<'s>>) -> bool {
        let (unknown, values): (Vec<Mend<'s>>, Vec<Mend<'s>>) = found
            .into_iter()
            .map(|sentence| sentence.mend)
            .partition(|mend| matches!(mend, Mend::Unknown { .. }));
        let keys_changed = !unknown.is_empty();
        for mend in unknown {
            if let Mend::Unknown {
                mapping,
                key,
                known,
            } = mend
            {
                self.take_key(&mapping, &key, known);
            }
        }
        // The key that is missing may just have been found: look again first.
        if keys_changed {
            return true;
        }
        let mut changed = false;
        for mend in values {
            if let Mend::Value { at, schema } = mend {
                changed |= self.withdraw(&at) || self.fill(&at, schema);
            }
        }
        changed
    }

    /// Takes an unknown key for the one that was meant, in later turns for one that it may stand for, or away.
    fn take_key(&mut self, mapping: &Path, key: &str, mut known: Vec<(String, &'s Value)>) {
        let (root, turn) = (self.filler.root(), self.filler.turn());
        let Some(object) = at(&mut self.value, mapping).and_then(Value::as_object_mut) else {
            return;
        };
        let Some(value) = object.remove(key) else {
            return;
        };
        known.retain(|(name, _)| !object.contains_key(name));
        if let Some(name) = meant(key, known.iter().map(|(name, _)| name.as_str())) {
            object.insert(name.to_owned(), value);
            let now = mapping.join(name).segments().to_vec();
            self.places.moved.insert(now, key.into());
            return;
        }
        known.retain(|(_, schema)| may_fit(root, schema, &value));
        self.has_choice |= !known.is_empty();
        let candidate = turn.checked_sub(1).and_then(|index| known.get(index));
        if let Some((name, _)) = candidate {
            object.insert(name.clone(), value);
            let path = mapping.join(name);
            self.places.fill(&path);
            self.guessed.insert(path);
        }
    }

    /// Takes back a guess that does not hold.
    fn withdraw(&mut self, path: &Path) -> bool {
        let segments = path.segments();
        let guess = (1..=segments.len())
            .filter_map(|length| segments.get(..length))
            .map(|above| Path::from(above.to_vec()))
            .find(|above| self.guessed.contains(above));
        let Some(guess) = guess else { return false };
        self.guessed.remove(&guess);
        self.places.filled.remove(guess.segments());
        let Some((Segment::Key(key), mapping)) = guess.segments().split_last() else {
            return false;
        };
        at(&mut self.value, &mapping.to_vec().into())
            .and_then(Value::as_object_mut)
            .and_then(|object| object.remove(key))
            .is_some()
    }

    fn fill(&mut self, path: &Path, schema: &'s Value) -> bool {
        let is_new = self.places.fill(path);
        let written = at(&mut self.value, path).map(|value| &*value);
        let value = if is_new {
            self.filler.fill(schema, written)
        } else if self.anew.insert(path.clone()) && written.is_some_and(Value::is_object) {
            // A mapping for which more keys are not enough.
            self.filler.fill(schema, None)
        } else {
            // What is not good enough the first time will not be the second.
            None
        };
        let Some(value) = value else { return false };
        self.has_choice = true;
        self.has_any_text |= holds_any_text(self.filler.root(), schema, 0);
        if let Some(place) = at(&mut self.value, path) {
            *place = value;
            return true;
        }
        let Some((Segment::Key(key), mapping)) = path.segments().split_last() else {
            return false;
        };
        let object = at(&mut self.value, &mapping.to_vec().into()).and_then(Value::as_object_mut);
        let Some(object) = object else { return false };
        object.insert(key.clone(), value);
        true
    }
}

fn at<'v>(value: &'v mut Value, path: &Path) -> Option<&'v mut Value> {
    path.segments()
        .iter()
        .try_fold(value, |value, segment| match segment {
            Segment::Key(key) => value.get_mut(key),
            Segment::Index(index) => value.get_mut(index),
        })
}

/// Whether what is put into a place has a text in it that may be anything.
fn holds_any_text(root: &Value, schema: &Value, depth: usize) -> bool {
    if depth > 6 {
        return false;
    }
    let target = resolve(root, schema);
    if is_any_text(target) {
        return true;
    }
    let below = ["items", "oneOf", "anyOf", "properties"]
        .into_iter()
        .filter_map(|keyword| target.get(keyword));
    below
        .flat_map(|part| match part {
            Value::Array(branches) => branches.iter().collect(),
            Value::Object(properties) if target.get("properties") == Some(part) => {
                properties.values().collect()
            }
            other => vec![other],
        })
        .any(|schema| holds_any_text(root, schema, depth + 1))
}
