//! Writes and verifies container images as OCI layout archives, bit by bit the same every time.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use oci_image::{Architecture, Image, Settings, Source, Tree};
//!
//! let mut tree = Tree::default();
//! tree.file("/hello", 0o755, Source::from(b"#! ...".to_vec()))?;
//! let image = Image {
//!     architecture: Architecture::Arm64,
//!     names: vec!["fieldgate.io/hello:0.1.0".parse()?],
//!     settings: Settings { entrypoint: vec!["/hello".into()], user: "65532:65532".into(), ..Settings::default() },
//!     tree,
//!     created: None,
//! };
//! let folder = tempfile::tempdir()?;
//! let archive = folder.path().join("hello.tar.zst");
//! let sealed = image.seal()?;
//! sealed.write(&archive)?;
//! let stored = oci_image::read_archive(&archive)?;
//! assert_eq!(&stored.images[0].digest, sealed.digest());
//! # Ok(())
//! # }
//! ```
//!
//! # The archive
//!
//! One tar, compressed with zstd, that holds an OCI image layout (image-spec 1.0, image-layout.md): `oci-layout`, `index.json` and
//! `blobs/sha256/…`, with one image in it. The image has one layer, which is not compressed by itself: the archive is. Every name of the
//! image is one entry of `index.json` that points to the same manifest, with the annotations `io.containerd.image.name` (the full name:
//! what containerd and k3s take as the image's name) and `org.opencontainers.image.ref.name` (the tag).
//!
//! # What makes it reproducible
//!
//! * Entries in a fixed order; modes, owners and times from the [`Tree`] and [`Image::created`], never from the file system.
//! * Maps with sorted keys, no white space in JSON.
//! * zstd with a fixed level in one thread. Another version of the zstd library may compress otherwise; the digests of an image are
//!   over what is inside, so they stay.

mod archive;
mod digest;
mod document;
mod entry;
mod error;
mod image;
mod layer;
mod name;
mod read;
mod tree;

pub use digest::Digest;
pub use document::{Architecture, Settings};
pub use entry::{Entry, EntryKind};
pub use error::{BuildError, NameError, ReadError, TreeError};
pub use image::{Image, SealedImage};
pub use name::ImageName;
pub use read::{Archive, StoredImage, read_archive};
pub use tree::{Source, Tree};
