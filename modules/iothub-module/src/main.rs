//! Delivers what modules publish to Azure IoT Hub and brings commands back.

use std::process::ExitCode;

fn main() -> ExitCode {
    module_runtime::run(module_runtime::module!(), iothub_module::app::run)
}
