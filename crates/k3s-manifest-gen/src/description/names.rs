//! Which names Kubernetes takes.

/// The longest name: Kubernetes makes others of it, and the longest of those holds 63 letters.
pub(crate) const LONGEST: usize = 40;

/// What is wrong with a name that objects and Services are called by, if anything is.
pub(crate) fn fault_of_name(name: &str) -> Option<String> {
    let is_well = name.len() <= LONGEST
        && name.starts_with(|letter: char| letter.is_ascii_lowercase())
        && name.ends_with(is_small)
        && name.chars().all(|letter| is_small(letter) || letter == '-');
    (!is_well).then(|| {
        format!(
            "{name:?} is no name for Kubernetes: a letter first, then a–z, 0–9 and -, no - at the end, at most {LONGEST} in all"
        )
    })
}

fn is_small(letter: char) -> bool {
    letter.is_ascii_lowercase() || letter.is_ascii_digit()
}

/// Whether a text is the name of a node: a host name that fits into a label.
pub(crate) fn is_host(text: &str) -> bool {
    text.len() <= 63
        && text.split('.').all(|part| {
            part.starts_with(is_small)
                && part.ends_with(is_small)
                && part.chars().all(|letter| is_small(letter) || letter == '-')
        })
}

/// Whether a text is an image reference: nothing that a shell or a registry would take otherwise.
pub(crate) fn is_image(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 512
        && text.starts_with(|letter: char| letter.is_ascii_alphanumeric())
        && text.ends_with(|letter: char| letter.is_ascii_alphanumeric() || letter == '_')
        && text
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || "._:/@-".contains(letter))
}

/// Whether a text is the tag of an image.
pub(crate) fn is_tag(text: &str) -> bool {
    text.len() <= 128
        && text.starts_with(|letter: char| letter.is_ascii_alphanumeric() || letter == '_')
        && text
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || "._-".contains(letter))
}

/// Whether a text is the name of an environment variable.
pub(crate) fn is_variable(text: &str) -> bool {
    text.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_')
        && text
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}

/// Whether a text is a network such as `192.168.1.0/24`.
pub(crate) fn is_network(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else {
        return false;
    };
    let most = match address.parse() {
        Ok(std::net::IpAddr::V4(_)) => 32,
        Ok(std::net::IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    bits.parse().is_ok_and(|bits: u8| bits <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_others() {
        for good in ["a", "modbus-reader", "my-filter2", &"a".repeat(40)] {
            assert_eq!(fault_of_name(good), None);
        }
        for bad in [
            "",
            "A",
            "2a",
            "-a",
            "a-",
            "a_b",
            "a.b",
            "ä",
            &"a".repeat(41),
        ] {
            assert!(fault_of_name(bad).is_some(), "{bad}");
        }
        assert!(is_image("registry.example:5000/team/my-filter:1.2.3"));
        assert!(is_image("x/y@sha256:0a1b"));
        for bad in ["", "a b", "a:", "$(x)", "-a"] {
            assert!(!is_image(bad), "{bad}");
        }
        assert!(is_network("10.0.0.0/8") && is_network("fc00::/7"));
        for bad in ["10.0.0.0", "10.0.0.0/33", "plc-1/32", "10.0.0/8", "::/129"] {
            assert!(!is_network(bad), "{bad}");
        }
        assert!(is_host("gate-7") && is_host("7.plant.example"));
        for bad in ["", "Gate", "-a", "a-", "a..b", "a_b", &"a".repeat(64)] {
            assert!(!is_host(bad), "{bad}");
        }
        assert!(is_variable("A_1") && !is_variable("1A") && !is_variable("A-B"));
    }
}
