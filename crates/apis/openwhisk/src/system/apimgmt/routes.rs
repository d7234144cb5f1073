//! What a Swagger document makes of requests.

use super::{
    request::not_a_web_action,
    swagger::{OPERATIONS, REQUEST_PATH, parameter},
};
use http::{HeaderName, HeaderValue, Method};
use percent_encoding::percent_decode_str;
use serde_json::Value;
use std::{borrow::Cow, collections::HashMap};

/// What the paths of web actions begin with.
const WEB: &str = "/api/v1/web/";

/// An API, ready to be asked.
#[derive(Debug)]
pub(super) struct Api {
    pub(super) base: Vec<String>,
    pub(super) cors: Cors,
    routes: Vec<Route>,
}

/// What is said of pages of other origins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cors {
    /// They may.
    Open,
    /// They may not, whatever the action says.
    Closed,
    /// What the action says.
    Unsaid,
}

/// A path, and what is called for its methods.
#[derive(Debug)]
struct Route {
    segments: Vec<Segment>,
    operations: HashMap<Method, Backend>,
}

#[derive(Debug, PartialEq)]
enum Segment {
    Literal(String),
    Parameter,
}

/// A web action, and how it is called.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Backend {
    /// The path that it is called at.
    pub(crate) path: String,
    /// It is told the path as it was asked for.
    pub(crate) tells_path: bool,
    /// With this method; else with that of the request.
    pub(crate) method: Option<Method>,
    /// With these headers in place of the request's own.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
}

/// What was found for a path.
#[derive(Debug)]
pub(super) struct Found<'a> {
    pub(super) cors: Cors,
    /// What is called for the method; `None`: nothing.
    pub(super) backend: Option<&'a Backend>,
    /// The segments behind those that were matched.
    pub(super) rest: usize,
}

impl Api {
    /// Reads a document.
    ///
    /// # Errors
    /// What it asks for that is not done here: to do without would leave open what was to be closed.
    pub(super) fn of(swagger: &Value) -> Result<Self, String> {
        for (field, what) in [
            ("securityDefinitions", "securityDefinitions (API keys and OAuth)"),
            ("security", "security"),
            ("x-ibm-rate-limit", "x-ibm-rate-limit"),
            ("x-gateway-rate-limit", "x-gateway-rate-limit"),
        ] {
            if !is_empty(&swagger[field]) {
                return Err(format!(
                    "{what} cannot be enforced by this server's API gateway; protect the action \
                                    itself, with the annotation require-whisk-auth"
                ));
            }
        }
        let configuration = match &swagger["x-gateway-configuration"] {
            Value::Null => &swagger["x-ibm-configuration"],
            own => own,
        };
        let cors = match configuration["cors"]["enabled"].as_bool() {
            Some(true) => Cors::Open,
            Some(false) => Cors::Closed,
            None => Cors::Unsaid,
        };
        let assembly = Assembly::of(&configuration["assembly"])?;
        let base = segments(swagger["basePath"].as_str().unwrap_or_default()).map(Cow::into_owned).collect();
        let mut routes = Vec::new();
        for (path, described) in swagger["paths"].as_object().into_iter().flatten() {
            if !path.starts_with('/') {
                return Err("Resource path must begin with '/'.".to_owned());
            }
            let segments = segments(path).map(|segment| match parameter(&segment) {
                Some(_) => Segment::Parameter,
                None => Segment::Literal(segment.into_owned()),
            });
            let mut operations = HashMap::new();
            for (name, operation) in described.as_object().into_iter().flatten() {
                if !OPERATIONS.contains(&name.to_lowercase().as_str()) {
                    continue;
                }
                let method =
                    Method::from_bytes(name.to_uppercase().as_bytes()).map_err(|error| error.to_string())?;
                if let Some(backend) = assembly.backend(operation)? {
                    operations.insert(method, backend);
                }
            }
            routes.push(Route { segments: segments.collect(), operations });
        }
        Ok(Self { base, cors, routes })
    }

    /// What a path leads to: the longest route that it begins with; of several, the one that says most.
    pub(super) fn find(&self, path: &[Cow<'_, str>], method: &Method) -> Option<((usize, usize), Found<'_>)> {
        let below = below(path, &self.base)?;
        let matching = self.routes.iter().filter_map(|route| Some((route.matches(below)?, route)));
        let (fit, route) = matching.max_by_key(|(fit, _)| *fit)?;
        let found = Found {
            cors: self.cors,
            backend: route.operations.get(method),
            rest: below.len() - route.segments.len(),
        };
        Some(((self.base.len() + fit.0, self.base.len() + fit.1), found))
    }
}

impl Route {
    /// How well a path fits: how many of its segments are matched, and how many of them word by word.
    fn matches(&self, path: &[Cow<'_, str>]) -> Option<(usize, usize)> {
        if path.len() < self.segments.len() {
            return None;
        }
        let mut literal = 0;
        for (segment, asked) in self.segments.iter().zip(path) {
            match segment {
                Segment::Parameter => {}
                Segment::Literal(word) if word == asked => literal += 1,
                Segment::Literal(_) => return None,
            }
        }
        Some((self.segments.len(), literal))
    }
}

/// What of a path follows a base; `None`: it is not below it.
fn below<'p, 's>(path: &'p [Cow<'s, str>], base: &[String]) -> Option<&'p [Cow<'s, str>]> {
    let (head, rest) = path.split_at_checked(base.len())?;
    head.iter().zip(base).all(|(asked, own)| asked == own).then_some(rest)
}

