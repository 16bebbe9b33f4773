//! What is to be done about each file.

use std::collections::BTreeSet;
use std::path::Path as FilePath;

use module_runtime::Problem;
use serde_json::Value;

use super::adopt::{adopt, without_nulls};
use super::folder::{Folder, OutputError, Plan, Write, digest};
use super::overrides::Override;
use super::text::{
    self, OVERRIDE_ENDING, Origin, checksum, compose, compose_as_before, is_seed, is_untouched,
    label, seed_module,
};
use crate::changes::{Change, changes, title};
use crate::description::{Appliance, Documents};
use crate::invalid::{Invalid, of_file};
use crate::manifest_file::{ManifestFile, Object, Ownership};
use crate::objects::manifest_files;
use crate::validate::validate;
use crate::yaml::Located;

/// How to go about it.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// The directory of the files.
    pub directory: &'a FilePath,
    /// The description's file name, for the headers.
    pub description: &'a str,
    /// Whether edits of generated files move into overrides.
    pub adopt: bool,
    /// Modules whose configuration file is written anew.
    pub reset: &'a [String],
}

/// One file and what is to be done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The file's name.
    pub file: String,
    /// What is to be done.
    pub action: Action,
}

/// What is to be done about a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// It is not there yet.
    Create,
    /// It is as it was written, and would be written otherwise now. A module's configuration follows the description so while nobody edits it.
    Update(Vec<Change>),
    /// Nothing.
    Unchanged,
    /// A person edited it: it is left as it is. No change of a field: only comments or the layout differ.
    Edited(Vec<Change>),
    /// A person edited it so that it cannot be read: it is left as it is.
    Unreadable(Problem),
    /// A file of somebody else has the name: it is left as it is.
    Foreign,
    /// The edits move into the override of this name.
    Adopt(Vec<Change>, String),
    /// A person edited it, so it is that person's own. `differs`: the description's document is another one. `faults`: what Kubernetes would
    /// refuse.
    Keep {
        /// Whether it holds something else than a reset would write.
        differs: bool,
        /// What Kubernetes would refuse or leave out in silence.
        faults: Vec<Problem>,
    },
    /// A person's own file that is written anew because it was asked for.
    Reset(Vec<Change>),
    /// Its module is not described any more: it is removed.
    Remove,
    /// Its module is not described any more, but a person edited it (or owns it): it is left as it is.
    Stale {
        /// Whether it is a person's own by right; else it is a generated file with edits.
        is_seed: bool,
    },
}

impl Action {
    /// Whether anything is written or removed.
    pub fn is_change(&self) -> bool {
        match self {
            Self::Create | Self::Update(_) | Self::Adopt(..) | Self::Reset(_) | Self::Remove => {
                true
            }
            Self::Unchanged
            | Self::Edited(_)
            | Self::Unreadable(_)
            | Self::Foreign
            | Self::Keep { .. }
            | Self::Stale { .. } => false,
        }
    }

    /// Whether a person must do something.
    pub fn needs_person(&self) -> bool {
        match self {
            Self::Edited(_) | Self::Unreadable(_) | Self::Foreign => true,
            Self::Keep { faults, .. } => !faults.is_empty(),
            Self::Stale { is_seed } => !is_seed,
            _ => false,
        }
    }
}

/// What is to be done so that a directory holds an appliance's manifests. Nothing is written yet.
///
/// # Errors
/// Overrides that are wrong, and what cannot be read.
pub fn plan(
    appliance: &Appliance,
    documents: &Documents,
    options: Options<'_>,
) -> Result<Plan, OutputError> {
    let files = manifest_files(appliance, documents);
    plan_files(files, &appliance.appliance, options)
}

/// As [`plan`], for any files.
///
/// # Errors
/// As [`plan`].
pub fn plan_files(
    files: Vec<ManifestFile>,
    appliance: &str,
    options: Options<'_>,
) -> Result<Plan, OutputError> {
    let folder = Folder::new(options.directory);
    let mut planner = Planner {
        options,
        folder: &folder,
        problems: Vec::new(),
        steps: Vec::new(),
        writes: Vec::new(),
    };
    let mut names = BTreeSet::new();
    let mut seeds = BTreeSet::new();
    for mut file in files {
        for object in &mut file.objects {
            label(&mut object.value, appliance);
        }
        check_generated(&file)?;
        match file.ownership {
            Ownership::Generated => planner.generated(&file)?,
            Ownership::Seed => {
                seeds.insert(file.name.clone());
                planner.seed(&file)?;
            }
        }
        names.insert(file.name);
    }
    for module in options.reset {
        if !seeds.iter().any(|seed| seed_module(seed) == module) {
            let known: Vec<&str> = seeds.iter().map(|seed| seed_module(seed)).collect();
            planner.problems.push(of_file(
                module,
                format!(
                    "is no module with a configuration, so there is nothing to reset; there are: {}",
                    known.join(", ")
                ),
            ));
        }
    }
    planner.others(&names, &seeds)?;
    Invalid::unless_empty(std::mem::take(&mut planner.problems))?;
    let (steps, writes) = (planner.steps, planner.writes);
    Ok(Plan {
        folder,
        steps,
        writes,
    })
}

