//! Which revisions the driver takes. What it cannot honour is refused by the field that asks for it.

use crate::{preparing, shape};
use serde_json::Value;
use xebec_core::{
    Error, ErrorKind,
    environment::Environment,
    revision::{RevisionSpec, SecretMount},
    workload::{ArchiveFormat, Workload},
};

/// The least memory that engines take.
const LEAST_MEMORY: u64 = 6 << 20;

/// The least processor time that engines take, in thousandths of a core.
const LEAST_CPU: u32 = 10;

/// Whether the driver could run it.
///
/// # Errors
/// `XB3001`, naming the field.
pub(crate) fn check(spec: &RevisionSpec, environment: &Environment) -> Result<(), Error> {
    preparing::reference(spec, environment)?;
    check_contract(spec)?;
    check_code(spec)?;
    if spec.handler.is_some() && !tells_code(spec) {
        return refuse("handler: an image has no entry points", "leave it away; its command says what runs");
    }
    if spec.style.is_some() {
        return refuse("style: how an image calls its code is its own affair", "leave it away");
    }
    for (name, value) in &spec.variables {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            let field = format!("env.{}: no variable can have this name or value", name.escape_debug());
            return refuse(&field, "names have no =, values no zero byte");
        }
    }
    spec.secrets.iter().try_for_each(check_secret)?;
    check_limits(spec)
}

fn check_contract(spec: &RevisionSpec) -> Result<(), Error> {
    let contract = &spec.contract;
    match contract.name.as_str() {
        "http" => {}
        // In its other modes it starts processes.
        TELLS if matches!(contract.options.get("mode").and_then(Value::as_str), None | Some("http")) => {}
        TELLS => {
            return refuse("contract.mode: the docker driver starts no processes in containers", "use http");
        }
        "stdio" => {
            return refuse(
                "contract: the docker driver starts no process per call",
                "let the image serve HTTP; a watchdog in it (fwatchdog) starts a process per call",
            );
        }
        other => {
            return refuse(&format!("contract: containers do not speak {other}"), "use http or init-run");
        }
    }
    if contract.options.contains_key("socket") {
        return refuse("contract.socket: containers are reached by a port", "use port");
    }
    if contract.options.get("port").is_some_and(|port| port.as_u64() != Some(u64::from(shape::port(spec)))) {
        let port = contract.options.get("port").unwrap_or(&Value::Null);
        return refuse(&format!("contract.port: {port} is no port"), "from 1 to 65535");
    }
    Ok(())
}

/// The contract that tells an instance what to run.
const TELLS: &str = "init-run";

fn tells_code(spec: &RevisionSpec) -> bool {
    spec.contract.name == TELLS
}

/// Code comes into a container through its contract only.
fn check_code(spec: &RevisionSpec) -> Result<(), Error> {
    let format = match &spec.workload {
        Workload::Code { format, .. } => format,
        Workload::Image { code: Some(code), .. } => &code.format,
        _ => return Ok(()),
    };
    if !tells_code(spec) {
        let contract = &spec.contract.name;
        return refuse(
            &format!("contract: {contract} brings no code into a container"),
            "use init-run, or an image with the code in it",
        );
    }
    match format {
        ArchiveFormat::Zip | ArchiveFormat::Single => Ok(()),
        _ => refuse("workload: code is handed to a container as a zip file or as one file", "pack it so"),
    }
}

fn check_secret(mount: &SecretMount) -> Result<(), Error> {
    let name = &mount.name;
    if mount.variable.is_some() {
        return refuse(
            &format!("secrets.{name}.variable: whoever may inspect a container reads its variables"),
            "mount it as a file",
        );
    }
    let Some(path) = &mount.path else { return Ok(()) };
    let sound = path.strip_prefix('/').is_some_and(|rest| {
        !path.contains('\0') && rest.split('/').all(|part| !matches!(part, "" | "." | ".."))
    });
    if sound {
        return Ok(());
    }
    refuse(&format!("secrets.{name}.path: {path:?} is no absolute path"), "for example /run/secrets/name")
}

fn check_limits(spec: &RevisionSpec) -> Result<(), Error> {
    let limits = &spec.limits;
    if let Some(bytes) = limits.memory_bytes.filter(|bytes| *bytes < LEAST_MEMORY) {
        return refuse(
            &format!("limits.memory_bytes: {bytes} is too little for a container"),
            "6 MiB is the least",
        );
    }
    if let Some(millis) = limits.cpu_millis.filter(|millis| *millis < LEAST_CPU) {
        return refuse(
            &format!("limits.cpu_millis: {millis} is too little for a container"),
            "10 (0.01 cores) is the least",
        );
    }
    if limits.processes == Some(0) {
        return refuse("limits.processes: 0 would leave nothing to run", "1 is the least");
    }
    if limits.scratch_bytes == Some(0) {
        return refuse("limits.scratch_bytes: 0 means no limit to a container", "4096 is the least");
    }
    Ok(())
}

