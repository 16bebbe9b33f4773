//! Where in an event's data a value is: `values.pressure`, `values["press.1"]`, `items[0].name`.

/// One step into the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Key(String),
    Index(usize),
}

/// Longer paths lead nowhere in practice, and reading descends with them.
const MOST_STEPS: usize = 16;

/// Reads a path; the error says what is wrong with it and what would be right.
pub(crate) fn parse(text: &str) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (step, after) = match rest.strip_prefix('[') {
            Some(inner) => bracket(inner)?,
            None => key(rest, steps.is_empty())?,
        };
        steps.push(step);
        rest = after;
    }
    match steps.len() {
        0 => Err("is empty; name a value of the data, such as values.pressure".to_owned()),
        1..=MOST_STEPS => Ok(steps),
        _ => Err(format!(
            "has more than {MOST_STEPS} steps; they lead too deep"
        )),
    }
}

fn key(text: &str, is_first: bool) -> Result<(Step, &str), String> {
    let text = match (text.strip_prefix('.'), is_first) {
        (Some(_), true) => return Err("begins with a dot; leave it out".to_owned()),
        (Some(text), false) => text,
        (None, true) => text,
        (None, false) => {
            return Err("has a text right behind a ]; put a dot between them".to_owned());
        }
    };
    let end = text.find(['.', '[']).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    if name.is_empty() {
        return Err(
            "has an empty step; give each step a name, and a name with dots quotes: values[\"press.1\"]".to_owned(),
        );
    }
    if name.contains([']', '"']) {
        return Err(format!(
            "has {name:?} as a step; put a name with such characters into brackets and quotes: values[\"press.1\"]"
        ));
    }
    Ok((Step::Key(name.to_owned()), rest))
}

fn bracket(inner: &str) -> Result<(Step, &str), String> {
    const WRONG: &str = "has a [ without a position or a quoted name and a ]; write items[0] or values[\"press.1\"]";
    if inner.starts_with('"') {
        let mut names = serde_json::Deserializer::from_str(inner).into_iter::<String>();
        let name = names.next().and_then(Result::ok).ok_or(WRONG)?;
        let rest = inner
            .get(names.byte_offset()..)
            .and_then(|rest| rest.strip_prefix(']'));
        return Ok((Step::Key(name), rest.ok_or(WRONG)?));
    }
    let (digits, rest) = inner.split_once(']').ok_or(WRONG)?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(WRONG.to_owned());
    }
    let index = digits.parse().map_err(|_| WRONG)?;
    Ok((Step::Index(index), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Step {
        Step::Key(name.to_owned())
    }

    #[test]
    fn paths_are_read() {
        for (text, steps) in [
            ("values.pressure", vec![key("values"), key("pressure")]),
            ("a", vec![key("a")]),
            (
                "values[\"press.1\"].x",
                vec![key("values"), key("press.1"), key("x")],
            ),
            ("[\"a\\\"]\"]", vec![key("a\"]")]),
            (
                "items[0][12].name",
                vec![key("items"), Step::Index(0), Step::Index(12), key("name")],
            ),
            ("[3]", vec![Step::Index(3)]),
            ("größe 1.x-y", vec![key("größe 1"), key("x-y")]),
        ] {
            assert_eq!(parse(text).as_ref(), Ok(&steps), "{text}");
        }
    }

    #[test]
    fn what_is_no_path_is_told_with_a_remedy() {
        for (text, words) in [
            ("", "is empty"),
            (".a", "begins with a dot"),
            ("a..b", "empty step"),
            ("a.", "empty step"),
            ("a[x]", "write items[0]"),
            ("a[1", "write items[0]"),
            ("a[\"b]", "write items[0]"),
            ("a[99999999999999999999999]", "write items[0]"),
            ("a[0]b", "put a dot"),
            ("a]b", "quotes"),
            ("a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a", "too deep"),
        ] {
            let message = parse(text).unwrap_err();
            assert!(message.contains(words), "{text}: {message}");
        }
    }
}
