//! Container images as functions, on an engine that the test starts for itself.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod support;

use std::process::Command;
use support::{Server, block_on, eventually, has, http};
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

#[test]
fn images_are_functions() {
    if !has("cc") {
        return;
    }
    let Some(root) = root() else { return };
    let engine = match block_on(ContainerEngine::launch(0)) {
        Ok(engine) => engine,
        Err(why) => return xebec_skipped::skipped!("{why}"),
    };
    let import =
        "/images/create?fromSrc=-&repo=xebec-tests/hello&tag=1&changes=ENTRYPOINT%20%5B%22/serve%22%5D";
    let imported = engine.ask("POST", import, &root).unwrap();
    assert!(imported.contains("sha256:"), "{imported}");

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
