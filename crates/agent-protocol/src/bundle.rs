//! Which bundle is to be installed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::fault::{Code, Fault};

const LONGEST_URI: usize = 2048;
const LONGEST_VERSION: usize = 64;

/// A bundle for an update of the whole system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// Where it is: an http or https URL, up to 2048 characters.
    pub uri: String,
    /// The SHA-256 of the file, 64 hexadecimal digits.
    pub sha256: String,
    /// The version it must be, such as 1.4.2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Install it even if it is older than what runs.
    #[serde(default)]
    pub allow_downgrade: bool,
}

impl Bundle {
    /// What the schema cannot say.
    ///
    /// # Errors
    /// The first argument that is wrong.
    pub fn check(&self) -> Result<(), Fault> {
        let wrong =
            |field: &str, message: &str| Err(Fault::new(Code::InvalidInput, message).at(field));
        let rest = ["https://", "http://"]
            .iter()
            .find_map(|scheme| self.uri.strip_prefix(scheme));
        let is_plain = self.uri.len() <= LONGEST_URI
            && self.uri.chars().all(|letter| letter.is_ascii_graphic());
        if !is_plain || rest.is_none_or(|rest| rest.is_empty() || rest.starts_with('/')) {
            return wrong(
                "uri",
                "must be an http or https URL without blanks, up to 2048 characters",
            );
        }
        if self.sha256.len() != 64 || !self.sha256.bytes().all(|b| b.is_ascii_hexdigit()) {
            return wrong(
                "sha256",
                "must be the 64 hexadecimal digits that sha256sum prints for the file",
            );
        }
        let is_version = |text: &str| {
            text.len() <= LONGEST_VERSION
                && text.starts_with(|letter: char| letter.is_ascii_digit())
                && text
                    .chars()
                    .all(|letter| letter.is_ascii_alphanumeric() || ".-+".contains(letter))
        };
        if self
            .version
            .as_deref()
            .is_some_and(|text| !is_version(text))
        {
            return wrong("version", "must be a version such as 1.4.2");
        }
        Ok(())
    }

    /// The same for the same bundle, and telling nothing of its URI, which may hold a key.
    pub fn id(&self) -> String {
        let version = self.version.as_deref().unwrap_or_default();
        let text = [&self.uri, &self.sha256.to_ascii_lowercase(), version].join("\n");
        let digest = Sha256::digest(text);
        digest.iter().take(8).map(|b| format!("{b:02x}")).collect()
    }

    /// The URI without what may be a secret: user, password, query.
    pub fn shown_uri(&self) -> String {
        let end = self.uri.find(['?', '#']).unwrap_or(self.uri.len());
        let plain = self.uri.get(..end).unwrap_or_default();
        let Some((scheme, rest)) = plain.split_once("://") else {
            return plain.to_owned();
        };
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let host = host.rsplit('@').next().unwrap_or_default();
        format!("{scheme}://{host}{path}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(uri: &str) -> Bundle {
        Bundle {
            uri: uri.to_owned(),
            sha256: "a1".repeat(32),
            version: Some("1.4.2-rc.1+7".to_owned()),
            allow_downgrade: false,
        }
    }

    fn field(bundle: &Bundle) -> Option<String> {
        bundle.check().unwrap_err().field
    }

    #[test]
    fn only_what_can_be_fetched_and_checked_is_taken() {
        assert_eq!(
            bundle("https://h.example/x.raucb?sig=a%20b").check(),
            Ok(())
        );
        for wrong in [
            "",
            "x.raucb",
            "/etc/passwd",
            "file:///etc/passwd",
            "--reinstall",
            "https://",
            "http:///x",
            "https://h/a b",
            "https://h/\n",
            &format!("https://h/{}", "x".repeat(2048)),
        ] {
            assert_eq!(field(&bundle(wrong)).as_deref(), Some("uri"), "{wrong}");
        }
        let mut wrong = bundle("http://h/x");
        wrong.sha256 = "g1".repeat(32);
        assert_eq!(field(&wrong).as_deref(), Some("sha256"));
        let mut wrong = bundle("http://h/x");
        for version in ["", "v1", "--x", "1 2"] {
            wrong.version = Some(version.to_owned());
            assert_eq!(field(&wrong).as_deref(), Some("version"), "{version}");
        }
    }

    #[test]
    fn an_id_is_that_of_one_bundle_and_no_secret_is_shown() {
        let one = bundle("https://user:pw@h.example/u/x.raucb?sig=abc#f");
        assert_eq!(one.shown_uri(), "https://h.example/u/x.raucb");
        assert_eq!(bundle("http://h.example").shown_uri(), "http://h.example");
        let mut same = one.clone();
        same.sha256 = same.sha256.to_uppercase();
        assert_eq!(one.id(), same.id());
        assert_eq!(one.id().len(), 16);
        let mut other = one.clone();
        other.version = None;
        assert_ne!(one.id(), other.id());
    }
}
