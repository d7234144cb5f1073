//! A description in OpenAPI, and what it says of one exchange.
#![allow(unreachable_pub, reason = "a module of one test")]

use http::HeaderMap;
use serde_json::{Map, Value, json};
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap},
};

/// The description.
pub struct Document {
    pub json: Value,
    compiled: RefCell<Compiled>,
}

/// Schemas that were needed so far.
struct Compiled {
    compiler: boon::Compiler,
    schemas: boon::Schemas,
    known: HashMap<String, boon::SchemaIndex>,
}

impl Compiled {
    /// What is wrong with a value.
    fn fault(&mut self, schema: &Value, value: &Value) -> Option<String> {
        let text = schema.to_string().replace("\"#/components/", "\"file:///description.json#/components/");
        let place = format!("file:///{}.json", self.known.len());
        let index = *self.known.entry(text).or_insert_with_key(|text| {
            self.compiler.add_resource(&place, serde_json::from_str(text).unwrap()).unwrap();
            self.compiler.compile(&place, &mut self.schemas).unwrap()
        });
        self.schemas.validate(value, index).err().map(|fault| format!("{fault:#}"))
    }
}

/// One operation of it.
pub struct Operation {
    method: String,
    path: String,
    what: Value,
}

impl Operation {
    pub fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

impl Document {
    pub fn new(document: Value) -> Self {
        let mut compiler = boon::Compiler::new();
        compiler.enable_format_assertions();
        let components = json!({"components": document["components"]});
        compiler.add_resource("file:///description.json", components).unwrap();
        let compiled = Compiled { compiler, schemas: boon::Schemas::new(), known: HashMap::new() };
        Self { json: document, compiled: RefCell::new(compiled) }
    }

    fn paths(&self) -> &Map<String, Value> {
        self.json["paths"].as_object().unwrap()
    }

