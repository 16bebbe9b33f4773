//! A serial line that speaks Modbus RTU: one request at a time, and no answer ever taken for another's as far as RTU
//! allows.
//!
//! An RTU answer names its unit and function and has a length, but says nothing of the request it answers. So a unit
//! that answers later than the link's `timeout` could have the answer to one request taken for that to the next. What
//! is done about it:
//!
//! * Whatever came unasked is discarded before every request, and the line must have been silent since.
//! * Only a frame whose unit, function and length (of a write: address and value, too) fit the request is its answer.
//!   Others are passed over, within the request's time.
//! * A request without an answer puts its unit in quarantine for as long again as the answer was waited for; other units
//!   are asked meanwhile, since a late answer has its unit's address. The same holds for all units after the port was
//!   opened: whoever had it before may have left a request unanswered.
//!
//! What remains: an answer that is later than twice the `timeout`, comes while another request to the same unit waits,
//! and has the function and length of that one's answer cannot be told from it by anything in the frame. So `timeout`
//! must be longer than the slowest answer of any unit on the line.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_modbus::Response;
use tokio_serial::{ClearBuffer, SerialPort, SerialStream};

use crate::call_error::CallError;
use crate::configuration::Table;
use crate::line_timing::LineTiming;
use crate::quarantine::Quarantine;
use crate::query::Query;
use crate::rtu_frame::{self, Heard, Listening};

/// After a failure the line must rest this long before anybody is asked.
const QUIET: Duration = Duration::from_millis(50);
/// But a line that never rests is used again after this long.
const DRAIN_AT_MOST: Duration = Duration::from_millis(500);
/// The longest answer is to as many registers (MODBUS Application Protocol V1.1b3, 6.3).
const MOST_REGISTERS: u16 = 125;

/// What a line needs of its port.
pub trait Port: AsyncRead + AsyncWrite + Unpin {
    /// Forgets what the system has received but nobody has read.
    ///
    /// # Errors
    /// The port is gone.
    fn discard_input(&self) -> io::Result<()>;
}

impl Port for SerialStream {
    fn discard_input(&self) -> io::Result<()> {
        Ok(self.clear(ClearBuffer::Input)?)
    }
}

/// An open line.
#[derive(Debug)]
pub struct RtuLine<T> {
    port: T,
    timing: LineTiming,
    /// When the last request ended.
    quiet_since: Instant,
    quarantine: Quarantine,
}

impl<T: Port> RtuLine<T> {
    /// `limit` is how long a unit may take to answer. No unit may be asked before it passed once.
    pub fn new(port: T, timing: LineTiming, limit: Duration) -> Self {
        let now = Instant::now();
        let longest = limit + timing.transfer(Table::HoldingRegister, MOST_REGISTERS);
        Self {
            port,
            timing,
            quiet_since: now,
            quarantine: Quarantine::new(now + longest),
        }
    }

    /// Who must not be asked yet.
    pub fn quarantine(&self) -> &Quarantine {
        &self.quarantine
    }

    /// Sends a request and waits for the answer, `limit` plus the time the characters take. The caller has seen to it
    /// that the unit is not in quarantine.
    ///
    /// Not cancel-safe: drop the line if this is dropped.
    ///
    /// # Errors
    /// After [`CallError::Timeout`] and [`CallError::BadResponse`] call [`RtuLine::drain`]; after
    /// [`CallError::Transport`] the port is gone.
    pub async fn call(
        &mut self,
        unit: u8,
        query: &Query<'_>,
        limit: Duration,
    ) -> Result<Response, CallError> {
        self.settle().await?;
        let limit = limit + self.transfer(query);
        let mut listening = Listening::new(unit, query);
        let deadline = Instant::now() + limit;
        let heard = timeout_at(deadline, self.exchange(unit, query, &mut listening)).await;
        self.quiet_since = Instant::now();
        let heard = match heard {
            Ok(heard) => heard?,
            Err(_) => {
                self.quarantine.impose(unit, self.quiet_since + limit);
                None
            }
        };
        match (heard, query) {
            (None, _) => Err(listening.verdict(limit)),
            (Some(Heard::Exception(code)), _) => Err(CallError::Exception(code)),
            (Some(Heard::Answer(data)), Query::Read { table, .. }) => {
                Ok(rtu_frame::decode(*table, &data))
            }
            (Some(Heard::Answer(_)), _) => {
                query.confirmation().ok_or_else(|| listening.verdict(limit))
            }
        }
    }

    /// Reads what still comes until the line rests. False if the port is gone.
    pub async fn drain(&mut self) -> bool {
        let drained = rest(&mut self.port, Instant::now() + QUIET, QUIET).await;
        self.quiet_since = Instant::now();
        drained.is_ok()
    }

    /// Discards what came since the last request, and waits for the silence before the next.
    async fn settle(&mut self) -> io::Result<()> {
        self.port.discard_input()?;
        let silent = self.quiet_since + self.timing.gap();
        rest(&mut self.port, silent, self.timing.silence()).await
    }

    /// `None` if the answer came, but with a wrong checksum: then it is not waited for any longer, and nothing is left
    /// that could come late.
    async fn exchange(
        &mut self,
        unit: u8,
        query: &Query<'_>,
        listening: &mut Listening,
    ) -> Result<Option<Heard>, CallError> {
        // Not flushed: that would block the thread until the last bit is out.
        self.port.write_all(&rtu_frame::encode(unit, query)).await?;
        let mut bytes = [0; 256];
        loop {
            let read = self.port.read(&mut bytes);
            let length = if listening.is_damaged() {
                match timeout(QUIET, read).await {
                    Ok(read) => read?,
                    Err(_) => return Ok(None),
                }
            } else {
                read.await?
            };
            if length == 0 {
                return Err(gone().into());
            }
            let heard = listening.take(bytes.get(..length).unwrap_or_default());
            if heard.is_some() {
                return Ok(heard);
            }
        }
    }

