//! Who may do what: keys, loopback, web pages.

use crate::support::{Memory, TOKEN, ask, keys, options, start, start_with};
use base64::Engine as _;
use jiff::{SignedDuration, Timestamp};
use std::sync::{Arc, Mutex, atomic::Ordering::Relaxed};
use xebec_core::{
    Tenant,
    auth::{Credential, KeyForm, KeyRequest, Keys as _, Principal, Role},
    ports::clock::Clock,
};
use xebec_gateway::{GatewayOptions, KeyRing};

fn request(role: Role) -> KeyRequest {
    KeyRequest { note: "for a test".into(), ..KeyRequest::of(role) }
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

#[tokio::test]
async fn loopback_without_keys_is_local_whatever_it_sends() {
    let (server, _guard) = start(options()).await;
    let basic = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode("admin:whatever"));
    for authorization in
        ["", "Bearer nonsense", "Bearer", &basic, "AWS4-HMAC-SHA256 Credential=x", &bearer(TOKEN)]
    {
        for path in ["/toy/manage", "/toy/who", "/toy/open"] {
            let heard =
                ask(server.address, &format!("POST {path}"), &[("authorization", authorization)]).await;
            assert_eq!((heard.status, heard.body.as_str()), (200, "Local"), "{authorization} {path}");
        }
    }
}

#[tokio::test]
async fn the_first_key_closes_management_and_the_last_one_opens_it() {
    let (server, _guard) = start(options()).await;
    let (first, token) = server.keys.issue(request(Role::Manage)).await.unwrap();
    let manage = async |headers: &[(&str, &str)]| ask(server.address, "POST /toy/manage", headers).await;

    let heard = manage(&[]).await;
    assert_eq!(heard.status, 401);
    assert!(heard.body.contains("toy refuses: XB5001"), "its door says it: {heard:?}");
    assert_eq!(manage(&[("authorization", "Bearer xbk_a_b")]).await.status, 401);
    let own = format!("key {} Manage", first.id);
    assert_eq!(manage(&[("authorization", &bearer(&token))]).await.body, own);
    assert_eq!(manage(&[("authorization", &bearer(TOKEN))]).await.body, "key installation Admin");

    let (second, _) = server.keys.issue(request(Role::Admin)).await.unwrap();
    server.keys.revoke(&first.id).await.unwrap();
    assert_eq!(manage(&[("authorization", &bearer(&token))]).await.status, 401, "revoked at once");
    server.keys.revoke(&second.id).await.unwrap();
    assert_eq!(manage(&[]).await.body, "Local");
}

#[tokio::test]
async fn basic_passwords_are_tokens() {
    let (server, _guard) = start(options()).await;
    let (key, token) = server.keys.issue(request(Role::Admin)).await.unwrap();
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("admin:{token}"));
    let heard =
        ask(server.address, "POST /toy/manage", &[("authorization", &format!("Basic {basic}"))]).await;
    assert_eq!(heard.body, format!("key {} Admin", key.id));
}

#[tokio::test]
async fn a_key_that_may_only_call_does_not_manage() {
    let (server, _guard) = start(options()).await;
    let (key, token) = server.keys.issue(request(Role::Invoke)).await.unwrap();
    let headers = [("authorization", &*bearer(&token))];
    assert!(ask(server.address, "POST /toy/manage", &headers).await.body.contains("XB5004"));
    assert_eq!(ask(server.address, "POST /toy/who", &headers).await.body, format!("key {} Invoke", key.id));
}

#[tokio::test]
async fn calls_go_through_whatever_credential_they_carry() {
    let (server, _guard) = start(options()).await;
    server.keys.issue(request(Role::Admin)).await.unwrap();
    for authorization in
        ["", "Bearer ", "Bearer an.application.token", "Basic !", "Digest x", &bearer("xbk_a_b")]
    {
        let heard = ask(server.address, "POST /toy/who", &[("authorization", authorization)]).await;
        assert_eq!((heard.status, heard.body.as_str()), (200, "Anonymous"), "{authorization:?}");
    }
}

#[tokio::test]
async fn strict_always_wants_the_token() {
    let (server, _guard) = start(GatewayOptions { strict: true, insecure: true, ..options() }).await;
    assert_eq!(ask(server.address, "POST /toy/manage", &[]).await.status, 401);
    assert_eq!(ask(server.address, "POST /toy/who", &[]).await.body, "Anonymous");
    let heard = ask(server.address, "POST /toy/manage", &[("authorization", &bearer(TOKEN))]).await;
    assert_eq!(heard.body, "key installation Admin");
}

