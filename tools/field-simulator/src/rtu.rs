//! RTU frames as a slave sees them (MODBUS over Serial Line V1.02, section 2.5.1).

/// What the bytes received so far are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Received {
    /// The beginning of a request.
    Incomplete,
    /// A request of this many bytes, CRC included and right.
    Request(usize),
    /// No request: only silence on the line tells where the next one begins.
    Noise,
}

/// Looks at received bytes. A length is known only for the functions of the specification, so a request with another
/// function is recognised by its CRC being right at the end of `bytes`.
pub(crate) fn examine(bytes: &[u8]) -> Received {
    let Some(function) = bytes.get(1) else {
        return Received::Incomplete;
    };
    let length = match function {
        1..=6 => 8,
        15 | 16 => match bytes.get(6) {
            Some(count) => 9 + usize::from(*count),
            None => return Received::Incomplete,
        },
        _ if bytes.len() < 4 => return Received::Incomplete,
        _ => bytes.len(),
    };
    match bytes.get(..length) {
        None => Received::Incomplete,
        Some(frame) if is_intact(frame) => Received::Request(length),
        Some(_) => Received::Noise,
    }
}

/// Appends the CRC of everything from `start` on, low byte first.
pub(crate) fn append_crc(frame: &mut Vec<u8>, start: usize) {
    let crc = crc(&frame[start..]);
    frame.extend_from_slice(&crc.to_le_bytes());
}

fn is_intact(frame: &[u8]) -> bool {
    frame
        .split_last_chunk()
        .is_some_and(|(body, end)| crc(body) == u16::from_le_bytes(*end))
}

/// CRC-16 with the reflected polynomial A001, initially FFFF (MODBUS over Serial Line V1.02, 6.2.2).
pub(crate) fn crc(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xffff, |crc, byte| {
        crc >> 8 ^ TABLE[usize::from(crc.to_le_bytes()[0] ^ byte)]
    })
}

const TABLE: [u16; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = index as u16;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ 0xa001
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Received, append_crc, crc, examine};

    /// MODBUS over Serial Line V1.02, 6.2.2, gives 0x1241 in its example for 02 07: sent as 41 12.
    #[test]
    fn crc_is_that_of_the_specification() {
        assert_eq!(crc(&[0x02, 0x07]), 0x1241);
        let mut frame = vec![0x02, 0x07];
        append_crc(&mut frame, 0);
        assert_eq!(frame, [0x02, 0x07, 0x41, 0x12]);
        assert_eq!(
            examine(&frame),
            Received::Request(4),
            "an unknown function is known by its CRC"
        );
    }

    proptest! {
        /// A request is found as soon as it is complete, not before, and what follows is left alone.
        #[test]
        fn a_request_is_found_exactly_when_it_is_complete(
            unit: u8, function in prop::sample::select(vec![1u8, 2, 3, 4, 5, 6, 15, 16]), body: [u8; 4],
            data in prop::collection::vec(any::<u8>(), 0..=246), more in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            let mut frame = vec![unit, function];
            frame.extend(body);
            if function > 6 {
                frame.push(data.len() as u8);
                frame.extend(&data);
            }
            append_crc(&mut frame, 0);
            for end in 0..frame.len() {
                prop_assert_eq!(examine(&frame[..end]), Received::Incomplete);
            }
            let length = frame.len();
            frame.extend(more);
            prop_assert_eq!(examine(&frame), Received::Request(length));
            for bit in 16..length * 8 - 1 {
                // The byte count is part of what tells the length: a flip there is no business of the CRC.
                if bit / 8 == 6 && function > 6 { continue }
                frame[bit / 8] ^= 1 << (bit % 8);
                prop_assert_eq!(examine(&frame), Received::Noise);
                frame[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }
}
