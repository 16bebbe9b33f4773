//! Keys of the broker's users: nkeys (Ed25519). A seed is a secret and has neither `Debug` nor `Display` that show it.

use std::fmt;

use anyhow::{Result, bail};
use nkeys::{KeyPair, KeyPairType};

/// A seed: the private half, as text that begins with `SU`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Seed(String);

impl fmt::Debug for Seed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Seed(…)")
    }
}

impl Seed {
    /// A new key of a user.
    pub(crate) fn generate() -> Result<Self> {
        match KeyPair::new_user().seed() {
            Ok(seed) => Ok(Self(seed)),
            Err(_) => bail!("making a key failed; is there a source of randomness?"),
        }
    }

    /// Reads the seed of a user. The error does not repeat the text.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        match KeyPair::from_seed(text.trim()) {
            Ok(pair) if pair.key_pair_type() == KeyPairType::User => {
                Ok(Self(text.trim().to_owned()))
            }
            _ => bail!("is not the seed of an nkey of a user"),
        }
    }

    /// The public half, as text that begins with `U`.
    pub(crate) fn public(&self) -> Result<String> {
        match KeyPair::from_seed(&self.0) {
            Ok(pair) => Ok(pair.public_key()),
            Err(_) => bail!("is not the seed of an nkey"),
        }
    }

    /// The seed in the clear.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_users_and_does_not_show() {
        let seed = Seed::generate().unwrap();
        assert!(seed.reveal().starts_with("SU"));
        assert!(seed.public().unwrap().starts_with('U'));
        assert_eq!(format!("{seed:?}"), "Seed(…)");
        assert_eq!(Seed::parse(seed.reveal()).unwrap(), seed);
        let account = KeyPair::new_account().seed().unwrap();
        let error = Seed::parse(&account).unwrap_err().to_string();
        assert!(!error.contains(&account), "{error}");
    }
}