#[tokio::test]
async fn a_page_of_another_origin_is_refused() {
    let (server, _guard) = start(options()).await;
    let port = server.address.port();
    let manage = async |headers: &[(&str, &str)]| ask(server.address, "POST /toy/manage", headers).await;
    for headers in [
        vec![("origin", "http://evil.example")],
        vec![("origin", "null")],
        vec![("origin", "http://localhost:1")],
        vec![("sec-fetch-site", "cross-site")],
        vec![("sec-fetch-site", "same-site")],
    ] {
        let heard = manage(&headers).await;
        assert_eq!((heard.status, heard.code().as_str()), (403, "XB5005"), "{headers:?}");
        assert!(!heard.head.contains("access-control-allow"), "{heard:?}");
        // It may call public functions, as any page may, but as nobody in particular.
        assert_eq!(ask(server.address, "POST /toy/who", &headers).await.body, "Anonymous", "{headers:?}");
    }
    for own in [
        format!("http://localhost:{port}"),
        format!("http://127.0.0.1:{port}"),
        format!("http://[::1]:{port}"),
    ] {
        let heard = manage(&[("origin", &own), ("sec-fetch-site", "same-origin")]).await;
        assert_eq!((heard.status, heard.body.as_str()), (200, "Local"), "{own}");
    }
}

#[tokio::test]
async fn pages_are_refused_also_when_the_browser_remembers_a_password() {
    let (server, _guard) = start(options()).await;
    let (_, token) = server.keys.issue(request(Role::Admin)).await.unwrap();
    let headers = [("authorization", &*bearer(&token)), ("origin", "http://evil.example")];
    assert_eq!(ask(server.address, "POST /toy/manage", &headers).await.code(), "XB5005");
}

#[tokio::test]
async fn no_preflight_lets_other_origins_manage() {
    let (server, _guard) = start(options()).await;
    let headers = [
        ("origin", "http://evil.example"),
        ("access-control-request-method", "PUT"),
        ("access-control-request-headers", "authorization"),
    ];
    let heard = ask(server.address, "OPTIONS /toy/manage", &headers).await;
    assert_eq!(heard.status, 403);
    assert!(!heard.head.contains("access-control-allow"), "{heard:?}");
}

#[tokio::test]
async fn a_name_that_was_made_to_point_here_is_refused() {
    let (server, _guard) = start(GatewayOptions { hosts: vec!["xebec.example".into()], ..options() }).await;
    let port = server.address.port();
    for host in [format!("evil.example:{port}"), "evil.example".into(), "localhost.evil.example".into()] {
        // As the rebound page's browser sends it: its own name as host, and the same origin.
        let origin = format!("http://{host}");
        let headers = [("host", &*host), ("origin", &origin), ("sec-fetch-site", "same-origin")];
        let heard = ask(server.address, "POST /toy/manage", &headers).await;
        assert_eq!((heard.status, heard.code().as_str()), (403, "XB5006"), "{host}");
        assert_eq!(ask(server.address, "GET /metrics", &headers[..1]).await.code(), "XB5006");
        assert_eq!(ask(server.address, "POST /toy/who", &headers[..1]).await.body, "Anonymous");
    }
    for host in ["localhost", "127.0.0.1", "[::1]:99", "xebec.example:1", "XEBEC.example"] {
        assert_eq!(ask(server.address, "POST /toy/manage", &[("host", host)]).await.body, "Local", "{host}");
    }
}

#[tokio::test]
async fn a_key_is_good_under_any_host_name() {
    let (server, _guard) = start(options()).await;
    let (key, token) = server.keys.issue(request(Role::Admin)).await.unwrap();
    let headers = [("authorization", &*bearer(&token)), ("host", "behind.a.proxy.example")];
    assert_eq!(ask(server.address, "POST /toy/manage", &headers).await.body, format!("key {} Admin", key.id));
}

/// A clock that is set by hand.
struct Hands(Mutex<Timestamp>);

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

#[tokio::test]
async fn a_key_ends_and_does_not_reopen_what_it_closed() {
    let clock = Arc::new(Hands(Mutex::new(Timestamp::UNIX_EPOCH)));
    let ring = KeyRing::load(Arc::new(Memory::default())).await.unwrap().with_clock(clock.clone());
    let (server, _guard) = start_with(options(), Arc::new(ring)).await;
    let wish = KeyRequest { expires_in_seconds: Some(60), ..request(Role::Admin) };
    let (key, token) = server.keys.issue(wish).await.unwrap();
    assert_eq!(key.expires, Some(Timestamp::UNIX_EPOCH + SignedDuration::from_secs(60)));
    let manage =
        async || ask(server.address, "POST /toy/manage", &[("authorization", &bearer(&token))]).await;
    assert_eq!(manage().await.status, 200);
    *clock.0.lock().unwrap() += SignedDuration::from_secs(60);
    assert_eq!(manage().await.status, 401);
    assert_eq!(ask(server.address, "POST /toy/manage", &[]).await.status, 401, "a date opens nothing");
    server.keys.revoke(&key.id).await.unwrap();
    assert_eq!(manage().await.body, "Local");
}

