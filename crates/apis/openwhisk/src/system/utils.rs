//! The package `utils`: what sequences are put together with.
//!
//! Its actions answer what OpenWhisk's own answer, which are written in JavaScript: where that turns values into
//! text, so does [`text`].

use super::answer::{Said, answer, fault, namespace, told};
use async_trait::async_trait;
use http::{Request, Response};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use xebec_core::{Body, Error, invocation::Called, names::Tenant, ports::builtin::Builtin};

/// The name of the builtin.
pub(crate) const UTILS: &str = "openwhisk.utils";

/// Its actions, by name.
pub(super) const ACTIONS: [&str; 9] =
    ["cat", "date", "echo", "head", "hosturl", "namespace", "smash", "sort", "split"];

/// The actions of the package.
pub(crate) struct Utils {
    /// Where the API is reached.
    pub(crate) api_host: String,
}

#[async_trait]
impl Builtin for Utils {
    fn check(&self, settings: &Value) -> Result<(), Error> {
        match settings["action"].as_str() {
            Some(name) if ACTIONS.contains(&name) => Ok(()),
            _ => Err(Error::invalid("XB1003", "action: it is none of utils'")),
        }
    }

    async fn call(
        &self,
        called: Called,
        settings: &Value,
        request: Request<Body>,
    ) -> Result<Response<Body>, Error> {
        let told = told(request).await?;
        let action = settings["action"].as_str().unwrap_or_default();
        Ok(answer(self.run(action, told, &namespace(&called))))
    }
}

impl Utils {
    fn run(&self, action: &str, told: Value, namespace: &Tenant) -> Said {
        if action == "echo" {
            return Ok(told);
        }
        let arguments = match told {
            Value::Object(arguments) => arguments,
            _ => Map::new(),
        };
        match action {
            "cat" => cat(&arguments),
            "date" => Ok(json!({ "date": format!("{:.3}", Timestamp::now()) })),
            "head" => head(&arguments),
            "hosturl" => self.host_url(&arguments, namespace),
            "namespace" => Ok(json!({ "namespace": namespace })),
            "smash" => smash(arguments),
            "sort" => sort(&arguments),
            _ => split(&arguments),
        }
    }

    /// Where an action or a trigger is called.
    fn host_url(&self, arguments: &Map<String, Value>, namespace: &Tenant) -> Said {
        let web = arguments.get("web") == Some(&Value::Bool(true));
        let trigger = arguments.get("trigger").filter(|value| is_true(value));
        let extension = arguments.get("ext").filter(|value| is_true(value)).map(text);
        let path = arguments.get("path").filter(|value| is_true(value)).map(text);
        let in_package = path.as_ref().is_some_and(|path| path.contains('/'));
        if web && trigger.is_some() {
            return Err(fault("triggers are not allowed for web actions."));
        }
        if !web && trigger.is_some() && in_package {
            return Err(fault("triggers are not allowed in packages."));
        }
        let known = [".html", ".http", ".json", ".svg", ".text"];
        if web && extension.as_ref().is_some_and(|extension| !known.contains(&extension.as_str())) {
            return Err(fault(format!("extension for web action must be one of {}.", json!(known))));
        }
        let host = self.api_host.trim_end_matches('/');
        let base = match (web, trigger == Some(&Value::Bool(true))) {
            (true, _) => format!("{host}/api/v1/web/{namespace}"),
            (false, true) => format!("{host}/api/v1/namespaces/{namespace}/triggers"),
            (false, false) => format!("{host}/api/v1/namespaces/{namespace}/actions"),
        };
        let url = match path {
            None => base,
            Some(path) if web && !in_package => {
                format!("{base}/default/{path}{}", extension.unwrap_or_default())
            }
            Some(path) if web => format!("{base}/{path}{}", extension.unwrap_or_default()),
            Some(path) => format!("{base}/{path}"),
        };
        Ok(json!({ "url": url }))
    }
}

fn cat(arguments: &Map<String, Value>) -> Said {
    let lines = lines(arguments)?;
    let payload = joined(&lines, "\n");
    Ok(json!({ "lines": lines, "payload": payload }))
}

