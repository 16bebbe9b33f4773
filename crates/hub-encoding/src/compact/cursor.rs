//! Goes through a column, cell by cell, without unfolding it.

use super::column::Kind;
use super::form::Column;
use super::reader::invalid;
use crate::decode::DecodeError;
use crate::json::{push_decimal, push_time};

/// Where the next cell of a column is.
pub(super) struct Cursor<'p, 'a> {
    column: &'p Column<'a>,
    kind: Kind,
    place: usize,
    used: u64,
    sum: i64,
}

impl<'p, 'a> Cursor<'p, 'a> {
    pub(super) fn new(
        column: &'p Column<'a>,
        rows: usize,
        kind: Kind,
    ) -> Result<Self, DecodeError> {
        let cells = match column {
            Column::Cells(cells) => cells.len() as u64,
            Column::Runs(runs) => runs
                .iter()
                .try_fold(0u64, |sum, (count, _)| sum.checked_add(*count))
                .unwrap_or(u64::MAX),
            Column::Delta { steps, .. } => steps.len() as u64,
        };
        if cells != rows as u64 {
            return Err(invalid(format!(
                "a column has {cells} cells for {rows} events"
            )));
        }
        if let Column::Delta { decimals, .. } = column
            && *decimals > if kind == Kind::Time { 9 } else { 15 }
        {
            return Err(invalid(format!("a column has {decimals} decimals")));
        }
        Ok(Self {
            column,
            kind,
            place: 0,
            used: 0,
            sum: 0,
        })
    }

    /// Appends the next cell. False if it is empty.
    pub(super) fn next(&mut self, out: &mut Vec<u8>) -> Result<bool, DecodeError> {
        let short = || invalid("a column is too short");
        let text = match self.column {
            Column::Cells(cells) => {
                let text = cells.get(self.place).ok_or_else(short)?;
                self.place += 1;
                text
            }
            Column::Runs(runs) => {
                let mut run = runs.get(self.place).ok_or_else(short)?;
                while self.used >= run.0 {
                    self.place += 1;
                    self.used = 0;
                    run = runs.get(self.place).ok_or_else(short)?;
                }
                self.used += 1;
                run.1
            }
            Column::Delta { decimals, steps } => {
                let step = steps.get(self.place).ok_or_else(short)?;
                self.place += 1;
                let Some(step) = step else { return Ok(false) };
                self.sum = self
                    .sum
                    .checked_add(*step)
                    .ok_or_else(|| invalid("a sum of differences is beyond 64 bits"))?;
                match self.kind {
                    Kind::Value => push_decimal(out, self.sum, *decimals),
                    Kind::Time => {
                        out.push(b'"');
                        push_time(out, self.sum, *decimals)
                            .ok_or_else(|| invalid("a time is not in the years 0 to 9999"))?;
                        out.push(b'"');
                    }
                }
                return Ok(true);
            }
        };
        if text == "null" {
            return Ok(false);
        }
        out.extend_from_slice(text.as_bytes());
        Ok(true)
    }
}
