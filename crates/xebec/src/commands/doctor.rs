//! `xebec doctor`

use crate::{
    client::{Client, ServerArguments},
    config::{Config, Options},
    failure::Failure,
    output::{self, Format},
    server,
};
use serde::Serialize;
use std::fmt::Write as _;
use xebec_api_native::wire::Info;
use xebec_core::ports::{control::EnvironmentInfo, driver::DriverReport};

/// Check this machine and the server: what is enforced, what is missing, and what to do about it
#[derive(Debug, clap::Args)]
pub(crate) struct Doctor {}

#[derive(Serialize)]
struct Findings {
    server: Option<String>,
    drivers: Vec<DriverReport>,
    environments: Vec<EnvironmentInfo>,
}

impl Doctor {
    pub(crate) async fn run(self, arguments: &ServerArguments, format: Format) -> Result<(), Failure> {
        let client = Client::new(arguments)?;
        let findings = match client.get::<Info>("info").await {
            Ok(info) => Findings {
                server: Some(format!("{} at {}, {} functions", info.version, arguments.url, info.functions)),
                drivers: info.drivers,
                environments: client.get("environments").await?,
            },
            // Without a server, this machine is looked at as a server would.
            Err(refused) if refused.message.contains("no server answers") => {
                let (drivers, environments) = server::inspect(&Config::load(&Options::default())?).await?;
                Findings { server: None, drivers, environments }
            }
            Err(failure) => return Err(failure),
        };
        output::print(format, &findings, || text(&findings, arguments))?;
        if findings.drivers.iter().all(|driver| !driver.usable) {
            return Err(Failure::new("no driver can run anything on this machine"));
        }
        Ok(())
    }
}

fn text(findings: &Findings, arguments: &ServerArguments) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = match &findings.server {
        Some(server) => writeln!(out, "ok       server {server}"),
        None => {
            writeln!(out, "-        no server answers at {}; this is what one would find here", arguments.url)
        }
    };
    for driver in &findings.drivers {
        let mark = if driver.usable { "ok  " } else { "NONE" };
        let _ = writeln!(out, "{mark}     driver {}", driver.driver);
        for feature in &driver.features {
            let mark = if feature.enforced { "ok     " } else { "MISSING" };
            let _ = writeln!(out, "{mark}    {}: {}", feature.name, feature.detail);
        }
        if driver.shares_host_network {
            let _ = writeln!(
                out,
                "note       functions share this machine's network; managing always needs the token"
            );
        }
    }
    for environment in &findings.environments {
        let _ = if environment.missing.is_empty() {
            writeln!(out, "ok       environment {}: {}", environment.name, environment.description)
        } else {
            writeln!(
                out,
                "MISSING  environment {}: install {} to use it",
                environment.name,
                environment.missing.join(", ")
            )
        };
    }
    out.trim_end().to_owned()
}
