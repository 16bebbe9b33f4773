//! Which texts YAML reads as the text they are when they stand without quotes.

/// Words that some version of YAML reads as something else than a text (k3s reads YAML 1.1, our own programs read 1.2).
const WORDS: [&str; 14] = [
    "null", "true", "false", "yes", "no", "on", "off", "y", "n", "~", ".nan", ".inf", "-.inf",
    "+.inf",
];

/// A text as it is written on one line: plain where that is safe, else in quotes.
pub(crate) fn scalar(text: &str) -> String {
    if is_plain(text) {
        text.to_owned()
    } else {
        quoted(text)
    }
}

fn is_plain(text: &str) -> bool {
    let (Some(first), Some(last)) = (text.chars().next(), text.chars().next_back()) else {
        return false;
    };
    let begins_well = first.is_ascii_alphanumeric() || matches!(first, '/' | '_' | '.' | '$' | '(');
    let ends_well = !matches!(last, ' ' | ':');
    begins_well
        && ends_well
        && text
            .chars()
            .all(|letter| is_printable(letter) && letter != '\t')
        && !text.contains(": ")
        && !text.contains(" #")
        && !WORDS.contains(&text.to_ascii_lowercase().as_str())
        && !is_like_number(text)
}

/// Whether a text is made of nothing but what numbers, times and dates of any YAML version are made of.
fn is_like_number(text: &str) -> bool {
    text.starts_with(|letter: char| letter.is_ascii_digit() || letter == '.')
        && text.chars().all(|letter| {
            letter.is_ascii_hexdigit()
                || matches!(
                    letter,
                    'x' | 'X'
                        | 'o'
                        | 'O'
                        | '_'
                        | '.'
                        | ':'
                        | '+'
                        | '-'
                        | 'T'
                        | 't'
                        | 'Z'
                        | 'z'
                        | ' '
                )
        })
}

/// Whether a letter may stand in YAML as it is, and on the line it is on. The byte order mark and the breaks of YAML 1.1 may not.
pub(crate) fn is_printable(letter: char) -> bool {
    match letter {
        '\t' | ' '..='~' => true,
        '\u{2028}' | '\u{2029}' | '\u{feff}' => false,
        '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' => true,
        '\u{10000}'..='\u{10ffff}' => true,
        _ => false,
    }
}

fn quoted(text: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            letter if is_printable(letter) => out.push(letter),
            letter => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{:04X}", u32::from(letter));
            }
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_texts_stay_plain_and_others_are_quoted() {
        for plain in [
            "modbus-reader",
            "64Mi",
            "500m",
            "10.0.0.0/8",
            "fieldgate.io/modbus-reader:0.1.0",
            "/var/lib/fieldgate",
            "nats://broker.fieldgate.svc.cluster.local:4222",
            "$(NODE_NAME)",
            "1.18.2-fieldgate",
            "it's fine, [really]",
        ] {
            assert_eq!(scalar(plain), plain);
        }
        for other in [
            "",
            "yes",
            "No",
            "NULL",
            "~",
            "6000",
            "0.1.0",
            "1e3",
            "0x1f",
            "12:30",
            "2026-01-01",
            ".5",
            ".inf",
            "- a",
            "a: b",
            "a #b",
            "a:",
            "a ",
            " a",
            "*a",
            "&a",
            "!a",
            "{a}",
            "[a]",
            "@a",
            "%a",
            "|",
            ">",
            "?",
            "#",
            "'a'",
            "\"a\"",
            "a\nb",
            "a\tb",
            "\u{feff}a",
        ] {
            assert!(scalar(other).starts_with('"'), "{other:?}");
        }
    }
}