#[tokio::test]
async fn keys_survive_a_restart_and_their_tokens_are_not_kept() {
    let store = Arc::new(Memory::default());
    let ring = KeyRing::load(store.clone()).await.unwrap();
    let wish = KeyRequest { tenant: Some(Tenant::new("acme")), ..request(Role::Manage) };
    let (info, token) = ring.issue(wish).await.unwrap();
    let (older, _) = (ring.list().await.unwrap(), ring.issue(request(Role::Invoke)).await.unwrap());
    assert_eq!(older, vec![info.clone()]);

    let again = KeyRing::load(store.clone()).await.unwrap();
    assert!(again.has_issued_keys());
    assert_eq!(again.list().await.unwrap(), ring.list().await.unwrap());
    assert_eq!(again.list().await.unwrap()[0], info);
    let principal = again.authenticate(&Credential::Bearer(token.clone()), true).unwrap();
    let Principal::Key { id, role: Role::Manage, tenant: Some(tenant) } = principal else {
        panic!("{principal:?}")
    };
    assert_eq!((id.as_str(), tenant.as_str()), (info.id.as_str(), "acme"));

    use xebec_core::{document::ListQuery, ports::store::Store as _};
    let query = ListQuery { kind: "key".into(), namespace: Some("xebec".into()), ..ListQuery::default() };
    let stored = store.list(&query).await.unwrap().documents;
    assert_eq!(stored.len(), 2);
    let secret = token.rsplit('_').next().unwrap();
    for document in stored {
        assert!(!serde_json::to_string(&document).unwrap().contains(secret));
    }
}

#[tokio::test]
async fn a_name_and_password_manage_and_close_what_was_open() {
    let ring = KeyRing::load(Arc::new(Memory::default())).await.unwrap().with_login("admin", "open sesame");
    assert!(ring.has_issued_keys());
    let basic =
        |user: &str, password: &str| Credential::Basic { user: user.into(), password: password.into() };
    let admin = ring.authenticate(&basic("admin", "open sesame"), false).unwrap();
    assert!(admin.is_admin());
    for wrong in [
        basic("admin", "open"),
        basic("Admin", "open sesame"),
        basic("", "admin:open sesame"),
        Credential::Bearer("open sesame".into()),
        Credential::Bearer("admin:open sesame".into()),
        Credential::None,
    ] {
        assert_eq!(ring.authenticate(&wrong, true).unwrap_err().code, "XB5001", "{wrong:?}");
    }
    let (_, token) = ring.issue(request(Role::Admin)).await.unwrap();
    assert!(ring.authenticate(&basic("anyone", &token), false).is_ok(), "keys go on as before");
}

/// What existing clients have in their configuration.
const GUEST: &str =
    "23bc46b1-71f6-4ed5-8c54-816aa4f8c502:123zO3xZCLrMN6v2BHK1dXYFpXlPkccOFqm12CdAsMgRU4VrNZ9lyGVCGuMDGIwP";

fn pair_of(tenant: &str) -> KeyRequest {
    KeyRequest { tenant: Some(Tenant::new(tenant)), form: KeyForm::Pair, ..request(Role::Manage) }
}

fn basic(pair: &str) -> Credential {
    let (user, password) = pair.split_once(':').unwrap();
    Credential::Basic { user: user.into(), password: password.into() }
}

