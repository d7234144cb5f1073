//! What is asked of the API gateway: read, checked, and told in the original's words where it cannot be.

use super::swagger::{OPERATIONS, REQUEST_PATH};
use serde_json::{Map, Value};

/// What answers may be turned into: the extensions of web actions.
const RESPONSE_TYPES: [&str; 5] = ["http", "json", "text", "html", "svg"];

/// Parameters of a call.
pub(super) type Told = Map<String, Value>;

/// What an API shall be.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Wish {
    /// All of it.
    Whole(Value),
    /// What it was, and this.
    With { base_path: String, name: Option<String>, endpoint: Box<Endpoint> },
}

/// A path, a method, and what is called for it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Endpoint {
    pub(super) path: String,
    pub(super) method: String,
    pub(super) path_parameters: Option<Value>,
    /// Scheme, host, and what else stands before the web action's own path.
    pub(super) host: String,
    pub(super) namespace: String,
    pub(super) package: Option<String>,
    pub(super) action: String,
    pub(super) response_type: String,
    /// What the action wants to see in `X-Require-Whisk-Auth`.
    pub(super) secure_key: Option<Value>,
}

impl Endpoint {
    /// The URL of what is called.
    pub(super) fn url(&self) -> String {
        let package = self.package.as_deref().unwrap_or("default");
        format!(
            "{}/api/v1/web/{}/{package}/{}.{}",
            self.host, self.namespace, self.action, self.response_type
        )
    }
}

/// What an API of `namespace` shall be.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read(told: &Told, namespace: &str) -> Result<Wish, String> {
    let document = match told.get("apidoc") {
        None | Some(Value::Null) => return Err("apidoc is required.".to_owned()),
        Some(Value::Object(document)) => document.clone(),
        Some(Value::String(text)) => serde_json::from_str(text)
            .map_err(|_| "apidoc field cannot be parsed. Ensure it is valid JSON.".to_owned())?,
        Some(other) => {
            return Err(format!(
                "apidoc field is of type {} and should be a JSON object or a JSON string.",
                type_of(other)
            ));
        }
    };
    text(&document, "namespace").ok_or("apidoc is missing the namespace field")?;
    match document.get("swagger").filter(|swagger| !swagger.is_null()) {
        Some(_) if text(&document, "gatewayBasePath").is_some() => {
            Err("swagger and gatewayBasePath are mutually exclusive and cannot be specified together."
                .to_owned())
        }
        Some(swagger) => whole(swagger),
        None => {
            let base_path = text(&document, "gatewayBasePath");
            let base_path = base_path.ok_or("apidoc is missing the gatewayBasePath field")?.to_owned();
            let name = text(&document, "apiName").map(str::to_owned);
            let endpoint = Box::new(endpoint(&document, told, namespace)?);
            Ok(Wish::With { base_path, name, endpoint })
        }
    }
}

fn whole(swagger: &Value) -> Result<Wish, String> {
    let swagger: Value = match swagger {
        Value::Object(_) => swagger.clone(),
        Value::String(text) => serde_json::from_str(text)
            .map_err(|_| "swagger field cannot be parsed. Ensure it is valid JSON.".to_owned())?,
        other => {
            let is = type_of(other);
            return Err(format!("swagger field is {is} and should be an object or a JSON string."));
        }
    };
    for field in ["basePath", "paths", "info"] {
        if swagger[field].is_null() {
            return Err(format!("swagger is missing the {field} field."));
        }
    }
    if !swagger["basePath"].is_string() || !swagger["paths"].is_object() {
        return Err("swagger field cannot be parsed: basePath is text, paths is an object.".to_owned());
    }
    Ok(Wish::Whole(swagger))
}

