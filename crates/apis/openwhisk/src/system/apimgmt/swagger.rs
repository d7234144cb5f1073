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
