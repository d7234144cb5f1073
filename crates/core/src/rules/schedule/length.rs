//! Lengths of time as people write them.

use super::SHORTEST;
use crate::error::Error;
use jiff::{SignedDuration, Span, SpanRelativeTo};

/// The longest interval: ten years.
const LONGEST: SignedDuration = SignedDuration::from_hours(24 * 3653);

/// Reads `90s`, `1h30m`, `2d` or `PT5M`. A day has 24 hours.
pub(super) fn read(what: &str, text: &str) -> Result<SignedDuration, Error> {
    let span = text.trim().parse::<Span>().ok();
    let length = span.and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()).ok());
    let Some(length) = length else {
        let fault = format!("{what} {:?} is not a length of time", text.trim());
        return Err(Error::invalid("XB1012", fault).with_hint("write it as 30s, 5m, 1h30m or 1d"));
    };
    if length.is_negative() || length.unsigned_abs() < SHORTEST {
        let fault = format!("{what} {:?} is too short: at least a second is needed", text.trim());
        return Err(Error::invalid("XB1012", fault));
    }
    if length > LONGEST {
        let fault = format!("{what} {:?} is too long: ten years are allowed", text.trim());
        return Err(Error::invalid("XB1012", fault));
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write() {
        for (text, seconds) in [
            ("1s", 1),
            ("90s", 90),
            ("1h30m", 5400),
            ("1h 30m", 5400),
            ("1.5h", 5400),
            ("2d", 172_800),
            ("1w", 604_800),
            ("PT5M", 300),
            ("5 minutes", 300),
        ] {
            assert_eq!(read("every", text).unwrap(), SignedDuration::from_secs(seconds), "{text}");
        }
        for text in ["", "5", "0s", "999ms", "-5m", "5m ago", "1y", "1mo", "11y", "4000d", "x"] {
            let error = read("every", text).unwrap_err();
            assert!(error.code == "XB1012" && error.message.contains(&format!("{text:?}")), "{error}");
        }
    }
}
