//! Durations as the watchdogs read them: Go's form (`1m30s`) or bare seconds (`90`).

use std::time::Duration;

/// The longest duration that is told apart from "for ever": a day. Longer ones are cut to it.
pub const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Reads a duration: bare seconds, or a sequence of numbers with units as Go writes them (`300ms`, `1.5h`,
/// `2h45m`). `None` for anything else, negative ones included. What passes [`LONGEST`] is cut to it.
pub fn parse(text: &str) -> Option<Duration> {
    let text = text.trim();
    let text = text.strip_prefix('+').unwrap_or(text);
    if text.is_empty() {
        return None;
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        // Too many digits for a number are still a number: a very long time.
        return Some(text.parse().map_or(LONGEST, |seconds| Duration::from_secs(seconds).min(LONGEST)));
    }
    let mut seconds = 0f64;
    let mut rest = text;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let (number, after) = rest.split_at(number_end);
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        seconds += parse_number(number)? * unit_seconds(unit)?;
        rest = after;
    }
    Some(Duration::try_from_secs_f64(seconds).map_or(LONGEST, |duration| duration.min(LONGEST)))
}

/// `1`, `1.`, `.5`, `1.5`: at least one digit, at most one dot.
fn parse_number(text: &str) -> Option<f64> {
    let dots = text.bytes().filter(|byte| *byte == b'.').count();
    if dots > 1 || dots == text.len() {
        return None;
    }
    text.parse().ok()
}

fn unit_seconds(unit: &str) -> Option<f64> {
    Some(match unit {
        "ns" => 1e-9,
        "us" | "\u{b5}s" | "\u{3bc}s" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_the_watchdogs_read() {
        for (text, millis) in [
            ("30", 30_000),
            ("0", 0),
            ("0s", 0),
            ("30s", 30_000),
            ("1m30s", 90_000),
            ("1.5h", 5_400_000),
            (".5s", 500),
            ("2h45m", 9_900_000),
            ("300ms", 300),
            ("1500us", 1),
            ("1500µs", 1),
            ("1500μs", 1),
            ("+5s", 5_000),
            ("200h", 86_400_000),
            ("99999999999999999999999", 86_400_000),
            ("99999999999999999999999h", 86_400_000),
        ] {
            assert_eq!(parse(text).map(|d| d.as_millis()), Some(millis), "{text}");
        }
        for bad in ["", " ", "s", "-5s", "-5", "1x", "1 s", "1.2.3s", ".s", "1s2", "5d", "1e3s", "soon"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,40}") {
            let _ = parse(&text);
        }

        #[test]
        fn reads_back_what_was_written(h in 0u64..23, m in 0u64..60, s in 0u64..60, ms in 0u64..1000) {
            let read = parse(&format!("{h}h{m}m{s}s{ms}ms")).map(|d| d.as_millis() as u64);
            let wanted = ((h * 60 + m) * 60 + s) * 1000 + ms;
            prop_assert!(read.is_some_and(|read| read.abs_diff(wanted) <= 1));
        }

        #[test]
        fn bare_numbers_are_seconds(seconds in 0u64..86_400) {
            prop_assert_eq!(parse(&seconds.to_string()), Some(Duration::from_secs(seconds)));
        }
    }
}
