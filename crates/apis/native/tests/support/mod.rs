//! An engine, deliveries and schedules in memory: enough to stand behind the door.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

mod control;
mod deliveries;
mod schedules;

pub use control::Engine;
pub use deliveries::Memory;
pub use schedules::Timetable;

use http::{HeaderMap, Method, Request, StatusCode};
use std::sync::{Arc, atomic::AtomicBool};
use xebec_api_native::{Native, NativeParts};
use xebec_core::{
    Body, Error, Tenant,
    auth::{Credential, KeyInfo, KeyRequest, Keys, Principal, Role},
    ports::{deliveries::Deliveries, door::Door as _, schedules::Schedules},
};

/// The door, and what stands behind it.
pub struct World {
    pub door: Native,
    pub engine: Arc<Engine>,
    pub deliveries: Arc<Memory>,
    pub schedules: Arc<Timetable>,
}

impl World {
    pub fn new() -> Self {
        let (engine, deliveries, schedules) =
            (Arc::<Engine>::default(), Arc::<Memory>::default(), Arc::<Timetable>::default());
        let door = door(&engine, Some(deliveries.clone()), Some(schedules.clone()));
        Self { door, engine, deliveries, schedules }
    }

    /// A door without deliveries and schedules.
    pub fn bare() -> Self {
        let engine = Arc::<Engine>::default();
        let door = door(&engine, None, None);
        Self { door, engine, deliveries: Arc::default(), schedules: Arc::default() }
    }

    /// Sends a request as the local principal.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Back {
        self.send_as(Principal::Local, method, path, headers, body).await
    }

    /// Sends a request as somebody, as the gateway would pass it on.
    pub async fn send_as(
        &self,
        principal: Principal,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Back {
        let mut request = Request::builder().method(method.parse::<Method>().unwrap()).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Body::full(body.to_owned())).unwrap();
        request.extensions_mut().insert(principal);
        let response = self.door.handle(request).await;
        let (head, body) = response.into_parts();
        let body = body.collect(1 << 20).await.unwrap();
        Back { status: head.status, headers: head.headers, body: String::from_utf8(body.to_vec()).unwrap() }
    }
}

fn door(
    engine: &Arc<Engine>,
    deliveries: Option<Arc<dyn Deliveries>>,
    schedules: Option<Arc<dyn Schedules>>,
) -> Native {
    Native::new(NativeParts {
        control: engine.clone(),
        invoker: engine.clone(),
        deliveries,
        schedules,
        keys: Arc::new(NoKeys),
        version: "1.2.3",
        code_bytes: 1 << 20,
        backup: Box::new(|_| Box::pin(async { Ok(()) })),
        stopping: Arc::new(AtomicBool::new(false)),
    })
}

/// The holder of a key that is confined to a tenant.
pub fn confined(tenant: &str, role: Role) -> Principal {
    Principal::Key { id: "k".into(), role, tenant: Some(Tenant::new(tenant)) }
}

/// What came back.
#[derive(Debug)]
pub struct Back {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Back {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// Asserts that it is an error, and returns its message.
    pub fn error(&self, status: u16, code: &str) -> String {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        let json = self.json();
        assert_eq!(json["code"], code, "{json}");
        json["message"].as_str().unwrap().to_owned()
    }
}

struct NoKeys;

#[async_trait::async_trait]
impl Keys for NoKeys {
    fn authenticate(&self, _: &Credential, _: bool) -> Result<Principal, Error> {
        Ok(Principal::Local)
    }

    async fn issue(&self, _: KeyRequest) -> Result<(KeyInfo, String), Error> {
        unused()
    }

    async fn list(&self) -> Result<Vec<KeyInfo>, Error> {
        Ok(Vec::new())
    }

    async fn revoke(&self, _: &str) -> Result<(), Error> {
        unused()
    }
}

fn unused<T>() -> Result<T, Error> {
    Err(Error::internal("XB2999", "these tests have no business here"))
}
