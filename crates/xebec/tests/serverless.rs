//! npm `serverless` with `serverless-openwhisk` against the real server: deploy, info, invoke, logs, remove. The
//! service lies in `serverless/`; the packages are installed by its lock file. Where that cannot be, it is skipped.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod support;

use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};
use support::{
    Server, eventually, npm,
    openwhisk::{self, Whisk},
    text,
};

/// A service in a folder of its own, and where it goes.
struct Service<'a> {
    whisk: Whisk<'a>,
    folder: tempfile::TempDir,
    modules: PathBuf,
}

impl<'a> Service<'a> {
    fn new(server: &'a Server, modules: PathBuf) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/serverless");
        for file in ["serverless.yml", "handler.js", "package.json"] {
            std::fs::copy(source.join(file), folder.path().join(file)).unwrap();
        }
        // It loads its plugin from the service's own folder.
        std::os::unix::fs::symlink(&modules, folder.path().join("node_modules")).unwrap();
        Self { whisk: Whisk::new(server), folder, modules }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        openwhisk::plain(Command::new("node"))
            .arg(self.modules.join("serverless/bin/serverless.js"))
            .args(arguments)
            .current_dir(self.folder.path())
            .env("HOME", self.folder.path())
            .env("OW_APIHOST", &self.whisk.server.url)
            .env("OW_AUTH", openwhisk::KEY)
            .env("OW_NAMESPACE", self.whisk.namespace())
            .env("SLS_TELEMETRY_DISABLED", "1")
            .env("SLS_NOTIFICATIONS_MODE", "off")
            .env("SLS_INTERACTIVE_SETUP_ENABLE", "0")
            .env("CI", "1")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Runs what must succeed; returns what it said.
    #[track_caller]
    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(
            output.status.success(),
            "sls {arguments:?} failed:\n{}\n{}",
            text(&output),
            self.whisk.server.log()
        );
        text(&output)
    }

    /// The result of a call that must succeed.
    #[track_caller]
    fn invoke(&self, function: &str, data: &Value) -> Value {
        let output = self.run(&["invoke", "--function", function, "--data", &data.to_string()]);
        assert!(output.status.success(), "invoke {function}: {}", text(&output));
        let said = String::from_utf8(output.stdout).unwrap();
        let begin = said.find('{').unwrap_or_else(|| panic!("no result in {said}"));
        serde_json::from_str(&said[begin..]).unwrap_or_else(|error| panic!("{error}: {said}"))
    }
}

#[test]
fn deploy_info_invoke_logs_remove() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/serverless");
    let Some(modules) = npm::installed(&folder) else { return };
    let server = Server::start();
    let service = Service::new(&server, modules);
    let whisk = &service.whisk;
    let deployed = service.ok(&["deploy", "--verbose"]);
    assert!(deployed.contains("Deployment successful!"), "{deployed}");
    for name in ["shop-dev-greet", "shop-dev-shout", "shop-dev-loud", "shop-dev-fails", "shop-dev-clock"] {
        assert_eq!(whisk.get(&format!("actions/{name}")).status, 200, "{name}: {deployed}");
    }
    let greet = whisk.get("actions/shop-dev-greet").ok();
    assert_eq!(greet["limits"]["memory"], 128);
    assert_eq!(greet["limits"]["timeout"], 30_000);
    assert_eq!(openwhisk::value(&greet["annotations"], "about"), "greets");
    assert_eq!(openwhisk::value(&whisk.get("packages/stock").ok()["parameters"], "warehouse"), 7);

    assert_eq!(service.invoke("greet", &json!({"name": "Ada"}))["greeting"], "Hello Ada");
    assert_eq!(service.invoke("loud", &json!({})), json!({"greeting": "HELLO STRANGER!"}));
    let accepted = service.ok(&[
        "invoke",
        "--function",
        "greet",
        "--type",
        "nonblocking",
        "--data",
        "{\"name\":\"later\"}",
    ]);
    assert!(accepted.contains("activationId"), "{accepted}");
    let failed = service.run(&["invoke", "--function", "fails", "--data", "{}"]);
    assert!(!failed.status.success() && text(&failed).contains("no such luck"), "{}", text(&failed));
    eventually("the logs have what it said", || {
        let logs = service.ok(&["logs", "--function", "greet"]);
        logs.contains("greeting Ada") && logs.contains("greeting later")
    });

    let info = service.ok(&["info"]);
    for says in [
        "shop-dev-greet",
        "stock",
        "arrival",
        "shop_clock_schedule_trigger",
        "shop_arrival_to_greet",
        "/shop/greet --> shop-dev-greet",
    ] {
        assert!(info.contains(says), "{says} is not in\n{info}");
    }
    let route = info.lines().find(|line| line.contains("/shop/greet --> ")).unwrap();
    let path = &route[route.find("/api/").unwrap_or_else(|| panic!("{route}"))..route.find(" --> ").unwrap()];
    let answer = whisk.raw("GET", &format!("{path}?name=route"), &[], b"");
    assert_eq!((answer.status, answer.json()["greeting"].clone()), (200, json!("Hello route")), "{answer}");
    let web = format!("/api/v1/web/{}/default/shop-dev-greet.json", whisk.namespace());
    assert_eq!(whisk.raw("GET", &web, &[], b"").status, 401, "only the gateway knows the key");

    let fired = whisk.post("triggers/arrival", &json!({"name": "trigger"})).ok();
    whisk.activation(fired["activationId"].as_str().unwrap());
    eventually("the trigger called it", || {
        let records = whisk.get("activations?name=shop-dev-greet&docs=true").ok();
        let result = json!({"greeting": "Hello trigger"});
        records.as_array().unwrap().iter().any(|record| record["response"]["result"] == result)
    });
    // The plugin forgets a trigger's feed before it would bind it, so its schedule is made, and called by nobody.
    whisk.get("triggers/shop_clock_schedule_trigger").ok();
    whisk.get("rules/shop_clock_schedule_rule").ok();

    // Deploying again changes what is there.
    let handler = service.folder.path().join("handler.js");
    let changed = std::fs::read_to_string(&handler).unwrap().replace("Hello", "Howdy");
    std::fs::write(&handler, changed).unwrap();
    service.ok(&["deploy"]);
    assert_eq!(service.invoke("greet", &json!({}))["greeting"], "Howdy stranger");
    assert_eq!(whisk.get("actions/shop-dev-greet?code=false").ok()["version"], "0.0.2");

    let removed = service.ok(&["remove"]);
    assert!(
        removed.contains("Resource removal successful!") && !removed.contains("due to error"),
        "{removed}"
    );
    for list in ["actions", "packages", "triggers", "rules"] {
        assert_eq!(whisk.get(list).ok(), json!([]), "{list} after {removed}");
    }
    assert_eq!(whisk.raw("GET", path, &[], b"").status, 404);
}
