//! Public keys of SSH, as `authorized_keys` has them (sshd(8), RFC 4253 section 6.6, RFC 5656, RFC 8709, OpenSSH's PROTOCOL.u2f).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The types that are taken. DSA is not: OpenSSH refuses it since 10.0.
const TYPES: [&str; 7] = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];
/// The least bits of an RSA key.
const LEAST_RSA: usize = 2048;

/// What is wrong with a line of `authorized_keys`, if anything is.
pub(super) fn check(line: &str) -> Result<(), String> {
    if line.contains("PRIVATE KEY") {
        return Err(
            "is a private key; give the public one, from the file that ends in .pub".to_owned(),
        );
    }
    if line.chars().any(char::is_control) {
        return Err("has more than one line; write each key as an entry of its own".to_owned());
    }
    let mut words = line.split_ascii_whitespace();
    let kind = words.next().unwrap_or_default();
    if !TYPES.contains(&kind) {
        return Err(format!(
            "{kind:?} is no type of a key; an entry is a type, the key and a comment as in a .pub file, without options. Types: {}",
            TYPES.join(", ")
        ));
    }
    let Some(text) = words.next() else {
        return Err(format!(
            "has no key after {kind}; copy the whole line of the .pub file"
        ));
    };
    let blob = STANDARD.decode(text).map_err(|_| {
        "its key is not Base64; copy the whole line of the .pub file, without a break".to_owned()
    })?;
    let cut = || "its key is cut off; copy the whole line of the .pub file".to_owned();
    let mut fields = Fields(&blob);
    let embedded = fields.next().ok_or_else(cut)?;
    if embedded != kind.as_bytes() {
        return Err(format!(
            "says {kind}, but its key is of type {:?}; copy the whole line of the .pub file",
            String::from_utf8_lossy(embedded.get(..40).unwrap_or(embedded))
        ));
    }
    let is_whole = match kind {
        "ssh-ed25519" => is_length(fields.next(), 32),
        "sk-ssh-ed25519@openssh.com" => is_length(fields.next(), 32) && fields.next().is_some(),
        "ssh-rsa" => {
            let (exponent, modulus) = (fields.next(), fields.next());
            if let Some(modulus) = modulus
                && bits(modulus) < LEAST_RSA
            {
                return Err(format!(
                    "is an RSA key of {} bits; at least {LEAST_RSA} are needed, better take ssh-ed25519",
                    bits(modulus)
                ));
            }
            exponent.is_some() && modulus.is_some()
        }
        "sk-ecdsa-sha2-nistp256@openssh.com" => {
            fields.next() == Some(b"nistp256")
                && is_point(fields.next(), 32)
                && fields.next().is_some()
        }
        curve => {
            let (name, length): (&[u8], usize) = match curve {
                "ecdsa-sha2-nistp384" => (b"nistp384", 48),
                "ecdsa-sha2-nistp521" => (b"nistp521", 66),
                _ => (b"nistp256", 32),
            };
            fields.next() == Some(name) && is_point(fields.next(), length)
        }
    };
    if is_whole && fields.0.is_empty() {
        Ok(())
    } else {
        Err(cut())
    }
}

/// Whether two lines are one key.
pub(super) fn is_same(one: &str, other: &str) -> bool {
    let key = |line: &str| line.split_ascii_whitespace().nth(1).map(str::to_owned);
    key(one).is_some() && key(one) == key(other)
}

fn is_length(field: Option<&[u8]>, length: usize) -> bool {
    field.is_some_and(|field| field.len() == length)
}

/// An uncompressed point of a curve whose coordinates have so many bytes.
fn is_point(field: Option<&[u8]>, length: usize) -> bool {
    field.is_some_and(|field| field.len() == 2 * length + 1 && field.first() == Some(&4))
}

/// The bits of a positive multiple precision integer (RFC 4251, section 5).
fn bits(number: &[u8]) -> usize {
    let digits = number
        .iter()
        .position(|byte| *byte != 0)
        .and_then(|first| number.get(first..))
        .unwrap_or_default();
    let Some(first) = digits.first() else {
        return 0;
    };
    digits.len() * 8 - first.leading_zeros() as usize
}

/// The fields of a key: each a length of four bytes, big end first, and so many bytes.
struct Fields<'k>(&'k [u8]);

impl<'k> Fields<'k> {
    fn next(&mut self) -> Option<&'k [u8]> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let (field, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        self.0 = rest;
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(kind: &str, fields: &[&[u8]]) -> String {
        let mut blob = Vec::new();
        for field in fields {
            blob.extend((field.len() as u32).to_be_bytes());
            blob.extend(*field);
        }
        format!("{kind} {} someone@laptop", STANDARD.encode(blob))
    }

    #[test]
    fn keys_of_every_type_are_taken() {
        let point = |length: usize| {
            let mut point = vec![4];
            point.resize(2 * length + 1, 7);
            point
        };
        let mut modulus = vec![0, 0x80];
        modulus.resize(257, 1);
        for (kind, fields) in [
            ("ssh-ed25519", vec![vec![1; 32]]),
            (
                "sk-ssh-ed25519@openssh.com",
                vec![vec![1; 32], b"ssh:".to_vec()],
            ),
            ("ssh-rsa", vec![vec![1, 0, 1], modulus]),
            ("ecdsa-sha2-nistp256", vec![b"nistp256".to_vec(), point(32)]),
            ("ecdsa-sha2-nistp384", vec![b"nistp384".to_vec(), point(48)]),
            ("ecdsa-sha2-nistp521", vec![b"nistp521".to_vec(), point(66)]),
            (
                "sk-ecdsa-sha2-nistp256@openssh.com",
                vec![b"nistp256".to_vec(), point(32), b"ssh:".to_vec()],
            ),
        ] {
            let mut all: Vec<&[u8]> = vec![kind.as_bytes()];
            all.extend(fields.iter().map(Vec::as_slice));
            assert_eq!(check(&line(kind, &all)), Ok(()), "{kind}");
            let cut = line(kind, all.get(..all.len() - 1).unwrap());
            assert!(check(&cut).unwrap_err().contains("cut off"), "{kind}");
            all.push(b"more");
            assert!(check(&line(kind, &all)).is_err(), "{kind}");
        }
    }

    #[test]
    fn what_is_no_key_is_told() {
        let key = [1; 32];
        let short: &[u8] = &[0x80; 128];
        for (bad, part) in [
            (String::new(), "no type"),
            ("ssh-ed25519".to_owned(), "has no key"),
            ("ssh-ed25519 AAAA*".to_owned(), "not Base64"),
            ("ssh-ed25519 AAAA".to_owned(), "cut off"),
            (
                line("ssh-ed25519", &[b"ssh-rsa", &key]),
                "is of type \"ssh-rsa\"",
            ),
            (line("ssh-dss", &[b"ssh-dss", &key]), "no type"),
            (
                line("ssh-rsa", &[b"ssh-rsa", &[1, 0, 1], short]),
                "1024 bits",
            ),
            (
                format!(
                    "from=\"10.0.0.0/8\" {}",
                    line("ssh-ed25519", &[b"ssh-ed25519", &key])
                ),
                "without options",
            ),
            (
                "-----BEGIN OPENSSH PRIVATE KEY-----".to_owned(),
                "private key",
            ),
            (
                "ssh-ed25519 AAAA\nssh-ed25519 AAAA".to_owned(),
                "more than one line",
            ),
        ] {
            let told = check(&bad).unwrap_err();
            assert!(told.contains(part), "{bad}: {told}");
        }
    }
}
