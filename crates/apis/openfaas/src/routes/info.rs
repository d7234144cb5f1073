//! `GET /system/info` and `GET /system/telemetry`: what runs here.

use super::{SystemCall, json};
use crate::{DOOR, OpenFaas};
use http::Response;
use serde_json::json as object;
use xebec_core::Body;

impl OpenFaas {
    pub(super) fn info(&self) -> Response<Body> {
        let crate::Options { version, commit, orchestration } = &self.options;
        let version = object!({ "sha": commit, "release": version });
        json(&object!({
            "provider": { "provider": "xebec", "orchestration": orchestration, "version": version },
            "version": version,
            "arch": std::env::consts::ARCH,
        }))
    }
    /// How much there is of what the caller may see. Nothing of it leaves the server.
    pub(super) fn telemetry(&self, call: &SystemCall<'_>) -> Response<Body> {
        let functions = self.control.functions(None, Some(DOOR));
        let seen = functions.iter().filter(|view| call.principal.may_manage(&view.function.key.tenant));
        let (functions, instances) =
            seen.fold((0, 0), |(functions, instances), view| (functions + 1, instances + view.live.ready));
        json(&object!({
            "provider": "xebec",
            "version": self.options.version,
            "functions": functions,
            "replicas": instances,
        }))
    }
}
