//! The files of an image, as they shall be: nothing about them comes from the file system but the content.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::TreeError;

const LONGEST_PATH: usize = 4096;
const DIRECTORY_MODE: u32 = 0o755;

/// The files of an image. All belong to root (0:0), so that the user the program runs as cannot change them.
///
/// Paths are absolute; directories above what is added are made with mode 755 unless they were added before.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// by path without the leading `/`
    nodes: BTreeMap<String, Node>,
}

/// Where a file's content comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// this file, followed when it is a symbolic link; it must not change until the archive is written
    File(PathBuf),
    /// these bytes
    Bytes(Vec<u8>),
}

impl From<Vec<u8>> for Source {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<PathBuf> for Source {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) mode: u32,
    pub(crate) kind: Kind,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Directory,
    File(Source),
    Symlink(String),
    /// path without the leading `/`
    HardLink(String),
}

impl Tree {
    /// Adds a directory.
    ///
    /// # Errors
    /// A path that is not absolute and normal, is there already, or lies below something that is no directory; a mode above 7777.
    pub fn directory(&mut self, path: &str, mode: u32) -> Result<&mut Self, TreeError> {
        self.add(path, mode, Kind::Directory)
    }

    /// Adds a regular file.
    ///
    /// # Errors
    /// As for [`Tree::directory`]. Whether the source can be read shows in [`crate::Image::seal`].
    pub fn file(&mut self, path: &str, mode: u32, source: Source) -> Result<&mut Self, TreeError> {
        self.add(path, mode, Kind::File(source))
    }

    /// Adds a symbolic link. The target is taken as it is and need not exist.
    ///
    /// # Errors
    /// As for [`Tree::directory`].
    pub fn symlink(&mut self, path: &str, target: &str) -> Result<&mut Self, TreeError> {
        self.add(path, 0o777, Kind::Symlink(target.to_owned()))
    }

    /// Adds another name of a regular file of this tree: in a container both are one inode, so all processes that run either share
    /// one copy of its text in memory.
    ///
    /// # Errors
    /// As for [`Tree::directory`], and a target that is not a file added before.
    pub fn hard_link(&mut self, path: &str, target: &str) -> Result<&mut Self, TreeError> {
        let target_key = relative(target)?;
        match self.nodes.get(target_key) {
            Some(Node {
                kind: Kind::File(_),
                mode,
            }) => {
                let (mode, target_key) = (*mode, target_key.to_owned());
                self.add(path, mode, Kind::HardLink(target_key))
            }
            _ => Err(TreeError::HardLink {
                path: path.to_owned(),
                target: target.to_owned(),
            }),
        }
    }

    fn add(&mut self, path: &str, mode: u32, kind: Kind) -> Result<&mut Self, TreeError> {
        let key = relative(path)?;
        if mode > 0o7777 {
            return Err(TreeError::Mode {
                path: path.to_owned(),
                mode,
            });
        }
        if self.nodes.contains_key(key) {
            return Err(TreeError::Twice(path.to_owned()));
        }
        for (end, _) in key.match_indices('/') {
            let parent = key.get(..end).unwrap_or_default();
            match self.nodes.get(parent) {
                None => {
                    let directory = Node {
                        mode: DIRECTORY_MODE,
                        kind: Kind::Directory,
                    };
                    self.nodes.insert(parent.to_owned(), directory);
                }
                Some(Node {
                    kind: Kind::Directory,
                    ..
                }) => {}
                Some(_) => {
                    return Err(TreeError::Parent {
                        path: path.to_owned(),
                        parent: format!("/{parent}"),
                    });
                }
            }
        }
        self.nodes.insert(key.to_owned(), Node { mode, kind });
        Ok(self)
    }

    /// Everything in the order it is written: sorted by path, hard links after all others, because an unpacker needs their file first.
    pub(crate) fn in_order(&self) -> impl Iterator<Item = (&String, &Node)> {
        let is_link = |node: &Node| matches!(node.kind, Kind::HardLink(_));
        let first = self.nodes.iter().filter(move |(_, node)| !is_link(node));
        first.chain(self.nodes.iter().filter(move |(_, node)| is_link(node)))
    }
}

fn relative(path: &str) -> Result<&str, TreeError> {
    path.strip_prefix('/')
        .filter(|rest| {
            path.len() <= LONGEST_PATH
                && rest.split('/').all(|part| !matches!(part, "" | "." | ".."))
        })
        .filter(|rest| !rest.chars().any(char::is_control))
        .ok_or_else(|| TreeError::Path(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_are_made_and_hard_links_come_last() {
        let mut tree = Tree::default();
        tree.file("/b/c/program", 0o755, Source::Bytes(vec![1]))
            .and_then(|tree| tree.hard_link("/a", "/b/c/program"))
            .and_then(|tree| tree.symlink("/b/z", "../a"))
            .unwrap();
        let order: Vec<_> = tree.in_order().map(|(path, _)| path.as_str()).collect();
        assert_eq!(order, ["b", "b/c", "b/c/program", "b/z", "a"]);
    }

    #[test]
    fn what_no_file_system_could_hold_is_refused() {
        let mut tree = Tree::default();
        tree.file("/file", 0o644, Source::Bytes(Vec::new()))
            .unwrap();
        for wrong in ["", "/", "file", "/a//b", "/a/../b", "/./a", "/a/", "/a\nb"] {
            assert!(
                matches!(tree.directory(wrong, 0o755), Err(TreeError::Path(_))),
                "{wrong:?}"
            );
        }
        assert!(matches!(
            tree.directory("/file", 0o755),
            Err(TreeError::Twice(_))
        ));
        assert!(matches!(
            tree.directory("/file/below", 0o755),
            Err(TreeError::Parent { .. })
        ));
        assert!(matches!(
            tree.hard_link("/link", "/none"),
            Err(TreeError::HardLink { .. })
        ));
        assert!(matches!(
            tree.directory("/mode", 0o10_000),
            Err(TreeError::Mode { .. })
        ));
    }
}