fn head(arguments: &Map<String, Value>) -> Said {
    let wanted = arguments.get("num").filter(|value| is_true(value)).cloned().unwrap_or_else(|| json!(1));
    let number = number(&wanted);
    if let Some(Value::String(line)) = arguments.get("lines").filter(|value| is_true(value)) {
        let characters: Vec<char> = line.chars().collect();
        let head: String = characters[..first(characters.len(), number)].iter().collect();
        return Ok(json!({ "lines": head, "num": wanted }));
    }
    let lines = lines(arguments)?;
    Ok(json!({ "lines": lines[..first(lines.len(), number)], "num": wanted }))
}

/// How many of `length` the first `number` are; a negative number counts from the end.
fn first(length: usize, number: f64) -> usize {
    let number = number.trunc();
    let kept = if number < 0.0 { length as f64 + number } else { number };
    kept.clamp(0.0, length as f64) as usize
}

fn smash(mut arguments: Map<String, Value>) -> Said {
    match arguments.remove("$fieldName") {
        Some(Value::String(name)) => {
            Ok(Value::Object([(name, Value::Object(arguments))].into_iter().collect()))
        }
        _ => Err(fault("Expected an argument '$fieldName' of type 'string'.")),
    }
}

fn sort(arguments: &Map<String, Value>) -> Said {
    let mut lines = lines(arguments)?;
    // As JavaScript sorts: by the text, code unit by code unit.
    lines.sort_by_cached_key(|line| text(line).encode_utf16().collect::<Vec<u16>>());
    Ok(json!({ "length": lines.len(), "lines": lines }))
}

fn split(arguments: &Map<String, Value>) -> Said {
    let payload = arguments.get("payload").filter(|value| !value.is_null());
    let payload = payload.ok_or_else(|| fault("Expected an argument 'payload'."))?;
    let whole = text(payload);
    let lines: Vec<&str> = match arguments.get("separator").filter(|value| is_true(value)).map(text) {
        Some(separator) => whole.split(separator.as_str()).collect(),
        None => whole.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).collect(),
    };
    Ok(json!({ "lines": lines, "payload": payload }))
}

/// The argument `lines`; nothing, where it is left out.
fn lines(arguments: &Map<String, Value>) -> Result<Vec<Value>, Value> {
    match arguments.get("lines").filter(|value| is_true(value)) {
        None => Ok(Vec::new()),
        Some(Value::Array(lines)) => Ok(lines.clone()),
        Some(_) => Err(fault("Expected an argument 'lines' of type 'array'.")),
    }
}

/// Whether a value counts as true.
fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(_) | Value::Object(_) => true,
    }
}

fn number(value: &Value) -> f64 {
    match value {
        Value::Number(number) => number.as_f64().unwrap_or(0.0),
        Value::String(text) => text.trim().parse().unwrap_or(0.0),
        Value::Bool(true) => 1.0,
        _ => 0.0,
    }
}

/// A value as text.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => joined(values, ","),
        Value::Object(_) => "[object Object]".to_owned(),
        other => other.to_string(),
    }
}

