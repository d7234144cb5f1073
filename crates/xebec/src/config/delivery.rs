//! How calls are made that outlive their caller.

use crate::failure::Failure;
use serde::Deserialize;
use xebec_api_native::wire::{Bytes, Span};
use xebec_delivery::DeliveryOptions;

/// `[async]` in `xebec.toml`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct FileAsync {
    concurrency: Option<u32>,
    tenant_concurrency: Option<u32>,
    lease: Option<Span>,
    answer_size: Option<Bytes>,
    destination_timeout: Option<Span>,
    forbid_private_destinations: Option<bool>,
}

impl FileAsync {
    /// Puts the file over what is built in.
    pub(super) fn decide(&self) -> Result<DeliveryOptions, Failure> {
        let built_in = DeliveryOptions::default();
        let claims = self.concurrency.unwrap_or(built_in.claims);
        // Three quarters, so that no tenant takes all there is.
        let share = || (claims - claims / 4).max(1);
        let options = DeliveryOptions {
            claims,
            tenant_claims: self.tenant_concurrency.unwrap_or_else(share),
            lease: self.lease.map_or(built_in.lease, |span| span.0),
            answer_bytes: self.answer_size.map_or(built_in.answer_bytes, |bytes| bytes.0),
            answer: self.destination_timeout.map_or(built_in.answer, |span| span.0),
            forbid_private_destinations: self
                .forbid_private_destinations
                .unwrap_or(built_in.forbid_private_destinations),
            ..built_in
        };
        if !(1..=65_536).contains(&options.claims) || options.tenant_claims == 0 {
            return Err(Failure::misuse(
                "[async] concurrency must be 1 to 65536, and tenant-concurrency above 0",
            ));
        }
        if options.lease.as_secs() < 5 || options.answer.is_zero() {
            return Err(Failure::misuse(
                "[async] lease must be at least 5s, and destination-timeout above 0",
            ));
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(text: &str) -> Result<DeliveryOptions, Failure> {
        toml::from_str::<FileAsync>(text).unwrap().decide()
    }

    #[test]
    fn a_tenant_gets_three_quarters_unless_told_otherwise() {
        let options = decide("concurrency = 8\nforbid-private-destinations = true\n").unwrap();
        assert_eq!((options.claims, options.tenant_claims), (8, 6));
        assert!(options.forbid_private_destinations);
        assert_eq!(decide("concurrency = 1\n").unwrap().tenant_claims, 1);
        assert_eq!(decide("tenant-concurrency = 3\n").unwrap().tenant_claims, 3);
    }

    #[test]
    fn refuses_what_cannot_work() {
        for text in ["concurrency = 0\n", "lease = \"1s\"\n", "tenant-concurrency = 0\n"] {
            assert!(decide(text).is_err(), "{text}");
        }
    }
}
