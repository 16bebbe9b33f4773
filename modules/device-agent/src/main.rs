//! Updates, health and factory reset of the device, from the cloud.

use std::process::ExitCode;

fn main() -> ExitCode {
    module_runtime::run(module_runtime::module!(), device_agent::run)
}
