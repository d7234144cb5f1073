//! Installing what functions depend on: from folders of the code, so that no network is needed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use support::{Function, Place, Told};
use xebec_core::{
    Digest,
    ports::driver::{Driver as _, Prepare, Silent},
    revision::{Revision, RevisionSpec},
    workload::{ArchiveFormat, Workload},
};

/// Makes a wheel: installing one needs no other packages.
const WHEEL: &str = "
import io, sys, zipfile
out = io.BytesIO()
with zipfile.ZipFile(out, 'w') as wheel:
    wheel.writestr('thing.py', 'TEXT = ' + repr(sys.argv[1]))
    info = 'thing-1.0.dist-info/'
    wheel.writestr(info + 'METADATA', 'Metadata-Version: 2.1\\nName: thing\\nVersion: 1.0\\n')
    wheel.writestr(info + 'WHEEL', 'Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')
    wheel.writestr(info + 'RECORD', '')
sys.stdout.buffer.write(out.getvalue())
";
const WHEEL_NAME: &str = "thing-1.0-py3-none-any.whl";

/// `None`, with a sentence, where Python has no pip.
fn wheel(text: &str) -> Option<Vec<u8>> {
    let python = |arguments: &[&str]| std::process::Command::new("python3").args(arguments).output();
    if !python(&["-m", "pip", "--version"]).is_ok_and(|output| output.status.success()) {
        xebec_skipped::skipped!("this machine's python3 has no pip");
        return None;
    }
    Some(python(&["-c", WHEEL, text]).unwrap().stdout)
}

fn python(wheel: &[u8]) -> Function {
    Function::python("import thing\ndef handle(req):\n    return thing.TEXT")
        .file("requirements.txt", &format!("./{WHEEL_NAME}\n"))
        .bytes(WHEEL_NAME, wheel)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_packages_are_installed_once() {
    let Some(place) = Place::launch().await else { return };
    let (Some(_), Some(wheel)) = (place.environment("python"), wheel("first")) else { return };
    let told = Told::default();
    let deployed = place.deploy_telling(&python(&wheel), &told).await.unwrap();
    assert!(told.0.lock().iter().any(|line| line.contains("Successfully installed")), "{:?}", told.0.lock());
    assert_eq!(place.open(&deployed).await.call("").await, (200, "first".to_owned()));
    let blank = place.driver.start_blank(deployed.environment.clone()).await.unwrap();
    assert_eq!(place.open_blank(blank, &deployed).await.call("").await.1, "first");
    // The same code with other variables is another revision, and installs nothing.
    let told = Told::default();
    place.deploy_telling(&python(&wheel).variable("A", "1"), &told).await.unwrap();
    assert!(told.0.lock().iter().any(|line| line.contains("installed already")), "{:?}", told.0.lock());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_packages_are_installed_once_and_shared() {
    let Some(place) = Place::launch().await else { return };
    if place.environment("node").is_none() {
        return;
    }
    if std::process::Command::new("npm").arg("--version").output().is_err() {
        xebec_skipped::skipped!("this machine has no npm");
        return;
    }
    let function = |text: &str| {
        Function::node("module.exports = () => require('thing')")
            .file("package.json", r#"{"dependencies":{"thing":"file:./thing"}}"#)
            .file("thing/package.json", r#"{"name":"thing","version":"1.0.0","main":"thing.js"}"#)
            .file("thing/thing.js", &format!("module.exports = {text:?}"))
    };
    let told = Told::default();
    let deployed = place.deploy_telling(&function("first"), &told).await.unwrap();
    assert!(told.0.lock().iter().any(|line| line.contains("added 1 package")), "{:?}", told.0.lock());
    assert_eq!(place.open(&deployed).await.call("").await, (200, "first".to_owned()));
    // The same code with other variables is another revision, and installs nothing.
    let told = Told::default();
    let again = place.deploy_telling(&function("first").variable("A", "1"), &told).await.unwrap();
    assert!(told.0.lock().iter().any(|line| line.contains("installed already")), "{:?}", told.0.lock());
    assert_eq!(place.open(&again).await.call("").await.1, "first");
    // What is installed from the code changes with it.
    let changed = place.deploy(&function("second")).await.unwrap();
    assert_eq!(place.open(&changed).await.call("").await.1, "second");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_installed_ends_with_the_tool_s_last_lines() {
    let Some(place) = Place::launch().await else { return };
    if place.environment("python").is_none() || wheel("").is_none() {
        return;
    }
    let function = Function::python("def handle(req): pass").file("requirements.txt", "./not-there");
    let error = place.deploy(&function).await.map(drop).unwrap_err();
    assert_eq!(error.code, "XB3002");
    assert!(error.message.contains("not-there") && error.message.lines().count() > 1, "{error}");
    // A file of remarks only installs nothing, and takes no installer.
    let function =
        Function::python("def handle(req):\n    return 'x'").file("requirements.txt", "# nothing\n\n");
    assert_eq!(place.run(&function).await.call("").await.1, "x");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn code_at_fault_is_refused() {
    let Some(place) = Place::launch().await else { return };
    let deployed = place.deploy(&Function::exec(&["cat"])).await.unwrap();
    let mut spec = deployed.revision.spec.clone();
    spec.variables.insert("ANOTHER".to_owned(), "revision".to_owned());
    let code = bytes::Bytes::from_static(&[b'x'; 4096]);
    let workload = |format| Workload::Code { archive: Digest::of(&code), format, bytes: 4096 };
    for (format, expected) in [
        (ArchiveFormat::Tar, "XB3002"),
        (ArchiveFormat::TarZstd, "XB3002"),
        (ArchiveFormat::TarGzip, "XB3002"),
        (ArchiveFormat::Wasm, "XB3001"),
    ] {
        let revision = Revision::new(RevisionSpec { workload: workload(format), ..spec.clone() });
        let environment = &deployed.environment;
        let request =
            Prepare { revision: &revision, environment, code: Some(code.clone()), progress: &Silent };
        let error = place.driver.prepare(request).await.unwrap_err();
        assert_eq!(error.code, expected, "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_revision_needs_is_collected() {
    let Some(place) = Place::launch().await else { return };
    let kept = place.deploy(&Function::exec(&["cat"]).file("a", "x")).await.unwrap();
    let gone = place.deploy(&Function::exec(&["cat"]).file("b", "yy")).await.unwrap();
    let running = place.deploy(&Function::exec(&["cat", "c"]).file("c", "zzz")).await.unwrap();
    let open = place.open(&running).await;
    let live = |digest: &Digest| *digest == kept.revision.digest;
    assert_eq!(place.driver.collect(&live).await.unwrap(), 2);
    assert_eq!(place.open(&kept).await.call("x").await.1, "x");
    assert!(place.try_open(&gone).await.is_err_and(|(error, _)| error.contains("not prepared")));
    assert_eq!(open.call("").await.1, "zzz");
    open.io.destroy().await;
    drop(open);
    assert_eq!(place.driver.collect(&live).await.unwrap(), 3);
}
