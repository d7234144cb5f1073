//! What a compiler makes: a program in Rust, packed as the command line packs it.

use crate::guest::{Host, revision, soon};
use bytes::Bytes;
use std::{path::Path, process};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use xebec_core::{
    Digest,
    ports::instance::Command,
    revision::ContractSpec,
    workload::{ArchiveFormat, Workload},
};

const PROGRAM: &str = r#"
    fn main() {
        let input = std::io::read_to_string(std::io::stdin()).unwrap();
        let arguments: Vec<String> = std::env::args().collect();
        println!("{} {} {}", arguments.join(" "), std::env::var("SHARED").unwrap(), input.to_uppercase());
        let readable = |path| std::fs::read_to_string(path).unwrap_or_else(|_| "nothing".to_owned());
        let writable = std::fs::write("/run/secrets/password", "x").is_ok();
        eprintln!("{} {} {writable}", readable("/run/secrets/password"), readable("/etc/passwd"));
        std::process::exit(if arguments.len() > 2 { 1 } else { 0 });
    }
"#;

/// The component, or why there is none.
fn build(directory: &Path) -> Result<Vec<u8>, String> {
    let source = directory.join("program.rs");
    let component = directory.join("program.wasm");
    std::fs::write(&source, PROGRAM).unwrap();
    let built = process::Command::new("rustc")
        .args(["--edition=2024", "--target=wasm32-wasip2", "-O", "-Cstrip=symbols", "-o"])
        .args([&component, &source])
        .output()
        .map_err(|error| format!("there is no rustc: {error}"))?;
    if built.status.success() {
        return Ok(std::fs::read(&component).unwrap());
    }
    let said = String::from_utf8_lossy(&built.stderr).into_owned();
    if said.contains("target may not be installed") {
        return Err("the target is not installed: rustup target add wasm32-wasip2".to_owned());
    }
    panic!("{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_in_rust_runs() {
    let directory = tempfile::tempdir().unwrap();
    let component = match build(directory.path()) {
        Ok(component) => component,
        Err(why) => return xebec_skipped::skipped!("{why}"),
    };
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(component.len() as u64);
    header.set_mode(0o644);
    archive.append_data(&mut header, "program.wasm", component.as_slice()).unwrap();
    let code = Bytes::from(zstd::encode_all(archive.into_inner().unwrap().as_slice(), 1).unwrap());
    let revision = revision(&code, |spec| {
        spec.contract = ContractSpec::named("stdio");
        spec.workload = Workload::Code {
            archive: Digest::of(&code),
            format: ArchiveFormat::TarZstd,
            bytes: code.len() as u64,
        };
    });
    let host = Host::new();
    host.prepare(&revision, &code).await.unwrap();
    let running = host.start(&revision).await.unwrap();
    for (arguments, exit) in [(vec!["program", "once"], 0), (vec!["program", "twice", "over"], 1)] {
        let argv: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
        let expected = format!("{} function AHOY\n", argv.join(" "));
        let mut child = running.io.spawn(Command { argv, ..Command::default() }).await.unwrap();
        let mut streams = child.take_streams().unwrap();
        streams.stdin.write_all(b"ahoy").await.unwrap();
        drop(streams.stdin);
        let (mut output, mut complaint) = (String::new(), String::new());
        soon(streams.stdout.read_to_string(&mut output)).await.unwrap();
        soon(streams.stderr.unwrap().read_to_string(&mut complaint)).await.unwrap();
        assert_eq!((output, complaint.as_str()), (expected, "swordfish nothing false\n"));
        assert_eq!(soon(child.wait()).await.code, Some(exit));
    }
}
