//! The OpenFaaS API, as far as applying needs it.

use crate::{client::Client, failure::Failure};
use http::{Method, StatusCode};
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};
use xebec_api_native::wire::CodeAnswer;

/// A server.
pub(super) struct Gateway {
    client: Client,
    /// What named it, for people.
    named_by: String,
}

/// Whether a deploy makes a function or changes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Create,
    Update,
}

impl Gateway {
    pub(super) fn new(client: Client, named_by: String) -> Self {
        Self { client, named_by }
    }

    /// The server's processor, as Go calls it; a server that is not Xebec is refused.
    pub(super) async fn arch(&self) -> Result<String, Failure> {
        let response = self.client.answer(self.request(Method::GET, "/system/info", "")).await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            return Err(self.unauthorized());
        }
        let info: Value = response.json().await.unwrap_or_default();
        if info["provider"]["provider"] != "xebec" {
            let message = format!("{}, named by {}, is not a Xebec server", self.base(), self.named_by);
            return Err(Failure::new(message).with_hint("name the server: --gateway"));
        }
        Ok(match info["arch"].as_str().unwrap_or_default() {
            "aarch64" => "arm64".to_owned(),
            "x86_64" | "" => "amd64".to_owned(),
            other => other.to_owned(),
        })
    }

    pub(super) fn base(&self) -> &str {
        self.client.base()
    }

    /// A function as it is, if it is there.
    pub(super) async fn function(&self, namespace: &str, name: &str) -> Result<Option<Value>, Failure> {
        let request = self.request(Method::GET, &format!("/system/function/{name}"), namespace);
        let response = self.client.answer(request).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let response = self.accepted(response).await?;
        response.json().await.map(Some).map_err(unreadable)
    }

    /// All functions of a namespace.
    pub(super) async fn functions(&self, namespace: &str) -> Result<Vec<Value>, Failure> {
        self.list("/system/functions", namespace).await
    }

    /// All namespaces that these credentials may manage.
    pub(super) async fn namespaces(&self) -> Result<Vec<String>, Failure> {
        self.list("/system/namespaces", "").await
    }

    async fn list<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        namespace: &str,
    ) -> Result<Vec<T>, Failure> {
        let response = self.client.answer(self.request(Method::GET, path, namespace)).await?;
        let found: Option<Vec<T>> = self.accepted(response).await?.json().await.map_err(unreadable)?;
        Ok(found.unwrap_or_default())
    }

    /// Has the server say whether it would take this deployment.
    pub(super) async fn check(&self, verb: Verb, document: &Value) -> Result<(), Failure> {
        let request = self.request(verb.method(), "/system/functions", "").query(&[("dry-run", "true")]);
        self.accepted(self.client.answer(request.json(document)).await?).await.map(drop)
    }

    pub(super) async fn deploy(&self, verb: Verb, document: &Value) -> Result<(), Failure> {
        let request = self.request(verb.method(), "/system/functions", "").json(document);
        self.accepted(self.client.answer(request).await?).await.map(drop)
    }

    pub(super) async fn remove(&self, namespace: &str, name: &str) -> Result<(), Failure> {
        let request = self.request(Method::DELETE, "/system/functions", namespace);
        let request = request.json(&json!({"functionName": name, "namespace": namespace}));
        self.accepted(self.client.answer(request).await?).await.map(drop)
    }

    pub(super) async fn store_code(&self, code: Vec<u8>) -> Result<CodeAnswer, Failure> {
        self.client.store_code(code).await
    }

    fn request(&self, method: Method, path: &str, namespace: &str) -> RequestBuilder {
        let request = self.client.request_at(method, path);
        if namespace.is_empty() { request } else { request.query(&[("namespace", namespace)]) }
    }

    /// What the door refuses, it says in plain text.
    async fn accepted(&self, response: Response) -> Result<Response, Failure> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        if status == StatusCode::UNAUTHORIZED {
            return Err(self.unauthorized());
        }
        let text = response.text().await.unwrap_or_default();
        match text.trim() {
            "" => Err(Failure::new(format!("the server answered {status}"))),
            said => Err(Failure::new(said.to_owned())),
        }
    }

    fn unauthorized(&self) -> Failure {
        Failure::new(format!("{}, named by {}, wants a key", self.base(), self.named_by)).with_hint(
            "give its token with --token or XEBEC_TOKEN; a server that only a stack file names gets none: name it \
             with --gateway",
        )
    }
}

impl Verb {
    fn method(self) -> Method {
        match self {
            Self::Create => Method::POST,
            Self::Update => Method::PUT,
        }
    }
}

fn unreadable(error: reqwest::Error) -> Failure {
    Failure::new(format!("the server's answer cannot be read: {error}"))
}
