//! Where it listens, and where it will not.

use crate::support::{ask, keys, options, parts, start, start_with, toy};
use std::net::SocketAddr;
use xebec_core::auth::{KeyRequest, Keys as _, Role};
use xebec_gateway::{Gateway, GatewayOptions};

fn any(address: [u8; 4]) -> Vec<SocketAddr> {
    vec![SocketAddr::from((address, 0))]
}

async fn refusal(options: GatewayOptions) -> xebec_core::Error {
    let gateway = Gateway::new(parts(toy(), keys().await, options)).unwrap();
    gateway.bind().await.err().expect("it must not bind")
}

#[tokio::test]
async fn a_port_in_use() {
    let (server, _guard) = start(options()).await;
    let error = refusal(GatewayOptions { listen: vec![server.address], ..options() }).await;
    assert_eq!(error.code, "XB6010");
    assert!(error.message.contains("address in use") && error.message.contains(&server.address.to_string()));
    assert!(error.hint.is_some_and(|hint| hint.contains("--listen")));
}

#[tokio::test]
async fn an_address_that_is_not_ours() {
    let elsewhere = SocketAddr::from(([192, 0, 2, 1], 0));
    let error = refusal(GatewayOptions { listen: vec![elsewhere], insecure: true, ..options() }).await;
    assert_eq!(error.code, "XB6011");
    assert!(error.hint.is_some());
    assert_eq!(refusal(GatewayOptions { listen: vec![], ..options() }).await.code, "XB6011");
}

#[tokio::test]
async fn beyond_loopback_only_with_keys_or_on_purpose() {
    for listen in [any([0, 0, 0, 0]), vec!["[::]:0".parse().unwrap()], vec!["192.0.2.1:0".parse().unwrap()]] {
        let error = refusal(GatewayOptions { listen, ..options() }).await;
        assert_eq!(error.code, "XB6012");
        let hint = error.hint.unwrap();
        assert!(hint.contains("xebec key create") && hint.contains("--insecure"), "{hint}");
    }
}

#[tokio::test]
async fn insecure_trusts_everybody_but_web_pages_until_there_is_a_key() {
    let (server, _guard) =
        start(GatewayOptions { listen: any([0, 0, 0, 0]), insecure: true, ..options() }).await;
    let address = SocketAddr::from(([127, 0, 0, 1], server.address.port()));
    assert_eq!(ask(address, "POST /toy/manage", &[]).await.body, "Local");
    assert_eq!(ask(address, "POST /toy/manage", &[("origin", "http://evil.example")]).await.status, 403);
    assert_eq!(ask(address, "POST /toy/manage", &[("host", "evil.example")]).await.status, 403);
    let wish = KeyRequest::of(Role::Admin);
    server.keys.issue(wish).await.unwrap();
    assert_eq!(ask(address, "POST /toy/manage", &[]).await.status, 401);
}

#[tokio::test]
async fn with_keys_everywhere_and_never_open() {
    let ring = keys().await;
    let wish = KeyRequest::of(Role::Admin);
    let (key, token) = ring.issue(wish).await.unwrap();
    let (server, _guard) = start_with(GatewayOptions { listen: any([0, 0, 0, 0]), ..options() }, ring).await;
    let address = SocketAddr::from(([127, 0, 0, 1], server.address.port()));
    let bearer = format!("Bearer {token}");
    assert_eq!(ask(address, "POST /toy/manage", &[("authorization", &bearer)]).await.status, 200);
    assert_eq!(ask(address, "POST /toy/manage", &[]).await.status, 401);
    // The listener is no loopback one: without its last key it stays closed.
    server.keys.revoke(&key.id).await.unwrap();
    assert_eq!(ask(address, "POST /toy/manage", &[]).await.status, 401);
}

#[tokio::test]
async fn ipv6_loopback_is_loopback() {
    let listen = vec!["[::1]:0".parse().unwrap(), "127.0.0.1:0".parse().unwrap()];
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        xebec_skipped::skipped!("this machine has no IPv6 loopback");
        return;
    }
    let (server, _guard) = start(GatewayOptions { listen, ..options() }).await;
    assert!(server.addresses.len() == 2 && server.addresses[0].is_ipv6());
    for address in &server.addresses {
        assert_eq!(ask(*address, "POST /toy/manage", &[]).await.body, "Local", "{address}");
    }
    let heard = ask(server.addresses[0], "GET /toy/headers", &[]).await;
    assert!(heard.body.contains("peer [::1]:"), "{heard:?}");
}

#[tokio::test]
async fn doors_that_quarrel_are_not_mounted() {
    let mut parts = parts(toy(), keys().await, options());
    parts.doors.push(toy());
    let error = Gateway::new(parts).err().unwrap();
    assert_eq!(error.code, "XB6013");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn silent_clients_are_probed() {
    let (server, _guard) = start(options()).await;
    let stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    // The kernel lists the server's half with its keep-alive timer (2) running.
    let (ours, theirs) = (server.address.port(), stream.local_addr().unwrap().port());
    let half = format!("0100007F:{ours:04X} 0100007F:{theirs:04X} 01 ");
    crate::support::until("the timer runs", || {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        table.lines().any(|line| {
            line.contains(&half) && line.split_whitespace().nth(5).is_some_and(|t| t.starts_with("02:"))
        })
    })
    .await;
}
