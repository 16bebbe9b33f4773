//! The figures at /metrics.

use metrics::{counter, describe_counter, describe_gauge, gauge};

const PLUGGED: &str = "fieldgate_serial_port_plugged";
const ALLOCATIONS: &str = "fieldgate_serial_allocations_total";
const RESTARTED: &str = "fieldgate_serial_containers_restarted_total";
const REGISTRATIONS: &str = "fieldgate_serial_registrations_total";

/// Says what each figure is.
pub fn describe() {
    describe_gauge!(PLUGGED, "1 while the port's path leads to a device");
    describe_counter!(ALLOCATIONS, "containers that were given the port");
    describe_counter!(
        RESTARTED,
        "containers stopped because they held an outdated device of the port"
    );
    describe_counter!(REGISTRATIONS, "registrations of the port with the kubelet");
}

/// Makes the counters of a port visible before they count.
pub fn begin(port: &str) {
    for name in [ALLOCATIONS, RESTARTED, REGISTRATIONS] {
        counter!(name, "port" => port.to_owned()).increment(0);
    }
}

/// The port's path leads to a device, or not.
pub fn plugged(port: &str, is: bool) {
    gauge!(PLUGGED, "port" => port.to_owned()).set(if is { 1.0 } else { 0.0 });
}

/// A container was given the port.
pub fn allocated(port: &str) {
    counter!(ALLOCATIONS, "port" => port.to_owned()).increment(1);
}

/// A container was stopped.
pub fn restarted(port: &str) {
    counter!(RESTARTED, "port" => port.to_owned()).increment(1);
}

/// The kubelet took a registration.
pub fn registered(port: &str) {
    counter!(REGISTRATIONS, "port" => port.to_owned()).increment(1);
}
