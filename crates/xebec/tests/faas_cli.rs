//! OpenFaaS' own command line against the real server, as a new user would use it. It is taken from
//! `$FAAS_CLI` or the `PATH`; without it these tests are skipped.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod support;

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};
use support::{Server, clean, eventually, has, http, text};

const ALPINE: &str = "ghcr.io/openfaas/alpine:latest";

/// A user with a home of its own, logged in.
struct User {
    server: Server,
    program: PathBuf,
    home: tempfile::TempDir,
}

impl User {
    fn new() -> Option<Self> {
        let user = Self::of(Server::start)?;
        user.ok(&["login", "--username", "admin", "--password", &user.server.token()]);
        Some(user)
    }

    /// The same of another server, not logged in.
    fn of(server: impl FnOnce() -> Server) -> Option<Self> {
        let program = match std::env::var_os("FAAS_CLI") {
            Some(program) => PathBuf::from(program),
            None if has("faas-cli") => PathBuf::from("faas-cli"),
            None => return None,
        };
        if !Path::new("/bin/cat").exists() {
            xebec_skipped::skipped!("there is no /bin/cat on this machine");
            return None;
        }
        Some(Self { server: server(), program, home: tempfile::tempdir().unwrap() })
    }

    /// Saves a token as the original's own login for single sign-on does.
    fn save_token(&self, token: &str) {
        let folder = self.home.path().join("openfaas");
        std::fs::create_dir_all(&folder).unwrap();
        let auth = format!("auths:\n- gateway: {}\n  auth: oauth2\n  token: {token}\n", self.server.url);
        std::fs::write(folder.join("config.yml"), auth).unwrap();
    }

    /// The series in the metrics that begin so.
    fn series(&self, begin: &str) -> Vec<String> {
        let token = format!("Bearer {}", self.server.token());
        let (_, metrics) =
            http("GET", &format!("{}/metrics", self.server.url), &[("authorization", &token)], b"");
        let text = String::from_utf8(metrics).unwrap();
        text.lines().filter(|line| line.starts_with(begin)).map(str::to_owned).collect()
    }

    fn run(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = clean(Command::new(&self.program))
            .args(arguments)
            .env("OPENFAAS_URL", &self.server.url)
            .env("OPENFAAS_CONFIG", self.home.path().join("openfaas"))
            .env("HOME", self.home.path())
            .current_dir(self.home.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A client that reads no input closes the pipe; that is its business.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }

    /// Runs what must succeed; returns what it said.
    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments, "");
        assert!(output.status.success(), "faas-cli {arguments:?} failed:\n{}", text(&output));
        text(&output)
    }

    /// Runs what must fail; returns what it said.
    fn fails(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments, "");
        assert!(!output.status.success(), "faas-cli {arguments:?} succeeded:\n{}", text(&output));
        text(&output)
    }

    /// Deploys a function that runs `process`.
    fn deploy(&self, name: &str, process: &str, more: &[&str]) -> String {
        let mut arguments = vec!["deploy", "--image", ALPINE, "--name", name, "--fprocess", process];
        arguments.extend(more);
        let said = self.ok(&arguments);
        assert!(said.contains("Deployed. 202 Accepted."), "{said}");
        said
    }

    /// Invokes what must succeed; returns the answer alone.
    fn invoke(&self, name: &str, input: &str) -> String {
        let output = self.run(&["invoke", name], input);
        assert!(output.status.success(), "invoke {name}: {}\n{}", text(&output), self.server.log());
        String::from_utf8(output.stdout).unwrap()
    }
}

