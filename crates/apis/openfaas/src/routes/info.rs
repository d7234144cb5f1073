//! `GET /system/info`: what runs here.

use super::json;
use crate::OpenFaas;
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
}