#[tokio::test]
async fn pairs_are_made_and_taken_over_and_prove_whose_they_are() {
    let store = Arc::new(Memory::default());
    let ring = KeyRing::load(store.clone()).await.unwrap();
    let (made, fresh) = ring.issue(pair_of("acme")).await.unwrap();
    assert_eq!((made.form, fresh.len()), (KeyForm::Pair, 36 + 1 + 64));
    let brought = KeyRequest { pair: Some(format!("{GUEST}\n")), ..pair_of("guest") };
    let (guest, same) = ring.issue(brought.clone()).await.unwrap();
    assert_eq!((same.as_str(), guest.id.as_str()), (GUEST, GUEST.split_once(':').unwrap().0));
    assert_eq!(ring.issue(brought).await.unwrap_err().code, "XB5009");

    let again = KeyRing::load(store.clone()).await.unwrap();
    for (pair, info, tenant) in [(fresh.as_str(), &made, "acme"), (GUEST, &guest, "guest")] {
        let principal = again.authenticate(&basic(pair), true).unwrap();
        let Principal::Key { id, role: Role::Manage, tenant: Some(of) } = principal else {
            panic!("{principal:?}")
        };
        assert_eq!((id.as_str(), of.as_str()), (info.id.as_str(), tenant));
    }
    assert_eq!(again.list().await.unwrap(), [made.clone(), guest.clone()]);

    use xebec_core::{document::ListQuery, ports::store::Store as _};
    let query = ListQuery { kind: "key".into(), namespace: Some("xebec".into()), ..ListQuery::default() };
    for document in store.list(&query).await.unwrap().documents {
        let text = serde_json::to_string(&document).unwrap();
        assert!(!text.contains(&GUEST[37..]) && !text.contains(&fresh[37..]), "{text}");
    }
    again.revoke(&guest.id).await.unwrap();
    assert_eq!(again.authenticate(&basic(GUEST), true).unwrap_err().code, "XB5001");
    assert!(again.authenticate(&basic(&fresh), true).is_ok());
}

#[tokio::test]
async fn a_pair_proves_nothing_by_its_halves() {
    let ring = keys().await;
    let (one, first) = ring.issue(pair_of("acme")).await.unwrap();
    let (_, second) = ring.issue(pair_of("acme")).await.unwrap();
    for wrong in [
        Credential::Basic { user: one.id.clone(), password: second[37..].to_owned() },
        Credential::Basic { user: one.id.clone(), password: String::new() },
        Credential::Basic { user: String::new(), password: first.clone() },
        Credential::Bearer(first.clone()),
        Credential::Bearer(format!("xbk_{}_{}", one.id, &first[37..])),
    ] {
        assert_eq!(ring.authenticate(&wrong, false).unwrap_err().code, "XB5001", "{wrong:?}");
    }
    let (_, token) = ring.issue(request(Role::Admin)).await.unwrap();
    let by_token = Credential::Basic { user: one.id, password: token };
    assert!(ring.authenticate(&by_token, false).unwrap().is_admin(), "any name goes with a token");
}

#[tokio::test]
async fn pairs_that_cannot_be() {
    let ring = keys().await;
    let nobodys = KeyRequest { tenant: None, ..pair_of("") };
    let short = KeyRequest { pair: Some("a:b".into()), ..pair_of("acme") };
    let token = KeyRequest { pair: Some(GUEST.into()), ..request(Role::Manage) };
    for wish in [nobodys, pair_of(""), short, token] {
        let error = ring.issue(wish).await.unwrap_err();
        assert_eq!(error.code, "XB5007");
        assert!(!error.to_string().contains(&GUEST[37..]));
    }
    assert!(!ring.has_issued_keys());
}

#[tokio::test]
async fn a_token_of_one_key_with_the_secret_of_another() {
    let ring = keys().await;
    let (one, _) = ring.issue(request(Role::Admin)).await.unwrap();
    let (_, other) = ring.issue(request(Role::Invoke)).await.unwrap();
    let mixed = format!("xbk_{}_{}", one.id, other.rsplit('_').next().unwrap());
    assert_eq!(ring.authenticate(&Credential::Bearer(mixed), false).unwrap_err().code, "XB5001");
}

#[tokio::test]
async fn what_cannot_be_stored_is_not_issued() {
    let store = Arc::new(Memory::default());
    let ring = KeyRing::load(store.clone()).await.unwrap();
    store.full.store(true, Relaxed);
    assert_eq!(ring.issue(request(Role::Admin)).await.unwrap_err().code, "XB4002");
    assert!(!ring.has_issued_keys());
    store.full.store(false, Relaxed);
    let (key, token) = ring.issue(request(Role::Admin)).await.unwrap();
    store.full.store(true, Relaxed);
    assert_eq!(ring.revoke(&key.id).await.unwrap_err().code, "XB4002");
    assert!(ring.authenticate(&Credential::Bearer(token), false).is_ok(), "still there, as in the store");
}

#[tokio::test]
async fn keys_that_are_not_there() {
    let ring = keys().await;
    assert_eq!(ring.revoke("nobody").await.unwrap_err().code, "XB5002");
    assert_eq!(ring.revoke("installation").await.unwrap_err().code, "XB5008");
    let long = KeyRequest { note: "n".repeat(2000), ..request(Role::Admin) };
    assert_eq!(ring.issue(long).await.unwrap_err().code, "XB5007");
    let endless = KeyRequest { expires_in_seconds: Some(u64::MAX), ..request(Role::Admin) };
    assert!(ring.issue(endless).await.is_ok());
}
