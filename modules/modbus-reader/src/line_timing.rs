//! How long characters and silence take on a serial line.

use std::time::Duration;

use module_runtime::configuration::Duration as ConfiguredDuration;

use crate::configuration::{Parity, Serial, Table};

/// Times of one serial line.
#[derive(Debug, Clone, Copy)]
pub struct LineTiming {
    character: Duration,
    silence: Duration,
    gap: Duration,
}

impl LineTiming {
    /// From the line's settings; `configured` is the link's `request_gap`.
    ///
    /// The silence between frames is 3.5 characters, above 19200 baud 1.75 ms
    /// (Modbus over serial line V1.02, 2.5.1.1); more if configured.
    pub fn new(serial: &Serial, configured: Option<ConfiguredDuration>) -> Self {
        let parity = u32::from(serial.parity != Parity::None);
        let bits = 1 + u32::from(serial.data_bits) + parity + u32::from(serial.stop_bits);
        let character = Duration::from_secs(1) * bits / serial.baud_rate.max(1);
        let silence = if serial.baud_rate > 19200 {
            Duration::from_micros(1750)
        } else {
            character * 7 / 2
        };
        let gap = configured.map_or(silence, |configured| configured.get().max(silence));
        Self {
            character,
            silence,
            gap,
        }
    }

    /// Silence that ends a frame.
    pub fn silence(&self) -> Duration {
        self.silence
    }

    /// Silence before a request.
    pub fn gap(&self) -> Duration {
        self.gap
    }

    /// What the characters of a read request and its answer take.
    pub fn transfer(&self, table: Table, count: u16) -> Duration {
        // Request: unit, function, address, count, CRC. Answer: unit, function, byte count, data, CRC.
        let data = if table.is_bits() {
            u32::from(count).div_ceil(8)
        } else {
            2 * u32::from(count)
        };
        self.character * (8 + 5 + data)
    }
}
