//! The queue of iothub-module on a faulty disk: a worker that fills it at full speed, power cuts at random moments, and a
//! check of what is left.

mod cuts;
mod item;
mod ledger;
mod report;
mod unsynced;
mod worker;

pub use cuts::{Cuts, Summary, run};
pub use item::{id_of, is_whole, item};
pub use ledger::{Ledger, Verdict, read_all};
pub use report::Report;
pub use worker::{Synchronous, Worker};
