//! `fieldgate secrets iothub`: the hub's connection string.

use std::io::Read;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use iothub_protocol::ConnectionString;

use super::objects::{self, Data, HUB, HUB_KEY};
use super::{Target, need_namespace, now, restart};
use crate::install::say;

/// A connection string has a few hundred bytes.
const LARGEST: u64 = 4096;
const MODULE: &str = "deployment/iothub-module";

#[derive(Debug, Args)]
pub(crate) struct HubArgs {
    /// The file with the connection string of the device, or `-` for the standard input
    #[arg(long, value_name = "FILE")]
    connection_string_file: PathBuf,
}

pub(super) async fn run(target: &Target, args: &HubArgs) -> Result<()> {
    let text = read(args)?;
    let hub = check(&text)?;
    let namespace = target.namespace()?;
    let kubectl = target.kubectl()?;
    need_namespace(&kubectl, &namespace, false).await?;
    let old = match kubectl.get(&namespace, "secret", HUB).await? {
        Some(object) => objects::data(&object)?,
        None => Data::new(),
    };
    let mut data = old.clone();
    data.insert(HUB_KEY.to_owned(), text.into_bytes());
    if data == old {
        say(&format!(
            "nothing to do: Secret {namespace}/{HUB} holds this connection string already"
        ));
        return Ok(());
    }
    let object = objects::secret(&namespace, HUB, &data, &now()?);
    kubectl.apply(&object).await?;
    say(&format!("wrote Secret {namespace}/{HUB} for {hub}"));
    if old.contains_key(HUB_KEY) && !target.no_restart {
        // It reads the string at its start; one that waited for the first string reads it by itself.
        restart(&kubectl, &namespace, MODULE).await?;
    }
    Ok(())
}

fn read(args: &HubArgs) -> Result<String> {
    let path = &args.connection_string_file;
    let mut text = String::new();
    let read = if path.as_os_str() == "-" {
        std::io::stdin().take(LARGEST + 1).read_to_string(&mut text)
    } else {
        std::fs::File::open(path)
            .with_context(|| format!("--connection-string-file {}", path.display()))?
            .take(LARGEST + 1)
            .read_to_string(&mut text)
    };
    // The error of invalid text does not repeat it.
    read.with_context(|| format!("--connection-string-file {}", path.display()))?;
    if text.len() as u64 > LARGEST {
        bail!(
            "--connection-string-file {}: is longer than {LARGEST} bytes; give the connection string alone",
            path.display()
        );
    }
    Ok(text.trim().to_owned())
}

/// Whose connection string it is: what may be shown of it.
fn check(text: &str) -> Result<String> {
    let parsed = ConnectionString::parse(text)
        .context("this is not what IoT Hub shows as the device's connection string")?;
    Ok(format!("{} at {}", parsed.identity, parsed.host_name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_does_not_repeat_the_string() {
        for text in [
            "HostName=h.example;DeviceId=d;SharedAccessKey=%%not-base64%%",
            "hunter2",
            "HostName=h.example;SharedAccessKey=aHVudGVyMg==",
        ] {
            let error = format!("{:#}", check(text).unwrap_err());
            for value in ["not-base64", "hunter2", "aHVudGVyMg"] {
                assert!(!error.contains(value), "{error}");
            }
        }
    }

    #[test]
    fn what_is_shown_has_no_key() {
        let shown =
            check("HostName=h.example;DeviceId=gate-7;SharedAccessKey=aHVudGVyMg==").unwrap();
        assert!(
            shown.contains("gate-7") && shown.contains("h.example") && !shown.contains("aHV"),
            "{shown}"
        );
    }
}
