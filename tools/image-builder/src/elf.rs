//! What an image from scratch needs of a program: ELF for the right processor that asks for no interpreter.

use anyhow::{Context, Result, bail};
use oci_image::Architecture;

use crate::architecture::elf_machine;

const PT_INTERP: u32 = 3;

/// Checks a 64-bit little-endian ELF file (System V gABI, chapters 4 and 5).
///
/// # Errors
/// When it is none, is for another processor, or is dynamically linked: an image has neither a loader nor a C library.
pub(crate) fn check_static(bytes: &[u8], architecture: Architecture) -> Result<()> {
    if bytes.get(..6) != Some(b"\x7fELF\x02\x01") {
        bail!("is not a 64-bit little-endian ELF program");
    }
    let machine = u16::from_le_bytes(field(bytes, 18)?);
    if machine != elf_machine(architecture) {
        bail!("is for ELF machine {machine}, not for {architecture}");
    }
    let table = u64::from_le_bytes(field(bytes, 32)?);
    let entry_size = u64::from(u16::from_le_bytes(field(bytes, 54)?));
    let entries = u64::from(u16::from_le_bytes(field(bytes, 56)?));
    for entry in 0..entries {
        let at = table
            .checked_add(entry * entry_size)
            .context("has a program header table outside of the file")?;
        if u32::from_le_bytes(field(bytes, usize::try_from(at)?)?) == PT_INTERP {
            bail!("is dynamically linked: an image has no loader for it");
        }
    }
    Ok(())
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N]> {
    let end = at
        .checked_add(N)
        .context("has an offset that no file reaches")?;
    let field = bytes.get(at..end).context("is a cut-off ELF file")?;
    Ok(field.try_into()?)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The smallest header with one program header of this type.
    pub(crate) fn elf(machine: u8, program_header: u8) -> Vec<u8> {
        let mut bytes = vec![0; 64 + 56];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[18] = machine;
        bytes[32] = 64;
        bytes[54] = 56;
        bytes[56] = 1;
        bytes[64] = program_header;
        bytes
    }

    #[test]
    fn static_programs_of_the_right_processor_pass() {
        assert!(check_static(&elf(62, 1), Architecture::Amd64).is_ok());
        assert!(check_static(&elf(183, 1), Architecture::Arm64).is_ok());
    }

    #[test]
    fn others_are_refused_with_the_reason() {
        let refused = |bytes: &[u8]| {
            check_static(bytes, Architecture::Amd64)
                .unwrap_err()
                .to_string()
        };
        assert!(refused(&elf(62, 3)).contains("dynamically linked"));
        assert!(refused(&elf(183, 1)).contains("machine 183"));
        assert!(refused(b"#!/bin/sh").contains("not a 64-bit"));
        assert!(refused(&elf(62, 1)[..64]).contains("cut-off"));
        // this very test program is linked with the C library of the machine
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(cfg!(not(target_arch = "x86_64")) || refused(&own).contains("dynamically linked"));
    }
}
