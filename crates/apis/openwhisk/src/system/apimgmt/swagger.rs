//! An API as it is kept and shown: a Swagger document, and how endpoints come into it and go.

use super::request::Endpoint;
use serde_json::{Map, Value, json};

/// Where the routes' targets are in a document.
const CONFIGURATION: &str = "x-ibm-configuration";

/// What a target ends with that is handed the path as it was asked for.
pub(super) const REQUEST_PATH: &str = "$(request.path)";

/// What operations are called in a document.
pub(super) const OPERATIONS: [&str; 7] = ["get", "put", "post", "delete", "patch", "head", "options"];

/// An API without any endpoint.
pub(super) fn empty(base_path: &str, name: Option<&str>) -> Value {
    json!({
        "swagger": "2.0",
        "info": { "title": name.unwrap_or(base_path), "version": "1.0.0" },
        "basePath": base_path,
        "paths": {},
        CONFIGURATION: { "assembly": {}, "cors": { "enabled": true } },
    })
}

/// Adds an endpoint, or replaces the one of that path and method.
pub(super) fn add(api: &mut Value, endpoint: &Endpoint) {
    let operation = endpoint.method.to_lowercase();
    let id = operation_id(&operation, &endpoint.path);
    let url = endpoint.url();
    let mut described = json!({
        "operationId": id,
        "x-openwhisk": {
            "url": url,
            "namespace": endpoint.namespace,
            "package": endpoint.package.as_deref().unwrap_or_default(),
            "action": endpoint.action,
        },
        "responses": { "default": { "description": "Default response" } },
    });
    if let Some(parameters) = &endpoint.path_parameters {
        described["parameters"] = parameters.clone();
    }
    let path = object(&mut api["paths"]).entry(endpoint.path.clone()).or_insert(Value::Null);
    object(path).insert(operation, described);

    let target = if endpoint.response_type == "http" { format!("{url}{REQUEST_PATH}") } else { url };
    let mut execute = vec![json!({ "invoke": { "target-url": target, "verb": "keep" } })];
    if let Some(secret) = &endpoint.secure_key {
        let set = json!({ "set": "message.headers.X-Require-Whisk-Auth", "value": secret });
        execute.push(json!({ "set-variable": { "actions": [set] } }));
    }
    let case = json!({ "operations": [id], "execute": execute });
    let cases = cases(api);
    match cases.iter_mut().find(|case| case["operations"][0] == id.as_str()) {
        Some(there) => *there = case,
        None => cases.push(case),
    }
}

/// Removes a path, or one of its operations.
///
/// # Errors
/// Where there is no such thing.
pub(super) fn remove(api: &mut Value, path: &str, operation: Option<&str>) -> Result<(), String> {
    let paths = object(&mut api["paths"]);
    let gone: Vec<String> = match operation {
        None => {
            let Some(Value::Object(operations)) = paths.remove(path) else {
                return Err(format!("path '{path}' does not exist in the API"));
            };
            operations.keys().map(|operation| operation_id(operation, path)).collect()
        }
        Some(operation) => {
            let operations = paths.get_mut(path).and_then(Value::as_object_mut);
            let Some(operations) = operations.filter(|operations| operations.contains_key(operation)) else {
                return Err(format!("path '{path}' with operation '{operation}' does not exist in the API"));
            };
            operations.remove(operation);
            if !operations.keys().any(|name| OPERATIONS.contains(&name.as_str())) {
                paths.remove(path);
            }
            vec![operation_id(operation, path)]
        }
    };
    cases(api).retain(|case| !gone.iter().any(|id| case["operations"][0] == id.as_str()));
    Ok(())
}

/// Whether there is nothing in it.
pub(super) fn is_empty(api: &Value) -> bool {
    api["paths"].as_object().is_none_or(Map::is_empty)
}

