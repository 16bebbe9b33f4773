//! The command line and environment every module shares.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use crate::configuration::Duration;

// A `///` comment here would become the description in `--help` of every module.
#[derive(Args, Debug, Clone)]
pub struct ModuleArgs {
    /// The module's configuration document (YAML or JSON)
    #[arg(
        long,
        env = "FIELDGATE_CONFIG",
        value_name = "FILE",
        required_unless_present = "print_schema"
    )]
    pub config: Option<PathBuf>,

    /// The appliance's name, part of every event's source: letters, digits, '.', '_', '-', at most 32 [default: host name]
    #[arg(long, env = "FIELDGATE_APPLIANCE", value_name = "NAME", value_parser = name)]
    pub appliance: Option<String>,

    /// The module's name: part of every event's id and its Dapr app id [default: the program's name]
    #[arg(long, env = "FIELDGATE_MODULE", value_name = "NAME", value_parser = name)]
    pub module: Option<String>,

    /// Port on 127.0.0.1 where the sidecar delivers commands; 0 lets the system choose
    #[arg(
        long,
        env = "FIELDGATE_APP_PORT",
        value_name = "PORT",
        default_value_t = 6000
    )]
    pub app_port: u16,

    /// Address of /healthz, /readyz, /metrics and /loglevel
    #[arg(
        long,
        env = "FIELDGATE_OPS_ADDRESS",
        value_name = "ADDRESS",
        default_value = "0.0.0.0:9600"
    )]
    pub ops_address: SocketAddr,

    /// The sidecar's gRPC port on 127.0.0.1
    #[arg(
        long,
        env = "DAPR_GRPC_PORT",
        value_name = "PORT",
        default_value_t = 50001
    )]
    pub dapr_grpc_port: u16,

    /// The sidecar's HTTP port on 127.0.0.1
    #[arg(
        long,
        env = "DAPR_HTTP_PORT",
        value_name = "PORT",
        default_value_t = 3500
    )]
    pub dapr_http_port: u16,

    /// Token sent to the sidecar with every call
    #[arg(
        long,
        env = "DAPR_API_TOKEN",
        value_name = "TOKEN",
        hide_env_values = true,
        default_value = ""
    )]
    pub dapr_api_token: Secret,

    /// Token the sidecar must send with every command
    #[arg(
        long,
        env = "APP_API_TOKEN",
        value_name = "TOKEN",
        hide_env_values = true,
        default_value = ""
    )]
    pub app_api_token: Secret,

    /// The pub/sub component this module publishes to
    #[arg(
        long,
        env = "FIELDGATE_PUBSUB",
        value_name = "COMPONENT",
        default_value = "pubsub"
    )]
    pub pubsub: String,

    /// Time to finish what is in flight after SIGTERM
    #[arg(
        long,
        env = "FIELDGATE_GRACE_PERIOD",
        value_name = "DURATION",
        default_value = "20s"
    )]
    pub grace_period: Duration,

    /// Work only while holding this file's lock; until then be a ready standby. For instances on one node, on a local file system
    #[arg(long, env = "FIELDGATE_LOCK", value_name = "FILE")]
    pub lock: Option<PathBuf>,

    /// Validate the configuration, print every problem and exit (0 valid, 78 not)
    #[arg(long)]
    pub check: bool,

    /// Print the configuration's JSON Schema and exit
    #[arg(long)]
    pub print_schema: bool,
}

impl ModuleArgs {
    /// The appliance's name: given, or the host's name cut to what a name may be, or `appliance`.
    pub fn appliance_name(&self) -> String {
        self.appliance.clone().unwrap_or_else(|| {
            let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
            name_from_host(&host)
        })
    }
}

/// A token: never shown by `Debug`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The token, or nothing when it is empty.
    pub fn get(&self) -> Option<&str> {
        Some(self.0.as_str()).filter(|token| !token.is_empty())
    }
}

impl From<&str> for Secret {
    fn from(token: &str) -> Self {
        Self(token.trim().to_owned())
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_empty() {
            "Secret(none)"
        } else {
            "Secret(…)"
        })
    }
}

fn name(text: &str) -> Result<String, String> {
    if measurement::valid_name(text) {
        Ok(text.to_owned())
    } else {
        Err(format!("a name is {}", measurement::NAME_RULE))
    }
}

fn name_from_host(host: &str) -> String {
    let cut: String = host
        .trim()
        .chars()
        .map(|letter| {
            if letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-') {
                letter
            } else {
                '-'
            }
        })
        .skip_while(|letter| !letter.is_ascii_alphanumeric())
        .take(32)
        .collect();
    if measurement::valid_name(&cut) {
        cut
    } else {
        "appliance".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_become_valid_names() {
        assert_eq!(name_from_host("gate-7\n"), "gate-7");
        assert_eq!(name_from_host("_x"), "x");
        assert_eq!(name_from_host(""), "appliance");
        assert_eq!(name_from_host(&"a".repeat(60)).len(), 32);
    }

    #[test]
    fn names_are_checked() {
        assert!(name("press-1.b_c").is_ok());
        for bad in ["", "-a", "a/b", "a b", &"a".repeat(33)] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn tokens_are_not_shown() {
        assert!(!format!("{:?}", Secret::from("hunter2")).contains("hunter2"));
    }
}
