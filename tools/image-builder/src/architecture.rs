//! What each architecture is called by OCI, Rust, Go and ELF.

use clap::ValueEnum;
use oci_image::Architecture;

/// Which architectures to build for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Selection {
    Amd64,
    Arm64,
    All,
}

impl Selection {
    pub(crate) fn architectures(self) -> &'static [Architecture] {
        match self {
            Self::Amd64 => &[Architecture::Amd64],
            Self::Arm64 => &[Architecture::Arm64],
            Self::All => &[Architecture::Amd64, Architecture::Arm64],
        }
    }

    /// The architecture this program runs on.
    pub(crate) fn of_this_machine() -> Self {
        if cfg!(target_arch = "aarch64") {
            Self::Arm64
        } else {
            Self::Amd64
        }
    }
}

pub(crate) fn rust_target(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::Amd64 => "x86_64-unknown-linux-musl",
        Architecture::Arm64 => "aarch64-unknown-linux-musl",
    }
}

/// `e_machine` of an ELF header (System V gABI, processor supplements).
pub(crate) fn elf_machine(architecture: Architecture) -> u16 {
    match architecture {
        Architecture::Amd64 => 62,
        Architecture::Arm64 => 183,
    }
}
