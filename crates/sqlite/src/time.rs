//! Timestamps as SQLite keeps them: nanoseconds since 1970, which sort as numbers.

use jiff::Timestamp;

/// A timestamp as a number. What is before 1677 or after 2262 becomes the nearest that fits.
pub fn to_nanoseconds(time: Timestamp) -> i64 {
    let nanoseconds = time.as_nanosecond();
    i64::try_from(nanoseconds).unwrap_or(if nanoseconds < 0 { i64::MIN } else { i64::MAX })
}

/// The timestamp of a number.
pub fn from_nanoseconds(nanoseconds: i64) -> Timestamp {
    // Every i64 of nanoseconds lies well within what a timestamp can be.
    Timestamp::from_nanosecond(i128::from(nanoseconds)).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for time in ["1970-01-01T00:00:00Z", "2026-11-21T23:59:59.123456789Z", "1969-12-31T23:59:59.5Z"] {
            let time: Timestamp = time.parse().unwrap();
            assert_eq!(from_nanoseconds(to_nanoseconds(time)), time);
        }
        assert_eq!(to_nanoseconds(Timestamp::MAX), i64::MAX);
        assert!(from_nanoseconds(i64::MIN) < from_nanoseconds(i64::MAX));
    }
}
