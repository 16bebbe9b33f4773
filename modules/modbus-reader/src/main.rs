//! Reads Modbus devices and publishes measurements.

use std::process::ExitCode;

fn main() -> ExitCode {
    module_runtime::run(module_runtime::module!(), modbus_reader::run)
}
