//! Keeps secrets out of what is told: problems are shown on a console and written onto the medium.

use module_runtime::Problem;

use crate::secrets::Secrets;

/// What comes before a value in the schema's sentences.
const VALUE: [&str; 2] = [", not the text ", ", not the number "];

/// Takes out of a problem every secret of the document, and what may be one in a wrong place.
pub(crate) fn redact(problem: &mut Problem, secrets: &Secrets) {
    for secret in secrets.values().filter(|secret| secret.len() >= 4) {
        // The schema's sentences show a value as a literal, and cut.
        for shown in [secret.to_owned(), secret.escape_debug().to_string()] {
            problem.message = problem.message.replace(&shown, "…");
        }
    }
    if is_near_secret(&problem.path) {
        for words in VALUE {
            if let Some((before, _)) = problem.message.split_once(words) {
                problem.message = before.to_owned();
            }
        }
    }
    if [&problem.path, &problem.message]
        .into_iter()
        .any(|text| is_connection_string(text))
    {
        problem.path.clear();
        problem.message =
            "a connection string stands where none belongs; write it as hub.connection_string"
                .to_owned();
    }
}

/// Whether a text has a connection string in it, and not just the words for one.
fn is_connection_string(text: &str) -> bool {
    text.contains("SharedAccessKey=") && !text.contains("SharedAccessKey=…")
}

/// Where a value may be a secret that stands a level too high or too low.
fn is_near_secret(path: &str) -> bool {
    path.is_empty()
        || path.starts_with("hub")
        || path == "network"
        || path.contains("wifi")
        || path.contains("proxy")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(path: &str, message: &str) -> String {
        let mut problem = Problem {
            file: "f".to_owned(),
            line: 1,
            column: 1,
            path: path.to_owned(),
            message: message.to_owned(),
        };
        redact(&mut problem, &Secrets::default());
        problem.to_string()
    }

    #[test]
    fn what_may_be_a_secret_is_not_told() {
        assert_eq!(
            told("hub", "must be a mapping, not the text \"hunter2\""),
            "f:1:1: hub: must be a mapping"
        );
        assert_eq!(
            told(
                "network.interfaces[0].wifi.passphrase",
                "must be a text, not the number 12345678"
            ),
            "f:1:1: network.interfaces[0].wifi.passphrase: must be a text"
        );
        let misplaced = told(
            "hub[\"HostName=h;SharedAccessKey=aaa\"]",
            "unknown key; remove it",
        );
        assert!(!misplaced.contains("aaa"), "{misplaced}");
        let kept = told("time.zone", "must be a text, not the number 3");
        assert!(kept.ends_with("not the number 3"), "{kept}");
    }
}