/// Checks that parameters in paths can reach what is called.
///
/// # Errors
/// What is wrong.
pub(super) fn check_parameters(api: &Value) -> Result<(), String> {
    let base = api["basePath"].as_str().unwrap_or_default();
    if !parameters_of(base).is_empty() {
        return Err(format!(
            "The base path ({base}) cannot have parameters. Only the relative path supports path parameters."
        ));
    }
    let targets = targets(api);
    for (path, operations) in api["paths"].as_object().into_iter().flatten() {
        let wanted = parameters_of(path);
        if wanted.is_empty() {
            continue;
        }
        let of_path = names(&operations["parameters"]);
        for (name, operation) in operations.as_object().into_iter().flatten() {
            if !OPERATIONS.contains(&name.as_str()) {
                continue;
            }
            if operation["x-openwhisk"]["url"].as_str().is_some_and(|url| !url.ends_with(".http")) {
                return Err("The action must use a response type of '.http' in order to receive the path \
                            parameters."
                    .to_owned());
            }
            let id = operation["operationId"].as_str().unwrap_or_default();
            let target = targets.iter().find(|(of, _)| *of == id);
            if target.is_some_and(|(_, target)| !target.ends_with(&format!(".http{REQUEST_PATH}"))) {
                return Err(format!(
                    "The target-url for operationId '{id}' must end in '{REQUEST_PATH}' in order for actions to \
                     receive the path parameters."
                ));
            }
            let of_operation = names(&operation["parameters"]);
            if let Some(missing) =
                wanted.iter().find(|name| !of_path.contains(name) && !of_operation.contains(name))
            {
                return Err(format!(
                    "The parameter '{missing}' defined in path '{path}' does not match any of the parameters \
                     defined for the path in the swagger file."
                ));
            }
        }
    }
    Ok(())
}

/// The targets of operations, by their ids.
fn targets(api: &Value) -> Vec<(&str, &str)> {
    let executes = api[CONFIGURATION]["assembly"]["execute"].as_array().into_iter().flatten();
    let cases =
        executes.flat_map(|execute| execute["operation-switch"]["case"].as_array().into_iter().flatten());
    cases
        .flat_map(|case| {
            let target = case["execute"].as_array().into_iter().flatten();
            let target = target.filter_map(|execute| execute["invoke"]["target-url"].as_str()).next();
            let ids = case["operations"].as_array().into_iter().flatten().filter_map(Value::as_str);
            ids.filter_map(move |id| Some((id, target?)))
        })
        .collect()
}

fn names(parameters: &Value) -> Vec<&str> {
    let parameters = parameters.as_array().into_iter().flatten();
    parameters.filter_map(|parameter| parameter["name"].as_str()).collect()
}

/// The names in braces among a path's segments.
pub(super) fn parameters_of(path: &str) -> Vec<&str> {
    path.split('/').filter_map(parameter).collect()
}

/// The name of a segment that is a parameter.
pub(super) fn parameter(segment: &str) -> Option<&str> {
    segment.strip_prefix('{')?.strip_suffix('}').filter(|name| !name.is_empty())
}

/// An operation's id: `getPathOfThat`.
pub(super) fn operation_id(operation: &str, path: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let mut id = operation.to_lowercase();
    for word in path.split(|c: char| !allowed(c)) {
        let dashes = word.len() - word.trim_start_matches('-').len();
        let (dashes, word) = word.split_at(dashes);
        let mut letters = word.chars();
        id.push_str(dashes);
        id.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        id.push_str(&letters.as_str().to_ascii_lowercase());
    }
    id
}

/// The cases of the operation switch; made where there are none.
fn cases(api: &mut Value) -> &mut Vec<Value> {
    let configuration = object(&mut api[CONFIGURATION]);
    let assembly = object(configuration.entry("assembly").or_insert(Value::Null));
    let execute = array(assembly.entry("execute").or_insert(Value::Null));
    let at = execute.iter().position(|execute| execute.get("operation-switch").is_some());
    let at = at.unwrap_or_else(|| {
        execute.push(json!({ "operation-switch": { "case": [] } }));
        execute.len() - 1
    });
    array(&mut execute[at]["operation-switch"]["case"])
}

/// What is to be an object: anything else is replaced by an empty one.
fn object(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = json!({});
    }
    match value {
        Value::Object(fields) => fields,
        _ => unreachable!("it was made one"),
    }
}