/// What this program makes must hold; what a person changes is checked with the person's file at hand.
fn check_generated(file: &ManifestFile) -> Result<(), OutputError> {
    for object in &file.objects {
        if let Some(fault) = validate(&object.value).into_iter().next() {
            return Err(OutputError::Defect {
                file: file.name.clone(),
                object: title(&object.value),
                field: fault.path.to_string(),
                reason: fault.message,
            });
        }
    }
    Ok(())
}

struct Planner<'a> {
    options: Options<'a>,
    folder: &'a Folder,
    problems: Vec<Problem>,
    steps: Vec<Step>,
    writes: Vec<Write>,
}

impl Planner<'_> {
    fn generated(&mut self, file: &ManifestFile) -> Result<(), OutputError> {
        let override_name = format!("{}{OVERRIDE_ENDING}", file.name);
        let override_text = self.folder.read(&override_name)?;
        let (objects, text) = self.with_override(file, override_text.as_deref());
        let Some(existing) = self.folder.read(&file.name)? else {
            self.put(file, text);
            self.step(file, Action::Create);
            return Ok(());
        };
        if existing == text {
            // The file is its own witness; the copy only saves it from being the only one.
            if self.folder.read_base(&file.name)?.is_none() {
                self.writes.push(Write::PutBase(file.name.clone(), text));
            }
            self.step(file, Action::Unchanged);
            return Ok(());
        }
        let shown = self.folder.shown(&file.name);
        let parsed = match Located::parse_all(&shown, &existing) {
            Ok(parsed) => parsed,
            Err(problem) => {
                self.step(file, Action::Unreadable(problem));
                return Ok(());
            }
        };
        let now: Vec<Value> = parsed
            .iter()
            .map(|object| without_nulls(object.value()))
            .collect();
        let would: Vec<Value> = objects.into_iter().map(|object| object.value).collect();
        if is_untouched(&existing) {
            self.put(file, text);
            self.step(file, Action::Update(changes(&now, &would)));
            return Ok(());
        }
        let Some(before) = self.before(&file.name, &existing, &would)? else {
            self.step(file, Action::Foreign);
            return Ok(());
        };
        let edits = changes(&before, &now);
        if !edits.is_empty() && changes(&would, &now).is_empty() {
            // What was edited is what would be written: the person has put it into the override.
            self.put(file, text);
            self.step(file, Action::Update(Vec::new()));
        } else if self.options.adopt {
            self.adopt(file, &before, &parsed, override_text.as_deref(), edits);
        } else {
            self.step(file, Action::Edited(edits));
        }
        Ok(())
    }

    /// The objects and the text of a file with the override's changes.
    fn with_override(
        &mut self,
        file: &ManifestFile,
        override_text: Option<&str>,
    ) -> (Vec<Object>, String) {
        let mut objects = file.objects.clone();
        if let Some(text) = override_text {
            let shown = self
                .folder
                .shown(&format!("{}{OVERRIDE_ENDING}", file.name));
            match Override::parse(&shown, text) {
                Ok(changes) => objects = changes.apply(&objects, &mut self.problems),
                Err(problem) => self.problems.push(problem),
            }
        }
        let text = compose(file, &objects, self.origin(override_text.is_some()));
        (objects, text)
    }

    fn origin(&self, has_override: bool) -> Origin<'_> {
        Origin {
            description: self.options.description,
            has_override,
        }
    }

    /// The objects that a person began to edit: those of the copy, if it is of this file; else those that would be written now. None where
    /// the file was never one of ours.
    fn before(
        &self,
        name: &str,
        existing: &str,
        would: &[Value],
    ) -> Result<Option<Vec<Value>>, OutputError> {
        let written = checksum(existing);
        let base = self
            .folder
            .read_base(name)?
            .filter(|base| is_untouched(base))
            .filter(|base| written.is_none() || checksum(base) == written);
        if let Some(base) = base
            && let Ok(objects) = Located::parse_all(name, &base)
        {
            let objects = objects.iter().map(|object| object.value().clone());
            return Ok(Some(objects.collect()));
        }
        Ok(written.map(|_| would.to_vec()))
    }

    fn adopt(
        &mut self,
        file: &ManifestFile,
        before: &[Value],
        parsed: &[Located],
        override_text: Option<&str>,
        edits: Vec<Change>,
    ) {
        let override_name = format!("{}{OVERRIDE_ENDING}", file.name);
        if edits.is_empty() {
            // Comments and layout: they go, as the header says.
            let (_, text) = self.with_override(file, override_text);
            self.put(file, text);
            self.step(file, Action::Adopt(edits, override_name));
            return;
        }
        let adopted = match adopt(&file.name, before, parsed, override_text) {
            Ok(adopted) => adopted,
            Err(problems) => return self.problems.extend(problems),
        };
        for object in parsed {
            for fault in validate(object.value()) {
                self.problems
                    .push(object.problem(&fault.path, fault.message));
            }
        }
        let (_, text) = self.with_override(file, Some(&adopted));
        self.writes.push(Write::Put(override_name.clone(), adopted));
        self.put(file, text);
        self.step(file, Action::Adopt(edits, override_name));
    }

    fn seed(&mut self, file: &ManifestFile) -> Result<(), OutputError> {
        let text = compose(file, &file.objects, self.origin(false));
        let existing = self.folder.read(&file.name)?;
        let seeded = self.folder.read_seeded(&file.name)?;
        let wants_reset = self
            .options
            .reset
            .iter()
            .any(|module| module == seed_module(&file.name));
        let action = match existing {
            None => {
                self.put_seed(file, text, None);
                Action::Create
            }
            Some(existing) if existing == text => {
                // Also where it is not known yet, or somebody wrote the same.
                let now = digest(&text);
                if seeded != [now.clone()] {
                    self.writes.push(Write::PutSeeded(file.name.clone(), now));
                }
                Action::Unchanged
            }
            Some(existing) => {
                let before = digest(&existing);
                // A version that kept no digests wrote the same objects under other words.
                let is_untouched = seeded.contains(&before)
                    || compose_as_before(file, &existing).is_some_and(|text| text == existing);
                let before = is_untouched.then_some(before);
                let parsed = Located::parse_all(&self.folder.shown(&file.name), &existing);
                let differing = match &parsed {
                    Ok(parsed) => changes(
                        parsed.iter().map(Located::value),
                        file.objects.iter().map(|object| &object.value),
                    ),
                    Err(_) => Vec::new(),
                };
                if wants_reset {
                    self.put_seed(file, text, before);
                    Action::Reset(differing)
                } else if is_untouched {
                    self.put_seed(file, text, before);
                    Action::Update(differing)
                } else {
                    Action::Keep {
                        differs: !differing.is_empty(),
                        faults: faults(parsed),
                    }
                }
            }
        };
        self.step(file, action);
        Ok(())
    }

    /// Files that are there and not among those that should be.
    fn others(
        &mut self,
        names: &BTreeSet<String>,
        seeds: &BTreeSet<String>,
    ) -> Result<(), OutputError> {
        for name in self.folder.names()? {
            if let Some(of) = name.strip_suffix(OVERRIDE_ENDING) {
                self.check_override(&name, of, names, seeds);
                continue;
            }
            if names.contains(&name) || !name.ends_with(".yaml") {
                continue;
            }
            let Some(text) = self.folder.read(&name)? else {
                continue;
            };
            let action = if is_seed(&text) {
                Action::Stale { is_seed: true }
            } else if is_untouched(&text) {
                self.writes.push(Write::Remove(name.clone()));
                Action::Remove
            } else if text::checksum(&text).is_some() {
                Action::Stale { is_seed: false }
            } else {
                // Somebody else's.
                continue;
            };
            self.steps.push(Step { file: name, action });
        }
        Ok(())
    }

    fn check_override(
        &mut self,
        name: &str,
        of: &str,
        names: &BTreeSet<String>,
        seeds: &BTreeSet<String>,
    ) {
        let message = if seeds.contains(of) {
            format!("changes {of}, which is yours: edit that file itself, and remove this one")
        } else if names.contains(of) {
            return;
        } else {
            let known: Vec<&str> = names.difference(seeds).map(String::as_str).collect();
            format!(
                "changes {of}, which is not generated; rename or remove it. There are: {}",
                known.join(", ")
            )
        };
        let shown = self.folder.shown(name);
        self.problems.push(of_file(shown, message));
    }

    fn put_seed(&mut self, file: &ManifestFile, text: String, before: Option<String>) {
        self.writes.push(Write::PutSeed {
            name: file.name.clone(),
            text,
            before,
        });
    }

    fn put(&mut self, file: &ManifestFile, text: String) {
        self.writes
            .push(Write::PutBase(file.name.clone(), text.clone()));
        self.writes.push(Write::Put(file.name.clone(), text));
    }

    fn step(&mut self, file: &ManifestFile, action: Action) {
        self.steps.push(Step {
            file: file.name.clone(),
            action,
        });
    }
}

/// What Kubernetes would refuse, or leave out in silence, of a person's own file.
fn faults(parsed: Result<Vec<Located>, Problem>) -> Vec<Problem> {
    match parsed {
        Err(problem) => vec![problem],
        Ok(objects) => objects
            .iter()
            .flat_map(|object| {
                validate(object.value())
                    .into_iter()
                    .map(|fault| object.problem(&fault.path, fault.message))
            })
            .collect(),
    }
}
