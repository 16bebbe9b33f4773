//! The parts of an image, before they are written down.

use std::collections::{BTreeMap, BTreeSet};

use oci_image::Digest;

/// What a part is; the words are those of CycloneDX.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Application,
    Library,
    Data,
}

impl Kind {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Application => "application",
            Self::Library => "library",
            Self::Data => "data",
        }
    }
}

/// One package, program or file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    /// unknown for a program under development that has none
    pub(crate) version: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) purl: Option<String>,
    /// SPDX expression
    pub(crate) licence: Option<String>,
    /// SHA-256 in hexadecimal digits: of a package as published, of a program as built
    pub(crate) sha256: Option<String>,
    /// what else is known, by a name with a colon
    pub(crate) properties: BTreeMap<String, String>,
    /// references of other parts
    pub(crate) needs: BTreeSet<String>,
}

impl Part {
    pub(crate) fn new(kind: Kind, name: &str, version: Option<&str>) -> Self {
        Self {
            kind,
            name: name.to_owned(),
            version: version.map(str::to_owned),
            description: None,
            purl: None,
            licence: None,
            sha256: None,
            properties: BTreeMap::new(),
            needs: BTreeSet::new(),
        }
    }

    /// The package URL where there is one; unique in a bill.
    pub(crate) fn reference(&self) -> String {
        match (&self.purl, &self.version) {
            (Some(purl), _) => purl.clone(),
            (None, Some(version)) => format!("{}@{version}", self.name),
            (None, None) => self.name.clone(),
        }
    }
}

/// What a program is made of.
#[derive(Debug)]
pub(crate) struct ProgramParts {
    pub(crate) program: Part,
    pub(crate) linked: Vec<Part>,
}

/// All parts of an image, by reference.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    pub(crate) by_reference: BTreeMap<String, Part>,
    /// what the image holds directly
    pub(crate) direct: BTreeSet<String>,
}

impl Parts {
    pub(crate) fn add_program(&mut self, found: ProgramParts, sha256: Digest) {
        let mut program = found.program;
        program.sha256 = Some(sha256.hex().to_owned());
        self.direct.insert(program.reference());
        for part in found.linked.into_iter().chain([program]) {
            self.add(part);
        }
    }

    pub(crate) fn add_file(&mut self, part: Part) {
        self.direct.insert(part.reference());
        self.add(part);
    }

    /// Two programs with other features of one package may need other packages of it: the bill names all.
    fn add(&mut self, part: Part) {
        let reference = part.reference();
        match self.by_reference.get_mut(&reference) {
            Some(known) => known.needs.extend(part.needs),
            None => {
                self.by_reference.insert(reference, part);
            }
        }
    }
}
