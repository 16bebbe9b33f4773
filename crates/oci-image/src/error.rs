//! What can go wrong, for whoever can do something about it.

use std::io;
use std::path::PathBuf;

use crate::Digest;

/// A name that no registry and no node would take.
#[derive(Debug, thiserror::Error)]
#[error("image name '{name}': {why}")]
pub struct NameError {
    /// the name as given
    pub name: String,
    /// what is wrong with it
    pub why: &'static str,
}

/// A file tree that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// Paths in an image are absolute and normal.
    #[error(
        "path '{0}' in the image: write it absolute, without '.', '..', empty parts or control characters, at most 4096 bytes"
    )]
    Path(String),
    /// Two things at one place.
    #[error("path '{0}' in the image is there twice: remove one")]
    Twice(String),
    /// Something lies below a file or link.
    #[error("path '{path}' in the image: '{parent}' is not a directory")]
    Parent {
        /// what was to be added
        path: String,
        /// what is in its way
        parent: String,
    },
    /// A hard link to something that is not a file of the tree.
    #[error("hard link '{path}' in the image: '{target}' is not a file that was added before")]
    HardLink {
        /// the link
        path: String,
        /// where it points
        target: String,
    },
    /// A mode with more than permission bits, setuid, setgid and sticky.
    #[error("path '{path}' in the image: mode {mode:o} is more than 7777")]
    Mode {
        /// the path
        path: String,
        /// its mode
        mode: u32,
    },
}

/// An image that could not be written.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A source file or the archive could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// which file
        path: PathBuf,
        /// what the system said
        source: io::Error,
    },
    /// The source files were written while the image was made.
    #[error(
        "a file of the image changed while it was read: build again when nothing writes to its files"
    )]
    SourceChanged,
    /// An image nobody could ask for.
    #[error("the image has no name: give it at least one")]
    NoName,
    /// More than OCI's time format can say.
    #[error("{0} s since 1970 is not a time: SOURCE_DATE_EPOCH must lie before the year 10000")]
    Time(u64),
    /// The documents of the image could not be written as JSON.
    #[error("the image's documents: {0}")]
    Json(#[from] serde_json::Error),
}

/// An archive that is damaged or not one of ours.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file could not be read, or its compression or tar structure is damaged.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A blob is not what its name says.
    #[error("blob {name} is damaged: its content is {found}")]
    Damaged {
        /// the digest it should have
        name: Digest,
        /// the digest it has
        found: Digest,
    },
    /// The size in the descriptor is not the size of the blob.
    #[error("blob {digest} has {found} bytes, its descriptor says {stated}")]
    Size {
        /// which
        digest: Digest,
        /// as it is
        found: u64,
        /// as it should be
        stated: u64,
    },
    /// Something points to a blob that is not there.
    #[error("{what} {digest} is missing in the archive")]
    Missing {
        /// manifest, configuration or layer
        what: &'static str,
        /// its digest
        digest: Digest,
    },
    /// A document is not valid JSON of its kind.
    #[error("{what}: {source}")]
    Json {
        /// which document
        what: String,
        /// where and why
        source: serde_json::Error,
    },
    /// The archive breaks a rule of the image layout or of this crate.
    #[error("{0}")]
    Rule(String),
}
