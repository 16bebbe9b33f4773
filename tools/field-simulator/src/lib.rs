//! Modbus devices whose every value can be computed by whoever reads them, with scripted faults.
//!
//! A [`Plan`] names devices and points. The value of a point is a function of its name and of the current step
//! ([`expected`]), so a test or a benchmark that sees a measurement can prove it right without asking the simulator.
//!
//! The codec and the servers are of our own making on purpose: the modules use tokio-modbus, and two ends of one
//! library would agree on its mistakes.

pub mod control;
mod device;
mod duration_text;
mod fault;
mod memory;
mod pdu;
mod plan;
mod rtu;
mod serial;
mod simulator;
mod tcp;
mod units;
mod value;

pub use device::{Counters, Held, SimulatedDevice};
pub use fault::{Fault, ScriptedFault};
pub use plan::{
    Device, Order, Plan, PlanError, Point, SerialEndpoint, Table, TcpEndpoint, ValueType,
};
pub use simulator::{Reach, Simulator, StartError};
pub use value::{Expected, expected, matches};
