//! Package URLs (purl-spec): what vulnerability databases know a package by.

use std::fmt::Write;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Everything but the characters a package URL keeps as they are (purl-spec, rules for character encoding).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b':');

/// A package of crates.io.
pub(crate) fn cargo(name: &str, version: &str) -> String {
    format!("pkg:cargo/{}@{}", encode(name), encode(version))
}

/// A Go module; its path is lower case here (purl-spec, golang).
pub(crate) fn golang(module: &str, version: &str) -> String {
    let path: Vec<String> = module.to_lowercase().split('/').map(encode).collect();
    format!("pkg:golang/{}@{}", path.join("/"), encode(version))
}

/// What no package manager has.
pub(crate) fn generic(name: &str, version: &str) -> String {
    format!("pkg:generic/{}@{}", encode(name), encode(version))
}

/// An image (purl-spec, oci): the last part of its repository, the digest, and as qualifiers, sorted, the rest.
pub(crate) fn oci(repository: &str, digest: &str, architecture: &str, tag: &str) -> String {
    let name = repository
        .rsplit('/')
        .next()
        .unwrap_or(repository)
        .to_lowercase();
    let mut purl = format!("pkg:oci/{}@{}", encode(&name), encode(digest));
    let qualifiers = [
        ("arch", architecture),
        ("repository_url", repository),
        ("tag", tag),
    ];
    for (number, (key, value)) in qualifiers.iter().enumerate() {
        let separator = if number == 0 { '?' } else { '&' };
        let value: Vec<String> = value.split('/').map(encode).collect();
        // writing to a string cannot fail
        let _ = write!(purl, "{separator}{key}={}", value.join("/"));
    }
    purl
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_named_as_the_specification_says() {
        assert_eq!(
            cargo("toml", "1.2.1+spec-1.1.0"),
            "pkg:cargo/toml@1.2.1%2Bspec-1.1.0"
        );
        assert_eq!(
            golang("github.com/AzureAD/x", "v2.0.0+incompatible"),
            "pkg:golang/github.com/azuread/x@v2.0.0%2Bincompatible"
        );
        assert_eq!(generic("musl", "1"), "pkg:generic/musl@1");
        assert_eq!(
            oci("fieldgate.io/dapr/daprd", "sha256:ab", "amd64", "1"),
            "pkg:oci/daprd@sha256:ab?arch=amd64&repository_url=fieldgate.io/dapr/daprd&tag=1"
        );
    }
}
