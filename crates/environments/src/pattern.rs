//! Patterns for image names.

/// Whether `text` matches: `*` stands for any characters, `?` for one.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where the last star was, and how much of the text it has taken. Only the last one ever needs to be
    // tried again, so this takes no more than pattern × text steps.
    let mut star = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&c) if c == b'?' || c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((at, taken)) = star else { return false };
                star = Some((at, taken + 1));
                (p, t) = (at + 1, taken + 1);
            }
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn stars_and_question_marks() {
        for (pattern, text) in [
            ("ghcr.io/openfaas/alpine:*", "ghcr.io/openfaas/alpine:latest"),
            ("*", ""),
            ("*", "anything"),
            ("a*b*c", "a-b-b-c"),
            ("a?c", "abc"),
            ("*:v?", "x/y:v1"),
            ("", ""),
            ("a**", "a"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("ghcr.io/openfaas/alpine:*", "ghcr.io/openfaas/alpinex"),
            ("a*b", "a-b-c"),
            ("a?c", "ac"),
            ("", "a"),
            ("?", ""),
            ("a", "A"),
        ] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn hostile_patterns_end_soon() {
        assert!(!matches(&format!("{}b", "a*".repeat(200)), &"a".repeat(2000)));
    }
}
