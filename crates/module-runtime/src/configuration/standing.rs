//! What is wrong with a document whatever its mistakes were meant to be.
//!
//! Semantic checks need a document that holds, so they see a repaired copy of one that does not. What they find there
//! may come from the repair: a tag whose address was no number got address 0, where another tag is. So several copies
//! are made, each with other values in the repaired places, and only what is found in all of them is told. Nothing is
//! told about a repaired place itself.
//!
//! One value cannot be guessed this way: the name that others refer to. "There is no device press-1" is the fault of the
//! device whose name is a number. So for every text that is reported one more copy has it in each repaired text.
//!
//! What an unknown key holds may be meant for a key that is missing; so it is put there in some of the copies.
//!
//! What remains:
//! - A problem that shows only with the right value (the overlap of a tag whose type is misspelled), or that names a value
//!   which is wrong itself, is told once that value is mended.
//! - What refers to the content of an unknown key may be told as missing where the key is like none of the known ones and
//!   may stand for more of them than there are copies.
//! - Where no value is known that would do (a text with a pattern and without examples) only what the schema says is told.

use std::collections::{BTreeSet, HashSet};

use serde_json::Value;

use super::ModuleConfiguration;
use super::filler::{Filler, TURNS};
use super::path::{Path, Segment};
use super::problem::{Found, Problems};
use super::repair::{Repaired, repair};
use super::schema::CheckedSchema;

#[cfg(test)]
mod tests;

/// With more texts than these in question, what is said about the others is not told.
const MOST_TEXTS: usize = 16;

/// Adds the semantic problems of a document that does not hold. `problems` has what the schema says about it.
pub(crate) fn check<C: ModuleConfiguration>(
    schema: &CheckedSchema,
    document: &Value,
    problems: &mut Problems,
) {
    let root = schema.schema();
    let Some(first) = repair::<C>(schema, document, &Filler::of_turn(root, 0)) else {
        return;
    };
    let (has_choice, has_any_text) = (first.has_choice, first.has_any_text);
    problems.extend(first.told.clone());
    let mut standing = findings(first, problems);
    let mut in_copy = |filler: Filler<'_>| {
        repair::<C>(schema, document, &filler).map(|copy| findings(copy, problems))
    };
    if has_choice && !standing.is_empty() {
        let mut copies = 0;
        for found in (1..TURNS).filter_map(|turn| in_copy(Filler::of_turn(root, turn))) {
            let found: HashSet<Found> = found.into_iter().collect();
            standing.retain(|problem| found.contains(problem));
            copies += 1;
        }
        // One copy alone proves nothing.
        if copies == 0 {
            return;
        }
    }
    if has_any_text && !standing.is_empty() {
        let texts: BTreeSet<&str> = standing
            .iter()
            .filter_map(|problem| text_at(document, &problem.path))
            .collect();
        let texts: BTreeSet<&str> = texts.into_iter().take(MOST_TEXTS).collect();
        standing.retain(|problem| {
            text_at(document, &problem.path).is_none_or(|text| texts.contains(text))
        });
        for found in texts
            .into_iter()
            .filter_map(|text| in_copy(Filler::with_text(root, text)))
        {
            // The words may be others: the name in question is now another one's as well.
            let found: HashSet<Path> = found.into_iter().map(|problem| problem.path).collect();
            standing.retain(|problem| found.contains(&problem.path));
        }
    }
    problems.extend(standing);
}

fn findings<C: ModuleConfiguration>(copy: Repaired<C>, problems: &mut Problems) -> Vec<Found> {
    problems.in_copy(copy.places, |problems| copy.configuration.check(problems))
}

fn text_at<'d>(document: &'d Value, path: &Path) -> Option<&'d str> {
    let value = path
        .segments()
        .iter()
        .try_fold(document, |value, segment| match segment {
            Segment::Key(key) => value.get(key),
            Segment::Index(index) => value.get(index),
        });
    value?.as_str()
}
