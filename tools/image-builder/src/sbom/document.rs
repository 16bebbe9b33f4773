//! The CycloneDX document (ECMA-424, version 1.6), as much of it as these bills use.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use oci_image::{Digest, ImageName, StoredImage};
use serde::{Deserialize, Serialize};

use super::part::{Part, Parts};
use super::purl;

const SPECIFICATION: &str = "1.6";
const SCHEMA: &str = "http://cyclonedx.org/schema/bom-1.6.schema.json";

/// What a bill says beside the parts.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    pub(super) image: &'a StoredImage,
    pub(super) version: &'a str,
    /// RFC 3339
    pub(super) time: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Bill {
    #[serde(rename = "$schema")]
    schema: String,
    bom_format: String,
    spec_version: String,
    serial_number: String,
    version: u32,
    metadata: Metadata,
    components: Vec<Component>,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timestamp: Option<String>,
    tools: Tools,
    component: Component,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tools {
    components: Vec<Component>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Component {
    #[serde(rename = "type")]
    kind: String,
    #[serde(rename = "bom-ref", default, skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    hashes: Vec<Hash>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    licenses: Vec<Licence>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    purl: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    properties: Vec<Property>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Hash {
    alg: String,
    content: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Licence {
    expression: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Property {
    name: String,
    value: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Dependency {
    #[serde(rename = "ref")]
    reference: String,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    depends_on: BTreeSet<String>,
}

impl Bill {
    pub(super) fn new(facts: &Facts<'_>, parts: &Parts) -> Result<Self> {
        let image = image_component(facts)?;
        let reference = image.reference.clone().unwrap_or_default();
        let of_image = Dependency {
            reference,
            depends_on: parts.direct.clone(),
        };
        let of_parts = parts
            .by_reference
            .iter()
            .map(|(reference, part)| Dependency {
                reference: reference.clone(),
                depends_on: part.needs.clone(),
            });
        let bill = Self {
            schema: SCHEMA.to_owned(),
            bom_format: "CycloneDX".to_owned(),
            spec_version: SPECIFICATION.to_owned(),
            serial_number: serial_number(&facts.image.digest),
            version: 1,
            metadata: Metadata {
                timestamp: facts.time.clone(),
                tools: Tools {
                    components: vec![tool()],
                },
                component: image,
            },
            dependencies: std::iter::once(of_image).chain(of_parts).collect(),
            components: parts.by_reference.values().map(component).collect(),
        };
        bill.check()?;
        Ok(bill)
    }

    /// The digits of the digest of the image it is for.
    pub(super) fn image_digest(&self) -> Option<&str> {
        self.metadata
            .component
            .hashes
            .first()
            .map(|hash| hash.content.as_str())
    }

    /// The rules of the specification that types alone do not keep.
    pub(super) fn check(&self) -> Result<()> {
        ensure!(
            self.bom_format == "CycloneDX"
                && self.spec_version == SPECIFICATION
                && self.version >= 1,
            "is not CycloneDX {SPECIFICATION}"
        );
        let mut references = BTreeSet::new();
        for component in self.components.iter().chain([&self.metadata.component]) {
            let reference = component
                .reference
                .as_deref()
                .context("a component has no bom-ref")?;
            ensure!(
                references.insert(reference),
                "two components have the bom-ref {reference}"
            );
            for hash in &component.hashes {
                let is_hash = hash.alg == "SHA-256"
                    && hash.content.len() == 64
                    && hash.content.bytes().all(|byte| byte.is_ascii_hexdigit());
                ensure!(
                    is_hash,
                    "{reference}: '{}' is not a SHA-256 hash",
                    hash.content
                );
            }
        }
        for dependency in &self.dependencies {
            for reference in dependency.depends_on.iter().chain([&dependency.reference]) {
                ensure!(
                    references.contains(reference.as_str()),
                    "the dependencies name {reference}, which is no component"
                );
            }
        }
        Ok(())
    }
}

fn image_component(facts: &Facts<'_>) -> Result<Component> {
    let image = facts.image;
    let full = image.names.first().context("the image has no name")?;
    let name: ImageName = full.parse()?;
    let purl = purl::oci(
        name.repository(),
        &image.digest.to_string(),
        image.architecture.name(),
        name.tag(),
    );
    let further = image.names.iter().map(|name| Property {
        name: "fieldgate:image:name".to_owned(),
        value: name.clone(),
    });
    Ok(Component {
        kind: "container".to_owned(),
        reference: Some(purl.clone()),
        name: name.repository().to_owned(),
        version: Some(facts.version.to_owned()),
        hashes: vec![sha256(image.digest.hex())],
        purl: Some(purl),
        properties: further.collect(),
        ..Component::default()
    })
}

fn component(part: &Part) -> Component {
    Component {
        kind: part.kind.word().to_owned(),
        reference: Some(part.reference()),
        name: part.name.clone(),
        version: part.version.clone(),
        description: part.description.clone(),
        hashes: part.sha256.iter().map(|digits| sha256(digits)).collect(),
        licenses: part
            .licence
            .iter()
            .map(|licence| Licence {
                expression: licence.clone(),
            })
            .collect(),
        purl: part.purl.clone(),
        properties: part
            .properties
            .iter()
            .map(|(name, value)| Property {
                name: name.clone(),
                value: value.clone(),
            })
            .collect(),
    }
}

fn tool() -> Component {
    Component {
        kind: "application".to_owned(),
        name: env!("CARGO_PKG_NAME").to_owned(),
        version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        ..Component::default()
    }
}

fn sha256(digits: &str) -> Hash {
    Hash {
        alg: "SHA-256".to_owned(),
        content: digits.to_owned(),
    }
}

/// A UUID of version 8 (RFC 9562, made by the writer's own rule): the first 122 bits of the image's digest. One image, one bill.
fn serial_number(image: &Digest) -> String {
    let digits: Vec<char> = image.hex().chars().take(32).collect();
    let mut text = "urn:uuid:".to_owned();
    for (at, digit) in digits.into_iter().enumerate() {
        if matches!(at, 8 | 12 | 16 | 20) {
            text.push('-');
        }
        text.push(match at {
            12 => '8',
            16 => variant(digit),
            _ => digit,
        });
    }
    text
}

/// The digit with its upper two bits set to `10`.
fn variant(digit: char) -> char {
    let low = digit.to_digit(16).unwrap_or_default() & 3;
    char::from_digit(8 | low, 16).unwrap_or('8')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial_numbers_are_uuids_of_version_8_and_follow_the_digest() {
        let (one, two) = (
            serial_number(&Digest::of(b"1")),
            serial_number(&Digest::of(b"2")),
        );
        assert_ne!(one, two);
        let uuid = one.strip_prefix("urn:uuid:").unwrap();
        let lengths: Vec<_> = uuid.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert_eq!(uuid.chars().nth(14), Some('8'));
        assert!(
            uuid.chars()
                .nth(19)
                .is_some_and(|digit| "89ab".contains(digit))
        );
    }
}
