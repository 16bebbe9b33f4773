//! PUBACKs on their way to the client, in the order of their PUBLISHes (MQTT 3.1.1, 4.6), some held back by a fault.

use std::collections::VecDeque;

use bytes::BytesMut;
use rumqttc::mqttbytes::Error;
use rumqttc::mqttbytes::v4::PubAck;
use tokio::time::Instant;

use crate::faults::PubackFate;

/// Held-back PUBACKs; bounded by the 65,535 packet ids a client has.
#[derive(Debug, Default)]
pub(super) struct Pubacks {
    held: VecDeque<(Instant, u16)>,
}

impl Pubacks {
    /// Writes a PUBACK, or holds it back.
    pub(super) fn push(
        &mut self,
        pkid: u16,
        fate: PubackFate,
        out: &mut BytesMut,
    ) -> Result<(), Error> {
        let due = match (fate, self.held.back()) {
            (PubackFate::Never, _) => return Ok(()),
            (PubackFate::Now, None) => return PubAck::new(pkid).write(out).map(|_| ()),
            (PubackFate::Now, Some((last, _))) => *last,
            (PubackFate::After(delay), last) => {
                let due = Instant::now() + delay;
                last.map_or(due, |(last, _)| due.max(*last))
            }
        };
        self.held.push_back((due, pkid));
        Ok(())
    }

    /// Writes those whose time has come.
    pub(super) fn release(&mut self, out: &mut BytesMut) -> Result<(), Error> {
        let now = Instant::now();
        while let Some((_, pkid)) = self.held.pop_front_if(|(due, _)| *due <= now) {
            PubAck::new(pkid).write(out)?;
        }
        Ok(())
    }

    /// When the next one is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.held.front().map(|(due, _)| *due)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_held_back_puback_holds_back_those_after_it() {
        let (mut pubacks, mut out) = (Pubacks::default(), BytesMut::new());
        pubacks.push(1, PubackFate::Now, &mut out).unwrap();
        pubacks.push(2, PubackFate::Never, &mut out).unwrap();
        pubacks
            .push(3, PubackFate::After(Duration::from_millis(10)), &mut out)
            .unwrap();
        pubacks.push(4, PubackFate::Now, &mut out).unwrap();
        assert_eq!(out, [0x40, 2, 0, 1][..]);
        pubacks.release(&mut out).unwrap();
        assert_eq!(out.len(), 4);
        tokio::time::advance(Duration::from_millis(10)).await;
        pubacks.release(&mut out).unwrap();
        assert_eq!(out[4..], [0x40, 2, 0, 3, 0x40, 2, 0, 4]);
        assert_eq!(pubacks.next_due(), None);
    }
}