    pub fn operations(&self) -> Vec<Operation> {
        let all = self.paths().iter().flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().iter();
            methods.map(|(method, what)| Operation {
                method: method.to_uppercase(),
                path: path.clone(),
                what: what.clone(),
            })
        });
        all.collect()
    }

    /// The methods of each path.
    pub fn methods(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut methods = BTreeMap::<_, BTreeSet<_>>::new();
        for operation in self.operations() {
            methods.entry(operation.path).or_default().insert(operation.method);
        }
        methods
    }

    /// What a request means: of several templates that match, that with the fewest parameters.
    pub fn operation(&self, method: &str, path: &str) -> Operation {
        let matching =
            self.operations().into_iter().filter(|one| one.method == method && matches(&one.path, path));
        let best = matching.min_by_key(|one| one.path.matches('{').count());
        best.unwrap_or_else(|| panic!("{method} {path} is not described"))
    }

    /// Holds an answer against the description.
    pub fn check(&self, operation: &Operation, status: u16, head: &HeaderMap, body: &[u8]) {
        let name = operation.name();
        let responses = &operation.what["responses"];
        let own = head.get("x-xebec-outcome").is_some_and(|outcome| outcome == "success");
        let answer = match responses.get(status.to_string()) {
            Some(answer) if !own => answer,
            _ => responses.get("default").unwrap_or_else(|| panic!("{name}: {status} is not described")),
        };
        let described = answer["content"].as_object();
        let Some(kind) = head.get("content-type").filter(|_| !body.is_empty()) else {
            assert!(
                body.is_empty()
                    && (described.is_none() || own || operation.method == "HEAD" || streams(described))
            );
            return;
        };
        let kind = kind.to_str().unwrap().split(';').next().unwrap();
        let described = described.unwrap_or_else(|| panic!("{name}: {status} should have no body"));
        let content = described.get(kind).or_else(|| described.get("*/*"));
        let content = content.unwrap_or_else(|| panic!("{name}: {kind} is not described for {status}"));
        let text = || std::str::from_utf8(body).unwrap();
        let parts: Vec<&str> = match kind {
            "application/json" if !own => vec![text()],
            "application/x-ndjson" => text().lines().collect(),
            "text/event-stream" => text().lines().filter_map(|line| line.strip_prefix("data: ")).collect(),
            _ => return,
        };
        let what = format!("{name}: {status}");
        for part in parts {
            self.validate(&what, &content["schema"], &serde_json::from_str(part).unwrap());
        }
    }

    /// Holds the body of a request that was accepted against the description.
    pub fn check_request(&self, operation: &Operation, body: &[u8]) {
        let schema = &operation.what["requestBody"]["content"]["application/json"]["schema"];
        if !schema.is_null() && !body.is_empty() {
            self.validate(&operation.name(), schema, &serde_json::from_slice(body).unwrap());
        }
    }

    fn validate(&self, what: &str, schema: &Value, value: &Value) {
        let mut compiled = self.compiled.borrow_mut();
        let fault = compiled.fault(schema, value);
        assert!(fault.is_none(), "{what}: {}\nin {value:#}\nby {schema:#}", fault.unwrap());
    }

    /// Names are unique, references lead somewhere, what is sent as JSON has an example, and examples are right.
    pub fn holds_together(&self) {
        let operations = self.operations();
        let ids: BTreeSet<&str> =
            operations.iter().map(|one| one.what["operationId"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), operations.len());
        let tags: BTreeSet<&str> =
            self.json["tags"].as_array().unwrap().iter().map(|tag| tag["name"].as_str().unwrap()).collect();
        for one in &operations {
            let name = one.name();
            assert!(one.what["summary"].as_str().is_some_and(|summary| !summary.is_empty()), "{name}");
            assert!(
                one.what["tags"].as_array().unwrap().iter().all(|tag| tags.contains(tag.as_str().unwrap()))
            );
            let named: BTreeSet<String> = one.what["parameters"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|parameter| parameter["in"] == "path")
                .map(|parameter| format!("{{{}}}", parameter["name"].as_str().unwrap()))
                .collect();
            let wanted =
                one.path.split('/').filter(|part| part.starts_with('{')).map(str::to_owned).collect();
            assert_eq!(named, wanted, "{name}");
            let schema = &one.what["requestBody"]["content"]["application/json"]["schema"];
            if let Some(reference) = schema["$ref"].as_str() {
                let schema = self.json.pointer(&reference[1..]).unwrap();
                assert!(schema["examples"].is_array(), "{name}: {reference} has no example");
            }
        }
        for (name, schema) in self.json["components"]["schemas"].as_object().unwrap() {
            for example in schema["examples"].as_array().into_iter().flatten() {
                self.validate(name, schema, example);
            }
            let object = schema["properties"].as_object().is_some_and(|properties| !properties.is_empty());
            assert!(!object || schema["description"].is_string(), "{name} says nothing of itself");
        }
        self.references(&self.json);
    }

    fn references(&self, value: &Value) {
        match value {
            Value::Object(map) => {
                if let Some(reference) = map.get("$ref").and_then(Value::as_str) {
                    assert!(self.json.pointer(&reference[1..]).is_some(), "{reference} leads nowhere");
                }
                map.values().for_each(|value| self.references(value));
            }
            Value::Array(list) => list.iter().for_each(|value| self.references(value)),
            _ => {}
        }
    }
}

/// What is sent line by line may have no line at all.
fn streams(described: Option<&Map<String, Value>>) -> bool {
    described.is_some_and(|kinds| {
        kinds.contains_key("application/x-ndjson") || kinds.contains_key("application/octet-stream")
    })
}

/// Whether a template has this path; `{path}` at its end has the rest of it.
fn matches(template: &str, path: &str) -> bool {
    let (mut wanted, mut given) = (template.split('/'), path.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return true,
            (Some("{path}"), Some(_)) => return true,
            (Some(wanted), Some(given))
                if wanted == given || (wanted.starts_with('{') && !given.is_empty()) => {}
            _ => return false,
        }
    }
}