    fn transfer(&self, query: &Query<'_>) -> Duration {
        match *query {
            Query::Read { table, count, .. } => self.timing.transfer(table, count),
            Query::WriteCoil { .. } | Query::WriteRegister { .. } => {
                self.timing.transfer(Table::HoldingRegister, 1)
            }
            Query::WriteRegisters { values, .. } => {
                let count = u16::try_from(values.len()).unwrap_or(u16::MAX);
                self.timing.transfer(Table::HoldingRegister, count)
            }
        }
    }
}

/// Discards what comes until `silent`, or until it has been silent for `silence` since the last byte.
async fn rest<T: AsyncRead + Unpin>(
    port: &mut T,
    mut silent: Instant,
    silence: Duration,
) -> io::Result<()> {
    let mut bytes = [0; 256];
    let end = silent.max(Instant::now()) + DRAIN_AT_MOST;
    while Instant::now() < end {
        match timeout_at(silent, port.read(&mut bytes)).await {
            Err(_) => break,
            Ok(Ok(0)) => return Err(gone()),
            Ok(Ok(_)) => silent = silent.max(Instant::now() + silence),
            Ok(Err(error)) => return Err(error),
        }
    }
    Ok(())
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the serial port is gone")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::{Parity, Serial};
    use tokio::io::DuplexStream;

    const LIMIT: Duration = Duration::from_millis(300);
    const ANSWER: [u8; 5] = [8, 3, 2, 0, 7];

    impl Port for DuplexStream {
        fn discard_input(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn query(address: u16) -> Query<'static> {
        Query::Read {
            table: Table::HoldingRegister,
            address,
            count: 1,
        }
    }

    fn line() -> (RtuLine<DuplexStream>, DuplexStream) {
        let serial = Serial {
            path: String::new(),
            baud_rate: 19200,
            parity: Parity::Even,
            data_bits: 8,
            stop_bits: 1,
        };
        let (ours, theirs) = tokio::io::duplex(1024);
        let timing = LineTiming::new(&serial, None);
        (RtuLine::new(ours, timing, LIMIT), theirs)
    }

    fn frame(body: &[u8]) -> Vec<u8> {
        [body, &rtu_frame::crc(body)].concat()
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_answer_is_discarded_and_its_unit_left_alone_meanwhile() {
        let (mut line, mut device) = line();
        let start = Instant::now();
        assert!(line.quarantine().of(8, start).is_some(), "just opened");
        tokio::time::sleep(2 * LIMIT).await;
        let asked = Instant::now();
        let error = line.call(8, &query(100), LIMIT).await.unwrap_err();
        assert!(matches!(error, CallError::Timeout(_)), "{error}");
        assert!(line.drain().await);
        let until = line.quarantine().of(8, Instant::now()).unwrap();
        assert!(until >= asked + 2 * LIMIT);
        assert_eq!(line.quarantine().of(9, Instant::now()), None);
        device.write_all(&frame(&ANSWER)).await.unwrap();
        tokio::time::sleep_until(until).await;
        assert_eq!(line.quarantine().of(8, Instant::now()), None);

        let answer = frame(&[8, 3, 2, 0, 9]);
        let answering = tokio::spawn(async move {
            let mut requests = [0; 16];
            device.read_exact(&mut requests).await.unwrap();
            device.write_all(&answer).await.unwrap();
            device
        });
        let response = line.call(8, &query(200), LIMIT).await.unwrap();
        assert_eq!(response, Response::ReadHoldingRegisters(vec![9]));
        answering.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_answer_of_another_unit_is_passed_over() {
        let (mut line, mut device) = line();
        let (late, answer) = (frame(&ANSWER), frame(&[9, 3, 2, 0, 9]));
        let answering = tokio::spawn(async move {
            let mut request = [0; 8];
            device.read_exact(&mut request).await.unwrap();
            device.write_all(&late).await.unwrap();
            tokio::time::sleep(LIMIT / 2).await;
            device.write_all(&answer).await.unwrap();
            device
        });
        let response = line.call(9, &query(100), LIMIT).await.unwrap();
        assert_eq!(response, Response::ReadHoldingRegisters(vec![9]));
        answering.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_damaged_answer_costs_neither_the_timeout_nor_a_quarantine() {
        let (mut line, mut device) = line();
        tokio::time::sleep(2 * LIMIT).await;
        let mut answer = frame(&ANSWER);
        answer[4] ^= 1;
        let answering = tokio::spawn(async move {
            let mut request = [0; 8];
            device.read_exact(&mut request).await.unwrap();
            device.write_all(&answer).await.unwrap();
            device
        });
        let asked = Instant::now();
        let error = line.call(8, &query(100), LIMIT).await.unwrap_err();
        assert!(matches!(error, CallError::BadResponse(_)), "{error}");
        assert!(asked.elapsed() < LIMIT / 2);
        assert_eq!(line.quarantine().of(8, Instant::now()), None);
        answering.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn draining_takes_what_comes_late_and_ends() {
        let (mut line, mut theirs) = line();
        let late = tokio::spawn(async move {
            for _ in 0..3 {
                tokio::time::sleep(QUIET / 2).await;
                theirs.write_all(b"late").await.unwrap();
            }
            theirs
        });
        assert!(line.drain().await);
        drop(late.await.unwrap());
        assert!(!line.drain().await, "the port is gone");
    }
}
