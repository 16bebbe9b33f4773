//! The archive: an OCI image layout as one tar, compressed with zstd.

use std::fs::{File, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tar::{Builder, EntryType};
use tempfile::NamedTempFile;
use zstd::stream::write::Encoder;

use crate::digest::Hashing;
use crate::error::BuildError;
use crate::image::SealedImage;
use crate::layer::{header, write_layer};
use crate::read::read_archive;

/// The highest level that needs no more than 8 MiB to decompress: an archive is written once and read at every start of a device.
const LEVEL: i32 = 19;
const FILE_MODE: u32 = 0o644;
const DIRECTORY_MODE: u32 = 0o755;

impl SealedImage {
    /// Writes the archive; a file that is there already is replaced when the new one is complete, readable for all.
    ///
    /// # Errors
    /// What the file system says, and [`BuildError::SourceChanged`] when a source file is no longer what was sealed.
    pub fn write(&self, path: &Path) -> Result<(), BuildError> {
        let failed = |source| BuildError::Io {
            path: path.to_owned(),
            source,
        };
        let folder = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let file = NamedTempFile::new_in(folder.unwrap_or(Path::new("."))).map_err(failed)?;
        self.write_compressed(file.as_file(), path)?;
        file.as_file()
            .set_permissions(Permissions::from_mode(FILE_MODE))
            .map_err(failed)?;
        file.persist(path).map_err(|error| failed(error.error))?;
        Ok(())
    }

    /// Whether the archive at this path is complete, undamaged and holds this image under the same names.
    #[must_use]
    pub fn is_stored_in(&self, path: &Path) -> bool {
        read_archive(path).is_ok_and(|archive| archive.index == crate::Digest::of(&self.index))
    }

    fn write_compressed(&self, file: &File, path: &Path) -> Result<(), BuildError> {
        let failed = |source| BuildError::Io {
            path: path.to_owned(),
            source,
        };
        let mut encoder = Encoder::new(BufWriter::new(file), LEVEL).map_err(failed)?;
        encoder.include_checksum(true).map_err(failed)?;
        let encoder = self.write_layout(encoder, &failed)?;
        let mut file = encoder.finish().map_err(failed)?;
        file.flush().map_err(failed)
    }

    /// `blobs/` with all blobs by digest, then `index.json` and `oci-layout`: the order of the names.
    fn write_layout<W: Write>(
        &self,
        out: W,
        failed: &impl Fn(io::Error) -> BuildError,
    ) -> Result<W, BuildError> {
        let modified = self.image.created.unwrap_or(0);
        let mut tar = Builder::new(out);
        for directory in ["blobs/", "blobs/sha256/"] {
            let mut header = header(DIRECTORY_MODE, modified);
            header.set_entry_type(EntryType::Directory);
            tar.append_data(&mut header, directory, io::empty())
                .map_err(failed)?;
        }
        let mut blobs = [
            (&self.config.digest, Some(&self.config.bytes)),
            (&self.manifest.digest, Some(&self.manifest.bytes)),
            (&self.layer.digest, None),
        ];
        blobs.sort();
        for (digest, bytes) in blobs {
            let path = format!("blobs/sha256/{}", digest.hex());
            match bytes {
                Some(bytes) => append(&mut tar, &path, bytes, modified).map_err(failed)?,
                None => self.append_layer(&mut tar, &path, modified, failed)?,
            }
        }
        append(&mut tar, "index.json", &self.index, modified).map_err(failed)?;
        append(&mut tar, "oci-layout", &self.layout, modified).map_err(failed)?;
        tar.into_inner().map_err(failed)
    }

    fn append_layer(
        &self,
        tar: &mut Builder<impl Write>,
        path: &str,
        modified: u64,
        failed: &impl Fn(io::Error) -> BuildError,
    ) -> Result<(), BuildError> {
        let mut header = header(FILE_MODE, modified);
        header.set_size(self.layer.bytes);
        header.set_path(path).map_err(failed)?;
        header.set_cksum();
        let out = tar.get_mut();
        out.write_all(header.as_bytes()).map_err(failed)?;
        let mut again = Hashing::new(&mut *out);
        write_layer(&self.image.tree, modified, &mut again)?;
        if again.finish() != self.layer {
            return Err(BuildError::SourceChanged);
        }
        // a layer is whole records of 512 bytes, so the tar around it needs no filling
        Ok(())
    }
}

fn append(
    tar: &mut Builder<impl Write>,
    path: &str,
    bytes: &[u8],
    modified: u64,
) -> io::Result<()> {
    let mut header = header(FILE_MODE, modified);
    header.set_size(bytes.len() as u64);
    tar.append_data(&mut header, path, bytes)
}