fn endpoint(document: &Told, told: &Told, namespace: &str) -> Result<Endpoint, String> {
    let path = text(document, "gatewayPath").ok_or("apidoc is missing the gatewayPath field")?;
    let method = text(document, "gatewayMethod").ok_or("apidoc is missing the gatewayMethod field")?;
    let action =
        document.get("action").and_then(Value::as_object).ok_or("apidoc is missing the action field.")?;
    let of_action =
        |field: &str| text(action, field).ok_or_else(|| format!("action is missing the {field} field."));
    of_action("backendMethod")?;
    let url = of_action("backendUrl")?;
    let wanted = of_action("namespace")?;
    let name = of_action("name")?;
    of_action("authkey")?;
    let (host, rest) = url.split_once("/api/v1/web/").ok_or_else(|| not_a_web_action(url))?;
    if !OPERATIONS.contains(&method.to_lowercase().as_str()) {
        return Err(format!("Resource verb '{method}' not supported."));
    }
    let (own_namespace, package, action_name) = split(name);
    Ok(Endpoint {
        path: path.to_owned(),
        method: method.to_owned(),
        path_parameters: document.get("pathParameters").filter(|parameters| parameters.is_array()).cloned(),
        host: host.to_owned(),
        namespace: match own_namespace.unwrap_or(wanted) {
            "_" => namespace,
            other => other,
        }
        .to_owned(),
        package: package.filter(|package| *package != "default").map(str::to_owned),
        action: action_name.to_owned(),
        response_type: response_type(told, rest)?,
        secure_key: action.get("secureKey").filter(|key| !key.is_null() && key.as_str() != Some("")).cloned(),
    })
}

/// What is asked for, or what the URL ends with where the client knows nothing of response types.
fn response_type(told: &Told, url: &str) -> Result<String, String> {
    let written =
        url.strip_suffix(REQUEST_PATH).unwrap_or(url).rsplit_once('.').map(|(_, extension)| extension);
    let written = written.filter(|extension| RESPONSE_TYPES.contains(extension));
    let default = match text(told, "accesstoken") {
        Some(_) => "json",
        None => written.unwrap_or("http"),
    };
    let wanted = text(told, "responsetype").unwrap_or(default);
    match RESPONSE_TYPES.contains(&wanted) {
        true => Ok(wanted.to_owned()),
        false => Err(format!("responsetype is {wanted} and should be one of {}.", RESPONSE_TYPES.join(", "))),
    }
}

/// What cannot be called: the gateway leads to web actions of this server alone.
pub(super) fn not_a_web_action(url: &str) -> String {
    format!(
        "'{url}' is not the URL of a web action of this server, /api/v1/web/namespace/package/action.http"
    )
}

/// Namespace, package and name of `/namespace/package/name`, `package/name` or `name`.
fn split(name: &str) -> (Option<&str>, Option<&str>, &str) {
    let parts: Vec<&str> = name.split('/').filter(|part| !part.is_empty()).collect();
    match (name.starts_with('/'), parts.as_slice()) {
        (true, [namespace, package, name, ..]) => (Some(namespace), Some(package), name),
        (true, [namespace, name]) => (Some(namespace), None, name),
        (_, [package, name, ..]) => (None, Some(package), name),
        (_, [name]) => (None, None, name),
        (_, []) => (None, None, name),
    }
}

