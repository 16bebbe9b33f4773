//! The directory of the files.

use std::fs::File;
use std::io;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use module_runtime::configuration::sha256;

use super::plan::Step;
use crate::invalid::Invalid;

/// Where the copies of generated files are, as they were written: they tell later what a person edited. Their names end so that neither
/// k3s nor kubectl applies them.
const BASES: &str = ".fieldgate";
const BASE_ENDING: &str = ".base";
/// What a module's configuration held as it was written, as digests, a line each: it follows the description while it still does.
const SEEDED_ENDING: &str = ".seeded";
/// The largest file that is looked at, in bytes.
const LARGEST: u64 = 16 << 20;

/// What keeps the files from being planned or written.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// A person's files are wrong; nothing was written.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// This program made an object that Kubernetes would refuse.
    #[error("{file}: {object}: {field}: {reason}; this is a defect of fieldgate, please report it")]
    Defect {
        /// The file.
        file: String,
        /// The object.
        object: String,
        /// The field's path.
        field: String,
        /// What is wrong.
        reason: String,
    },
    /// A file cannot be read or written.
    #[error("{}: cannot be {verb}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What could not be done: `read`, `written`, `removed`.
        verb: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// What is to be done in a directory; nothing is done before [`Plan::write`].
#[derive(Debug)]
pub struct Plan {
    pub(super) folder: Folder,
    /// Every file, in the order in which they are applied, then what is there beside them.
    pub steps: Vec<Step>,
    pub(super) writes: Vec<Write>,
}

impl Plan {
    /// Whether anything is written or removed.
    pub fn has_changes(&self) -> bool {
        self.steps.iter().any(|step| step.action.is_change())
    }

    /// Whether a person must do something.
    pub fn needs_person(&self) -> bool {
        self.steps.iter().any(|step| step.action.needs_person())
    }

    /// Writes what the plan says. Each file is replaced at once: whoever reads it meanwhile sees the old one or the new one.
    ///
    /// # Errors
    /// The first file that cannot be written or removed; those before it are done, and running again does the rest.
    pub fn write(&self) -> Result<(), OutputError> {
        for write in &self.writes {
            match write {
                Write::Put(name, text) => self.folder.put(&self.folder.path(name), text)?,
                Write::PutBase(name, text) => self.folder.put(&self.folder.base(name), text)?,
                Write::PutSeed { name, text, before } => {
                    // Both while it is written: a cut leaves either, and neither is an edit.
                    let now = digest(text);
                    let either: Vec<&str> =
                        before.iter().chain([&now]).map(String::as_str).collect();
                    self.folder.put_seeded(name, &either)?;
                    self.folder.put(&self.folder.path(name), text)?;
                    if before.is_some() {
                        self.folder.put_seeded(name, &[&now])?;
                    }
                }
                Write::PutSeeded(name, now) => self.folder.put_seeded(name, &[now])?,
                Write::Remove(name) => {
                    self.folder.remove(&self.folder.path(name))?;
                    self.folder.remove(&self.folder.base(name))?;
                }
            }
        }
        Ok(())
    }
}

/// One change of the directory.
#[derive(Debug)]
pub(super) enum Write {
    /// A file and its text.
    Put(String, String),
    /// The copy of a file.
    PutBase(String, String),
    /// A module's configuration.
    PutSeed {
        name: String,
        text: String,
        /// The digest of what it replaces, where nobody has edited that.
        before: Option<String>,
    },
    /// The digest of a module's configuration that is as it would be written.
    PutSeeded(String, String),
    /// A file and its copy go.
    Remove(String),
}

/// The directory of the files.
#[derive(Debug)]
pub(super) struct Folder {
    directory: PathBuf,
}

impl Folder {
    pub(super) fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn base(&self, name: &str) -> PathBuf {
        self.directory
            .join(BASES)
            .join(format!("{name}{BASE_ENDING}"))
    }

    fn seeded(&self, name: &str) -> PathBuf {
        self.directory
            .join(BASES)
            .join(format!("{name}{SEEDED_ENDING}"))
    }

    fn put_seeded(&self, name: &str, digests: &[&str]) -> Result<(), OutputError> {
        self.put(&self.seeded(name), &format!("{}\n", digests.join("\n")))
    }

    /// A file's name for messages.
    pub(super) fn shown(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// The text of a file; none where it is not there.
    pub(super) fn read(&self, name: &str) -> Result<Option<String>, OutputError> {
        read(self.path(name))
    }

    /// The text of a file's copy; none where it is not there.
    pub(super) fn read_base(&self, name: &str) -> Result<Option<String>, OutputError> {
        read(self.base(name))
    }

    /// The digests of what a module's configuration held as it was written; two where a cut left it open which. None where it is not known.
    pub(super) fn read_seeded(&self, name: &str) -> Result<Vec<String>, OutputError> {
        let text = read(self.seeded(name))?.unwrap_or_default();
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// The names of the files, sorted; none where the directory is not there.
    pub(super) fn names(&self) -> Result<Vec<String>, OutputError> {
        let fail = |source| OutputError::File {
            path: self.directory.clone(),
            verb: "read",
            source,
        };
        let entries = match std::fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(fail(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(fail)?;
            if let Ok(name) = entry.file_name().into_string()
                && entry.path().is_file()
            {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn put(&self, path: &Path, text: &str) -> Result<(), OutputError> {
        let fail = |source| OutputError::File {
            path: path.to_owned(),
            verb: "written",
            source,
        };
        let directory = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(directory).map_err(fail)?;
        let mut file = tempfile::Builder::new()
            .prefix(".fieldgate-")
            .permissions(std::fs::Permissions::from_mode(0o644))
            .tempfile_in(directory)
            .map_err(fail)?;
        file.write_all(text.as_bytes()).map_err(fail)?;
        file.as_file().sync_all().map_err(fail)?;
        file.persist(path).map_err(|error| fail(error.error))?;
        // What is written next counts on this.
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(fail)
    }

    fn remove(&self, path: &Path) -> Result<(), OutputError> {
        match std::fs::remove_file(path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(OutputError::File {
                path: path.to_owned(),
                verb: "removed",
                source,
            }),
            _ => Ok(()),
        }
    }
}

/// What tells one text of a module's configuration from another.
pub(super) fn digest(text: &str) -> String {
    format!("sha256:{}", sha256(text.as_bytes()))
}

fn read(path: PathBuf) -> Result<Option<String>, OutputError> {
    let fail = |source| OutputError::File {
        path: path.clone(),
        verb: "read",
        source,
    };
    match std::fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail(error)),
        Ok(metadata) if metadata.len() > LARGEST => {
            return Err(fail(io::Error::other("it is larger than 16MiB")));
        }
        Ok(_) => {}
    }
    std::fs::read_to_string(&path).map(Some).map_err(fail)
}