#[test]
fn deploy_list_describe_invoke_logs_remove() {
    let Some(user) = User::new() else { return };
    user.ok(&["ready"]);
    let version = user.ok(&["version", "--warn-update=false"]);
    assert!(version.contains("xebec") && version.contains(env!("CARGO_PKG_VERSION")), "{version}");
    assert!(user.ok(&["list"]).starts_with("Function"));

    let deployed = user.deploy("echo", "cat", &["--label", "com.openfaas.scale.max=3", "--env", "A=b"]);
    assert!(deployed.contains(&user.server.function("echo")), "{deployed}");
    user.ok(&["ready", "echo", "--attempts", "300", "--interval", "100ms"]);
    assert_eq!(user.invoke("echo", "hello"), "hello");
    assert_eq!(user.invoke("echo", "again"), "again");

    let listed = user.ok(&["list", "-v"]);
    let row = listed.lines().find(|line| line.starts_with("echo")).unwrap_or_else(|| panic!("{listed}"));
    let columns: Vec<_> = row.split_whitespace().collect();
    assert_eq!(columns[..4], ["echo", ALPINE, "2", "1"], "{listed}");
    let described = user.ok(&["describe", "echo"]);
    for line in ["Ready", "Invocations:        2", "cat", "com.openfaas.scale.max: 3", "A: b"] {
        assert!(described.contains(line), "{line} is not in\n{described}");
    }

    // Deploying again changes it.
    user.deploy("echo", "env", &["--env", "A=c"]);
    eventually("the change is there", || user.invoke("echo", "").lines().any(|line| line == "A=c"));
    let environment = user.invoke("echo", "x");
    for line in ["Http_Method=POST", "Http_Path=/", "Http_Content_Type=text/plain", "fprocess=env"] {
        assert!(environment.lines().any(|written| written == line), "{line} is not in\n{environment}");
    }

    user.ok(&["remove", "echo"]);
    assert!(user.fails(&["remove", "echo"]).contains("No existing function to remove"));
    assert!(user.fails(&["describe", "echo"]).contains("o such function"));
    assert!(user.fails(&["invoke", "echo"]).contains("404"));
}

#[test]
fn a_stack_file() {
    let Some(user) = User::new() else { return };
    let stack = format!(
        "version: 1.0\nprovider:\n  name: openfaas\n  gateway: {}\nfunctions:\n\
         \x20 lower:\n    image: {ALPINE}\n    skip_build: true\n    fprocess: tr A-Z a-z\n\
         \x20 count:\n    image: {ALPINE}\n    skip_build: true\n    fprocess: wc -c\n\
         \x20   namespace: staging\n    limits:\n      memory: 64Mi\n    constraints: [\"node.role=x\"]\n",
        user.server.url
    );
    std::fs::write(user.home.path().join("stack.yaml"), stack).unwrap();
    user.ok(&["deploy"]);
    assert_eq!(user.invoke("lower", "LOUD"), "loud");
    assert_eq!(user.invoke("count", "12345").trim(), "5");
    let namespaces = user.ok(&["namespace", "list"]);
    assert!(namespaces.contains("openfaas-fn") && namespaces.contains("staging"), "{namespaces}");
    let staged = user.ok(&["list", "-n", "staging", "-q"]);
    assert_eq!(staged.trim(), "count");
    user.ok(&["deploy"]);
    user.ok(&["remove", "-f", "stack.yaml"]);
    assert_eq!(user.ok(&["list", "-q"]).trim(), "");
}

#[test]
fn secrets() {
    let Some(user) = User::new() else { return };
    let refused = user.fails(&[
        "deploy",
        "--image",
        ALPINE,
        "--name",
        "reader",
        "--fprocess",
        "cat",
        "--secret",
        "api-key",
    ]);
    assert!(refused.contains("unable to fetch secrets") && refused.contains("api-key"), "{refused}");
    user.ok(&["secret", "create", "api-key", "--from-literal", "first"]);
    assert!(user.ok(&["secret", "list"]).contains("api-key"));
    let again = user.ok(&["secret", "create", "api-key", "--from-literal", "x"]);
    assert!(again.contains("already exists"), "{again}");
    let file = ["--secret", "api-key"];
    user.deploy("reader", "cat /var/openfaas/secrets/api-key", &file);
    assert_eq!(user.invoke("reader", ""), "first");
    user.ok(&["secret", "update", "api-key", "--from-literal", "second"]);
    user.deploy("reader", "cat /var/openfaas/secrets/api-key", &file);
    eventually("the new value is there", || user.invoke("reader", "") == "second");
    user.fails(&["secret", "remove", "api-key"]);
    user.ok(&["remove", "reader"]);
    user.ok(&["secret", "remove", "api-key"]);
    assert!(user.fails(&["secret", "remove", "api-key"]).contains("nable to find secret"));
}

