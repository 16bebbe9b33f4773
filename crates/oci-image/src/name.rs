//! Names of images: registry, path and tag.

use std::fmt;
use std::str::FromStr;

use crate::NameError;

/// A full image name, such as `fieldgate.io/dapr/daprd:1.18.2-fieldgate`. The registry is never left out: Kubernetes would put a public
/// one before a short name and so never find the image on the node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageName {
    repository: String,
    tag: String,
}

impl ImageName {
    /// Registry and path, without the tag.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// 1–128 of `[A-Za-z0-9_.-]`, not beginning with `.` or `-` (distribution-spec, pulling manifests).
    #[must_use]
    pub fn tag(&self) -> &str {
        &self.tag
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.repository, self.tag)
    }
}

impl FromStr for ImageName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let wrong = |why| NameError {
            name: text.to_owned(),
            why,
        };
        let (registry, rest) = text
            .split_once('/')
            .ok_or_else(|| wrong("it has no registry before the first '/'"))?;
        if !registry.contains(['.', ':'])
            || !registry
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b".-:".contains(&byte))
        {
            return Err(wrong(
                "what is before the first '/' is not a host name with a dot or a port",
            ));
        }
        let (path, tag) = rest
            .split_once(':')
            .ok_or_else(|| wrong("it has no ':' with a tag at its end"))?;
        if !path.split('/').all(is_path_part) {
            return Err(wrong(
                "its path has a part that is not lower-case letters and digits with single . _ - between them",
            ));
        }
        if !is_tag(tag) {
            return Err(wrong(
                "its tag is not 1 to 128 letters, digits, '_', '.' or '-', beginning with a letter, digit or '_'",
            ));
        }
        Ok(Self {
            repository: format!("{registry}/{path}"),
            tag: tag.to_owned(),
        })
    }
}

fn is_path_part(part: &str) -> bool {
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = part.as_bytes();
    bytes.first().is_some_and(plain)
        && bytes.last().is_some_and(plain)
        && bytes
            .iter()
            .all(|byte| plain(byte) || b"._-".contains(byte))
        && !["..", "._", "_.", ".-", "-."]
            .iter()
            .any(|pair| part.contains(pair))
}

fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= 128
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|byte| word(byte) || b".-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_names_are_taken_apart() {
        let name: ImageName = "fieldgate.io/dapr/daprd:1.18.2-fieldgate".parse().unwrap();
        assert_eq!(
            (name.repository(), name.tag()),
            ("fieldgate.io/dapr/daprd", "1.18.2-fieldgate")
        );
        assert_eq!(name.to_string(), "fieldgate.io/dapr/daprd:1.18.2-fieldgate");
        assert!("localhost:5000/x:1".parse::<ImageName>().is_ok());
    }

    #[test]
    fn what_a_registry_would_refuse_is_refused() {
        for wrong in [
            "x",
            "x:1",
            "library/x:1",
            "a.b/x",
            "a.b/X:1",
            "a.b/x:",
            "a.b//x:1",
            "a.b/x:-1",
            "a.b/-x:1",
            "a.b/x:1/2",
            "a.b/x..y:1",
        ] {
            assert!(wrong.parse::<ImageName>().is_err(), "{wrong}");
        }
    }
}
