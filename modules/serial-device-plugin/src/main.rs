//! Gives pods their serial ports: a device plugin of the kubelet.

use std::process::ExitCode;

fn main() -> ExitCode {
    serial_device_plugin::program::run()
}
