//! What the driver enforces, and what it cannot and why.

use crate::{engine::Facts, options::DockerOptions};
use std::path::Path;
use xebec_core::ports::driver::{DriverReport, Feature};

/// The type of a file system in memory.
const TMPFS: i128 = 0x0102_1994;

/// What the driver enforces. `facts` is `None` where no engine was talked to yet.
pub(crate) fn report(facts: Option<&Facts>, away: bool, options: &DockerOptions) -> DriverReport {
    let Some(facts) = facts else {
        return DriverReport {
            driver: "docker".to_owned(),
            usable: false,
            features: vec![feature(
                "container engine",
                false,
                "none was found; one that is started later is used from the next deploy on",
            )],
            shares_host_network: false,
        };
    };
    DriverReport {
        driver: "docker".to_owned(),
        usable: !away,
        features: features(facts, away, options),
        // Its containers reach this machine's loopback under a name of their own.
        shares_host_network: facts.desktop,
    }
}

fn features(facts: &Facts, away: bool, options: &DockerOptions) -> Vec<Feature> {
    let engine = format!("{} at {}", facts.version, facts.socket.display());
    let limit = |on: bool| {
        if on {
            "by the engine's control groups"
        } else {
            "the engine has no control group for it; see docker info"
        }
    };
    vec![
        feature("container engine", !away, &if away { format!("{engine} does not answer") } else { engine }),
        feature("memory limit", facts.memory_limit, limit(facts.memory_limit)),
        feature("processor limit", facts.cpu_limit, limit(facts.cpu_limit)),
        feature("process limit", facts.pids_limit, limit(facts.pids_limit)),
        capabilities(options),
        feature("no new privileges", true, "set on every container"),
        feature(
            "system call filter",
            facts.seccomp,
            if facts.seccomp { "the engine's default profile" } else { "the engine runs without seccomp" },
        ),
        users(facts, options),
        feature("read-only root", true, "where the function asks for it; /tmp is its own, in memory"),
        secrets(facts, &options.secrets_directory),
        feature(
            "functions apart from each other",
            false,
            "one bridge with traffic between containers forbidden; it holds where the engine keeps a firewall \
             (not with --iptables=false)",
        ),
        host_apart(facts),
    ]
}

fn capabilities(options: &DockerOptions) -> Feature {
    match options.capabilities.as_slice() {
        [] => feature("capabilities", true, "all are dropped"),
        kept => feature("capabilities", true, &format!("all are dropped but {}", kept.join(", "))),
    }
}

fn users(facts: &Facts, options: &DockerOptions) -> Feature {
    match &options.user {
        Some(user) => feature("own user", true, &format!("everything runs as {user}")),
        None if facts.rootless => feature("own user", true, "the engine itself runs without root"),
        None => {
            feature("own user", false, "as the image says, which may be root, though without capabilities")
        }
    }
}

fn secrets(facts: &Facts, folder: &Path) -> Feature {
    let name = "secrets in memory only";
    if !facts.local {
        return feature(
            name,
            false,
            "the engine runs elsewhere: they are in the container's files while it lasts",
        );
    }
    let in_memory = rustix::fs::statfs(folder).is_ok_and(|data| i128::from(data.f_type) == TMPFS);
    let detail = if in_memory {
        format!("files in {}, bound read-only", folder.display())
    } else {
        format!("{} is not in memory; name a folder that is", folder.display())
    };
    feature(name, in_memory, &detail)
}

fn host_apart(facts: &Facts) -> Feature {
    let detail = if facts.desktop {
        "containers reach this machine's loopback: management always asks for a credential"
    } else {
        "containers reach what this machine serves on other addresses than its loopback; the server listens on \
         loopback unless told otherwise, and asks everyone else for a key"
    };
    feature("host apart from functions", false, detail)
}

fn feature(name: &str, enforced: bool, detail: &str) -> Feature {
    Feature { name: name.to_owned(), enforced, detail: detail.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_enforced_is_said() {
        let options = DockerOptions::new("/d");
        assert!(!report(None, false, &options).usable);
        let facts = Facts { desktop: true, memory_limit: true, ..Facts::default() };
        let report = report(Some(&facts), true, &options);
        assert!(!report.usable && report.shares_host_network);
        let enforced = |name: &str| report.features.iter().find(|f| f.name == name).unwrap().enforced;
        assert!(enforced("memory limit") && enforced("capabilities"));
        assert!(!enforced("processor limit") && !enforced("system call filter") && !enforced("own user"));
    }
}
