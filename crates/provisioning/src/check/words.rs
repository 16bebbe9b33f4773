//! Which texts are names, hosts and files.

/// Whether a text is a label of a host name in small letters (RFC 1123, section 2.1).
pub(super) fn is_label(text: &str) -> bool {
    let is_small = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    text.len() <= 63
        && text.starts_with(is_small)
        && text.ends_with(is_small)
        && text.chars().all(|letter| is_small(letter) || letter == '-')
}

/// Whether a text is a host name.
pub(super) fn is_host(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.len() <= 253 && text.split('.').all(is_label)
}

/// What is wrong with the name of a file beside the document, if anything is. Nothing outside the medium's folder is read.
pub(crate) fn fault_of_file(name: &str) -> Option<String> {
    let is_well = !name.is_empty()
        && name.len() <= 128
        && !name.starts_with('.')
        && name
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || "._- ".contains(letter));
    (!is_well).then(|| {
        format!(
            "{name:?} is no name of a file beside this document; letters, digits, '.', '_' and '-', no folder"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_files_are_told_from_others() {
        assert!(is_label("gate-7") && is_host("NTP.plant.example"));
        for bad in ["", "-a", "a-", "a_b", "Gate", "a.b", &"a".repeat(64)] {
            assert!(!is_label(bad), "{bad}");
        }
        for bad in ["", "a..b", "a b", ".a", "a."] {
            assert!(!is_host(bad), "{bad}");
        }
        assert_eq!(fault_of_file("hub key-1.pem"), None);
        for bad in [
            "",
            "../shadow",
            "/etc/shadow",
            "a/b",
            ".hidden",
            "a\\b",
            "a:b",
        ] {
            assert!(fault_of_file(bad).is_some(), "{bad}");
        }
    }
}
