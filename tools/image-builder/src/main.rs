//! Builds the images of the appliance: static programs, image archives, bills of material.

mod architecture;
mod archive;
mod build;
mod check;
mod compile;
mod description;
mod elf;
mod inspect;
mod listing;
mod process;
mod roots;
mod sbom;
#[cfg(test)]
mod tests;
mod workspace;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Images without Docker: scripts/build-images prepares the toolchains and calls this.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Build(build::BuildArgs),
    /// Verifies every archive of a folder against its images.txt
    Verify {
        /// A folder with an images.txt, or one that holds such folders
        folder: PathBuf,
    },
    /// Shows what is in an archive; fails when something in it should not be
    Inspect {
        /// A .tar.zst of an image
        archive: PathBuf,
    },
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Build(args) => build::run(&args),
        Command::Verify { folder } => listing::verify(&folder),
        Command::Inspect { archive } => inspect::run(&archive),
    }
}
