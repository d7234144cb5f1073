//! Functions that not everyone may call: what callers get, and how they get a token.

#![allow(clippy::unwrap_used)]

mod support;

use async_trait::async_trait;
use http::{Method, Request, StatusCode, header};
use std::sync::Arc;
use support::{Back, Engine, Later, send_as};
use xebec_api_openfaas::OpenFaas;
use xebec_core::{
    Body, Error, ErrorKind, Tenant,
    auth::{Access, Credential, KeyInfo, KeyRequest, Keys, Principal, Role},
    policy::Visibility,
    ports::door::Door as _,
};

/// Two keys: `all` calls everything, `mine` what is in the namespace `mine`.
struct TwoKeys;

#[async_trait]
impl Keys for TwoKeys {
    fn authenticate(&self, credential: &Credential, _: bool) -> Result<Principal, Error> {
        let tenant = match credential {
            Credential::Bearer(key) if key == "all" => None,
            Credential::Bearer(key) if key == "mine" => Some(Tenant::new("mine")),
            _ => return Err(Error::new(ErrorKind::Forbidden, "XB5001", "unknown")),
        };
        Ok(Principal::Key { id: "k".into(), role: Role::Invoke, tenant })
    }

    async fn issue(&self, _: KeyRequest) -> Result<(KeyInfo, String), Error> {
        unreachable!("the door issues no keys")
    }

    async fn list(&self) -> Result<Vec<KeyInfo>, Error> {
        unreachable!("the door lists no keys")
    }

    async fn revoke(&self, _: &str) -> Result<(), Error> {
        unreachable!("the door revokes no keys")
    }
}

fn door(engine: &Arc<Engine>) -> OpenFaas {
    for tenant in ["default", "mine"] {
        engine.put(tenant, "openfaas", "closed");
        engine.change(tenant, "closed", |view| {
            view.function.policy.visibility = Visibility::Authenticated;
        });
    }
    engine.answer(|request| {
        let seen = request.headers().get(header::AUTHORIZATION);
        let seen = seen.map_or("none", |value| value.to_str().unwrap()).to_owned();
        Ok(http::Response::new(Body::full(seen)))
    });
    engine.door().with_keys(Arc::new(TwoKeys), &[7; 32]).with_deliveries(Later::new())
}

async fn call(door: &OpenFaas, path: &str, principal: Principal, authorization: Option<&str>) -> Back {
    let mut request = Request::post(path);
    if let Some(value) = authorization {
        request = request.header(header::AUTHORIZATION, value);
    }
    send_as(door, principal, request.body(Body::full("hi")).unwrap()).await
}

async fn exchange(door: &OpenFaas, form: &str) -> Back {
    let request = Request::post("/oauth/token").header("content-type", "application/x-www-form-urlencoded");
    let request = request.body(Body::full(form.to_owned())).unwrap();
    send_as(door, Principal::Anonymous, request).await
}

/// What the Go SDK posts.
fn form(key: &str, audience: &str) -> String {
    let audience = audience.replace(':', "%3A");
    format!(
        "{audience}grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&scope=function&\
         subject_token={key}&subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aid_token"
    )
}

#[tokio::test]
async fn nobody_is_told_the_realm_that_clients_know() {
    let engine = Engine::new();
    let door = door(&engine);
    for path in ["/function/closed", "/function/closed.mine/x"] {
        let back = call(&door, path, Principal::Anonymous, Some("Bearer nonsense")).await;
        assert_eq!(back.status, StatusCode::UNAUTHORIZED);
        assert_eq!(back.header("www-authenticate"), "Bearer realm=\"IAM function invoke\"");
        assert_eq!(back.headers.get_all("www-authenticate").iter().count(), 2, "Basic will do, too");
        assert_eq!(back.header("x-openfaas-internal"), "proxy");
    }
    let mine = Principal::Key { id: "k".into(), role: Role::Invoke, tenant: Some(Tenant::new("mine")) };
    let other = call(&door, "/function/closed", mine.clone(), Some("Bearer mine")).await;
    assert_eq!(other.status, StatusCode::FORBIDDEN);
    let own = call(&door, "/function/closed.mine", mine, Some("Bearer mine")).await;
    assert_eq!((own.status, own.body.as_str()), (StatusCode::OK, "none"), "functions do not see keys");
}

