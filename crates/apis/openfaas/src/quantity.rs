//! Quantities as Kubernetes writes them: `128Mi`, `100m`, `0.5`, `1e3`.

/// Reads a quantity. `None` for what is not one, and for negative ones.
pub fn parse(text: &str) -> Option<f64> {
    let number_end = number_end(text);
    let (number, suffix) = text.split_at(number_end);
    if !number.bytes().any(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value: f64 = number.parse().ok()?;
    let value = value * factor(suffix)?;
    value.is_finite().then_some(value)
}

/// Where the number ends and its suffix starts. `E` is an exponent only before a digit or sign: `1E` is an exa.
fn number_end(text: &str) -> usize {
    let bytes = text.as_bytes();
    let plain = |byte: u8| byte.is_ascii_digit() || byte == b'.';
    let mut end = bytes.iter().position(|byte| !plain(*byte)).unwrap_or(bytes.len());
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let digits = match bytes.get(end + 1) {
            Some(b'+' | b'-') => end + 2,
            _ => end + 1,
        };
        let count = bytes[digits.min(bytes.len())..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if count > 0 {
            end = digits + count;
        }
    }
    end
}

fn factor(suffix: &str) -> Option<f64> {
    const KIBI: f64 = 1024.0;
    Some(match suffix {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => KIBI,
        "Mi" => KIBI.powi(2),
        "Gi" => KIBI.powi(3),
        "Ti" => KIBI.powi(4),
        "Pi" => KIBI.powi(5),
        "Ei" => KIBI.powi(6),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_manifests_say() {
        for (text, value) in [
            ("128Mi", 134_217_728.0),
            ("1Gi", 1_073_741_824.0),
            ("100m", 0.1),
            ("0.5", 0.5),
            ("2", 2.0),
            ("1e3", 1000.0),
            ("1E3", 1000.0),
            ("1e-3", 0.001),
            ("1E", 1e18),
            ("1Ei", 1_152_921_504_606_846_976.0),
            ("500M", 5e8),
            ("64k", 64_000.0),
            (".5", 0.5),
        ] {
            assert_eq!(parse(text), Some(value), "{text}");
        }
        for bad in [
            "", "Mi", "-1", "+1", "1 Mi", "1KB", "1mi", "one", "1.2.3", ".", "1e", "1e+", "NaN", "inf",
            "1e999",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,40}") {
            let _ = parse(&text);
        }

        #[test]
        fn is_never_negative(text in "[-+0-9.eEmkMGi]{0,12}") {
            prop_assert!(parse(&text).is_none_or(|value| value >= 0.0));
        }

        #[test]
        fn whole_mebibytes(count in 0u32..1_000_000) {
            prop_assert_eq!(parse(&format!("{count}Mi")), Some(f64::from(count) * 1_048_576.0));
        }
    }
}
