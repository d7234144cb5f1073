//! Names: OpenFaaS' namespaces and the core's tenants, and the names in `/function/<name>[.<namespace>]`.

use xebec_core::{
    Tenant,
    error::{Error, ErrorKind},
    names::DEFAULT_TENANT,
};

/// The namespace that is meant where none is named.
pub const DEFAULT_NAMESPACE: &str = "openfaas-fn";

/// The space of addresses that everything called at `/function/<name>` shares, whichever door it came through.
pub const FUNCTION_SPACE: &str = "function";

/// The tenant of a namespace: `openfaas-fn` is `default`, every other one bears its own name.
///
/// The two names swap, so that the mapping is one to one and nothing that a user names is unreachable.
pub fn tenant_of(namespace: &str) -> Tenant {
    match namespace {
        "" | DEFAULT_NAMESPACE => Tenant::new(DEFAULT_TENANT),
        DEFAULT_TENANT => Tenant::new(DEFAULT_NAMESPACE),
        other => Tenant::new(other),
    }
}

/// The namespace of a tenant: the other way of [`tenant_of`].
pub fn namespace_of(tenant: &Tenant) -> &str {
    match tenant.as_str() {
        DEFAULT_TENANT => DEFAULT_NAMESPACE,
        DEFAULT_NAMESPACE => DEFAULT_TENANT,
        other => other,
    }
}

/// Splits what stands in a path at its last dot into name and namespace; without a dot, the namespace is
/// [`DEFAULT_NAMESPACE`]. `None` for what the route does not match: other than letters, digits, `-`, `_`
/// and `.`, or an empty half.
pub fn split_qualified(text: &str) -> Option<(&str, &str)> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if text.is_empty() || !text.bytes().all(allowed) {
        return None;
    }
    match text.rsplit_once('.') {
        None => Some((text, DEFAULT_NAMESPACE)),
        Some(("", _) | (_, "")) => None,
        Some(halves) => Some(halves),
    }
}

/// Checks the name of a secret by the rule of DNS subdomains, as Kubernetes has it. It becomes a file name,
/// so this is also what keeps a secret from landing elsewhere.
///
/// # Errors
/// `XB1001`.
pub fn check_secret_name(name: &str) -> Result<(), Error> {
    let allowed = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '-' | '.');
    let edges = |c: char| matches!(c, '-' | '.');
    if name.is_empty()
        || name.len() > 253
        || !name.chars().all(allowed)
        || name.starts_with(edges)
        || name.ends_with(edges)
        || name.contains("..")
    {
        return Err(Error::new(
            ErrorKind::Invalid,
            "XB1001",
            format!("secret name {name:?} is not a valid name"),
        )
        .with_hint("use lower-case letters, digits, - and ., at most 253 of them"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_split_at_the_last_dot() {
        assert_eq!(split_qualified("env"), Some(("env", "openfaas-fn")));
        assert_eq!(split_qualified("env.openfaas-fn"), Some(("env", "openfaas-fn")));
        assert_eq!(split_qualified("fn.ns.openfaas-fn"), Some(("fn.ns", "openfaas-fn")));
        for bad in ["", ".", "a.", ".a", "a b", "a/b", "a%20b", "ü"] {
            assert_eq!(split_qualified(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_default_namespace_is_the_default_tenant() {
        assert_eq!(tenant_of("").as_str(), "default");
        assert_eq!(tenant_of("openfaas-fn").as_str(), "default");
        assert_eq!(tenant_of("staging").as_str(), "staging");
        assert_eq!(namespace_of(&Tenant::default()), "openfaas-fn");
    }

    #[test]
    fn secret_names() {
        for good in ["a", "api-key", "tls.crt", &"x".repeat(253)] {
            assert!(check_secret_name(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a..b", "/etc/passwd", "../x", "A", "a/b", "-a", "a-", &"x".repeat(254)] {
            assert!(check_secret_name(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn namespaces_and_tenants_are_one_to_one(name in "[a-z0-9-]{1,20}|openfaas-fn|default") {
            let tenant = tenant_of(&name);
            prop_assert_eq!(namespace_of(&tenant), name.as_str());
            prop_assert_eq!(tenant_of(namespace_of(&Tenant::new(&name))), Tenant::new(&name));
        }

        #[test]
        fn splitting_loses_nothing(text in "\\PC{0,40}") {
            if let Some((name, namespace)) = split_qualified(&text) {
                prop_assert!(!name.is_empty() && !namespace.is_empty() && !namespace.contains('.'));
                let joined = format!("{name}.{namespace}");
                prop_assert!(joined == text || (name == text && namespace == DEFAULT_NAMESPACE));
            }
        }
    }
}
