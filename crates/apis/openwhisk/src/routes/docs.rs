//! The API's description for tools, in the form of Swagger 2.0.

use crate::Shared;
use serde_json::{Map, Value, json};

/// What may be done: method, what it does, what it answers with.
type Operation = (&'static str, &'static str, &'static str);

/// Paths below `/api/v1`, and what may be done there.
const PATHS: &[(&str, &[Operation])] = &[
    ("/namespaces", &[("get", "The namespace of the key", "200 401")]),
    ("/namespaces/{namespace}/limits", &[("get", "What the namespace may do", "200 401 403")]),
    (
        "/namespaces/{namespace}/actions",
        &[("get", "Actions, or with count=true how many there are", "200 400 401 403")],
    ),
    (
        "/namespaces/{namespace}/actions/{actionName}",
        &[
            ("get", "An action, with its code unless code=false", "200 401 403 404 409"),
            ("put", "Makes an action, or with overwrite=true changes it", "200 400 401 403 409 413"),
            ("delete", "Deletes an action", "200 401 403 404 409"),
            ("post", "Calls an action", "200 202 400 401 403 404 409 413 429 500 502 503"),
        ],
    ),
    (
        "/namespaces/{namespace}/actions/{packageName}/{actionName}",
        &[
            ("get", "An action of a package", "200 401 403 404 409"),
            ("put", "Makes or changes an action of a package", "200 400 401 403 404 409 413"),
            ("delete", "Deletes an action of a package", "200 400 401 403 404 409"),
            ("post", "Calls an action of a package", "200 202 400 401 403 404 409 413 429 500 502 503"),
        ],
    ),
    ("/namespaces/{namespace}/packages", &[("get", "Packages and bindings", "200 400 401")]),
    (
        "/namespaces/{namespace}/packages/{packageName}",
        &[
            ("get", "A package, with what is in it", "200 401 403 404 409"),
            ("put", "Makes or changes a package or a binding", "200 400 401 403 409 413"),
            ("delete", "Deletes a package, with force=true with what is in it", "200 401 403 404 409"),
        ],
    ),
    ("/namespaces/{namespace}/triggers", &[("get", "Triggers", "200 400 401 403")]),
    (
        "/namespaces/{namespace}/triggers/{triggerName}",
        &[
            ("get", "A trigger, with its rules", "200 401 403 404 409"),
            ("put", "Makes or changes a trigger", "200 400 401 403 409 413"),
            ("delete", "Deletes a trigger", "200 401 403 404 409"),
            ("post", "Fires a trigger", "202 204 400 401 403 404 409 413 429"),
        ],
    ),
    ("/namespaces/{namespace}/rules", &[("get", "Rules", "200 400 401 403")]),
    (
        "/namespaces/{namespace}/rules/{ruleName}",
        &[
            ("get", "A rule, with its status", "200 401 403 404 409"),
            ("put", "Makes or changes a rule", "200 400 401 403 409"),
            ("delete", "Deletes a rule", "200 401 403 404 409"),
            ("post", "Enables or disables a rule", "200 400 401 403 404 409"),
        ],
    ),
    (
        "/namespaces/{namespace}/activations",
        &[("get", "What became of calls, newest first", "200 400 401 403")],
    ),
    (
        "/namespaces/{namespace}/activations/{activationid}",
        &[("get", "What became of a call", "200 401 403 404")],
    ),
    (
        "/namespaces/{namespace}/activations/{activationid}/logs",
        &[("get", "What a call printed", "200 401 403 404")],
    ),
    (
        "/namespaces/{namespace}/activations/{activationid}/result",
        &[("get", "What a call answered", "200 401 403 404")],
    ),
    (
        "/web/{namespace}/{packageName}/{actionName}.{extension}",
        &[
            ("get", "Calls a web action", "200 400 401 404 429 500"),
            ("post", "Calls a web action", "200 400 401 404 413 429 500"),
            ("put", "Calls a web action", "200 400 401 404 413 429 500"),
            ("delete", "Calls a web action", "200 400 401 404 429 500"),
        ],
    ),
];

/// The description.
pub(super) fn describe(shared: &Shared) -> Value {
    let paths: Map<String, Value> =
        PATHS.iter().map(|(path, methods)| ((*path).to_owned(), described(path, methods))).collect();
    json!({
        "swagger": "2.0",
        "info": { "title": "OpenWhisk REST API", "version": shared.options.version },
        "basePath": crate::API_ROOT,
        "schemes": ["http", "https"],
        "consumes": ["application/json"],
        "produces": ["application/json"],
        "securityDefinitions": { "basicAuth": { "type": "basic" } },
        "security": [{ "basicAuth": [] }],
        "paths": paths,
    })
}

fn described(path: &str, methods: &[Operation]) -> Value {
    let operations = methods.iter().map(|(method, does, answers)| {
        let responses: Map<String, Value> = answers
            .split(' ')
            .map(|status| (status.to_owned(), json!({ "description": meaning(status) })))
            .collect();
        ((*method).to_owned(), json!({ "summary": does, "responses": responses }))
    });
    let mut described: Map<String, Value> = operations.collect();
    let names = path.split(['{', '}']).skip(1).step_by(2);
    let parameters =
        names.map(|name| json!({ "name": name, "in": "path", "required": true, "type": "string" }));
    described.insert("parameters".to_owned(), parameters.collect());
    Value::Object(described)
}

fn meaning(status: &str) -> &'static str {
    let status = status.parse().ok().and_then(|status| http::StatusCode::from_u16(status).ok());
    status.and_then(|status| status.canonical_reason()).unwrap_or("Other")
}
