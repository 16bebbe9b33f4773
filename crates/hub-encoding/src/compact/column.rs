//! One column of a block: written in whichever of three forms is the shortest.

use crate::json::{Decimal, integer_length, parse_time, push_integer};

/// A JSON text in the block's memory; empty where the event has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Token {
    start: u32,
    length: u32,
}

/// The JSON texts of a block, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Tokens(Vec<u8>);

impl Tokens {
    pub(crate) fn add(&mut self, text: &str) -> Token {
        // A block is far below 4 GiB: `TEXT_BYTES`.
        let start = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0.extend_from_slice(text.as_bytes());
        Token {
            start,
            length: u32::try_from(text.len()).unwrap_or(0),
        }
    }

    fn get(&self, token: Token) -> &[u8] {
        let start = token.start as usize;
        self.0
            .get(start..start + token.length as usize)
            .unwrap_or_default()
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

/// The cells of a column; those behind the last one that was set are empty.
#[derive(Debug, Default)]
pub(crate) struct Column(Vec<Token>);

/// What the integers of a column of differences stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Numbers, or anything else.
    Value,
    /// Times as JSON strings.
    Time,
}

const NULL: &[u8] = b"null";

impl Column {
    pub(crate) fn set(&mut self, row: usize, token: Token) {
        self.0.resize(row, Token::default());
        self.0.push(token);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Appends the column with `rows` cells. Never longer than its cells with a comma each and two brackets, `null` for an empty one.
    pub(crate) fn write(&mut self, out: &mut Vec<u8>, tokens: &Tokens, rows: usize, kind: Kind) {
        self.0.resize(rows, Token::default());
        let text = |token: Token| {
            if token.length == 0 {
                NULL
            } else {
                tokens.get(token)
            }
        };
        let array: usize = self
            .0
            .iter()
            .map(|token| text(*token).len() + 1)
            .sum::<usize>()
            + 1;
        let runs = self.runs(tokens);
        let differences = self.differences(tokens, kind);
        let shorter = |form: &Option<(usize, _)>, than: usize| {
            form.as_ref().is_some_and(|(length, _)| *length < than)
        };
        if shorter(
            &runs,
            array.min(differences.as_ref().map_or(usize::MAX, |form| form.0)),
        ) {
            out.extend_from_slice(br#"{"runs":["#);
            for (index, (count, token)) in runs
                .map(|form| form.1)
                .unwrap_or_default()
                .into_iter()
                .enumerate()
            {
                if index > 0 {
                    out.push(b',');
                }
                push_integer(out, count);
                out.push(b',');
                out.extend_from_slice(text(token));
            }
            out.extend_from_slice(b"]}");
            return;
        }
        if let Some((length, form)) = differences
            && length < array
        {
            out.extend_from_slice(br#"{"decimals":"#);
            push_integer(out, form.decimals);
            out.extend_from_slice(br#","delta":["#);
            for (index, step) in form.steps.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                match step {
                    Some(step) => push_integer(out, *step),
                    None => out.extend_from_slice(NULL),
                }
            }
            out.extend_from_slice(b"]}");
            return;
        }
        out.push(b'[');
        for (index, token) in self.0.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(text(*token));
        }
        out.push(b']');
    }

    /// Counts of equal neighbours, and the length of that form. None if there are more than half as many runs as cells.
    fn runs(&self, tokens: &Tokens) -> Option<(usize, Vec<(usize, Token)>)> {
        let mut runs: Vec<(usize, Token)> = Vec::new();
        let limit = self.0.len() / 2 + 1;
        for token in &self.0 {
            if let Some((count, last)) = runs.last_mut()
                && last.length == token.length
                && tokens.get(*last) == tokens.get(*token)
            {
                *count += 1;
            } else if runs.len() == limit {
                return None;
            } else {
                runs.push((1, *token));
            }
        }
        let length = |(count, token): &(usize, Token)| {
            let text = if token.length == 0 {
                NULL.len()
            } else {
                token.length as usize
            };
            count.checked_ilog10().unwrap_or(0) as usize + 1 + text + 2
        };
        Some((
            runs.iter().map(length).sum::<usize>() + r#"{"runs":[]}"#.len() - 1,
            runs,
        ))
    }

    /// The column as integers and their differences, and the length of that form. None if not every cell can be one.
    fn differences(&self, tokens: &Tokens, kind: Kind) -> Option<(usize, Differences)> {
        let mut numbers: Vec<Option<Decimal>> = Vec::with_capacity(self.0.len());
        for token in &self.0 {
            let text = tokens.get(*token);
            numbers.push(match kind {
                _ if token.length == 0 => None,
                Kind::Value => Some(Decimal::parse(text)?),
                Kind::Time => {
                    let text = std::str::from_utf8(text).ok()?;
                    Some(parse_time(text.strip_prefix('"')?.strip_suffix('"')?)?)
                }
            });
        }
        let present = || numbers.iter().flatten().map(|number| number.decimals);
        let decimals = present().max()?;
        // `1` and `1.0` are different texts, and so are times with other decimals.
        let alike = match kind {
            Kind::Value => decimals == 0 || present().all(|own| own > 0),
            Kind::Time => present().all(|own| own == decimals),
        };
        if !alike {
            return None;
        }
        let mut length = r#"{"decimals":0,"delta":[]}"#.len() - 1 + usize::from(decimals > 9);
        let mut steps = Vec::with_capacity(numbers.len());
        let mut last = 0i64;
        for number in numbers {
            let Some(number) = number else {
                length += NULL.len() + 1;
                steps.push(None);
                continue;
            };
            let integer = if number.decimals == decimals {
                number.integer
            } else {
                number.scaled(decimals)?
            };
            let step = integer.checked_sub(last)?;
            last = integer;
            length += integer_length(step) + 1;
            steps.push(Some(step));
        }
        Some((length, Differences { decimals, steps }))
    }
}

struct Differences {
    decimals: u32,
    steps: Vec<Option<i64>>,
}