#[tokio::test]
async fn credentials_that_are_not_ours_are_the_functions_business() {
    let engine = Engine::new();
    engine.put("default", "openfaas", "open");
    let door = door(&engine);
    let back = call(&door, "/function/open", Principal::Anonymous, Some("Basic dTpw")).await;
    assert_eq!(back.body, "Basic dTpw");
    let foreign = call(&door, "/function/open", Principal::Local, Some("Bearer eyJhbGciOi")).await;
    assert_eq!(foreign.body, "Bearer eyJhbGciOi");
    // Those of this server are not, even where nobody asked for them.
    for ours in ["Bearer xbk_installation_secret", "bearer xbf_of-another.function"] {
        assert_eq!(call(&door, "/function/open", Principal::Local, Some(ours)).await.body, "none", "{ours}");
    }
}

#[tokio::test]
async fn a_key_becomes_a_token_that_calls() {
    let engine = Engine::new();
    let door = door(&engine);
    let back = exchange(&door, &form("all", "audience=openfaas-fn:closed&")).await;
    assert_eq!((back.status, back.header("cache-control")), (StatusCode::OK, "no-store"), "{}", back.body);
    let answer = back.json();
    assert_eq!((&answer["token_type"], &answer["scope"]), (&"Bearer".into(), &"function".into()));
    assert!(answer["expires_in"].as_i64().unwrap() > 60);
    let bearer = format!("Bearer {}", answer["access_token"].as_str().unwrap());
    let called = call(&door, "/function/closed.openfaas-fn", Principal::Anonymous, Some(&bearer)).await;
    assert_eq!((called.status, called.body.as_str()), (StatusCode::OK, "none"));
    let accepted = call(&door, "/async-function/closed", Principal::Anonymous, Some(&bearer)).await;
    assert_eq!(accepted.status, StatusCode::ACCEPTED);
    let elsewhere = call(&door, "/function/closed.mine", Principal::Anonymous, Some(&bearer)).await;
    assert_eq!(elsewhere.status, StatusCode::UNAUTHORIZED, "it is for one function");

    let all = exchange(&door, &form("mine", "")).await.json();
    let bearer = format!("bearer {}", all["access_token"].as_str().unwrap());
    let own = call(&door, "/function/closed.mine", Principal::Anonymous, Some(&bearer)).await;
    assert_eq!(own.status, StatusCode::OK);
    let other = call(&door, "/function/closed", Principal::Anonymous, Some(&bearer)).await;
    assert_eq!(other.status, StatusCode::UNAUTHORIZED, "the key is confined");
    // Whoever wants to manage gets back the key, which is what manages.
    let managing = form("all", "").replace("scope=function&", "");
    assert_eq!(exchange(&door, &managing).await.json()["access_token"], "all");
}

#[tokio::test]
async fn what_is_not_exchanged_says_why() {
    let engine = Engine::new();
    let door = door(&engine);
    let good = form("all", "");
    for (form, error) in [
        (String::new(), "unsupported_grant_type"),
        (good.replace("token-exchange", "password"), "unsupported_grant_type"),
        (form("", ""), "invalid_request"),
        (form("ghost", ""), "invalid_grant"),
        (good.replace("scope=function", "scope=openid"), "invalid_scope"),
        (form("all", "audience=closed&"), "invalid_target"),
        (form("mine", "audience=openfaas-fn:closed&"), "invalid_target"),
        (form("all", &"audience=a:b&".repeat(65)), "invalid_request"),
        ("x".repeat(70_000), "invalid_request"),
    ] {
        let back = exchange(&door, &form).await;
        assert_eq!((back.status, &back.json()["error"]), (StatusCode::BAD_REQUEST, &error.into()));
        assert!(!back.json()["error_description"].as_str().unwrap().is_empty());
    }
    let read = Request::builder().method(Method::GET).uri("/oauth/token").body(Body::empty()).unwrap();
    let read = send_as(&door, Principal::Anonymous, read).await;
    assert_eq!(read.status, StatusCode::METHOD_NOT_ALLOWED);
    let parts = Request::post("/oauth/token").body(()).unwrap().into_parts().0;
    assert_eq!(door.access(&parts), Access::Invocation, "no credential is needed to ask");
}
