//! Where a bundle comes from.

use std::path::PathBuf;

use reqwest::Url;

/// Which bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    File(PathBuf),
    Url(Url),
    /// The newest one for this device in these folders or right below them.
    Search(Vec<PathBuf>),
}

impl Source {
    /// A file's path, or an http(s) URL.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if !text.contains("://") {
            return Ok(Self::File(PathBuf::from(text)));
        }
        let url = Url::parse(text).map_err(|error| format!("{text}: {error}"))?;
        match url.scheme() {
            "http" | "https" => Ok(Self::Url(url)),
            "file" => url.to_file_path().map(Self::File).map_err(|()| {
                format!("{text}: a file URL has three slashes: file:///media/x.raucb")
            }),
            other => Err(format!("{other}: only http, https and files")),
        }
    }

    /// Without what may be a secret: user, password, query.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Url(url) => shown(url),
            Self::Search(folders) => {
                let folders: Vec<_> = folders
                    .iter()
                    .map(|one| one.display().to_string())
                    .collect();
                folders.join(", ")
            }
        }
    }
}

pub(crate) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // A URL without a host has neither.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

/// For clap: 64 hexadecimal digits.
pub(crate) fn parse_sha256(text: &str) -> Result<String, String> {
    if text.len() == 64 && text.chars().all(|digit| digit.is_ascii_hexdigit()) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("expected 64 hexadecimal digits, as sha256sum prints them".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_secret_is_not_shown() {
        let source = Source::parse("https://user:pw@h.example/u/x.raucb?sig=abc#f").unwrap();
        assert_eq!(source.shown(), "https://h.example/u/x.raucb");
        assert_eq!(
            Source::parse("/media/usb/x.raucb").unwrap(),
            Source::File("/media/usb/x.raucb".into())
        );
        assert_eq!(
            Source::parse("file:///media/x.raucb").unwrap(),
            Source::File("/media/x.raucb".into())
        );
        assert!(Source::parse("ftp://h/x").is_err() && Source::parse("http://").is_err());
    }

    #[test]
    fn a_hash_has_64_digits() {
        let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".to_owned();
        assert_eq!(parse_sha256(&hash.to_uppercase()), Ok(hash));
        assert!(parse_sha256("abc").is_err());
    }
}