fn array(value: &mut Value) -> &mut Vec<Value> {
    if !value.is_array() {
        *value = json!([]);
    }
    match value {
        Value::Array(values) => values,
        _ => unreachable!("it was made one"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn endpoint(path: &str, method: &str, response_type: &str) -> Endpoint {
        Endpoint {
            path: path.to_owned(),
            method: method.to_owned(),
            path_parameters: None,
            host: "https://ow.example".to_owned(),
            namespace: "guest".to_owned(),
            package: None,
            action: "hello".to_owned(),
            response_type: response_type.to_owned(),
            secure_key: None,
        }
    }

    #[test]
    fn ids_are_those_that_the_original_makes() {
        for (operation, path, id) in [
            ("GET", "/hello", "getHello"),
            ("get", "/api2/greeting2/{name}", "getApi2Greeting2Name"),
            ("post", "/a-B/_c.d/-x", "postA-b_cD-X"),
            ("put", "/", "put"),
        ] {
            assert_eq!(operation_id(operation, path), id, "{path}");
        }
    }

    #[test]
    fn endpoints_come_and_go() {
        let mut api = empty("/base", Some("Base"));
        add(&mut api, &endpoint("/a", "GET", "json"));
        add(&mut api, &endpoint("/a", "post", "http"));
        let secured = Endpoint { secure_key: Some(json!(12)), ..endpoint("/a", "get", "text") };
        add(&mut api, &secured);
        assert_eq!(api["info"]["title"], "Base");
        let get = &api["paths"]["/a"]["get"];
        assert_eq!(get["operationId"], "getA");
        assert_eq!(
            get["x-openwhisk"],
            json!({"url": "https://ow.example/api/v1/web/guest/default/hello.text", "namespace": "guest",
                "package": "", "action": "hello"})
        );
        let targets = targets(&api);
        assert_eq!(
            targets,
            [
                ("getA", "https://ow.example/api/v1/web/guest/default/hello.text"),
                ("postA", "https://ow.example/api/v1/web/guest/default/hello.http$(request.path)"),
            ]
        );
        assert_eq!(
            remove(&mut api, "/a", Some("put")).unwrap_err(),
            "path '/a' with operation 'put' does not exist in the API"
        );
        assert_eq!(remove(&mut api, "/b", None).unwrap_err(), "path '/b' does not exist in the API");
        remove(&mut api, "/a", Some("get")).unwrap();
        assert_eq!(cases(&mut api).len(), 1);
        remove(&mut api, "/a", None).unwrap();
        assert!(is_empty(&api) && cases(&mut api).is_empty());
    }

    #[test]
    fn parameters_must_reach_the_action() {
        let with = |path: &str, response_type: &str, parameters: Value| {
            let mut api = empty("/base", None);
            let parameters = Some(parameters);
            add(&mut api, &Endpoint { path_parameters: parameters, ..endpoint(path, "get", response_type) });
            check_parameters(&api)
        };
        assert_eq!(with("/a/{id}/b", "http", json!([{"name": "id", "in": "path"}])), Ok(()));
        assert_eq!(with("/a", "json", json!([])), Ok(()));
        assert!(
            with("/a/{id}", "json", json!([{"name": "id"}]))
                .unwrap_err()
                .contains("response type of '.http'")
        );
        assert!(with("/a/{id}", "http", json!([{"name": "no"}])).unwrap_err().contains("The parameter 'id'"));
        assert!(check_parameters(&empty("/{x}", None)).unwrap_err().contains("base path (/{x})"));
        let mut api = empty("/base", None);
        add(&mut api, &endpoint("/a/{id}", "get", "http"));
        api["paths"]["/a/{id}"]["parameters"] = json!([{"name": "id"}]);
        assert_eq!(check_parameters(&api), Ok(()));
        cases(&mut api)[0]["execute"][0]["invoke"]["target-url"] =
            json!("https://x/api/v1/web/g/default/a.http");
        assert!(check_parameters(&api).unwrap_err().contains("must end in '$(request.path)'"));
    }

    proptest! {
        #[test]
        fn whatever_is_added_can_be_removed(paths in proptest::collection::vec("(/[a-z{}.-]{0,4}){1,3}", 1..6)) {
            let mut api = empty("/b", None);
            for path in &paths {
                add(&mut api, &endpoint(path, "GET", "http"));
            }
            for path in &paths {
                let there = api["paths"].get(path).is_some();
                prop_assert_eq!(remove(&mut api, path, Some("get")).is_ok(), there);
            }
            prop_assert!(is_empty(&api));
        }
    }
}
