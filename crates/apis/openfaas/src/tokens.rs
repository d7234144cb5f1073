//! Tokens that call functions for a short while: what clients get for a key, so that the key itself is not
//! sent along with every call.
//!
//! A token is a claim and its seal, which only this installation can make; nothing of it is stored. It names
//! the key that it was given for, ends by itself, and does nothing but call.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use jiff::Timestamp;
use ring::hmac;
use serde::{Deserialize, Serialize};
use xebec_core::{
    Tenant,
    auth::{Principal, Role},
};

/// Seconds until a token ends.
pub(crate) const LIFETIME: i64 = 300;

/// What tokens begin with.
const PREFIX: &str = "xbf_";

/// What the keys of an installation begin with.
const KEY_PREFIX: &str = "xbk_";

/// Sets these seals apart from everything else that is made with the installation's secret.
const PURPOSE: &[u8] = b"xebec tokens for calls, 1";

/// The longest token that is looked at.
const MAX_BYTES: usize = 16 * 1024;

/// Makes tokens and reads them.
pub(crate) struct Tokens(hmac::Key);

/// Whether this is a token or a key of an installation, good or not.
pub(crate) fn is_ours(token: &str) -> bool {
    token.starts_with(PREFIX) || token.starts_with(KEY_PREFIX)
}

/// What a token lets its holder do.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Claim {
    /// The key that it was given for.
    key: String,
    /// The one tenant that the key is confined to.
    tenant: Option<Tenant>,
    /// What may be called: `<namespace>:<name>`, with `*` for any.
    functions: Vec<String>,
    /// When it ends, in seconds since 1970.
    ends: i64,
}

impl Tokens {
    /// Tokens of the installation with this secret.
    pub(crate) fn new(secret: &[u8; 32]) -> Self {
        let of_installation = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let own = hmac::sign(&of_installation, PURPOSE);
        Self(hmac::Key::new(hmac::HMAC_SHA256, own.as_ref()))
    }

    /// A token for the holder of a key.
    pub(crate) fn issue(
        &self,
        key: &str,
        tenant: Option<&Tenant>,
        functions: Vec<String>,
        now: Timestamp,
    ) -> String {
        let claim = Claim {
            key: key.to_owned(),
            tenant: tenant.cloned(),
            functions,
            ends: now.as_second() + LIFETIME,
        };
        // Strings and a number always serialise.
        let claim = BASE64.encode(serde_json::to_vec(&claim).unwrap_or_default());
        let seal = BASE64.encode(hmac::sign(&self.0, claim.as_bytes()));
        format!("{PREFIX}{claim}.{seal}")
    }

    /// Who holds a token, if it is one that may call this function now.
    pub(crate) fn holder(
        &self,
        token: &str,
        name: &str,
        namespace: &str,
        tenant: &Tenant,
        now: Timestamp,
    ) -> Option<Principal> {
        let claim = self.read(token).filter(|claim| now.as_second() < claim.ends)?;
        let of_tenant = claim.tenant.as_ref().is_none_or(|only| only == tenant);
        let meant = claim.functions.iter().any(|function| means(function, name, namespace));
        (of_tenant && meant).then(|| Principal::Key {
            id: claim.key.into(),
            role: Role::Invoke,
            tenant: Some(tenant.clone()),
        })
    }

    fn read(&self, token: &str) -> Option<Claim> {
        if token.len() > MAX_BYTES {
            return None;
        }
        let (claim, seal) = token.strip_prefix(PREFIX)?.split_once('.')?;
        hmac::verify(&self.0, claim.as_bytes(), &BASE64.decode(seal).ok()?).ok()?;
        serde_json::from_slice(&BASE64.decode(claim).ok()?).ok()
    }
}

/// Whether `<namespace>:<name>`, with `*` for any, means a function.
fn means(pattern: &str, name: &str, namespace: &str) -> bool {
    let is = |pattern: &str, text: &str| pattern == "*" || pattern == text;
    match pattern.split_once(':') {
        Some((namespaces, names)) => is(namespaces, namespace) && is(names, name),
        None => pattern == "*",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn token(functions: &[&str], tenant: Option<&Tenant>) -> String {
        let functions = functions.iter().map(|function| (*function).to_owned()).collect();
        Tokens::new(&[1; 32]).issue("k", tenant, functions, at(1000))
    }

    fn holds(token: &str, name: &str, namespace: &str, now: i64) -> bool {
        let tenant = crate::names::tenant_of(namespace);
        Tokens::new(&[1; 32]).holder(token, name, namespace, &tenant, at(now)).is_some()
    }

    #[test]
    fn they_call_what_they_name_until_they_end() {
        let one = token(&["openfaas-fn:env"], None);
        assert!(holds(&one, "env", "openfaas-fn", 1000) && holds(&one, "env", "openfaas-fn", 1299));
        assert!(!holds(&one, "env", "openfaas-fn", 1300), "it has ended");
        assert!(!holds(&one, "other", "openfaas-fn", 1000) && !holds(&one, "env", "staging", 1000));
        let all = token(&["*"], None);
        assert!(holds(&all, "env", "staging", 1000));
        let of_one = token(&["staging:*"], None);
        assert!(holds(&of_one, "env", "staging", 1000) && !holds(&of_one, "env", "openfaas-fn", 1000));
        let confined = token(&["*"], Some(&Tenant::new("staging")));
        assert!(holds(&confined, "env", "staging", 1000) && !holds(&confined, "env", "openfaas-fn", 1000));
    }

    #[test]
    fn they_manage_nothing() {
        let tenant = Tenant::default();
        let holder =
            Tokens::new(&[1; 32]).holder(&token(&["*"], None), "env", "openfaas-fn", &tenant, at(1)).unwrap();
        assert!(holder.may_invoke(&tenant) && !holder.may_manage(&tenant) && !holder.is_admin());
    }

    proptest! {
        #[test]
        fn what_was_changed_or_sealed_elsewhere_is_none(at in 0usize..200, secret in 2u8..) {
            let good = token(&["*"], None);
            let mut bytes = good.clone().into_bytes();
            let place = at % bytes.len();
            bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            // The last character of either part holds bits that mean nothing.
            if Tokens::new(&[1; 32]).read(&changed).is_some() {
                prop_assert_eq!(Tokens::new(&[1; 32]).read(&changed), Tokens::new(&[1; 32]).read(&good));
            }
            prop_assert!(Tokens::new(&[secret; 32]).read(&good).is_none());
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,60}") {
            prop_assert!(Tokens::new(&[1; 32]).read(&text).is_none());
            let likely = format!("{PREFIX}{text}");
            prop_assert!(Tokens::new(&[1; 32]).read(&likely).is_none());
        }
    }
}
