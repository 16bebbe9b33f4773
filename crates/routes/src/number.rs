//! Numbers of JSON, compared exactly: whole numbers and floats are never rounded into each other.

use std::cmp::Ordering;

/// 2^127, one more than the largest `i128`; exact as a float.
const BEYOND_WHOLE: f64 = 170_141_183_460_469_231_731_687_303_715_884_105_728.0;

/// A number as JSON writes it. Whole numbers beyond `i128` are taken as floats, floats beyond `f64` as infinite.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Number {
    Whole(i128),
    Real(f64),
}

impl Number {
    /// Reads a literal of JSON.
    pub(crate) fn parse(literal: &str) -> Option<Self> {
        if let Ok(whole) = literal.parse() {
            return Some(Self::Whole(whole));
        }
        let real: f64 = literal.parse().ok()?;
        (!real.is_nan()).then_some(Self::Real(real))
    }

    /// Whether it has no fraction; 2.0 has none.
    pub(crate) fn is_whole(self) -> bool {
        match self {
            Self::Whole(_) => true,
            Self::Real(real) => real.is_finite() && real.fract() == 0.0,
        }
    }

    pub(crate) fn compare(self, other: Self) -> Ordering {
        match (self, other) {
            (Self::Whole(one), Self::Whole(other)) => one.cmp(&other),
            (Self::Whole(whole), Self::Real(real)) => whole_to_real(whole, real),
            (Self::Real(real), Self::Whole(whole)) => whole_to_real(whole, real).reverse(),
            // Neither is a NaN, which JSON does not have.
            (Self::Real(one), Self::Real(other)) => {
                one.partial_cmp(&other).unwrap_or(Ordering::Equal)
            }
        }
    }
}

impl From<&serde_json::Number> for Number {
    fn from(number: &serde_json::Number) -> Self {
        let whole = number.as_i64().map(i128::from);
        match whole.or_else(|| number.as_u64().map(i128::from)) {
            Some(whole) => Self::Whole(whole),
            None => Self::Real(number.as_f64().unwrap_or_default()),
        }
    }
}

fn whole_to_real(whole: i128, real: f64) -> Ordering {
    if real >= BEYOND_WHOLE {
        return Ordering::Less;
    }
    if real < -BEYOND_WHOLE {
        return Ordering::Greater;
    }
    let floor = real.floor();
    #[allow(
        clippy::cast_possible_truncation,
        reason = "in range, and without a fraction"
    )]
    match whole.cmp(&(floor as i128)) {
        Ordering::Equal if real > floor => Ordering::Less,
        order => order,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn order(one: &str, other: &str) -> Ordering {
        Number::parse(one)
            .unwrap()
            .compare(Number::parse(other).unwrap())
    }

    #[test]
    fn nothing_is_rounded_on_the_way() {
        for (less, more) in [
            // 2^53 and 2^53 + 1 are the same float.
            ("9007199254740992", "9007199254740993"),
            ("9007199254740992.0", "9007199254740993"),
            ("18446744073709551615", "18446744073709551616.0"),
            ("18446744073709551615", "18446744073709551616"),
            ("-9223372036854775809", "-9223372036854775808"),
            ("-0.1", "0"),
            ("0", "0.1"),
            ("-1.5", "-1"),
            ("0.1", "0.2"),
            ("123456789012345678901234567890123456789012345", "1e400"),
            ("-1e400", "-170141183460469231731687303715884105728"),
        ] {
            assert_eq!(order(less, more), Ordering::Less, "{less} {more}");
            assert_eq!(order(more, less), Ordering::Greater, "{more} {less}");
        }
        for (one, other) in [
            ("2", "2.0"),
            ("0", "-0.0"),
            ("1e3", "1000"),
            ("0.5", "5e-1"),
        ] {
            assert_eq!(order(one, other), Ordering::Equal, "{one} {other}");
        }
        assert!(Number::parse("2.0").unwrap().is_whole());
        assert!(!Number::parse("2.5").unwrap().is_whole());
    }

    fn any_number() -> impl Strategy<Value = serde_json::Number> {
        prop_oneof![
            any::<i64>().prop_map(serde_json::Number::from),
            any::<u64>().prop_map(serde_json::Number::from),
            any::<f64>().prop_filter_map("finite", serde_json::Number::from_f64),
            // Where whole numbers and floats meet.
            (-1000i64..1000, 0u32..4).prop_filter_map("finite", |(whole, quarters)| {
                serde_json::Number::from_f64(whole as f64 + f64::from(quarters) / 4.0)
            }),
        ]
    }

    proptest! {
        #[test]
        fn a_literal_is_the_number_it_was_written_from(number in any_number()) {
            let read = Number::parse(&number.to_string()).unwrap();
            prop_assert_eq!(read.compare(Number::from(&number)), Ordering::Equal);
        }

        #[test]
        fn order_is_one(a in any_number(), b in any_number(), c in any_number()) {
            let [a, b, c] = [&a, &b, &c].map(Number::from);
            prop_assert_eq!(a.compare(b), b.compare(a).reverse());
            if a.compare(b) != Ordering::Greater && b.compare(c) != Ordering::Greater {
                prop_assert_ne!(a.compare(c), Ordering::Greater);
            }
        }

        #[test]
        fn whole_numbers_compare_as_such(a in any::<i64>(), b in any::<u64>()) {
            let (one, other) = (serde_json::Number::from(a), serde_json::Number::from(b));
            prop_assert_eq!(Number::from(&one).compare(Number::from(&other)), i128::from(a).cmp(&i128::from(b)));
        }
    }
}
