//! Names: their form, that they are used once, and that what refers to one finds it.

use std::collections::BTreeMap;

use measurement::{NAME_RULE, valid_name};
use module_runtime::configuration::{Path, Problems};

/// The names of one kind of thing ("link", "device") and where each was given first.
#[derive(Debug)]
pub(super) struct Names<'a> {
    kind: &'static str,
    first: BTreeMap<&'a str, Path>,
}

impl<'a> Names<'a> {
    pub(super) fn new(kind: &'static str) -> Self {
        Self {
            kind,
            first: BTreeMap::new(),
        }
    }

    /// Takes in a name; a malformed or repeated one is a problem at `path`.
    pub(super) fn define(&mut self, name: &'a str, path: &Path, problems: &mut Problems) {
        let kind = self.kind;
        if !valid_name(name) {
            problems.add(path, format!("{name:?} is not a name: use {NAME_RULE}"));
        }
        if let Some(first) = self.first.get(name) {
            let line = problems.location(first);
            problems.add(
                path,
                format!("the {kind} {name:?} is already defined at {line}; give one of them another name"),
            );
        } else {
            self.first.insert(name, path.clone());
        }
    }

    /// Looks up a name; an unknown one is a problem at `path`, with the most similar known one.
    pub(super) fn refer(&self, name: &str, path: &Path, problems: &mut Problems) {
        if self.first.contains_key(name) {
            return;
        }
        let kind = self.kind;
        let similar = self
            .first
            .keys()
            .map(|known| (strsim::damerau_levenshtein(known, name), *known))
            .min()
            .filter(|(distance, known)| *distance <= known.len().div_ceil(3).max(1));
        let hint = match similar {
            Some((_, known)) => format!("did you mean {known:?}?"),
            None if self.first.is_empty() => format!("no {kind} is defined"),
            None => format!(
                "defined are: {}",
                self.first
                    .keys()
                    .copied()
                    .take(8)
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        };
        problems.add(path, format!("there is no {kind} {name:?}; {hint}"));
    }
}