/// The segments of a path, decoded; empty ones are left out.
pub(super) fn segments(path: &str) -> impl Iterator<Item = Cow<'_, str>> {
    path.split('/')
        .filter(|segment| !segment.is_empty())
        .map(|segment| percent_decode_str(segment).decode_utf8_lossy())
}

/// What is done for operations.
#[derive(Default)]
struct Assembly<'a> {
    all: Option<&'a Value>,
    cases: HashMap<&'a str, &'a Vec<Value>>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl<'a> Assembly<'a> {
    fn of(assembly: &'a Value) -> Result<Self, String> {
        let mut read = Self::default();
        for execute in assembly["execute"].as_array().into_iter().flatten() {
            if let Some(invoke) = execute.get("invoke") {
                read.all = Some(invoke);
            }
            if let Some(set) = execute.get("set-variable") {
                read.headers.extend(headers(set)?);
            }
            for case in execute["operation-switch"]["case"].as_array().into_iter().flatten() {
                let Some(steps) = case["execute"].as_array() else { continue };
                for id in case["operations"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                    read.cases.insert(id, steps);
                }
            }
        }
        Ok(read)
    }

    /// What is called for an operation; `None`: its document does not say.
    fn backend(&self, operation: &Value) -> Result<Option<Backend>, String> {
        let steps = operation["operationId"].as_str().and_then(|id| self.cases.get(id));
        let steps = steps.into_iter().flat_map(|steps| steps.iter());
        let mut own = self.headers.clone();
        let mut invoke = self.all;
        for step in steps {
            if let Some(set) = step.get("set-variable") {
                own.extend(headers(set)?);
            }
            invoke = step.get("invoke").or(invoke);
        }
        let (url, verb) = match invoke {
            Some(invoke) => (invoke["target-url"].as_str(), invoke["verb"].as_str()),
            None => (operation["x-openwhisk"]["url"].as_str(), None),
        };
        let Some(url) = url.filter(|url| !url.is_empty()) else { return Ok(None) };
        let method = match verb {
            None | Some("keep") => None,
            Some(verb) => {
                let known = OPERATIONS.contains(&verb.to_lowercase().as_str());
                let method = Method::from_bytes(verb.to_uppercase().as_bytes()).ok().filter(|_| known);
                Some(method.ok_or_else(|| format!("backendMethod '{verb}' not supported."))?)
            }
        };
        let (target, tells_path) = match url.strip_suffix(REQUEST_PATH) {
            Some(target) => (target, true),
            None => (url, false),
        };
        let at = target.find(WEB).ok_or_else(|| not_a_web_action(url))?;
        let path = target[at..].trim_end_matches('/').to_owned();
        if path[WEB.len()..].split('/').filter(|part| !part.is_empty()).count() < 3
            || path.contains(['?', '#'])
        {
            return Err(not_a_web_action(url));
        }
        Ok(Some(Backend { path, tells_path, method, headers: own }))
    }
}

