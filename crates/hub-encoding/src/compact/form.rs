//! The members of a compact message, as they stand in its text.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::json::Text;

/// The message.
#[derive(Deserialize)]
pub(super) struct Document<'a> {
    #[serde(borrow)]
    pub(super) blocks: Vec<Block<'a>>,
}

/// A part of the message.
#[derive(Deserialize)]
pub(super) struct Block<'a> {
    pub(super) order: Option<Vec<i64>>,
    #[serde(borrow)]
    pub(super) streams: Vec<Part<'a>>,
    #[serde(borrow, default)]
    pub(super) other: Vec<&'a RawValue>,
}

/// A stream in a block.
#[derive(Deserialize)]
pub(super) struct Part<'a> {
    pub(super) stream: u64,
    #[serde(borrow)]
    pub(super) source: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) device: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) group: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) epoch: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) absent: Vec<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) tags: Vec<Text<'a>>,
    pub(super) sequence: Vec<i128>,
    #[serde(borrow)]
    pub(super) time: Column<'a>,
    #[serde(borrow)]
    pub(super) timestamp: Option<Column<'a>>,
    #[serde(borrow, default)]
    pub(super) attributes: Named<'a>,
    #[serde(borrow)]
    pub(super) values: Vec<Option<Column<'a>>>,
    #[serde(borrow)]
    pub(super) bad: Option<Named<'a>>,
    #[serde(borrow)]
    pub(super) timestamps: Option<Named<'a>>,
}

/// The cells of a column, in one of three forms.
pub(super) enum Column<'a> {
    Cells(Vec<&'a str>),
    Runs(Vec<(u64, &'a str)>),
    Delta {
        decimals: u32,
        steps: Vec<Option<i64>>,
    },
}

/// Columns by name.
#[derive(Default)]
pub(super) struct Named<'a>(pub(super) Vec<(Text<'a>, Column<'a>)>);

/// Counts and texts by turns.
struct Runs<'a>(Vec<(u64, &'a str)>);

/// A cell of a column: no arrays and objects, which no writer puts there.
fn cell<E: serde::de::Error>(raw: &RawValue) -> Result<&str, E> {
    match raw.get().as_bytes().first() {
        Some(b'[' | b'{') | None => Err(E::custom("a cell is an array or an object")),
        _ => Ok(raw.get()),
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Column<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl<'de> Visitor<'de> for Form {
            type Value = Column<'de>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a column: an array, or an object with `runs` or `delta`")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut cells: A) -> Result<Self::Value, A::Error> {
                let mut column = Vec::new();
                while let Some(raw) = cells.next_element::<&'de RawValue>()? {
                    column.push(cell(raw)?);
                }
                Ok(Column::Cells(column))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let (mut decimals, mut steps, mut runs) = (0u32, None, None);
                while let Some(Text(key)) = map.next_key()? {
                    match key.as_ref() {
                        "decimals" => decimals = map.next_value()?,
                        "delta" => steps = Some(map.next_value::<Vec<Option<i64>>>()?),
                        "runs" => runs = Some(map.next_value::<Runs<'de>>()?.0),
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                match (steps, runs) {
                    (Some(steps), None) => Ok(Column::Delta { decimals, steps }),
                    (None, Some(runs)) => Ok(Column::Runs(runs)),
                    _ => Err(A::Error::custom(
                        "a column has neither or both of `runs` and `delta`",
                    )),
                }
            }
        }
        deserializer.deserialize_any(Form)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Runs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Runs<'de>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("counts and values by turns")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut cells: A) -> Result<Self::Value, A::Error> {
                let mut runs = Vec::new();
                while let Some(count) = cells.next_element::<u64>()? {
                    let raw = cells.next_element::<&'de RawValue>()?;
                    let raw = raw.ok_or_else(|| A::Error::custom("a count without a value"))?;
                    runs.push((count, cell(raw)?));
                }
                Ok(Runs(runs))
            }
        }
        deserializer.deserialize_seq(Pairs)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Named<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Named<'de>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("columns by name")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut columns = Vec::new();
                while let Some(name) = map.next_key::<Text<'de>>()? {
                    columns.push((name, map.next_value()?));
                }
                Ok(Named(columns))
            }
        }
        deserializer.deserialize_map(Object)
    }
}