#[test]
fn logs_and_failures() {
    let Some(user) = User::new() else { return };
    user.deploy("broken", "ls /nowhere", &["--env", "combine_output=false"]);
    let failed = user.fails(&["invoke", "broken"]);
    assert!(failed.contains("500") && failed.contains("exit status "), "{failed}");
    eventually("the log has it", || user.ok(&["logs", "broken", "--tail=false"]).contains("/nowhere"));
    assert!(user.ok(&["logs", "broken", "--tail=false", "--since", "5m"]).contains("/nowhere"));
    assert!(user.ok(&["logs", "broken", "--tail=false", "--lines", "1"]).lines().count() == 1);

    user.deploy("slow", "sleep 60", &["--env", "exec_timeout=1s"]);
    let killed = user.fails(&["invoke", "slow"]);
    assert!(killed.contains("408") && killed.contains("Killed process."), "{killed}");

    let program = user.fails(&["deploy", "--image", ALPINE, "--name", "missing", "--fprocess", "/no/such"]);
    assert!(program.contains("400") && program.contains("/no/such"), "{program}");

    let image = "ghcr.io/openfaas/figlet:latest";
    let refused = user.fails(&["deploy", "--image", image, "--name", "figlet"]);
    // Where there is an engine, the image cannot be had, as the test has no business with its registry.
    assert!(
        refused.contains("figlet") && (refused.contains("[[images]]") || refused.contains("XB3002")),
        "{refused}"
    );
    let named = user.fails(&["deploy", "--image", ALPINE, "--name", "Not_A_Name", "--fprocess", "cat"]);
    assert!(named.contains("XB1001"), "{named}");
}

#[test]
fn of_watchdogs_http_mode() {
    let Some(user) = User::new() else { return };
    if !has("python3") {
        return;
    }
    let variables = ["--env", "mode=http", "--env", "upstream_url=http://127.0.0.1:3000"];
    user.deploy("web", "python3 -m http.server 3000 --directory /etc", &variables);
    let (status, body) = http("GET", &format!("{}/hosts", user.server.function("web")), &[], b"");
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    let (status, _) = http("GET", &format!("{}/ghost?x", user.server.function("web")), &[], b"");
    assert_eq!(status, 404);
}

#[test]
fn namespaces() {
    let Some(user) = User::new() else { return };
    user.ok(&["namespace", "create", "staging", "--label", "team=a", "--annotation", "note=b"]);
    let again = user.fails(&["namespace", "create", "staging"]);
    assert!(again.contains("409") && again.contains("exists already"), "{again}");
    assert!(user.ok(&["namespace", "list"]).contains("staging"));
    let shown = user.ok(&["namespace", "get", "staging"]);
    assert!(shown.contains("team: a") && shown.contains("note: b"), "{shown}");
    user.ok(&["namespace", "update", "staging", "--label", "team=c"]);
    assert!(user.ok(&["namespace", "get", "staging"]).contains("team: c"));

    user.deploy("echo", "cat", &["--namespace", "staging"]);
    let used = user.fails(&["namespace", "remove", "staging"]);
    assert!(used.contains("409") && used.contains("functions: 1"), "{used}");
    user.ok(&["remove", "echo", "--namespace", "staging"]);
    user.ok(&["namespace", "remove", "staging"]);
    for arguments in [["namespace", "get", "staging"], ["namespace", "remove", "staging"]] {
        assert!(user.fails(&arguments).contains("not found"), "{arguments:?}");
    }
    assert!(!user.ok(&["namespace", "list"]).contains("staging"));
}

#[test]
fn namespaces_are_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut user) = User::of(|| Server::start_in(folder.path(), &[])) else { return };
    user.ok(&["namespace", "create", "staging"]);
    let server = std::mem::replace(&mut user.server, Server::start());
    server.kill();
    user.server = Server::start_in(folder.path(), &[]);
    assert!(user.ok(&["namespace", "list"]).contains("staging"));
}

