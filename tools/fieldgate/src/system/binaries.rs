//! Where the programs are.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;

use super::subscriptions::Delivery;

/// Options that say where the programs are.
#[derive(Debug, Clone, Args)]
pub(crate) struct BinaryArgs {
    /// Folder of the modules and tools [default: the folder of this program]
    #[arg(long, value_name = "DIR")]
    pub(crate) bin_dir: Option<PathBuf>,

    /// Folder of fieldgate-dapr and nats-server [default: target/platform beside this program's target folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) platform_dir: Option<PathBuf>,
}

/// The programs of one run.
#[derive(Debug, Clone)]
pub(crate) struct Binaries {
    pub(crate) reader: PathBuf,
    pub(crate) hub: PathBuf,
    pub(crate) emulator: PathBuf,
    pub(crate) simulator: PathBuf,
    pub(crate) nats_server: PathBuf,
    /// The program, and the first argument that makes it a daprd: our own needs one, a daprd of the user's does not.
    pub(crate) daprd: (PathBuf, Option<OsString>),
}

impl Binaries {
    /// What this Dapr's component can do.
    pub(crate) fn delivery(&self) -> Delivery {
        match self.daprd.1 {
            Some(_) => Delivery::Pull,
            None => Delivery::Lanes,
        }
    }

    /// Finds the programs and says all that are missing.
    pub(crate) fn find(args: &BinaryArgs) -> Result<Self> {
        let own = std::env::current_exe().context("the path of this program")?;
        let own = own.parent().unwrap_or(Path::new("."));
        let bin = args.bin_dir.clone().unwrap_or_else(|| own.to_owned());
        let platform = args
            .platform_dir
            .clone()
            .unwrap_or_else(|| own.join("../platform"));
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let found = Self {
            reader: bin.join("modbus-reader"),
            hub: bin.join("iothub-module"),
            emulator: bin.join("iothub-emulator"),
            simulator: bin.join("field-simulator"),
            nats_server: variable("FIELDGATE_NATS_SERVER")
                .map_or_else(|| platform.join("nats-server"), PathBuf::from),
            daprd: variable("FIELDGATE_DAPRD").map_or_else(
                || (platform.join("fieldgate-dapr"), Some("daprd".into())),
                |own| (own.into(), None),
            ),
        };
        let missing: Vec<String> = [
            &found.reader,
            &found.hub,
            &found.emulator,
            &found.simulator,
            &found.nats_server,
            &found.daprd.0,
        ]
        .iter()
        .filter(|path| !path.is_file())
        .map(|path| path.display().to_string())
        .collect();
        if !missing.is_empty() {
            bail!(
                "these programs are missing: {}; scripts/demo builds them, or name their folders with --bin-dir and \
                 --platform-dir (FIELDGATE_DAPRD and FIELDGATE_NATS_SERVER name single programs)",
                missing.join(", ")
            );
        }
        Ok(found)
    }
}
