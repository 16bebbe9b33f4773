//! Reads and verifies archives: every blob is what its name says, everything that is pointed to is there, and nothing else.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use serde::de::DeserializeOwned;
use tar::EntryType;
use zstd::stream::read::Decoder;

use crate::Digest;
use crate::digest::{Hashing, Measured};
use crate::document::{
    Architecture, CONFIG_TYPE, Config, Descriptor, Index, LAYER_TYPE, LAYOUT_VERSION, Layout,
    MANIFEST_TYPE, Manifest, NAME_ANNOTATION, Settings, TAG_ANNOTATION,
};
use crate::entry::Entry;
use crate::error::ReadError;

/// The largest JSON document that is read, in bytes.
const LARGEST_DOCUMENT: u64 = 1 << 20;
/// The most blobs of an archive.
const MOST_BLOBS: usize = 1000;
/// The most files of a layer.
const MOST_ENTRIES: usize = 100_000;

/// An archive that was found complete and undamaged.
#[derive(Debug)]
pub struct Archive {
    /// its images, by digest
    pub images: Vec<StoredImage>,
    /// size of the file, in bytes
    pub compressed_bytes: u64,
    /// digest of `index.json`: the same for the same images under the same names
    pub index: Digest,
}

/// One image of an archive.
#[derive(Debug)]
pub struct StoredImage {
    /// digest of the manifest
    pub digest: Digest,
    /// full names, sorted
    pub names: Vec<String>,
    /// for which processor
    pub architecture: Architecture,
    /// RFC 3339, when the image says it
    pub created: Option<String>,
    /// how it runs
    pub settings: Settings,
    /// size of all layers, in bytes, not compressed
    pub layer_bytes: u64,
    /// its files, in the order of the layer
    pub entries: Vec<Entry>,
}

/// Reads a whole archive and verifies it. Takes memory for its documents only (at most 1 MiB each), never for a layer.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn read_archive(path: &Path) -> Result<Archive, ReadError> {
    let blobs = Blobs::read(path)?;
    let layout: Layout = parse("oci-layout", blobs.document("oci-layout")?)?;
    if layout.image_layout_version != LAYOUT_VERSION {
        return rule(format!(
            "oci-layout has version {}, not {LAYOUT_VERSION}",
            layout.image_layout_version
        ));
    }
    let index_bytes = blobs.document("index.json")?;
    let index: Index = parse("index.json", index_bytes)?;
    if index.schema_version != 2 || index.manifests.is_empty() {
        return rule("index.json is not of schema version 2 or lists no image".to_owned());
    }

    let mut used = Vec::new();
    let mut images: BTreeMap<Digest, StoredImage> = BTreeMap::new();
    let mut layers: BTreeMap<Digest, Vec<Digest>> = BTreeMap::new();
    for descriptor in &index.manifests {
        let name = full_name(descriptor)?;
        if let Some(image) = images.get_mut(&descriptor.digest) {
            image.names.push(name);
            continue;
        }
        let (mut image, own_layers) = blobs.image(descriptor, &mut used)?;
        image.names.push(name);
        layers.insert(descriptor.digest.clone(), own_layers);
        images.insert(descriptor.digest.clone(), image);
    }
    if let Some(extra) = blobs.measured.keys().find(|digest| !used.contains(digest)) {
        return rule(format!("nothing points to blob {extra}"));
    }

    let entries = layer_entries(path, layers.values().flatten())?;
    for (digest, image) in &mut images {
        image.names.sort();
        for layer in layers.get(digest).into_iter().flatten() {
            image
                .entries
                .extend(entries.get(layer).cloned().unwrap_or_default());
        }
    }
    Ok(Archive {
        images: images.into_values().collect(),
        compressed_bytes: std::fs::metadata(path)?.len(),
        index: Digest::of(index_bytes),
    })
}

/// Everything of the archive but the content of layers, after the first pass.
struct Blobs {
    measured: BTreeMap<Digest, Measured>,
    documents: BTreeMap<String, Vec<u8>>,
}

impl Blobs {
    fn read(path: &Path) -> Result<Self, ReadError> {
        let mut blobs = Self {
            measured: BTreeMap::new(),
            documents: BTreeMap::new(),
        };
        for_each_file(path, |name, size, content| {
            if blobs.measured.len() + blobs.documents.len() > MOST_BLOBS {
                return rule(format!("the archive has more than {MOST_BLOBS} files"));
            }
            let stated = match blob_digest(name) {
                Some(digest) => Some(digest?),
                None if matches!(name, "index.json" | "oci-layout") => None,
                None => return rule(format!("'{name}' does not belong in an image layout")),
            };
            if stated
                .as_ref()
                .is_some_and(|digest| blobs.measured.contains_key(digest))
                || blobs.documents.contains_key(name)
            {
                return rule(format!("'{name}' is there twice"));
            }
            let mut kept = Vec::new();
            let measured = if size <= LARGEST_DOCUMENT {
                content.read_to_end(&mut kept)?;
                Measured {
                    digest: Digest::of(&kept),
                    bytes: kept.len() as u64,
                }
            } else {
                let mut hash = Hashing::new(io::sink());
                io::copy(content, &mut hash)?;
                hash.finish()
            };
            if measured.bytes != size {
                return rule(format!("'{name}' is cut off"));
            }
            if let Some(digest) = stated {
                if measured.digest != digest {
                    return Err(ReadError::Damaged {
                        name: digest,
                        found: measured.digest,
                    });
                }
                blobs.measured.insert(digest, measured);
            }
            // a small layer is kept for nothing, a document never looks like one
            if kept.first() == Some(&b'{') {
                blobs.documents.insert(name.to_owned(), kept);
            }
            Ok(())
        })?;
        Ok(blobs)
    }

