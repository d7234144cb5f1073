//! Who may call a function.

use super::invalid;
use crate::wire::FunctionDeployment;
use std::collections::BTreeMap;
use xebec_core::{Error, policy::Visibility};

/// The annotation that says it.
const ANNOTATION: &str = "xebec.visibility";

/// The variable that says it to the original's watchdogs, which then ask the original's identity service about
/// every caller.
const VARIABLE: &str = "jwt_auth";

/// What goes with it.
const ABOUT_IT: [&str; 3] = [VARIABLE, "jwt_auth_debug", "jwt_auth_local"];

/// Everyone, unless annotation or variable say that callers need a credential.
pub(super) fn visibility(request: &FunctionDeployment) -> Result<Visibility, Error> {
    let asked = request.env_vars.get(VARIABLE).is_some_and(|value| matches!(value.trim(), "true" | "1"));
    match request.annotations.get(ANNOTATION).map(|value| value.trim()) {
        Some("authenticated") => Ok(Visibility::Authenticated),
        Some("public") if asked => {
            let fault = format!("is \"public\", but envVars.{VARIABLE} asks for credentials");
            Err(invalid(&format!("annotations.{ANNOTATION}"), fault))
        }
        Some("public") => Ok(Visibility::Public),
        Some(other) => {
            let fault = format!("{other:?} is neither public nor authenticated");
            Err(invalid(&format!("annotations.{ANNOTATION}"), fault))
        }
        None if asked => Ok(Visibility::Authenticated),
        None => Ok(Visibility::Public),
    }
}

/// Takes away what would make an image's own watchdog check callers: that is done before they get to it, and the
/// service that it would ask is not here.
pub(super) fn take_over(variables: &mut BTreeMap<String, String>) {
    variables.retain(|name, _| !ABOUT_IT.contains(&name.as_str()));
}
