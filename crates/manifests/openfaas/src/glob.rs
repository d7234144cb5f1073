//! Wildcards.

/// Whether `pattern` matches all of `text`: `*` stands for any characters, `?` for one, `[a-z]` for one of them,
/// `\` takes what follows literally.
pub(crate) fn matches(pattern: &[char], text: &[char]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where the last `*` was, and up to where it has taken the text: enough, since an earlier one need not take
    // more once a later one has matched.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&'*') {
            star = Some((p, t));
            p += 1;
        } else if let Some(length) = one(&pattern[p..], text[t]) {
            p += length;
            t += 1;
        } else {
            let Some((at, taken)) = star else { return false };
            star = Some((at, taken + 1));
            (p, t) = (at + 1, taken + 1);
        }
    }
    pattern[p..].iter().all(|&c| c == '*')
}

/// How much of the pattern stands for this one character; `None` where it does not.
fn one(pattern: &[char], c: char) -> Option<usize> {
    match *pattern.first()? {
        '?' => Some(1),
        '\\' if pattern.len() > 1 => (pattern[1] == c).then_some(2),
        '[' => match class(pattern, c) {
            Some((length, within)) => within.then_some(length),
            // Never closed: a bracket.
            None => (c == '[').then_some(1),
        },
        literal => (literal == c).then_some(1),
    }
}

/// The length of `[…]`, and whether it has this character.
fn class(pattern: &[char], c: char) -> Option<(usize, bool)> {
    let mut at = 1;
    let not = matches!(pattern.get(at), Some('^' | '!'));
    at += usize::from(not);
    let first = at;
    let mut within = false;
    loop {
        let low = *pattern.get(at)?;
        if low == ']' && at > first {
            return Some((at + 1, within != not));
        }
        let high = match (pattern.get(at + 1), pattern.get(at + 2)) {
            (Some('-'), Some(&high)) if high != ']' => {
                at += 2;
                high
            }
            _ => low,
        };
        at += 1;
        within |= (low..=high).contains(&c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(pattern: &str, text: &str) -> bool {
        matches(&pattern.chars().collect::<Vec<_>>(), &text.chars().collect::<Vec<_>>())
    }

    #[test]
    fn wildcards() {
        for (pattern, text) in [
            ("*", ""),
            ("*gif*", "my-gif-maker"),
            ("a?c", "abc"),
            ("[a-c]x", "bx"),
            ("[^a]x", "bx"),
            ("\\*", "*"),
            ("a*b*c", "a-b-b-c"),
            ("[", "["),
            ("[]]", "]"),
            ("", ""),
        ] {
            assert!(is(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("a", "b"), ("a*", "ba"), ("[^a]", "a"), ("\\*", "x"), ("", "x"), ("?", "")] {
            assert!(!is(pattern, text), "{pattern} {text}");
        }
        assert!(!is(&format!("{}b", "a*".repeat(200)), &"a".repeat(2000)));
    }
}