fn refuse(message: &str, hint: &str) -> Result<(), Error> {
    Err(Error::new(ErrorKind::Refused, "XB3001", message).with_hint(hint))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use xebec_core::{Digest, limits::Limits, revision::ContractSpec, workload::PackedCode};

    fn environment(image: Option<&str>) -> Environment {
        Environment {
            name: "java".into(),
            description: String::new(),
            driver: "docker".into(),
            contract: ContractSpec::named(TELLS),
            image: image.map(str::to_owned),
            command: Vec::new(),
            variables: BTreeMap::new(),
            needs: Vec::new(),
            build: Vec::new(),
            blanks: None,
            concurrency: 1,
        }
    }

    fn spec() -> RevisionSpec {
        RevisionSpec {
            workload: Workload::image("a:1"),
            environment: "image".into(),
            contract: ContractSpec::named("http"),
            command: Vec::new(),
            handler: None,
            style: None,
            variables: BTreeMap::new(),
            secrets: Vec::new(),
            limits: Limits::default(),
            read_only_root: true,
            as_is: false,
        }
    }

    fn mount(path: Option<&str>, variable: Option<&str>) -> SecretMount {
        SecretMount {
            name: "s".into(),
            version: 1,
            path: path.map(str::to_owned),
            variable: variable.map(str::to_owned),
        }
    }

    #[test]
    fn what_cannot_be_honoured_is_named() {
        check(&spec(), &environment(None)).unwrap();
        type Change = fn(&mut RevisionSpec);
        let changes: [(&str, Change); 15] = [
            ("workload:", |s| {
                s.workload = Workload::Code { archive: Digest::of("x"), format: ArchiveFormat::Tar, bytes: 1 }
            }),
            ("image:", |s| s.workload = Workload::image("A B")),
            ("contract:", |s| s.contract = ContractSpec::named("stdio")),
            ("contract:", |s| s.contract = ContractSpec::named("wasi-http")),
            ("contract.socket:", |s| drop(s.contract.options.insert("socket".into(), "/s".into()))),
            ("contract.port:", |s| drop(s.contract.options.insert("port".into(), 70_000.into()))),
            ("handler:", |s| s.handler = Some("h".into())),
            ("style:", |s| s.style = Some("wsgi".into())),
            ("env.A=:", |s| drop(s.variables.insert("A=".into(), String::new()))),
            ("secrets.s.variable:", |s| s.secrets.push(mount(None, Some("S")))),
            ("secrets.s.path:", |s| s.secrets.push(mount(Some("/run/../etc/passwd"), None))),
            ("limits.memory_bytes:", |s| s.limits.memory_bytes = Some(1 << 20)),
            ("limits.cpu_millis:", |s| s.limits.cpu_millis = Some(1)),
            ("limits.processes:", |s| s.limits.processes = Some(0)),
            ("limits.scratch_bytes:", |s| s.limits.scratch_bytes = Some(0)),
        ];
        for (field, change) in changes {
            let mut spec = spec();
            change(&mut spec);
            let error = check(&spec, &environment(None)).unwrap_err();
            assert!(error.code == "XB3001" && error.message.starts_with(field), "{field} {error}");
            assert!(error.hint.is_some());
        }
    }
    #[test]
    fn code_comes_by_the_contract() {
        let archive = Digest::of("x");
        let code = |format| Workload::Code { archive, format, bytes: 1 };
        let brought = |format| Workload::Image {
            reference: "a:1".into(),
            code: Some(PackedCode { archive, format, bytes: 1 }),
        };
        let told = |workload| RevisionSpec {
            workload,
            contract: ContractSpec::named(TELLS),
            handler: Some("main".into()),
            ..spec()
        };
        let has_image = environment(Some("java:8"));
        for format in [ArchiveFormat::Zip, ArchiveFormat::Single] {
            check(&told(code(format)), &has_image).unwrap();
            check(&told(brought(format)), &environment(None)).unwrap();
        }
        check(&told(Workload::image("a:1")), &environment(None)).unwrap();
        let refused = |spec: &RevisionSpec, environment: &Environment| {
            let error = check(spec, environment).unwrap_err();
            assert_eq!(error.code, "XB3001");
            error.message
        };
        let single = code(ArchiveFormat::Single);
        assert!(refused(&told(single.clone()), &environment(None)).contains("java has no image"));
        assert!(refused(&told(code(ArchiveFormat::TarZstd)), &has_image).starts_with("workload:"));
        assert!(refused(&told(brought(ArchiveFormat::Wasm)), &has_image).starts_with("workload:"));
        for workload in [single.clone(), brought(ArchiveFormat::Zip)] {
            let plain = RevisionSpec { workload, ..spec() };
            assert!(refused(&plain, &has_image).starts_with("contract: http brings no code"));
        }
        let mut other = told(single);
        other.contract.options.insert("mode".into(), "loop".into());
        assert!(refused(&other, &has_image).starts_with("contract.mode:"));
        other.contract.options = BTreeMap::from([("socket".to_owned(), "/s".into())]);
        assert!(refused(&other, &has_image).starts_with("contract.socket:"));
    }
}