#[test]
fn existing_credentials_and_functions_that_not_everyone_may_call() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("basic-auth-user"), "admin").unwrap();
    std::fs::write(folder.path().join("basic-auth-password"), "correct horse\n").unwrap();
    let files = ["--basic-auth", folder.path().to_str().unwrap()];
    let Some(user) = User::of(|| Server::start_with(&files)) else { return };
    assert!(user.fails(&["list"]).contains("nauthorized"), "it is closed");
    user.fails(&["login", "--username", "admin", "--password", "wrong horse"]);
    user.ok(&["login", "--username", "admin", "--password", "correct horse"]);
    user.deploy("closed", "cat", &["--env", "jwt_auth=true"]);
    user.deploy("open", "cat", &[]);
    assert_eq!(user.invoke("open", "hello"), "hello");
    let refused = user.fails(&["invoke", "closed"]);
    assert!(refused.contains("401") && refused.contains("asks for a key"), "{refused}");

    let key = user.server.ok(&["key", "create", "--role", "invoke", "-o", "json"]);
    let key: serde_json::Value = serde_json::from_str(&key).unwrap();
    let bearer = format!("Authorization: Bearer {}", key["token"].as_str().unwrap());
    let called = user.run(&["invoke", "closed", "--header", &bearer], "hello");
    assert_eq!(String::from_utf8_lossy(&called.stdout), "hello", "{}", text(&called));

    // What the client has saved it exchanges for a token by itself, once it is told the realm.
    user.save_token(key["token"].as_str().unwrap());
    assert_eq!(user.invoke("closed", "hello"), "hello");
    let accepted = user.run(&["invoke", "closed", "--async"], "hello");
    assert!(accepted.status.success(), "{}", text(&accepted));
    user.save_token("xbk_ghost_of-a-key");
    user.fails(&["invoke", "closed"]);
}

#[test]
fn alerts_usage_and_metrics() {
    let Some(user) = User::new() else { return };
    user.deploy("echo", "cat", &["--label", "com.openfaas.scale.max=10"]);
    assert_eq!(user.invoke("echo", "hello"), "hello");
    eventually("usage is shown", || user.ok(&["describe", "echo"]).contains("RAM:"));

    let token = format!("Bearer {}", user.server.token());
    let alert = |status: &str, body: &[u8]| {
        let url = format!("{}/system/alert", user.server.url);
        let body = String::from_utf8_lossy(body).replace("STATUS", status);
        http("POST", &url, &[("authorization", &token)], body.as_bytes())
    };
    let webhook = br#"{"status":"STATUS","receiver":"scale-up","alerts":[{"status":"STATUS","labels":{
        "alertname":"APIHighInvocationRate","function_name":"echo.openfaas-fn"}}]}"#;
    let (status, said) = alert("firing", webhook);
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&said));
    let ready = "gateway_service_ready_count{function_name=\"echo.openfaas-fn\"} 3";
    eventually("two more are there", || user.series("gateway_service_ready").contains(&ready.to_owned()));
    assert_eq!(alert("resolved", webhook).0, 200);
    let ready = "gateway_service_ready_count{function_name=\"echo.openfaas-fn\"} 1";
    eventually("one is left", || user.series("gateway_service_ready").contains(&ready.to_owned()));
    assert_eq!(alert("firing", b"{").0, 400);

    let accepted = user.run(&["invoke", "echo", "--async"], "hello");
    assert!(accepted.status.success(), "{}", text(&accepted));
    let total = "gateway_function_invocation_total{function_name=\"echo.openfaas-fn\"";
    for line in [
        format!("{total},code=\"200\"}} 2"),
        format!("{total},code=\"202\"}} 1"),
        "queue_worker_messages_submitted_total{queue_name=\"default\"} 1".to_owned(),
        "queue_worker_messages_processed_total{queue_name=\"default\"} 1".to_owned(),
    ] {
        eventually(&line, || user.series(&line).contains(&line));
    }
    let listed = user.series("http_requests_total{method=\"PUT\",path=\"/system/functions\",status=\"404\"}");
    assert_eq!(listed.len(), 1, "the client tries PUT first");
    let memory = "pod_memory_working_set_bytes{function_name=\"echo.openfaas-fn\",namespace=\"openfaas-fn\"}";
    eventually("memory is told", || !user.series(memory).is_empty());
}
