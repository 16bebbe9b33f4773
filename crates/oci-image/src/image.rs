//! From files and settings to the documents and digests of an image.

use std::collections::BTreeMap;
use std::io;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::digest::{Hashing, Measured};
use crate::document::{
    Architecture, CONFIG_TYPE, Config, Descriptor, INDEX_TYPE, Index, LAYER_TYPE, LAYOUT_VERSION,
    Layout, MANIFEST_TYPE, Manifest, NAME_ANNOTATION, Platform, RootFs, Settings, TAG_ANNOTATION,
};
use crate::error::BuildError;
use crate::layer::write_layer;
use crate::{Digest, ImageName, Tree};

const LAYOUT_OS: &str = "linux";

/// What an image is made of.
#[derive(Clone, Debug)]
pub struct Image {
    /// for which processor
    pub architecture: Architecture,
    /// at least one; sorted and without repetition in the archive
    pub names: Vec<ImageName>,
    /// how it runs
    pub settings: Settings,
    /// its files
    pub tree: Tree,
    /// Seconds since 1970 (`SOURCE_DATE_EPOCH`): the time of every file, and the image's own. Without it every file is of 1970-01-01 and
    /// the image has no time.
    pub created: Option<u64>,
}

/// An image whose digests are known; [`SealedImage::write`] makes the archive.
#[derive(Debug)]
pub struct SealedImage {
    pub(crate) image: Image,
    pub(crate) layer: Measured,
    pub(crate) config: Document,
    pub(crate) manifest: Document,
    pub(crate) index: Vec<u8>,
    pub(crate) layout: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) digest: Digest,
    pub(crate) bytes: Vec<u8>,
}

impl Document {
    fn new(bytes: Vec<u8>) -> Self {
        Self {
            digest: Digest::of(&bytes),
            bytes,
        }
    }

    fn descriptor(&self, media_type: &str) -> Descriptor {
        descriptor(media_type, &self.digest, self.bytes.len() as u64)
    }
}

impl Image {
    /// Reads all files once and fixes every digest. Writes nothing.
    ///
    /// # Errors
    /// A source file that cannot be read or changes meanwhile, no name, a time past the year 9999.
    pub fn seal(self) -> Result<SealedImage, BuildError> {
        let mut names = self.names.clone();
        names.sort();
        names.dedup();
        if names.is_empty() {
            return Err(BuildError::NoName);
        }
        let created = self.created.map(rfc3339).transpose()?;

        let mut measure = Hashing::new(io::sink());
        write_layer(&self.tree, self.created.unwrap_or(0), &mut measure)?;
        let layer = measure.finish();

        let config = Document::new(serde_json::to_vec(&Config {
            created,
            architecture: self.architecture,
            os: LAYOUT_OS.to_owned(),
            config: self.settings.clone(),
            rootfs: RootFs {
                kind: "layers".to_owned(),
                diff_ids: vec![layer.digest.clone()],
            },
        })?);
        let manifest = Document::new(serde_json::to_vec(&Manifest {
            schema_version: 2,
            media_type: MANIFEST_TYPE.to_owned(),
            config: config.descriptor(CONFIG_TYPE),
            layers: vec![descriptor(LAYER_TYPE, &layer.digest, layer.bytes)],
        })?);
        let index = serde_json::to_vec(&Index {
            schema_version: 2,
            media_type: INDEX_TYPE.to_owned(),
            manifests: names
                .iter()
                .map(|name| named(manifest.descriptor(MANIFEST_TYPE), name, self.architecture))
                .collect(),
        })?;
        let layout = serde_json::to_vec(&Layout {
            image_layout_version: LAYOUT_VERSION.to_owned(),
        })?;
        Ok(SealedImage {
            image: Self { names, ..self },
            layer,
            config,
            manifest,
            index,
            layout,
        })
    }
}

impl SealedImage {
    /// The digest of the manifest: what `image@sha256:…` means.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.manifest.digest
    }

    /// All names, sorted.
    #[must_use]
    pub fn names(&self) -> &[ImageName] {
        &self.image.names
    }
}

fn descriptor(media_type: &str, digest: &Digest, size: u64) -> Descriptor {
    Descriptor {
        media_type: media_type.to_owned(),
        digest: digest.clone(),
        size,
        annotations: BTreeMap::new(),
        platform: None,
    }
}

fn named(manifest: Descriptor, name: &ImageName, architecture: Architecture) -> Descriptor {
    Descriptor {
        annotations: BTreeMap::from([
            (NAME_ANNOTATION.to_owned(), name.to_string()),
            (TAG_ANNOTATION.to_owned(), name.tag().to_owned()),
        ]),
        platform: Some(Platform {
            architecture,
            os: LAYOUT_OS.to_owned(),
        }),
        ..manifest
    }
}

fn rfc3339(seconds: u64) -> Result<String, BuildError> {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .and_then(|time| time.format(&Rfc3339).ok())
        .ok_or(BuildError::Time(seconds))
}
