//! Container images as functions, on an engine that the test starts for itself.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod support;

use std::process::Command;
use support::{Server, block_on, eventually, has, http, text};
use xebec_conformance::container_engine::ContainerEngine;

const IMAGE: &str = "xebec-tests/hello:1";

/// A web server that says where it runs, whatever it is asked.
const PROGRAM: &str = r#"
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
int main(void) {
    struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons(8080) };
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&any, sizeof any) || listen(listener, 16)) return 1;
    const char *who = getenv("WHO");
    for (;;) {
        char asked[4096], answer[256];
        int one = accept(listener, 0, 0);
        if (one < 0 || read(one, asked, sizeof asked) <= 0) { close(one); continue; }
        char text[64];
        snprintf(text, sizeof text, "an image greets %s", who ? who : "nobody");
        int length = snprintf(answer, sizeof answer,
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s", strlen(text), text);
        if (write(one, answer, length) < 0) return 2;
        close(one);
    }
}
"#;

/// A tar archive of nothing but the program; `None`, with a sentence, where it cannot be compiled.
fn root() -> Option<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let (source, program) = (folder.path().join("serve.c"), folder.path().join("serve"));
    std::fs::write(&source, PROGRAM).unwrap();
    let compiled =
        Command::new("cc").args(["-static", "-O1", "-o"]).args([&program, &source]).output().unwrap();
    if !compiled.status.success() {
        xebec_skipped::skipped!("no static program can be compiled here");
        return None;
    }
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_path_with_name(&program, "serve").unwrap();
    Some(archive.into_inner().unwrap())
}

/// How many containers the engine runs.
fn containers(engine: &ContainerEngine) -> usize {
    engine.ask("GET", "/containers/json", b"").unwrap().matches("\"Image\":").count()
}

/// An engine that has the image; `None`, with a sentence, where there can be none.
fn engine(number: u32) -> Option<ContainerEngine> {
    let root = if has("cc") { root()? } else { return None };
    let engine = match block_on(ContainerEngine::launch(number)) {
        Ok(engine) => engine,
        Err(why) => {
            xebec_skipped::skipped!("{why}");
            return None;
        }
    };
    let import =
        "/images/create?fromSrc=-&repo=xebec-tests/hello&tag=1&changes=ENTRYPOINT%20%5B%22/serve%22%5D";
    let imported = engine.ask("POST", import, &root).unwrap();
    assert!(imported.contains("sha256:"), "{imported}");
    Some(engine)
}

#[test]
fn images_are_functions() {
    let Some(engine) = engine(0) else { return };
    let folder = tempfile::tempdir().unwrap();
    let host = format!("unix://{}", engine.socket.display());
    let start = || Server::try_start_as(folder.path(), &[], &[("DOCKER_HOST", &host)]).unwrap();
    let server = start();
    server.deploy(&format!("name = \"native\"\nimage = \"{IMAGE}\"\nenv = {{ WHO = \"xebec\" }}\n"), &[]);
    assert_eq!(server.ok(&["invoke", "native"]), "an image greets xebec");

    // As faas-cli deploys.
    let deployment = format!(r#"{{"service":"theirs","image":"{IMAGE}","envVars":{{"WHO":"faas-cli"}}}}"#);
    let json = [("content-type", "application/json")];
    let deployed = http("POST", &format!("{}/system/functions", server.url), &json, deployment.as_bytes());
    assert_eq!(deployed.0, 202, "{}", String::from_utf8_lossy(&deployed.1));
    let greeting = b"an image greets faas-cli";
    assert_eq!(http("POST", &server.function("theirs"), &[], b"x").1, greeting);
    assert_eq!(containers(&engine), 2);

    // A killed server's containers are gone with the next start, which runs the functions again.
    server.kill();
    let mut server = start();
    eventually("what was left is removed", || containers(&engine) == 0);
    assert_eq!(http("POST", &server.function("theirs"), &[], b"x").1, greeting);
    server.terminate();
    assert!(server.wait().success(), "{}", server.log());
    assert_eq!(containers(&engine), 0, "an orderly stop leaves none");
}

#[test]
fn bad_days() {
    let Some(engine) = engine(1) else { return };
    let folder = tempfile::tempdir().unwrap();
    let host = format!("unix://{}", engine.socket.display());
    let server = Server::try_start_as(folder.path(), &[], &[("DOCKER_HOST", &host)]).unwrap();
    let limits = "[limits]\nstart-timeout = \"2m\"\nwait-timeout = \"2m\"\n";
    for name in ["running", "idle"] {
        let manifest = format!("name = \"{name}\"\nimage = \"{IMAGE}\"\nsecrets = [\"mine\"]\n{limits}");
        assert!(server.cli_with(&["secret", "set", "mine"], b"value").status.success());
        server.deploy(&manifest, &[]);
    }
    let greeting = (200, b"an image greets nobody".to_vec());
    let call = |name: &str| http("POST", &server.function(name), &[], b"x");
    assert_eq!(call("running"), greeting);

    // Whoever deploys is told what is done, and what is wrong.
    let nowhere = br#"{"name":"nowhere","image":"127.0.0.1:9/none:1"}"#;
    let followed = [("content-type", "application/json"), ("accept", "text/event-stream")];
    let told = http("PUT", &format!("{}/xebec/v1/functions/nowhere", server.url), &followed, nowhere);
    let told = String::from_utf8(told.1).unwrap();
    let (step, end) = (told.find("pulling 127.0.0.1:9/none:1"), told.find("XB3002"));
    assert!(step.is_some() && step < end, "{told}");

    // A secret that a function uses stays, and so does the function.
    let removed = server.cli(&["secret", "rm", "mine"]);
    assert!(!removed.status.success() && text(&removed).contains("XB2008"), "{}", text(&removed));
    assert_eq!(call("running"), greeting);

    // A container that is removed behind the server's back is replaced.
    remove_all(&engine);
    eventually("another one", || call("running") == greeting);

    // Without the engine what runs goes on, and what would have to be started is refused with a sentence.
    block_on(engine.stop());
    assert_eq!(call("running"), greeting);
    let refused = call("idle");
    let sentence = String::from_utf8(refused.1).unwrap();
    assert!(refused.0 >= 500 && sentence.contains("does not answer"), "{} {sentence}", refused.0);
    block_on(engine.start());
    eventually("starts again", || call("idle") == greeting);
    assert_eq!(call("running"), greeting);
}

/// Removes every container, behind everybody's back.
fn remove_all(engine: &ContainerEngine) {
    let listed = engine.ask("GET", "/containers/json", b"").unwrap();
    let containers = listed.split("\"Id\":\"").skip(1).map(|rest| rest.split('"').next().unwrap());
    for id in containers {
        let removed = engine.ask("DELETE", &format!("/containers/{id}?force=true"), b"").unwrap();
        assert!(removed.contains(" 204 "), "{removed}");
    }
}
