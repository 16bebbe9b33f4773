//! The connection to the broker: kept for ever, and every interruption is told.

use std::time::Duration;

use anyhow::Context;
use async_nats::{Client, ConnectOptions, Event};
use broker_setup::{SETUP_USER, inbox_prefix};
use module_runtime::Health;
use nkeys::{KeyPair, KeyPairType};
use tokio::sync::watch;

use crate::args::Seed;

const CONNECT: Duration = Duration::from_secs(2);
/// Answers are a few KiB.
const READ_BUFFER: u16 = 8192;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The key is not one of a user.
#[derive(Debug, thiserror::Error)]
#[error(
    "NKEY_SETUP_SEED is {0}; it must be the private key of the broker's user `setup`: an nkey user seed, 58 characters that begin with SU"
)]
pub(crate) struct SeedError(&'static str);

/// A connection that is made in the background and never given up, and how often it came or went.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) client: Client,
    /// Counts up with each connect and disconnect: what was known of the broker before is not certain any more.
    pub(crate) turns: watch::Receiver<u64>,
}

/// Whether the key is one of a user.
pub(crate) fn check_seed(seed: Option<&Seed>) -> Result<&Seed, SeedError> {
    let seed = seed.ok_or(SeedError("not set"))?;
    let pair = KeyPair::from_seed(seed.reveal()).map_err(|_| SeedError("no nkey seed"))?;
    match pair.key_pair_type() {
        KeyPairType::User => Ok(seed),
        _ => Err(SeedError("the seed of something else than a user")),
    }
}

impl Connection {
    /// Starts to connect; the part `broker` of the health tells whether it is there.
    pub(crate) async fn start(address: &str, seed: &Seed, health: &Health) -> anyhow::Result<Self> {
        let flag = health.component("broker");
        flag.not_ready("not connected to the broker yet");
        let (sender, turns) = watch::channel(0);
        let client = ConnectOptions::with_nkey(seed.reveal().to_owned())
            .name("broker-setup")
            .custom_inbox_prefix(inbox_prefix(SETUP_USER))
            .connection_timeout(CONNECT)
            .read_buffer_capacity(READ_BUFFER)
            .retry_on_initial_connect()
            .reconnect_delay_callback(|attempt| {
                let factor = u32::try_from(attempt).unwrap_or(u32::MAX);
                FIRST_PAUSE.saturating_mul(factor).min(LONGEST_PAUSE)
            })
            .event_callback(move |event| {
                // Told by the log once for as long as it stays the same.
                match &event {
                    Event::Connected => flag.ready(),
                    Event::Disconnected => flag.not_ready("the connection to the broker is lost"),
                    Event::ClientError(error) => {
                        flag.not_ready(format!("no connection to the broker: {error}"));
                    }
                    other => tracing::warn!(event = %other, "the broker's connection"),
                }
                if matches!(event, Event::Connected | Event::Disconnected) {
                    sender.send_modify(|turns| *turns += 1);
                }
                std::future::ready(())
            })
            .connect(address)
            .await
            .with_context(|| format!("{address} is no address of a broker; see --broker"))?;
        Ok(Self { client, turns })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_users_private_key_is_taken() {
        let seed = |text: &str| text.parse::<Seed>().unwrap();
        let user = KeyPair::new_user();
        assert!(check_seed(Some(&seed(&user.seed().unwrap()))).is_ok());
        for (wrong, words) in [
            (seed(&user.public_key()), "no nkey seed"),
            (seed("hunter2"), "no nkey seed"),
            (
                seed(&KeyPair::new_account().seed().unwrap()),
                "something else",
            ),
        ] {
            let error = check_seed(Some(&wrong)).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
            assert!(!error.contains(wrong.reveal()), "{error}");
        }
        assert!(
            check_seed(None)
                .unwrap_err()
                .to_string()
                .contains("not set")
        );
    }
}
