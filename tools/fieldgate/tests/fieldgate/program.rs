//! The program that was built.

use std::process::{Command, Stdio};

/// A call of it, with nothing to read.
pub(crate) fn fieldgate(arguments: &[&str]) -> Command {
    let mut call = Command::new(env!("CARGO_BIN_EXE_fieldgate"));
    call.args(arguments).stdin(Stdio::null());
    call
}

/// Exit status, standard output and standard error.
pub(crate) fn said(call: &mut Command) -> (i32, String, String) {
    let output = call.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}
