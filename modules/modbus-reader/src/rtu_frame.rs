//! RTU frames as a master sees them: what it sends, and which of the bytes that come are the answer
//! (Modbus over serial line V1.02, 2.5.1).

use std::time::Duration;

use tokio_modbus::Response;

use crate::call_error::CallError;
use crate::configuration::Table;
use crate::query::Query;

/// Unit, function, exception code, CRC.
const SHORTEST: usize = 5;
/// Modbus over serial line V1.02, 2.5.1.
const LONGEST: usize = 256;

/// A whole request.
pub fn encode(unit: u8, query: &Query<'_>) -> Vec<u8> {
    let mut frame = vec![unit];
    query.encode(&mut frame);
    frame.extend(crc(&frame));
    frame
}

/// Finds the answer to one request in what comes.
///
/// Only a frame that fits the request in everything that can be compared is the answer: unit, function, length, and for
/// a write address and value. Other frames with a right CRC (late answers) and noise are passed over.
#[derive(Debug)]
pub struct Listening {
    /// How the answer begins.
    start: Vec<u8>,
    /// Of the whole answer, with the CRC.
    length: usize,
    buffer: Vec<u8>,
    /// Bytes that came and belong to no frame.
    stray: usize,
    /// A frame of the unit asked that does not fit.
    unfit: Option<String>,
    damaged: bool,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// The data of a read; of a write nothing.
    Answer(Vec<u8>),
    /// The code.
    Exception(u8),
}

impl Listening {
    /// For the answer of `unit` to `query`.
    pub fn new(unit: u8, query: &Query<'_>) -> Self {
        let mut start = vec![unit];
        let length = match query.data_bytes() {
            Some(bytes) => {
                // More than 255 are never asked for: the configuration is checked.
                start.extend([query.function(), u8::try_from(bytes).unwrap_or(u8::MAX)]);
                start.len() + bytes + 2
            }
            None => {
                // Echoed: function, address, and value or count (6.5, 6.6, 6.12).
                query.encode(&mut start);
                start.truncate(6);
                start.len() + 2
            }
        };
        Self {
            start,
            length,
            buffer: Vec::with_capacity(LONGEST),
            stray: 0,
            unfit: None,
            damaged: false,
        }
    }

    /// Takes in what came. Gives the answer once it is complete.
    pub fn take(&mut self, bytes: &[u8]) -> Option<Heard> {
        self.buffer.extend_from_slice(bytes);
        self.stray += bytes.len();
        let mut at = 0;
        while at < self.buffer.len() {
            let rest = &self.buffer[at..];
            let frame = whole_frame(rest).filter(|frame| is_intact(frame));
            if let Some(frame) = frame {
                let length = frame.len();
                let heard = self.examine(frame);
                if heard.is_some() {
                    return heard;
                }
                self.unfit = self.complaint(frame).or(self.unfit.take());
                self.stray -= length;
                self.buffer.drain(..at + length);
                at = 0;
                continue;
            }
            let ours = match rest.get(..self.start.len()) {
                Some(start) => start == self.start,
                None => self.start.starts_with(rest),
            };
            if ours && rest.len() < self.length {
                // What looks like a frame in the midst of the answer is data.
                self.buffer.drain(..at);
                return None;
            }
            self.damaged |= ours;
            at += 1;
        }
        let surplus = self.buffer.len().saturating_sub(LONGEST);
        self.buffer.drain(..surplus);
        None
    }

    /// Whether something came that would be the answer if its CRC were right.
    pub fn is_damaged(&self) -> bool {
        self.damaged
    }

    /// What to say if there is no answer in the end.
    pub fn verdict(&self, limit: Duration) -> CallError {
        if self.damaged {
            return CallError::BadResponse("its checksum is wrong".to_owned());
        }
        match &self.unfit {
            Some(unfit) => CallError::BadResponse(unfit.clone()),
            None if self.stray >= SHORTEST => CallError::BadResponse(format!(
                "{} bytes without a right checksum; check baud_rate, parity and the wiring",
                self.stray
            )),
            None => CallError::Timeout(limit),
        }
    }

