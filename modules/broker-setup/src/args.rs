//! Command line and environment.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Parser;

/// Keeps the broker's streams and consumers as planned.
#[derive(Debug, Parser)]
#[command(name = "broker-setup", version)]
pub(crate) struct Args {
    /// The plan: streams and consumers, as YAML. Read again when it changes
    #[arg(
        env = "FIELDGATE_CONFIG",
        value_name = "FILE",
        default_value = "/etc/fieldgate/configuration/plan.yaml"
    )]
    pub(crate) plan: PathBuf,

    /// The broker's address
    #[arg(
        long,
        env = "FIELDGATE_BROKER",
        value_name = "URL",
        default_value = "nats://127.0.0.1:4222"
    )]
    pub(crate) broker: String,

    /// The private key of the broker's user `setup`
    #[arg(
        long,
        env = "NKEY_SETUP_SEED",
        value_name = "SEED",
        hide_env_values = true
    )]
    pub(crate) nkey_seed: Option<Seed>,

    /// Where /healthz, /readyz and /metrics are served
    #[arg(
        long,
        env = "FIELDGATE_OPS_ADDRESS",
        value_name = "ADDRESS",
        default_value = "0.0.0.0:9601"
    )]
    pub(crate) ops_address: SocketAddr,

    /// Where streams are that `--save` wrote: one that is missing is restored from there
    #[arg(long, env = "FIELDGATE_SAVED", value_name = "DIR")]
    pub(crate) saved: Option<PathBuf>,

    /// Write all streams of the plan to where `--saved` says, and end. Stop publishers and subscribers first
    #[arg(long, requires = "saved")]
    pub(crate) save: bool,

    /// The number of the server in its cluster: only the set-up of number 0 makes streams that are missing
    #[arg(
        long,
        env = "FIELDGATE_SERVER_NUMBER",
        value_name = "NUMBER",
        default_value_t = 0
    )]
    pub(crate) server_number: u16,

    /// Check the plan and end: status 0 or 78
    #[arg(long)]
    pub(crate) check: bool,

    /// Take out a consumer that nobody reads any more, and end. What only it has not read is gone with it
    #[arg(long, value_name = "STREAM/CONSUMER")]
    pub(crate) remove_consumer: Option<ConsumerName>,
}

/// A private key; never shown.
#[derive(Clone)]
pub(crate) struct Seed(String);

impl Seed {
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl FromStr for Seed {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // A file with a key often ends in a line break.
        Ok(Self(text.trim().to_owned()))
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(…)")
    }
}

/// A consumer and its stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConsumerName {
    pub(crate) stream: String,
    pub(crate) durable: String,
}

impl FromStr for ConsumerName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (stream, durable) = text
            .split_once('/')
            .filter(|(stream, durable)| !stream.is_empty() && !durable.is_empty())
            .ok_or("expected STREAM/CONSUMER, like fieldgate/my-filter-telemetry")?;
        Ok(Self {
            stream: stream.to_owned(),
            durable: durable.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_never_shown() {
        let args = Args::try_parse_from(["broker-setup", "--nkey-seed", "SUHUNTER2\n"]).unwrap();
        assert!(!format!("{args:?}").contains("HUNTER2"));
        assert_eq!(args.nkey_seed.unwrap().reveal(), "SUHUNTER2");
    }

    #[test]
    fn a_consumer_is_named_with_its_stream() {
        let name: ConsumerName = "fieldgate/a-b".parse().unwrap();
        assert_eq!(
            (name.stream.as_str(), name.durable.as_str()),
            ("fieldgate", "a-b")
        );
        for bad in ["", "a-b", "/a", "a/"] {
            assert!(bad.parse::<ConsumerName>().is_err(), "{bad}");
        }
    }
}
