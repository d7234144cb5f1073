//! Pairs: `uuid:key`, as clients send them by HTTP Basic. Only their SHA-256 is kept.

use crate::token::TokenHash;
use uuid::Uuid;
use xebec_core::Error;

/// How many characters the second half has.
const CHARACTERS: usize = 64;

const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// A new pair and the id within it.
pub(crate) fn generate() -> (String, String) {
    let id = Uuid::new_v4().hyphenated().to_string();
    let key: String =
        (0..CHARACTERS).map(|_| char::from(ALPHABET[rand::random_range(0..ALPHABET.len())])).collect();
    let pair = format!("{id}:{key}");
    (id, pair)
}

/// A pair from elsewhere and the id within it.
///
/// # Errors
/// `XB5007`, never repeating what is secret.
pub(crate) fn read(text: &str) -> Result<(String, String), Error> {
    let fault = |why: String| {
        Err(Error::invalid("XB5007", format!("this is no pair: {why}"))
            .with_hint("it is what stands behind AUTH= in ~/.wskprops: a UUID, a colon and 64 characters"))
    };
    let Some((user, key)) = text.trim().split_once(':') else {
        return fault("it has no colon".to_owned());
    };
    let Some(id) = id_of(user) else {
        return fault("what stands before the colon is no UUID".to_owned());
    };
    if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return fault("behind the colon are characters that a key does not have".to_owned());
    }
    if key.len() != CHARACTERS {
        return fault(format!("behind the colon are {} characters, not {CHARACTERS}", key.len()));
    }
    let pair = format!("{id}:{key}");
    Ok((id, pair))
}

/// The id of the pair whose first half this is.
pub(crate) fn id_of(user: &str) -> Option<String> {
    // Hyphenated or not at all: the other forms of UUIDs have colons or braces.
    let id = Uuid::try_parse(user).ok().filter(|_| matches!(user.len(), 32 | 36))?;
    Some(id.hyphenated().to_string())
}

/// The hash of a pair.
pub(crate) fn hash(id: &str, key: &str) -> TokenHash {
    TokenHash::of(&format!("{id}:{key}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_pair_is_read_as_it_was_made() {
        let (id, pair) = generate();
        assert_eq!(read(&format!(" {pair}\n")).unwrap(), (id.clone(), pair.clone()));
        let (user, key) = pair.split_once(':').unwrap();
        assert_eq!((id_of(user), key.len()), (Some(id.clone()), 64));
        assert!(hash(&id, key).matches(&TokenHash::of(&pair)));
        assert_eq!(read(&pair.to_uppercase().replace(&key.to_uppercase(), key)).unwrap().0, id);
        assert_ne!(generate().1, generate().1);
    }

    #[test]
    fn what_is_no_pair_is_said_without_repeating_it() {
        let (id, key) = ("23bc46b1-71f6-4ed5-8c54-816aa4f8c502", "x".repeat(64));
        for (bad, says) in [
            (String::new(), "no colon"),
            (key.clone(), "no colon"),
            (format!("guest:{key}"), "no UUID"),
            (format!("urn:uuid:{id}:{key}"), "no UUID"),
            (format!("{{{id}}}:{key}"), "no UUID"),
            (format!("{id}:{}", &key[1..]), "63 characters"),
            (format!("{id}:{key}x"), "65 characters"),
            (format!("{id}:{} {}", &key[..31], &key[..32]), "does not have"),
            (format!("{id}:{}ü", &key[..62]), "does not have"),
        ] {
            let error = read(&bad).unwrap_err();
            assert_eq!(error.code, "XB5007");
            assert!(error.message.contains(says), "{bad}: {error}");
            assert!(!error.to_string().contains("xxxx"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,120}") {
            let _ = read(&text);
            let _ = id_of(&text);
        }
    }
}
