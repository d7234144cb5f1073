//! Web actions: what they are told, how their answers are read, who may call them.

use crate::support::{
    Server,
    openwhisk::{Answer, Whisk},
};
use serde_json::{Value, json};

/// Answers with what it was told.
const TOLD: &str = "function main (params) { delete params.__ow_headers; return { body: params } }";

struct Site<'a> {
    whisk: &'a Whisk<'a>,
    namespace: String,
}

impl<'a> Site<'a> {
    fn new(whisk: &'a Whisk<'a>) -> Self {
        Self { whisk, namespace: whisk.namespace() }
    }

    fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.whisk.raw(method, &format!("/api/v1/web/{}/{path}", self.namespace), headers, body)
    }

    fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"")
    }
}

#[test]
fn what_they_are_told() {
    let server = Server::start();
    let whisk = Whisk::new(&server);
    let site = Site::new(&whisk);
    whisk.web("told", TOLD, &json!({}));
    assert_eq!(
        site.get("default/told/a/b?x=1&y=two").ok(),
        json!({"__ow_method": "get", "__ow_path": "/a/b", "x": "1", "y": "two"})
    );
    let json_type = ("content-type", "application/json");
    let posted = site.send("POST", "default/told?x=query&q=1", &[json_type], br#"{"x":"body","n":5}"#).ok();
    assert_eq!(
        (&posted["x"], &posted["q"], &posted["n"]),
        (&json!("body"), &json!("1"), &json!(5)),
        "{posted}"
    );
    let form = ("content-type", "application/x-www-form-urlencoded");
    assert_eq!(site.send("POST", "default/told", &[form], b"a=1&b=c%20d").ok()["b"], "c d");
    let array = site.send("PUT", "default/told", &[json_type], b"[1,2]").ok();
    assert_eq!((&array["__ow_body"], &array["__ow_method"]), (&json!([1, 2]), &json!("put")), "{array}");
    let text = site.send("POST", "default/told", &[("content-type", "text/plain")], "hé".as_bytes()).ok();
    assert_eq!(text["__ow_body"], "hé");
    let binary =
        site.send("POST", "default/told", &[("content-type", "application/octet-stream")], &[0, 255]).ok();
    assert_eq!(binary["__ow_body"], "AP8=");
    for reserved in ["__ow_path=x", "__ow_headers=x"] {
        let answer = site.get(&format!("default/told?{reserved}"));
        assert_eq!(answer.status, 400, "{reserved}: {answer}");
        assert!(answer.text().contains("Request defines parameters that are not allowed"), "{answer}");
    }
    let with_key = site.send("GET", "default/told", &[("authorization", &whisk.authorization())], b"").ok();
    assert_eq!(with_key["__ow_user"], site.namespace.as_str());

    whisk.web("headers", "function main ({ __ow_headers }) { return { body: __ow_headers } }", &json!({}));
    let headers = site.send("GET", "default/headers", &[("X-Custom", "one")], b"").ok();
    assert_eq!(headers["x-custom"], "one", "{headers}");
    assert!(headers["host"].is_string(), "{headers}");
}

#[test]
fn raw_ones_are_told_everything_as_it_came() {
    let server = Server::start();
    let whisk = Whisk::new(&server);
    let site = Site::new(&whisk);
    whisk.web("raw", TOLD, &json!({"raw-http": true}));
    let told = site.get("default/raw?x=1&x=2").ok();
    assert_eq!((&told["__ow_query"], &told["__ow_body"]), (&json!("x=1&x=2"), &json!("")), "{told}");
    let told = site.send("POST", "default/raw", &[("content-type", "application/json")], b"{\"a\":1}").ok();
    assert_eq!(told["__ow_body"], "eyJhIjoxfQ==", "{told}");
    let told = site.send("POST", "default/raw", &[("content-type", "text/plain")], b"a").ok();
    assert_eq!(told["__ow_body"], "a");
    assert!(told.get("a").is_none(), "nothing is spread: {told}");
}

#[test]
fn how_their_answers_are_read() {
    let server = Server::start();
    let whisk = Whisk::new(&server);
    let site = Site::new(&whisk);
    whisk.web("say", "function main ({ say }) { return JSON.parse(say) }", &json!({}));
    let say = |extension: &str, what: Value| {
        let body = json!({"say": what.to_string()}).to_string();
        let path = format!("default/say{extension}");
        site.send("POST", &path, &[("content-type", "application/json")], body.as_bytes())
    };
    let page = say("", json!({"body": "<p>hi</p>"}));
    assert_eq!((page.status, page.text().as_str()), (200, "<p>hi</p>"));
    assert!(page.header("content-type").starts_with("text/html"), "{page}");
    let object = say(
        ".http",
        json!({"statusCode": "201", "headers": {"x-a": "1", "set-cookie": ["a=1", "b=2"]}, "body": {"x": 1}}),
    );
    assert_eq!((object.status, object.header("x-a")), (201, "1"), "{object}");
    assert!(object.header("content-type").starts_with("application/json"), "{object}");
    let cookies: Vec<_> = object.headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=1", "b=2"], "{object}");
    assert_eq!(say("", json!({})).status, 204);
    let gone = say("", json!({"statusCode": 410, "headers": {"x-why": "moved"}}));
    assert_eq!((gone.status, gone.header("x-why"), gone.body.len()), (410, "moved", 0), "{gone}");
    let bytes = say("", json!({"headers": {"content-type": "image/png"}, "body": "AP8="}));
    assert_eq!((bytes.status, bytes.body.as_slice()), (200, &[0, 255][..]), "{bytes}");
    let plain = say("", json!({"headers": {"content-type": "text/plain"}, "body": "hi"}));
    assert!(plain.text() == "hi" && plain.header("content-type").starts_with("text/plain"), "{plain}");
    let mismatch = say("", json!({"headers": {"content-type": "text/plain"}, "body": {"x": 1}}));
    assert_eq!(mismatch.status, 400, "{mismatch}");
    assert!(
        mismatch.text().contains("Response type in header did not match generated content type."),
        "{mismatch}"
    );
    for bad in [json!({"statusCode": "many"}), json!({"headers": "none"})] {
        assert_eq!(say("", bad.clone()).status, 400, "{bad}");
    }

    assert_eq!(say(".json", json!({"a": [1]})).ok(), json!({"a": [1]}));
    assert!(say(".json", json!({"a": 1})).header("content-type").starts_with("application/json"));
    let html = say(".html", json!({"html": "<b>x</b>"}));
    assert!(html.text() == "<b>x</b>" && html.header("content-type").starts_with("text/html"), "{html}");
    let svg = say(".svg", json!({"body": "<svg/>"}));
    assert!(svg.text() == "<svg/>" && svg.header("content-type").starts_with("image/svg+xml"), "{svg}");
    let text = say(".text", json!({"text": "words"}));
    assert!(text.text() == "words" && text.header("content-type").starts_with("text/plain"), "{text}");
    let nothing = say(".text", json!({"other": 1}));
    assert_eq!(nothing.status, 404, "{nothing}");
    assert!(nothing.text().contains("Response does not include requested property."), "{nothing}");

    let refused = say("", json!({"error": {"statusCode": 418, "body": "a teapot"}}));
    assert_eq!((refused.status, refused.text().as_str()), (418, "a teapot"), "{refused}");
    whisk.web("throws", "function main () { throw new Error('secret') }", &json!({}));
    let thrown = site.get("default/throws");
    assert_eq!(thrown.status, 400, "{thrown}");
    assert!(thrown.text().contains("There was an error processing your request."), "{thrown}");
    assert!(!thrown.text().contains("secret"), "{thrown}");
}

#[test]
fn who_may_call_them() {
    let server = Server::start();
    let whisk = Whisk::new(&server);
    let site = Site::new(&whisk);
    whisk.node("private", TOLD);
    assert_eq!(site.get("default/private").status, 404);
    assert_eq!(site.get("default/ghost").status, 404);
    whisk.web("secret", TOLD, &json!({"require-whisk-auth": "open sesame"}));
    assert_eq!(site.get("default/secret").status, 401);
    let header = |value| site.send("GET", "default/secret", &[("x-require-whisk-auth", value)], b"").status;
    assert_eq!((header("open barley"), header("open sesame")), (401, 200));
    whisk.web("number", TOLD, &json!({"require-whisk-auth": 42}));
    assert_eq!(site.send("GET", "default/number", &[("x-require-whisk-auth", "42")], b"").status, 200);
    whisk.web("known", TOLD, &json!({"require-whisk-auth": true}));
    assert_eq!(site.get("default/known").status, 401);
    let known = site.send("GET", "default/known", &[("authorization", &whisk.authorization())], b"").ok();
    assert_eq!(known["__ow_user"], site.namespace.as_str());
    whisk.put("packages/pkg", &json!({})).ok();
    whisk.web("pkg/in", TOLD, &json!({}));
    assert_eq!(site.get("pkg/in/x").ok()["__ow_path"], "/x");
    assert_eq!(site.get("pkg/ghost").status, 404);
}

#[test]
fn browsers_and_options() {
    let server = Server::start();
    let whisk = Whisk::new(&server);
    let site = Site::new(&whisk);
    whisk.web("told", TOLD, &json!({}));
    let asked = site.send("OPTIONS", "default/told", &[("access-control-request-headers", "x-mine")], b"");
    assert_eq!((asked.status, asked.text().as_str()), (200, ""), "{asked}");
    assert_eq!(asked.header("access-control-allow-origin"), "*");
    assert_eq!(asked.header("access-control-allow-methods"), "OPTIONS, GET, DELETE, POST, PUT, HEAD, PATCH");
    assert_eq!(asked.header("access-control-allow-headers"), "x-mine");
    assert_eq!(site.get("default/told").header("access-control-allow-origin"), "*");
    whisk.web("own", TOLD, &json!({"web-custom-options": true}));
    let own = site.send("OPTIONS", "default/own", &[], b"");
    assert_eq!((own.status, &own.json()["__ow_method"]), (200, &json!("options")), "{own}");
    assert_eq!(own.header("access-control-allow-origin"), "", "{own}");
    let head = site.send("HEAD", "default/told", &[], b"");
    assert_eq!((head.status, head.body.len()), (200, 0), "{head}");
    assert_eq!(site.send("PATCH", "default/told", &[], b"").ok()["__ow_method"], "patch");
}