/// A parameter that is text, and not empty.
pub(super) fn text<'a>(told: &'a Told, name: &str) -> Option<&'a str> {
    told.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Null | Value::Array(_) | Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What `wsk api create` sends.
    fn wsk() -> Value {
        json!({"accesstoken": "DUMMY TOKEN", "spaceguid": "23bc46b1", "responsetype": "json", "apidoc": {
            "namespace": "_", "gatewayBasePath": "/b", "gatewayPath": "/p", "gatewayMethod": "GET", "id": "API:_:/b",
            "action": {"name": "hello", "namespace": "_", "backendMethod": "POST", "authkey": "a:b",
                "backendUrl": "https://ow.example/api/v1/web/_/default/hello.http", "secureKey": ""}}})
    }

    fn read_value(told: &Value) -> Result<Wish, String> {
        read(told.as_object().unwrap(), "guest")
    }

    fn endpoint(told: &Value) -> Endpoint {
        match read_value(told).unwrap() {
            Wish::With { endpoint, .. } => *endpoint,
            Wish::Whole(swagger) => panic!("{swagger}"),
        }
    }

    #[test]
    fn an_endpoint_as_clients_send_it() {
        let own = endpoint(&wsk());
        assert_eq!(own.url(), "https://ow.example/api/v1/web/guest/default/hello.json");
        assert_eq!(own.secure_key, None);
        for (name, namespace, url) in [
            ("pkg/hello", "_", "web/guest/pkg/hello.json"),
            ("/other/pkg/hello", "_", "web/other/pkg/hello.json"),
            ("/_/hello", "_", "web/guest/default/hello.json"),
            ("hello", "other", "web/other/default/hello.json"),
        ] {
            let mut told = wsk();
            told["apidoc"]["action"]["name"] = json!(name);
            told["apidoc"]["action"]["namespace"] = json!(namespace);
            assert!(endpoint(&told).url().ends_with(url), "{name}");
        }
        let mut sdk = wsk();
        let fields = sdk.as_object_mut().unwrap();
        fields.remove("accesstoken");
        fields.remove("responsetype");
        assert_eq!(endpoint(&sdk).response_type, "http", "what the URL says");
    }

    #[test]
    fn documents_come_as_objects_and_as_text() {
        let swagger = json!({"swagger": "2.0", "basePath": "/b", "info": {}, "paths": {}});
        for swagger in [swagger.clone(), json!(swagger.to_string())] {
            let apidoc = json!({"namespace": "_", "swagger": swagger});
            for apidoc in [apidoc.clone(), json!(apidoc.to_string())] {
                assert!(matches!(read_value(&json!({ "apidoc": apidoc })), Ok(Wish::Whole(_))));
            }
        }
    }

    #[test]
    fn says_what_is_missing_as_the_original_does() {
        let without = |path: &[&str]| {
            let mut told = wsk();
            let (last, outer) = path.split_last().unwrap();
            let at = outer.iter().fold(&mut told, |at, field| &mut at[*field]);
            at.as_object_mut().unwrap().remove(*last);
            read_value(&told).unwrap_err()
        };
        assert_eq!(without(&["apidoc"]), "apidoc is required.");
        for field in ["namespace", "gatewayBasePath", "gatewayPath", "gatewayMethod"] {
            assert_eq!(without(&["apidoc", field]), format!("apidoc is missing the {field} field"));
        }
        assert_eq!(without(&["apidoc", "action"]), "apidoc is missing the action field.");
        for field in ["backendMethod", "backendUrl", "namespace", "name", "authkey"] {
            assert_eq!(
                without(&["apidoc", "action", field]),
                format!("action is missing the {field} field.")
            );
        }
        let apidoc = |apidoc: Value| read_value(&json!({ "apidoc": apidoc })).unwrap_err();
        assert!(apidoc(json!("{")).starts_with("apidoc field cannot be parsed"));
        assert!(apidoc(json!(3)).contains("is of type number"));
        let swagger = |swagger: Value| apidoc(json!({"namespace": "_", "swagger": swagger}));
        assert!(swagger(json!("{")).starts_with("swagger field cannot be parsed"));
        assert!(swagger(json!(3)).contains("is number"));
        assert_eq!(swagger(json!({"paths": {}})), "swagger is missing the basePath field.");
        assert_eq!(swagger(json!({"basePath": "/", "info": {}})), "swagger is missing the paths field.");
        assert_eq!(swagger(json!({"basePath": "/", "paths": {}})), "swagger is missing the info field.");
        let both = json!({"namespace": "_", "swagger": {}, "gatewayBasePath": "/"});
        assert!(apidoc(both).contains("mutually exclusive"));
        let mut wrong = wsk();
        wrong["responsetype"] = json!("pdf");
        assert!(read_value(&wrong).unwrap_err().starts_with("responsetype is pdf"));
        wrong = wsk();
        wrong["apidoc"]["action"]["backendUrl"] = json!("https://elsewhere.example/x");
        assert!(read_value(&wrong).unwrap_err().contains("is not the URL of a web action"));
        wrong = wsk();
        wrong["apidoc"]["gatewayMethod"] = json!("BREW");
        assert_eq!(read_value(&wrong).unwrap_err(), "Resource verb 'BREW' not supported.");
    }
}