    /// An intact frame: is it the answer?
    fn examine(&self, frame: &[u8]) -> Option<Heard> {
        if frame.len() == self.length && frame.starts_with(&self.start) {
            let data = frame.get(self.start.len()..frame.len() - 2)?;
            return Some(Heard::Answer(data.to_vec()));
        }
        match (frame, self.start.as_slice()) {
            ([from, refused, code, _, _], [unit, function, ..])
                if from == unit && *refused == function | 0x80 =>
            {
                Some(Heard::Exception(*code))
            }
            _ => None,
        }
    }

    /// What is wrong with an intact frame of the unit asked; of another unit nothing is expected.
    fn complaint(&self, frame: &[u8]) -> Option<String> {
        let (from, function) = (frame.first()?, frame.get(1)?);
        let (unit, asked) = (self.start.first()?, self.start.get(1)?);
        if from != unit {
            return None;
        }
        Some(match (function, frame.len()) {
            (function, _) if function != asked => {
                format!("function {asked} asked, {function} answered")
            }
            (_, length) if length != self.length => {
                let expected = self.length;
                format!("a frame of {expected} bytes expected, {length} received")
            }
            _ => "another address or value confirmed than written".to_owned(),
        })
    }
}

/// The data of a read as values.
pub fn decode(table: Table, data: &[u8]) -> Response {
    let bits = || {
        let bits = |byte: &u8| (0..8).map(|bit| byte >> bit & 1 == 1).collect::<Vec<_>>();
        data.iter().flat_map(bits).collect()
    };
    let registers = || {
        let pairs = data.as_chunks().0.iter();
        pairs.map(|pair| u16::from_be_bytes(*pair)).collect()
    };
    match table {
        Table::Coil => Response::ReadCoils(bits()),
        Table::DiscreteInput => Response::ReadDiscreteInputs(bits()),
        Table::HoldingRegister => Response::ReadHoldingRegisters(registers()),
        Table::InputRegister => Response::ReadInputRegisters(registers()),
    }
}

/// The frame that `bytes` begin with, as far as its length can be told and all of it is there.
fn whole_frame(bytes: &[u8]) -> Option<&[u8]> {
    let length = match bytes.get(1)? {
        1..=4 => SHORTEST + usize::from(*bytes.get(2)?),
        5 | 6 | 15 | 16 => 8,
        0x81..=0xFF => SHORTEST,
        _ => return None,
    };
    bytes.get(..length).filter(|_| length <= LONGEST)
}

fn is_intact(frame: &[u8]) -> bool {
    frame
        .split_last_chunk()
        .is_some_and(|(body, end)| crc(body) == *end)
}

