//! Publishes numbered measurement events at a steady rate.

use std::process::ExitCode;

fn main() -> ExitCode {
    module_runtime::run(module_runtime::module!(), load_generator::run)
}
