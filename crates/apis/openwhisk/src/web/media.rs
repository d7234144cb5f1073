//! Media types: which are text, which are JSON, which travel as base64.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD},
};

/// Base64 as it is sent to us: padded, or not.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Types below `application/` that are text, beside all that is JSON or XML.
const TEXTS: [&str; 9] = [
    "javascript",
    "x-javascript",
    "ecmascript",
    "graphql",
    "sql",
    "x-www-form-urlencoded",
    "yaml",
    "x-yaml",
    "base64",
];

/// A media type, as a `Content-Type` header says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Media {
    main: String,
    sub: String,
    charset: bool,
}

impl Media {
    /// Reads a header's value.
    pub(crate) fn of(value: &str) -> Option<Self> {
        let mut parts = value.split(';');
        let (main, sub) = parts.next()?.trim().split_once('/')?;
        let is_token = |text: &str| {
            !text.is_empty()
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
        };
        let charset = parts.any(|part| part.trim_start().to_ascii_lowercase().starts_with("charset="));
        (is_token(main) && is_token(sub)).then(|| Self {
            main: main.to_ascii_lowercase(),
            sub: sub.to_ascii_lowercase(),
            charset,
        })
    }

    fn is(&self, main: &str, sub: &str) -> bool {
        self.main == main && self.sub == sub
    }

    /// Exactly `application/json`.
    pub(crate) fn is_plain_json(&self) -> bool {
        self.is("application", "json")
    }

    /// `application/json` and all `…+json`.
    pub(crate) fn is_json(&self) -> bool {
        self.is_plain_json() || self.sub.ends_with("+json")
    }

    /// An image that is text: it may be sent as either.
    pub(crate) fn is_svg(&self) -> bool {
        self.is("image", "svg+xml")
    }

    /// What HTML forms send.
    pub(crate) fn is_form(&self) -> bool {
        self.is("application", "x-www-form-urlencoded")
    }

    /// Whether it says which characters its bytes are.
    pub(crate) fn has_charset(&self) -> bool {
        self.charset
    }

    /// Whether its bytes are text: whatever says its characters, and what is known to be text.
    pub(crate) fn is_text(&self) -> bool {
        let application = || {
            self.is_json()
                || self.sub == "xml"
                || self.sub == "xml-dtd"
                || self.sub.ends_with("+xml")
                || TEXTS.contains(&self.sub.as_str())
        };
        match self.main.as_str() {
            "text" => true,
            "multipart" => false,
            "application" => self.charset || application(),
            _ => self.charset,
        }
    }
}

/// The bytes of base64, with or without padding; `None` where it is none.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    LENIENT.decode(text.trim()).ok()
}

/// Bytes as base64.
pub(crate) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Whether text looks like base64 of some bytes, padded.
pub(crate) fn looks_encoded(text: &str) -> bool {
    let text = text.trim();
    !text.is_empty() && text.len().is_multiple_of(4) && STANDARD.decode(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_text_from_bytes() {
        for text in [
            "text/plain",
            "text/x-unheard-of",
            "application/json",
            "application/vnd.api+json",
            "application/xml",
            "application/soap+xml; action=x",
            "application/x-thing; charset=utf-8",
            "image/svg+xml; charset=utf-8",
            "Application/JavaScript",
        ] {
            assert!(Media::of(text).unwrap().is_text(), "{text}");
        }
        for bytes in [
            "image/png",
            "image/svg+xml",
            "application/octet-stream",
            "multipart/form-data; boundary=x",
            "application/zip",
        ] {
            assert!(!Media::of(bytes).unwrap().is_text(), "{bytes}");
        }
        for bad in ["", "text", "/", "text/", "te xt/plain", "text/pl\nain"] {
            assert_eq!(Media::of(bad), None, "{bad}");
        }
    }

    #[test]
    fn knows_json() {
        let json = |value: &str| Media::of(value).unwrap().is_json();
        assert!(
            json("application/json")
                && json("application/problem+json")
                && json("APPLICATION/JSON; charset=utf-8")
        );
        assert!(
            !json("application/xml")
                && !json("text/json")
                && !Media::of("application/a+json").unwrap().is_plain_json()
        );
    }

    #[test]
    fn reads_base64() {
        assert_eq!(decode(" aGVsbG8= ").unwrap(), b"hello");
        assert_eq!(decode("aGVsbG8").unwrap(), b"hello");
        assert_eq!(decode("<svg/>"), None);
        assert!(
            looks_encoded("aGVsbG8=")
                && !looks_encoded("aGVsbG8")
                && !looks_encoded("")
                && !looks_encoded("a b c d ")
        );
    }
}