/// CRC-16 with the reflected polynomial A001, initially FFFF, low byte first (Modbus over serial line V1.02, 6.2.2).
pub fn crc(bytes: &[u8]) -> [u8; 2] {
    let crc = bytes.iter().fold(0xFFFF_u16, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte), |crc, _| match crc & 1 {
            1 => crc >> 1 ^ 0xA001,
            _ => crc >> 1,
        })
    });
    crc.to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const QUERY: Query<'_> = Query::Read {
        table: Table::HoldingRegister,
        address: 100,
        count: 2,
    };

    fn frame(body: &[u8]) -> Vec<u8> {
        [body, &crc(body)].concat()
    }

    #[test]
    fn a_request_is_as_in_the_specification() {
        // Modbus over serial line V1.02, 6.2.2: the CRC of 02 07 is 1241, sent as 41 12.
        assert_eq!(crc(&[0x02, 0x07]), [0x41, 0x12]);
        let sent = encode(8, &QUERY);
        assert_eq!(sent, frame(&[8, 3, 0, 100, 0, 2]));
        let values = [1, 0x0203];
        let write = Query::WriteRegisters {
            address: 9,
            values: &values,
        };
        let expected = frame(&[8, 16, 0, 9, 0, 2, 4, 0, 1, 2, 3]);
        assert_eq!(encode(8, &write), expected);
        let coil = Query::WriteCoil {
            address: 9,
            on: true,
        };
        assert_eq!(encode(8, &coil), frame(&[8, 5, 0, 9, 0xFF, 0]));
    }

    #[test]
    fn only_what_fits_is_the_answer() {
        let strangers: [&[u8]; 5] = [
            &[9, 3, 4, 1, 1, 1, 1],
            &[8, 4, 4, 1, 1, 1, 1],
            &[8, 3, 2, 1, 1],
            &[8, 3, 6, 1, 1, 1, 1, 1, 1],
            &[8, 0x84, 2],
        ];
        for stranger in strangers {
            let mut listening = Listening::new(8, &QUERY);
            assert_eq!(listening.take(&frame(stranger)), None, "{stranger:?}");
            let verdict = listening.verdict(Duration::ZERO);
            match stranger[0] {
                8 => assert!(matches!(verdict, CallError::BadResponse(_)), "{verdict}"),
                _ => assert!(matches!(verdict, CallError::Timeout(_)), "{verdict}"),
            }
            // And the answer after it is found.
            let heard = listening.take(&frame(&[8, 3, 4, 1, 2, 3, 4]));
            assert_eq!(heard, Some(Heard::Answer(vec![1, 2, 3, 4])));
        }
        let mut listening = Listening::new(8, &QUERY);
        let heard = listening.take(&frame(&[8, 0x83, 2]));
        assert_eq!(heard, Some(Heard::Exception(2)));
    }

    #[test]
    fn a_write_is_confirmed_by_its_own_address_and_value() {
        let write = Query::WriteRegister {
            address: 9,
            value: 5,
        };
        let mut listening = Listening::new(8, &write);
        assert_eq!(listening.take(&frame(&[8, 6, 0, 8, 0, 5])), None);
        assert_eq!(listening.take(&frame(&[8, 6, 0, 9, 0, 4])), None);
        let heard = listening.take(&frame(&[8, 6, 0, 9, 0, 5]));
        assert_eq!(heard, Some(Heard::Answer(vec![])));
    }

    #[test]
    fn a_wrong_checksum_is_told_from_silence() {
        let mut answer = frame(&[8, 3, 4, 1, 2, 3, 4]);
        answer[4] ^= 0x10;
        let mut listening = Listening::new(8, &QUERY);
        assert_eq!(listening.take(&answer), None);
        assert!(listening.is_damaged());
        let mut listening = Listening::new(8, &QUERY);
        assert_eq!(listening.take(&answer[2..]), None);
        assert!(!listening.is_damaged());
        let verdict = listening.verdict(Duration::ZERO);
        assert!(verdict.to_string().contains("7 bytes"), "{verdict}");
        let mut listening = Listening::new(8, &QUERY);
        assert_eq!(listening.take(&[0]), None);
        let verdict = listening.verdict(Duration::ZERO);
        assert!(matches!(verdict, CallError::Timeout(_)), "{verdict}");
    }

    #[test]
    fn a_babbling_line_costs_no_memory() {
        let mut listening = Listening::new(8, &QUERY);
        for _ in 0..1000 {
            assert_eq!(listening.take(&[0x55; 100]), None);
        }
        assert!(listening.buffer.len() <= LONGEST);
        let heard = listening.take(&frame(&[8, 3, 4, 1, 2, 3, 4]));
        assert_eq!(heard, Some(Heard::Answer(vec![1, 2, 3, 4])));
    }

    proptest! {
        /// However the bytes come, and whatever other units said before.
        #[test]
        fn the_answer_is_found_among_others(
            others in prop::collection::vec((9u8.., 1u8..=4, prop::collection::vec(any::<u8>(), 0..=250)), 0..4),
            glitch in prop::sample::select(vec![vec![], vec![0], vec![0xFF], vec![0, 8]]),
            data in prop::collection::vec(any::<u8>(), 4),
            piece in 1usize..40,
        ) {
            let mut bytes = Vec::new();
            for (unit, function, data) in others {
                let header = [unit, function, u8::try_from(data.len()).unwrap()];
                bytes.extend(frame(&[&header, data.as_slice()].concat()));
            }
            bytes.extend(glitch);
            bytes.extend(frame(&[&[8, 3, 4], data.as_slice()].concat()));
            let mut listening = Listening::new(8, &QUERY);
            let mut heard = None;
            for piece in bytes.chunks(piece) {
                prop_assert_eq!(&heard, &None);
                heard = listening.take(piece);
            }
            prop_assert_eq!(heard, Some(Heard::Answer(data)));
        }
    }
}