    fn document(&self, name: &str) -> Result<&[u8], ReadError> {
        match self.documents.get(name) {
            Some(bytes) => Ok(bytes),
            None => rule(format!(
                "'{name}' is missing in the archive, or is not a JSON document"
            )),
        }
    }

    /// The image a descriptor of the index points to, and its layers.
    fn image(
        &self,
        descriptor: &Descriptor,
        used: &mut Vec<Digest>,
    ) -> Result<(StoredImage, Vec<Digest>), ReadError> {
        let manifest: Manifest = self.follow(descriptor, "manifest", MANIFEST_TYPE, used)?;
        let config: Config = self.follow(&manifest.config, "configuration", CONFIG_TYPE, used)?;
        if config.os != "linux" {
            return rule(format!(
                "configuration {} is for '{}', not for linux",
                manifest.config.digest, config.os
            ));
        }
        if descriptor
            .platform
            .as_ref()
            .is_some_and(|platform| platform.architecture != config.architecture)
        {
            return rule(format!(
                "index.json says another architecture for {} than its configuration",
                descriptor.digest
            ));
        }
        let mut layers = Vec::new();
        for layer in &manifest.layers {
            self.check(layer, "layer", LAYER_TYPE, used)?;
            layers.push(layer.digest.clone());
        }
        if config.rootfs.diff_ids != layers {
            return rule(format!(
                "configuration {} lists other layers than its manifest",
                manifest.config.digest
            ));
        }
        let image = StoredImage {
            digest: descriptor.digest.clone(),
            names: Vec::new(),
            architecture: config.architecture,
            created: config.created,
            settings: config.config,
            layer_bytes: manifest.layers.iter().map(|layer| layer.size).sum(),
            entries: Vec::new(),
        };
        Ok((image, layers))
    }

    fn follow<T: DeserializeOwned>(
        &self,
        descriptor: &Descriptor,
        what: &'static str,
        media_type: &str,
        used: &mut Vec<Digest>,
    ) -> Result<T, ReadError> {
        self.check(descriptor, what, media_type, used)?;
        let name = format!("blobs/sha256/{}", descriptor.digest.hex());
        parse(
            &format!("{what} {}", descriptor.digest),
            self.document(&name)?,
        )
    }

    fn check(
        &self,
        descriptor: &Descriptor,
        what: &'static str,
        media_type: &str,
        used: &mut Vec<Digest>,
    ) -> Result<(), ReadError> {
        let digest = &descriptor.digest;
        let Some(found) = self.measured.get(digest) else {
            return Err(ReadError::Missing {
                what,
                digest: digest.clone(),
            });
        };
        if found.bytes != descriptor.size {
            return Err(ReadError::Size {
                digest: digest.clone(),
                found: found.bytes,
                stated: descriptor.size,
            });
        }
        if descriptor.media_type != media_type {
            return rule(format!(
                "{what} {digest} has media type '{}', not '{media_type}'",
                descriptor.media_type
            ));
        }
        used.push(digest.clone());
        Ok(())
    }
}

/// The second pass: the files of these layers.
fn layer_entries<'a>(
    path: &Path,
    layers: impl Iterator<Item = &'a Digest>,
) -> Result<BTreeMap<Digest, Vec<Entry>>, ReadError> {
    let mut entries: BTreeMap<Digest, Vec<Entry>> =
        layers.map(|digest| (digest.clone(), Vec::new())).collect();
    for_each_file(path, |name, _, content| {
        let Some(list) = blob_digest(name)
            .transpose()?
            .and_then(|digest| entries.get_mut(&digest))
        else {
            return Ok(());
        };
        for entry in tar::Archive::new(content).entries()? {
            if list.len() >= MOST_ENTRIES {
                return rule(format!("a layer has more than {MOST_ENTRIES} files"));
            }
            list.push(Entry::read(&entry?)?);
        }
        Ok(())
    })?;
    Ok(entries)
}

fn full_name(descriptor: &Descriptor) -> Result<String, ReadError> {
    let annotation = |key| descriptor.annotations.get(key);
    match (annotation(NAME_ANNOTATION), annotation(TAG_ANNOTATION)) {
        (Some(name), Some(tag)) if name.ends_with(&format!(":{tag}")) => Ok(name.clone()),
        _ => rule(format!(
            "index.json: the entry for {} lacks {NAME_ANNOTATION} with a full name or {TAG_ANNOTATION} with its tag",
            descriptor.digest
        )),
    }
}

/// `None` when the name is not one of a blob.
fn blob_digest(name: &str) -> Option<Result<Digest, ReadError>> {
    let hex = name.strip_prefix("blobs/sha256/")?;
    Some(format!("sha256:{hex}").parse().map_err(ReadError::Rule))
}

fn for_each_file(
    path: &Path,
    mut visit: impl FnMut(&str, u64, &mut dyn Read) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    let mut decoder = Decoder::new(File::open(path)?)?;
    let mut archive = tar::Archive::new(BufReader::new(&mut decoder));
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        match entry.header().entry_type() {
            EntryType::Directory => {}
            EntryType::Regular => visit(&name, entry.size(), &mut entry)?,
            _ => return rule(format!("'{name}' is neither a file nor a directory")),
        }
    }
    // to the end of the stream, where the checksum of the whole is
    io::copy(&mut archive.into_inner(), &mut io::sink())?;
    Ok(())
}

fn parse<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, ReadError> {
    serde_json::from_slice(bytes).map_err(|source| ReadError::Json {
        what: what.to_owned(),
        source,
    })
}

fn rule<T>(what: String) -> Result<T, ReadError> {
    Err(ReadError::Rule(what))
}
