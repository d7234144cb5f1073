//! `xebec revisions`, `rollback`, `traffic`

use crate::{
    client::{Client, ServerArguments},
    failure::Failure,
    output::{self, Format},
};
use http::Method;
use xebec_api_native::wire::{NumberedShare, RevisionAnswer, RollbackRequest, TrafficRequest};

/// List a function's revisions, newest first
#[derive(Debug, clap::Args)]
pub(crate) struct Revisions {
    /// The function
    name: String,
}

impl Revisions {
    pub(crate) async fn run(self, server: &ServerArguments, format: Format) -> Result<(), Failure> {
        let path = format!("functions/{}/revisions", self.name);
        print(format, &Client::new(server)?.get::<Vec<_>>(&path).await?)
    }
}

/// Send all calls to an older revision
#[derive(Debug, clap::Args)]
pub(crate) struct Rollback {
    /// The function
    name: String,
    /// To which revision; left out: the one before
    #[arg(long, value_name = "REVISION")]
    to: Option<u64>,
}

impl Rollback {
    pub(crate) async fn run(self, server: &ServerArguments, format: Format) -> Result<(), Failure> {
        let path = format!("functions/{}/rollback", self.name);
        let request = RollbackRequest { to: self.to };
        print(format, &Client::new(server)?.exchange::<Vec<_>>(Method::POST, &path, &request).await?)
    }
}

/// Split calls over revisions, e.g. `xebec traffic hello 3=90 4=10`
#[derive(Debug, clap::Args)]
pub(crate) struct TrafficSplit {
    /// The function
    name: String,
    /// `REVISION=PERCENT`; together 100
    #[arg(required = true, value_parser = share)]
    shares: Vec<NumberedShare>,
}

fn share(text: &str) -> Result<NumberedShare, String> {
    let parsed = text.split_once('=').and_then(|(revision, percent)| {
        Some(NumberedShare {
            revision: revision.parse().ok()?,
            percent: percent.trim_end_matches('%').parse().ok()?,
        })
    });
    parsed.ok_or_else(|| "write REVISION=PERCENT, for example 3=90".to_owned())
}

impl TrafficSplit {
    pub(crate) async fn run(self, server: &ServerArguments, format: Format) -> Result<(), Failure> {
        let path = format!("functions/{}/traffic", self.name);
        let request = TrafficRequest { shares: self.shares };
        print(format, &Client::new(server)?.exchange::<Vec<_>>(Method::PUT, &path, &request).await?)
    }
}

fn print(format: Format, revisions: &[RevisionAnswer]) -> Result<(), Failure> {
    output::print(format, &revisions, || {
        let row = |revision: &RevisionAnswer| {
            vec![
                revision.entry.number.to_string(),
                format!("{} %", revision.percent),
                revision.entry.digest.short(),
                output::age(revision.entry.created),
            ]
        };
        output::table(&["REVISION", "TRAFFIC", "DIGEST", "AGE"], revisions.iter().map(row).collect())
    })
}
