//! The devices behind one listener or line.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::device::SimulatedDevice;

/// Devices by unit identifier.
#[derive(Debug, Default)]
pub(crate) struct Units(BTreeMap<u8, Arc<SimulatedDevice>>);

impl Units {
    pub(crate) fn add(&mut self, device: Arc<SimulatedDevice>) {
        self.0.insert(device.device().unit, device);
    }

    pub(crate) fn get(&self, unit: u8) -> Option<&Arc<SimulatedDevice>> {
        self.0.get(&unit)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<SimulatedDevice>> {
        self.0.values()
    }
}