fn joined(values: &[Value], separator: &str) -> String {
    let texts: Vec<String> =
        values.iter().map(|value| if value.is_null() { String::new() } else { text(value) }).collect();
    texts.join(separator)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(action: &str, told: Value) -> Said {
        let utils = Utils { api_host: "https://ow.example".into() };
        utils.run(action, told, &Tenant::new("guest"))
    }

    #[test]
    fn answers_as_the_originals_do() {
        for (action, told, result) in [
            ("echo", json!({"a": [1]}), json!({"a": [1]})),
            ("echo", json!([1, 2]), json!([1, 2])),
            (
                "cat",
                json!({"lines": [4, "two", null, true, [1, [2]], {}]}),
                json!({"lines": [4, "two", null, true, [1, [2]], {}], "payload": "4\ntwo\n\ntrue\n1,2\n[object Object]"}),
            ),
            ("cat", json!({}), json!({"lines": [], "payload": ""})),
            ("head", json!({"lines": [4, 2, 3], "num": 2}), json!({"lines": [4, 2], "num": 2})),
            ("head", json!({"lines": [4, 2, 3]}), json!({"lines": [4], "num": 1})),
            ("head", json!({"lines": [4, 2, 3], "num": -1}), json!({"lines": [4, 2], "num": -1})),
            ("head", json!({"lines": [4], "num": 9}), json!({"lines": [4], "num": 9})),
            ("head", json!({"lines": "übung", "num": 2}), json!({"lines": "üb", "num": 2})),
            ("sort", json!({"lines": [4, 20, 3]}), json!({"lines": [20, 3, 4], "length": 3})),
            ("sort", json!({"lines": ["b", "B", "a"]}), json!({"lines": ["B", "a", "b"], "length": 3})),
            (
                "split",
                json!({"payload": "one,two", "separator": ","}),
                json!({"lines": ["one", "two"], "payload": "one,two"}),
            ),
            (
                "split",
                json!({"payload": "one\r\ntwo\nthree"}),
                json!({"lines": ["one", "two", "three"], "payload": "one\r\ntwo\nthree"}),
            ),
            ("split", json!({"payload": 12, "separator": 1}), json!({"lines": ["", "2"], "payload": 12})),
            (
                "smash",
                json!({"a": 1, "b": {"c": 2}, "$fieldName": "p"}),
                json!({"p": {"a": 1, "b": {"c": 2}}}),
            ),
            ("namespace", json!({}), json!({"namespace": "guest"})),
            ("hosturl", json!({}), json!({"url": "https://ow.example/api/v1/namespaces/guest/actions"})),
            (
                "hosturl",
                json!({"path": "p/a"}),
                json!({"url": "https://ow.example/api/v1/namespaces/guest/actions/p/a"}),
            ),
            (
                "hosturl",
                json!({"path": "t", "trigger": true}),
                json!({"url": "https://ow.example/api/v1/namespaces/guest/triggers/t"}),
            ),
            (
                "hosturl",
                json!({"path": "a", "web": true}),
                json!({"url": "https://ow.example/api/v1/web/guest/default/a"}),
            ),
            (
                "hosturl",
                json!({"path": "p/a", "web": true, "ext": ".json"}),
                json!({"url": "https://ow.example/api/v1/web/guest/p/a.json"}),
            ),
        ] {
            assert_eq!(run(action, told.clone()), Ok(result), "{action} {told}");
        }
        let date = run("date", json!({})).unwrap()["date"].as_str().unwrap().to_owned();
        assert!(
            date.parse::<Timestamp>().is_ok() && date.len() == "2016-03-22T00:59:55.961Z".len(),
            "{date}"
        );
    }

    #[test]
    fn says_what_they_cannot_do() {
        for (action, told, says) in [
            ("cat", json!({"lines": "x"}), "'lines' of type 'array'"),
            ("sort", json!({"lines": {}}), "'lines' of type 'array'"),
            ("split", json!({}), "'payload'"),
            ("smash", json!({"a": 1}), "$fieldName"),
            ("hosturl", json!({"web": true, "trigger": true}), "not allowed for web actions"),
            ("hosturl", json!({"web": true, "ext": ".exe"}), "must be one of"),
            ("hosturl", json!({"trigger": true, "path": "a/b"}), "not allowed in packages"),
        ] {
            let error = run(action, told.clone()).unwrap_err();
            assert!(error.as_str().unwrap().contains(says), "{action} {told}: {error}");
        }
    }

    proptest! {
        #[test]
        fn cat_undoes_split(lines in proptest::collection::vec("[a-z ]{0,9}", 1..9)) {
            let split = run("split", json!({ "payload": lines.join("\n") })).unwrap();
            prop_assert_eq!(&split["lines"], &json!(lines));
            prop_assert_eq!(run("cat", split.clone()).unwrap()["payload"].clone(), split["payload"].clone());
        }

        #[test]
        fn head_takes_no_more_than_there_is(length in 0usize..9, number in -20i64..20) {
            let head = run("head", json!({ "lines": vec![0; length], "num": number })).unwrap();
            prop_assert!(head["lines"].as_array().unwrap().len() <= length);
        }
    }
}
