//! Where in a document something is: `devices[3].unit`.

use std::fmt;

/// A place in a configuration document; build it with [`crate::path!`] and extend it with [`Path::join`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Path(Vec<Segment>);

/// One step into a document.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Segment {
    /// A key of a mapping.
    Key(String),
    /// A position in a list, from 0.
    Index(usize),
}

impl Path {
    /// The whole document.
    pub fn root() -> Self {
        Self::default()
    }

    /// This path and one step more.
    #[must_use]
    pub fn join(&self, segment: impl Into<Segment>) -> Self {
        let mut segments = self.0.clone();
        segments.push(segment.into());
        Self(segments)
    }

    /// The steps from the document's root.
    pub fn segments(&self) -> &[Segment] {
        &self.0
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Key(key) if is_plain(key) && position == 0 => f.write_str(key)?,
                Segment::Key(key) if is_plain(key) => write!(f, ".{key}")?,
                Segment::Key(key) => write!(f, "[{key:?}]")?,
            }
        }
        Ok(())
    }
}

fn is_plain(key: &str) -> bool {
    !key.is_empty()
        && key
            .chars()
            .all(|letter| letter.is_alphanumeric() || matches!(letter, '_' | '-'))
}

impl From<&str> for Segment {
    fn from(key: &str) -> Self {
        Self::Key(key.to_owned())
    }
}

impl From<String> for Segment {
    fn from(key: String) -> Self {
        Self::Key(key)
    }
}

impl From<&String> for Segment {
    fn from(key: &String) -> Self {
        Self::Key(key.clone())
    }
}

impl From<usize> for Segment {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

impl From<Vec<Segment>> for Path {
    fn from(segments: Vec<Segment>) -> Self {
        Self(segments)
    }
}

/// The names of an enumeration's variants are no step: they are not in the document.
impl From<&serde_path_to_error::Path> for Path {
    fn from(path: &serde_path_to_error::Path) -> Self {
        use serde_path_to_error::Segment as Typed;
        let segments = path.iter().filter_map(|segment| match segment {
            Typed::Seq { index } => Some(Segment::Index(*index)),
            Typed::Map { key } => Some(Segment::Key(key.clone())),
            Typed::Enum { .. } | Typed::Unknown => None,
        });
        Self(segments.collect())
    }
}

impl From<&Path> for Path {
    fn from(path: &Path) -> Self {
        path.clone()
    }
}

/// A [`configuration::Path`](crate::configuration::Path) from keys and positions: `path!["devices", 3, "unit"]`.
///
/// Keys are `&str` or `String`, positions `usize`.
#[macro_export]
macro_rules! path {
    ($($segment:expr),* $(,)?) => {
        $crate::configuration::Path::from(
            ::std::vec::Vec::<$crate::configuration::Segment>::from([$($crate::configuration::Segment::from($segment)),*])
        )
    };
}

#[cfg(test)]
mod tests {

    #[test]
    fn paths_read_like_the_document() {
        assert_eq!(path!["devices", 3, "unit"].to_string(), "devices[3].unit");
        assert_eq!(path!["a"].join("b c").join(0).to_string(), "a[\"b c\"][0]");
        assert_eq!(path![].to_string(), "");
    }
}
