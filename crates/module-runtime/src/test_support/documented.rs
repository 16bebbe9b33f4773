//! The figures that docs/operate tells of, to compare with those a module has.

use std::collections::BTreeSet;
use std::path::Path;

/// The whole names in the table of docs/operate/README.md whose head is `` `{prefix}…` ``.
///
/// A row's first cell names one or more figures in backquotes; labels in braces are left out.
pub fn documented_figures(prefix: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operate/README.md");
    let text = std::fs::read_to_string(path).unwrap();
    let head = format!("`{prefix}…`");
    let table = text
        .lines()
        .skip_while(|line| !(line.starts_with('|') && line.contains(&head)))
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let mut names = BTreeSet::new();
    for row in table {
        let cell = row.split('|').nth(1).unwrap();
        for name in cell.split('`').skip(1).step_by(2) {
            let name = name.split('{').next().unwrap();
            assert!(
                names.insert(format!("{prefix}{name}")),
                "{name} is there twice"
            );
        }
    }
    assert!(
        !names.is_empty(),
        "docs/operate has no table headed {head:?}"
    );
    names
}
