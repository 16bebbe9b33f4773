//! One running device: its memory, its faults and its counters.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::fault::{Fault, Faults, Reaction, ScriptedFault};
use crate::memory::Memory;
use crate::pdu::{self, Exception};
use crate::plan::{Device, Plan, Table};

/// What a device has seen since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Requests addressed to it, answered or not.
    pub requests: u64,
    /// Exception answers.
    pub exceptions: u64,
    /// Write requests carried out.
    pub writes: u64,
}

/// What a writable point holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Held {
    pub name: String,
    pub table: Table,
    pub address: u16,
    /// Before scaling.
    pub raw: serde_json::Value,
    /// As transmitted; empty for coils.
    pub registers: Vec<u16>,
}

/// A device that answers requests.
#[derive(Debug)]
pub struct SimulatedDevice {
    device: Device,
    step: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    memory: Memory,
    faults: Faults,
    counters: Counters,
}

impl SimulatedDevice {
    pub(crate) fn new(plan: &Plan, device: &Device) -> Self {
        let memory = Memory::new(device, plan.strict_addresses);
        let state = State {
            memory,
            faults: Faults::default(),
            counters: Counters::default(),
        };
        Self {
            device: device.clone(),
            step: plan.step,
            state: Mutex::new(state),
        }
    }

    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    #[must_use]
    pub fn counters(&self) -> Counters {
        self.state().counters
    }

    /// Misbehaves from now on; `None` until [`Self::clear_faults`].
    pub fn start_fault(&self, fault: Fault, lasting: Option<Duration>) {
        self.state().faults.start(fault, lasting);
    }

    pub fn clear_faults(&self) {
        self.state().faults.clear();
    }

    #[must_use]
    pub fn faults(&self) -> Vec<ScriptedFault> {
        self.state().faults.active()
    }

    /// What the writable points hold.
    #[must_use]
    pub fn held(&self) -> Vec<Held> {
        let state = self.state();
        let writable = self.device.points.iter().filter(|point| point.writable);
        writable
            .map(|point| {
                let (raw, registers) = state.memory.inspect(point);
                Held {
                    name: point.name.clone(),
                    table: point.table,
                    address: point.address,
                    raw,
                    registers,
                }
            })
            .collect()
    }

    /// Appends the answer to a request PDU; all values in it belong to the step at this instant.
    pub(crate) fn answer(&self, request: &[u8], out: &mut Vec<u8>) -> Reaction {
        let step = crate::plan::steps_since_epoch(self.step, SystemTime::now());
        let mut state = self.state();
        let state = &mut *state;
        state.counters.requests += 1;
        let reaction = state.faults.reaction();
        if reaction.silent || reaction.disconnect {
            return reaction;
        }
        let function = request.first().copied().unwrap_or(0);
        if let Some(code) = reaction.exception {
            state.counters.exceptions += 1;
            pdu::refuse(function, Exception(code), out);
            return reaction;
        }
        let start = out.len();
        state.memory.advance(step);
        match pdu::answer(request, &mut state.memory, out) {
            Some(_) => state.counters.exceptions += 1,
            None if matches!(function, 5 | 6 | 15 | 16) => state.counters.writes += 1,
            None if reaction.wrong_count => {
                if let Some(count) = out.get_mut(start + 1) {
                    *count = count.saturating_add(2);
                }
                out.extend_from_slice(&[0, 0]);
            }
            None => {}
        }
        reaction
    }

    /// Nothing can panic while the lock is held, so a poisoned one does not occur.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
