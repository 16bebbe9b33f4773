//! What is wrong, in a file beside the document: whoever has no console reads it where the document was written.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The file's name.
pub const ERRORS: &str = "fieldgate-provision.errors.txt";

fn beside(document: &Path) -> PathBuf {
    document.with_file_name(ERRORS)
}

pub(crate) fn write_errors(document: &Path, errors: &[String]) -> io::Result<()> {
    let mut file = fs::File::create(beside(document))?;
    // Read on other systems, too.
    for line in errors.iter().flat_map(|error| error.lines()) {
        write!(file, "{line}\r\n")?;
    }
    file.sync_all()
}

/// Removes the file, if there is one.
pub(crate) fn remove_errors(document: &Path) -> io::Result<()> {
    let file = beside(document);
    if file.exists() {
        fs::remove_file(file)?;
    }
    Ok(())
}
