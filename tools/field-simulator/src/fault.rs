//! Scripted misbehaviour of a device.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// A way to misbehave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Fault {
    /// Never answers.
    Silent,
    /// Answers this much later; on a serial line and on one TCP connection others wait, too.
    Slow { milliseconds: u64 },
    /// Answers every request with this exception code and carries nothing out.
    Exception { code: u8 },
    /// Closes the TCP connection at each request; on a serial line the same as silent.
    Disconnect,
    /// RTU: a wrong CRC. TCP: a wrong protocol identifier.
    Corrupt,
    /// TCP: the transaction identifier of another request. RTU: the answer of another unit.
    WrongTransaction,
    /// Answers a read with two bytes more than were asked for, correctly framed.
    WrongCount,
}

/// A fault and how long it lasts, as it is posted.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ScriptedFault {
    #[serde(flatten)]
    pub fault: Fault,
    /// Without it the fault lasts until it is taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
}

/// What all active faults together do to one answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Reaction {
    pub(crate) silent: bool,
    pub(crate) delay: Option<Duration>,
    pub(crate) exception: Option<u8>,
    pub(crate) disconnect: bool,
    pub(crate) corrupt: bool,
    pub(crate) wrong_transaction: bool,
    pub(crate) wrong_count: bool,
}

/// The active faults of one device: at most one of each kind.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<(Fault, Option<Instant>)>);

impl Faults {
    /// Starts a fault, in place of an earlier one of its kind.
    pub(crate) fn start(&mut self, fault: Fault, lasting: Option<Duration>) {
        let kind = std::mem::discriminant(&fault);
        self.0
            .retain(|(active, _)| std::mem::discriminant(active) != kind);
        self.0.push((
            fault,
            lasting.and_then(|lasting| Instant::now().checked_add(lasting)),
        ));
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// What is active now, with the seconds left.
    pub(crate) fn active(&mut self) -> Vec<ScriptedFault> {
        self.expire();
        let now = Instant::now();
        let left =
            |end: &Option<Instant>| end.map(|end| end.saturating_duration_since(now).as_secs_f64());
        self.0
            .iter()
            .map(|(fault, end)| ScriptedFault {
                fault: *fault,
                seconds: left(end),
            })
            .collect()
    }

    pub(crate) fn reaction(&mut self) -> Reaction {
        let mut reaction = Reaction::default();
        if self.0.is_empty() {
            return reaction;
        }
        self.expire();
        for (fault, _) in &self.0 {
            match fault {
                Fault::Silent => reaction.silent = true,
                Fault::Slow { milliseconds } => {
                    reaction.delay = Some(Duration::from_millis(*milliseconds))
                }
                Fault::Exception { code } => reaction.exception = Some(*code),
                Fault::Disconnect => reaction.disconnect = true,
                Fault::Corrupt => reaction.corrupt = true,
                Fault::WrongTransaction => reaction.wrong_transaction = true,
                Fault::WrongCount => reaction.wrong_count = true,
            }
        }
        reaction
    }

    fn expire(&mut self) {
        let now = Instant::now();
        self.0.retain(|(_, end)| end.is_none_or(|end| now < end));
    }
}
