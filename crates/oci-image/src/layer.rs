//! The tar of the only layer (image-spec, layer.md).

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use tar::{Builder, EntryType, Header};

use crate::error::BuildError;
use crate::tree::{Kind, Node, Source, Tree};

/// Writes all entries and the end mark. Called twice for one image: first to get the digest, then into the archive; so the layer is never
/// held in memory or in a file of its own.
pub(crate) fn write_layer(tree: &Tree, modified: u64, out: impl Write) -> Result<(), BuildError> {
    let mut builder = Builder::new(out);
    for (path, node) in tree.in_order() {
        write_entry(&mut builder, path, node, modified)?;
    }
    builder
        .into_inner()
        .and_then(|mut out| out.flush())
        .map_err(|source| at(Path::new("layer"), source))
}

fn write_entry(
    builder: &mut Builder<impl Write>,
    path: &str,
    node: &Node,
    modified: u64,
) -> Result<(), BuildError> {
    let mut header = header(node.mode, modified);
    let written = match &node.kind {
        Kind::Directory => {
            header.set_entry_type(EntryType::Directory);
            builder.append_data(&mut header, format!("{path}/"), io::empty())
        }
        Kind::Symlink(target) => {
            header.set_entry_type(EntryType::Symlink);
            builder.append_link(&mut header, path, target)
        }
        Kind::HardLink(target) => {
            header.set_entry_type(EntryType::Link);
            builder.append_link(&mut header, path, target)
        }
        Kind::File(Source::Bytes(bytes)) => {
            header.set_size(bytes.len() as u64);
            builder.append_data(&mut header, path, bytes.as_slice())
        }
        Kind::File(Source::File(source)) => return write_file(builder, header, path, source),
    };
    written.map_err(|error| at(Path::new(path), error))
}

fn write_file(
    builder: &mut Builder<impl Write>,
    mut header: Header,
    path: &str,
    source: &Path,
) -> Result<(), BuildError> {
    let file = File::open(source).map_err(|error| at(source, error))?;
    let about = file.metadata().map_err(|error| at(source, error))?;
    if !about.is_file() {
        return Err(at(source, io::Error::other("not a regular file")));
    }
    header.set_size(about.len());
    // what is added to the file meanwhile must not run into the next entry; what is taken away ends the copy early
    let mut content = Counted {
        inner: file.take(about.len()),
        bytes: 0,
    };
    builder
        .append_data(&mut header, path, &mut content)
        .map_err(|error| at(source, error))?;
    if content.bytes != about.len() {
        return Err(BuildError::SourceChanged);
    }
    Ok(())
}

pub(crate) fn header(mode: u32, modified: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(modified);
    header.set_size(0);
    header
}

fn at(path: &Path, source: io::Error) -> BuildError {
    BuildError::Io {
        path: path.to_owned(),
        source,
    }
}

struct Counted<R> {
    inner: R,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.bytes += count as u64;
        Ok(count)
    }
}
