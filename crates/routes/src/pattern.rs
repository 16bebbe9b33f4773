//! Texts with `*`, which stands for any characters, none among them.

/// What a text is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    text: Box<str>,
    has_star: bool,
}

impl Pattern {
    /// A pattern; without `*` it is the text itself.
    pub(crate) fn new(text: &str) -> Self {
        Self {
            has_star: text.contains('*'),
            text: text.into(),
        }
    }

    /// The text itself, a `*` in it too.
    pub(crate) fn exact(text: &str) -> Self {
        Self {
            has_star: false,
            text: text.into(),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    pub(crate) fn has_star(&self) -> bool {
        self.has_star
    }

    pub(crate) fn is_match(&self, text: &str) -> bool {
        if !self.has_star {
            return *self.text == *text;
        }
        self.rest_after(text).is_some()
    }

    fn rest_after<'t>(&self, text: &'t str) -> Option<&'t str> {
        let mut parts = self.text.split('*');
        let text = text.strip_prefix(parts.next()?)?;
        let text = text.strip_suffix(parts.next_back()?)?;
        // The first place is good enough for each part between: it leaves most to the others.
        parts.try_fold(text, |text, part| {
            text.split_once(part).map(|(_, rest)| rest)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stars_stand_for_anything() {
        for (pattern, text) in [
            ("*", ""),
            ("*", "press-1/fast"),
            ("press-*", "press-"),
            ("press-*", "press-1/fast"),
            ("*/fast", "press-1/fast"),
            ("press-*/fast", "press-1/x/fast"),
            ("a*b*c", "a-b-b-c"),
            ("a*a", "aa"),
            ("**", ""),
            ("größe *", "größe ☃"),
        ] {
            assert!(Pattern::new(pattern).is_match(text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("", "a"),
            ("a", "A"),
            ("a*a", "a"),
            ("ab*ba", "aba"),
            ("press-*/fast", "press-1/slow"),
            ("a*b*c", "acb"),
        ] {
            assert!(!Pattern::new(pattern).is_match(text), "{pattern} {text}");
        }
        assert!(Pattern::exact("a*").is_match("a*"));
        assert!(!Pattern::exact("a*").is_match("ab"));
    }

    /// The meaning, spelled out.
    fn means(pattern: &[char], text: &[char]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some(('*', rest)) => (0..=text.len()).any(|skip| means(rest, &text[skip..])),
            Some((letter, rest)) => text.first() == Some(letter) && means(rest, &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn matching_is_what_it_means(pattern in "[ab*é]{0,8}", text in "[abé]{0,10}") {
            let letters = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(Pattern::new(&pattern).is_match(&text), means(&letters(&pattern), &letters(&text)));
        }

        #[test]
        fn any_text_matches_itself_and_its_ends(text in "[^*]*") {
            prop_assert!(Pattern::new(&text).is_match(&text));
            let first: String = text.chars().take(3).collect();
            let last: String = text.chars().skip(3).collect();
            for pattern in [format!("{first}*"), format!("*{last}"), format!("{first}*{last}")] {
                prop_assert!(Pattern::new(&pattern).is_match(&text), "{}", pattern);
            }
        }
    }
}
