//! Free TCP ports on loopback, chosen before anything starts so that a restarted process finds its own again.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Result, bail};

/// Below Linux' range for outgoing connections (32768 and up): none of those can take a port while its owner restarts.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// `count` different ports that were free a moment ago.
pub(crate) fn free_ports(count: usize) -> Result<Vec<u16>> {
    let start = rand::random::<u16>() % COUNT;
    let mut held = Vec::with_capacity(count);
    for offset in 0..COUNT {
        if held.len() == count {
            break;
        }
        let port = FIRST + (start + offset) % COUNT;
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            held.push((port, listener));
        }
    }
    if held.len() < count {
        bail!(
            "only {} of {count} ports are free between {FIRST} and {}",
            held.len(),
            FIRST + COUNT
        );
    }
    Ok(held.into_iter().map(|(port, _)| port).collect())
}

/// The ports of one run.
#[derive(Debug, Clone)]
pub(crate) struct Ports {
    pub(crate) broker: u16,
    pub(crate) hub_mqtt: u16,
    pub(crate) hub_control: u16,
    pub(crate) simulator_control: u16,
    pub(crate) reader: ModulePorts,
    pub(crate) hub: ModulePorts,
    /// One per Modbus TCP device.
    pub(crate) devices: Vec<u16>,
}

/// The ports of one module and its sidecar.
#[derive(Debug, Clone)]
pub(crate) struct ModulePorts {
    pub(crate) app: u16,
    pub(crate) ops: u16,
    pub(crate) dapr_http: u16,
    pub(crate) dapr_grpc: u16,
    pub(crate) dapr_internal: u16,
}

impl Ports {
    pub(crate) fn choose(tcp_devices: usize) -> Result<Self> {
        let mut ports = free_ports(14 + tcp_devices)?.into_iter();
        let mut next = move || ports.next().unwrap_or_default();
        let mut module = || ModulePorts {
            app: next(),
            ops: next(),
            dapr_http: next(),
            dapr_grpc: next(),
            dapr_internal: next(),
        };
        let (reader, hub) = (module(), module());
        Ok(Self {
            reader,
            hub,
            broker: next(),
            hub_mqtt: next(),
            hub_control: next(),
            simulator_control: next(),
            devices: (0..tcp_devices).map(|_| next()).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ports_differ_and_are_below_the_outgoing_range() {
        let ports = free_ports(20).unwrap();
        assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), 20);
        assert!(ports.iter().all(|port| (20_000..32_000).contains(port)));
        let chosen = Ports::choose(3).unwrap();
        assert_eq!(chosen.devices.len(), 3);
        assert!(chosen.devices.iter().all(|port| *port != 0));
    }
}
