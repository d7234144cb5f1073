//! What the gateway answers itself.

use crate::support::{TOKEN, ask, options, start};
use xebec_core::{
    Tenant,
    auth::{KeyRequest, Keys as _, Role},
};
use xebec_gateway::GatewayOptions;

#[tokio::test]
async fn the_root_greets_machines_and_people() {
    let (server, _guard) = start(options()).await;
    let heard = ask(server.address, "GET /", &[]).await;
    let object: serde_json::Value = serde_json::from_str(&heard.body).unwrap();
    assert_eq!((heard.status, &object["toy"]), (200, &"hello".into()));
    assert_eq!(object["doors"], serde_json::json!(["toy"]));
    let page = ask(server.address, "GET /", &[("accept", "text/html,application/xhtml+xml,*/*;q=0.8")]).await;
    assert_eq!(page.status, 200);
    assert!(page.head.contains("text/html") && page.body.contains("<h1>Xebec</h1>"), "{page:?}");
    assert_eq!(ask(server.address, "POST /", &[]).await.status, 405);
}

#[tokio::test]
async fn health_and_readiness() {
    let (server, _guard) = start(options()).await;
    assert_eq!(ask(server.address, "GET /healthz", &[]).await.status, 200);
    let heard = ask(server.address, "GET /readyz", &[]).await;
    assert_eq!((heard.status, heard.code().as_str()), (503, "XB6003"));
    assert!(heard.body.contains("is starting"), "{heard:?}");
    server.readiness.set_unready("is resuming 3 functions");
    assert!(ask(server.address, "GET /readyz", &[]).await.body.contains("is resuming 3 functions"));
    server.readiness.set_ready();
    assert_eq!(ask(server.address, "GET /readyz", &[]).await.status, 200);
    let head = ask(server.address, "HEAD /readyz", &[]).await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[tokio::test]
async fn metrics_of_gateway_engine_and_doors() {
    let (server, _guard) = start(options()).await;
    for _ in 0..3 {
        ask(server.address, "GET /toy/exact", &[]).await;
    }
    ask(server.address, "GET /toy/empty-400", &[]).await;
    ask(server.address, "GET /nowhere", &[]).await;
    let heard = ask(server.address, "GET /metrics", &[]).await;
    assert!(heard.head.contains("text/plain; version=0.0.4"), "{}", heard.head);
    for line in [
        "xebec_http_requests_total{door=\"toy\",class=\"2xx\"} 3",
        "xebec_http_requests_total{door=\"toy\",class=\"4xx\"} 1",
        "xebec_http_requests_total{door=\"gateway\",class=\"4xx\"} 1",
        "# TYPE xebec_http_requests_total counter",
        "xebec_http_in_flight 1",
        "xebec_http_connections_refused_total 0",
        "engine_series 1",
        "toy_series 1",
    ] {
        assert!(heard.body.lines().any(|l| l == line), "{line} is not in\n{}", heard.body);
    }
}

#[tokio::test]
async fn metrics_are_for_whoever_may_see_every_tenant() {
    let (server, _guard) = start(options()).await;
    let issue = async |role, tenant: Option<&str>| {
        let wish = KeyRequest { tenant: tenant.map(Tenant::new), ..KeyRequest::of(role) };
        format!("Bearer {}", server.keys.issue(wish).await.unwrap().1)
    };
    let (manage, confined, invoke) = (
        issue(Role::Manage, None).await,
        issue(Role::Manage, Some("acme")).await,
        issue(Role::Invoke, None).await,
    );
    let metrics = async |headers: &[(&str, &str)]| ask(server.address, "GET /metrics", headers).await;
    let denied = metrics(&[]).await;
    assert_eq!((denied.status, denied.code().as_str()), (401, "XB5001"));
    assert!(denied.head.contains("www-authenticate: bearer"), "{denied:?}");
    assert_eq!(metrics(&[("authorization", &manage)]).await.status, 200);
    assert_eq!(metrics(&[("authorization", &format!("Bearer {TOKEN}"))]).await.status, 200);
    assert_eq!(metrics(&[("authorization", &confined)]).await.status, 403);
    assert_eq!(metrics(&[("authorization", &invoke)]).await.status, 403);

    let (public, _guard) = start(GatewayOptions { public_metrics: true, strict: true, ..options() }).await;
    assert_eq!(ask(public.address, "GET /metrics", &[]).await.status, 200);
}

#[tokio::test]
async fn unknown_paths_get_a_hint() {
    let (server, _guard) = start(options()).await;
    let heard = ask(server.address, "GET /nowhere/at/all?secret=1", &[]).await;
    assert_eq!((heard.status, heard.code().as_str()), (404, "XB1029"));
    assert!(heard.body.contains("/toy/") && heard.body.contains("/nowhere/at/all"), "{heard:?}");
    assert!(!heard.body.contains("secret"), "{heard:?}");
    let heard = ask(server.address, "GET /toy", &[]).await;
    assert!(heard.status == 404 && heard.body.contains("did you mean /toy/"), "{heard:?}");
    let heard = ask(server.address, "GET /toy", &[("accept", "text/html")]).await;
    assert!(heard.status == 307 && heard.head.contains("location: /toy/"), "{heard:?}");
}