/// The headers that are set: `message.headers.Name`.
fn headers(set: &Value) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    let actions = set["actions"].as_array().into_iter().flatten();
    actions
        .map(|action| {
            let name = action["set"].as_str().unwrap_or_default();
            let header =
                name.strip_prefix("message.headers.").and_then(|name| name.parse::<HeaderName>().ok());
            let header = header.ok_or_else(|| {
                format!("set-variable sets '{name}'; headers alone can be set: message.headers.Name")
            })?;
            let value = match &action["value"] {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let value = value
                .parse()
                .map_err(|_| format!("set-variable gives '{name}' a value no header can have"))?;
            Ok((header, value))
        })
        .collect()
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(values) => values.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn api(base: &str, paths: Value) -> Value {
        json!({"swagger": "2.0", "basePath": base, "info": {"title": "x"}, "paths": paths})
    }

    fn url(url: &str) -> Value {
        json!({"x-openwhisk": {"url": format!("https://ow.example/api/v1/web/ns/{url}")}})
    }

    fn found(api: &Api, path: &str, method: Method) -> Option<(String, usize)> {
        let asked: Vec<_> = segments(path).collect();
        let (_, found) = api.find(&asked, &method)?;
        Some((found.backend.map(|backend| backend.path.clone()).unwrap_or_default(), found.rest))
    }

    #[test]
    fn the_route_that_says_most_is_taken() {
        let api = Api::of(&api(
            "/v1/shop",
            json!({"/": {"get": url("default/root.json")},
                "/items/{id}": {"get": url("default/item.http"), "delete": url("default/gone.http")},
                "/items/new": {"get": url("default/new.http")},
                "/items": {"get": url("default/items.http"), "parameters": []}}),
        ))
        .unwrap();
        let web = |name: &str, rest| Some((format!("/api/v1/web/ns/default/{name}"), rest));
        for (path, wanted) in [
            ("/v1/shop", web("root.json", 0)),
            ("/v1/shop/", web("root.json", 0)),
            ("/v1/shop/items", web("items.http", 0)),
            ("/v1/shop/items/new", web("new.http", 0)),
            ("/v1/shop/items/7", web("item.http", 0)),
            ("/v1/shop/items/a%20b", web("item.http", 0)),
            ("/v1/shop/items/7/more/still", web("item.http", 2)),
            ("/v1/shop/other", web("root.json", 1)),
            ("/v1/sho", None),
            ("/v1", None),
            ("", None),
        ] {
            assert_eq!(found(&api, path, Method::GET), wanted, "{path}");
        }
        assert_eq!(found(&api, "/v1/shop/items/7", Method::DELETE), web("gone.http", 0));
        assert_eq!(found(&api, "/v1/shop/items/7", Method::POST), Some((String::new(), 0)));
    }

    #[test]
    fn what_an_assembly_says() {
        let mut swagger =
            api("/b", json!({"/a": {"get": {"operationId": "getA"}, "post": {"operationId": "postA"}}}));
        let target = "https://ow.example/api/v1/web/ns/p/a.http$(request.path)";
        let set =
            |name: &str, value: Value| json!({"set-variable": {"actions": [{"set": name, "value": value}]}});
        swagger["x-ibm-configuration"] = json!({"cors": {"enabled": false}, "assembly": {"execute": [
            set("message.headers.Authorization", json!("Basic eA==")),
            {"operation-switch": {"case": [
                {"operations": ["getA"], "execute": [{"invoke": {"target-url": target, "verb": "POST"}},
                    set("message.headers.X-Require-Whisk-Auth", json!(7))]},
                {"operations": ["postA"], "execute": [{"invoke": {"target-url": target, "verb": "keep"}}]}]}}]}});
        let read = Api::of(&swagger).unwrap();
        assert_eq!(read.cors, Cors::Closed);
        let asked: Vec<_> = segments("/b/a").collect();
        let get = read.find(&asked, &Method::GET).unwrap().1.backend.unwrap().clone();
        assert_eq!(
            (get.path.as_str(), get.tells_path, &get.method),
            ("/api/v1/web/ns/p/a.http", true, &Some(Method::POST))
        );
        let headers: Vec<_> =
            get.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(headers, [("authorization", "Basic eA=="), ("x-require-whisk-auth", "7")]);
        let post = read.find(&asked, &Method::POST).unwrap().1.backend.unwrap();
        assert_eq!((&post.method, post.headers.len()), (&None, 1));
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        let with = |field: &str, value: Value| {
            let mut swagger = api("/b", json!({"/a": {"get": url("default/a.http")}}));
            swagger[field] = value;
            Api::of(&swagger)
        };
        assert!(with("securityDefinitions", json!({})).is_ok(), "nothing is nothing to enforce");
        for (field, value, says) in [
            ("securityDefinitions", json!({"client_id": {"type": "apiKey"}}), "securityDefinitions"),
            ("security", json!([{"client_id": []}]), "security"),
            ("x-ibm-rate-limit", json!([{"rate": 1}]), "x-ibm-rate-limit"),
            ("paths", json!({"a": {}}), "must begin with '/'"),
            (
                "paths",
                json!({"/a": {"get": {"x-openwhisk": {"url": "https://elsewhere.example/"}}}}),
                "web action",
            ),
            ("paths", json!({"/a": {"get": url("default")}}), "web action"),
            (
                "x-ibm-configuration",
                json!({"assembly": {"execute": [{"set-variable": {"actions": [{"set": "message.body", "value": 1}]}}]}}),
                "headers alone",
            ),
            (
                "x-ibm-configuration",
                json!({"assembly": {"execute": [{"invoke": {"verb": "BREW",
                    "target-url": "http://x/api/v1/web/a/b/c"}}]}}),
                "backendMethod 'BREW'",
            ),
        ] {
            let error = with(field, value.clone()).unwrap_err();
            assert!(error.contains(says), "{field} {value}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_path_panics_and_an_exact_route_is_found(path in "(/[ -~]{0,5}){0,5}") {
            let swagger = api("/b", json!({"/x": {"get": url("default/x.http")}}));
            let read = Api::of(&swagger).unwrap();
            let _ = found(&read, &path, Method::GET);
            let deeper = format!("/b/x{path}");
            prop_assert!(found(&read, &deeper, Method::GET).is_some());
        }
    }
}
