//! A server around the door: the real engine, store, queue and delivery, in a folder of its own. Only actions run in
//! this process, as proxies that do what their code says.

// Each test file uses its own part of this.
#![allow(dead_code, unused_imports, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

pub mod driver;

use driver::Proxies;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use std::{sync::Arc, sync::Once, time::Duration};
use tempfile::TempDir;
use xebec_api_openwhisk::{OpenWhisk, Options, Parts, Throttle};
use xebec_blobs::LocalBlobs;
use xebec_core::{
    Body, Error, Tenant,
    auth::{Credential, KeyInfo, KeyRequest, Keys, Principal, Role},
    environment::{Environment, Environments},
    ports::{
        clock::SystemClock, control::Control, deliveries::Deliveries, door::Door as _, invoker::Invoker,
        store::Store,
    },
};
use xebec_delivery::{Delivery, DeliveryOptions, DeliveryParts};
use xebec_driver_builtin::BuiltinDriver;
use xebec_engine::{Engine, EngineOptions, EngineParts};
use xebec_environments::Table;
use xebec_flows::{Journal, JournalOptions};
use xebec_queue_sqlite::SqliteQueue;
use xebec_schedules::Schedules;
use xebec_store_sqlite::{DataDirectory, SqliteStore};

/// What the well-known key of `guest` is, as clients of development set-ups send it.
pub const GUEST: &str =
    "23bc46b1-71f6-4ed5-8c54-816aa4f8c502:123zO3xZCLrMN6v2BKK1dXYFpXlPkccOFqm12CdAsMgRU4VrNZ9lyGVCGuMDGIwP";
/// The same of `whisk.system`.
pub const SYSTEM: &str =
    "789c46b1-71f6-4ed5-8c54-816aa4f8c502:abczO3xZCLrMN6v2BKK1dXYFpXlPkccOFqm12CdAsMgRU4VrNZ9lyGVCGuMDGIwP";

/// Everything behind the door.
pub struct World {
    pub door: OpenWhisk,
    pub engine: Arc<Engine>,
    pub store: Arc<dyn Store>,
    pub delivery: Arc<Delivery>,
    /// They do not fire until they are started.
    pub schedules: Arc<Schedules>,
    /// What runs actions on this machine.
    pub local: Arc<Proxies>,
    /// What runs images; there where containers are.
    pub images: Arc<Proxies>,
    pub folder: TempDir,
    /// What a door stands on.
    parts: Box<dyn Fn() -> Parts + Send + Sync>,
}

impl World {
    pub async fn new() -> Self {
        Self::with(Options::default(), true).await
    }

    /// Without a container engine.
    pub async fn without_containers() -> Self {
        Self::with(Options::default(), false).await
    }

    pub async fn with(options: Options, containers: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        static TLS: Once = Once::new();
        TLS.call_once(|| {
            let _ = rustls::crypto::ring::default_provider().install_default();
        });
        let data = DataDirectory::open(folder.path()).unwrap();
        let store: Arc<dyn Store> =
            Arc::new(SqliteStore::open(&data, xebec_store_sqlite::Options::default()).unwrap());
        let (records, logs) = xebec_records::open(folder.path()).unwrap();
        let (local, images) = (Proxies::new("process"), Proxies::new("docker"));
        let builtins = Arc::new(BuiltinDriver::new());
        let mut drivers: Vec<Arc<dyn xebec_core::ports::driver::Driver>> =
            vec![local.clone(), builtins.clone()];
        if containers {
            drivers.push(images.clone());
        }
        let engine = Engine::new(EngineParts {
            store: store.clone(),
            blobs: Arc::new(LocalBlobs::open(&folder.path().join("blobs")).unwrap()),
            records: Arc::new(records),
            logs: Arc::new(logs),
            drivers,
            environments: Arc::new(NothingMissing(Table::new(Vec::new(), Vec::new()).unwrap())),
            clock: Arc::new(SystemClock),
            secret_key: [7; 32],
            options: EngineOptions::default(),
        });
        let control: Arc<dyn Control> = engine.clone();
        let invoker: Arc<dyn Invoker> = engine.clone();
        let clock = Arc::new(SystemClock);
        let throttle = Arc::new(Throttle::default());
        let queue = SqliteQueue::open(folder.path(), clock.clone(), xebec_queue_sqlite::Options::default());
        let delivery = Arc::new(
            Delivery::new(DeliveryParts {
                queue: Arc::new(queue.unwrap()),
                blobs: Arc::new(LocalBlobs::open(&folder.path().join("bodies")).unwrap()),
                invoker: throttle.counted(invoker.clone()),
                control: control.clone(),
                records: engine.records_port(),
                clock: clock.clone(),
                options: DeliveryOptions::default(),
            })
            .unwrap(),
        );
        let deliveries: Arc<dyn Deliveries> = delivery.clone();
        let schedules = Arc::new(Schedules::new(xebec_schedules::Parts {
            store: store.clone(),
            control: control.clone(),
            deliveries: deliveries.clone(),
            clock,
        }));
        let journal = Journal::new(store.clone(), engine.records_port(), JournalOptions::default());
        let (of_store, of_engine) = (store.clone(), engine.clone());
        let of_world = schedules.clone();
        let parts = Box::new(move || Parts {
            control: control.clone(),
            invoker: invoker.clone(),
            deliveries: deliveries.clone(),
            schedules: schedules.clone(),
            store: of_store.clone(),
            records: of_engine.records_port(),
            journal: journal.clone(),
            throttle: throttle.clone(),
            keys: Arc::new(NoKeys),
            options: options.clone(),
        });
        let door = OpenWhisk::open(parts()).await.unwrap();
        for (name, part) in door.builtins() {
            builtins.register(name, part);
        }
        engine.resume().await.unwrap();
        delivery.start().await;
        Self { door, engine, store, delivery, schedules: of_world, local, images, folder, parts }
    }

    /// One more door to the same, as another server has it: it knows what was stored.
    pub async fn another_door(&self) -> OpenWhisk {
        OpenWhisk::open((self.parts)()).await.unwrap()
    }

    /// Sends a request as the holder of `guest`'s key.
    pub async fn send(&self, method: Method, path: &str, body: impl Into<Payload>) -> Answered {
        self.send_as(Principal::Local, Some(GUEST), method, path, body).await
    }

    pub async fn send_as(
        &self,
        principal: Principal,
        key: Option<&str>,
        method: Method,
        path: &str,
        body: impl Into<Payload>,
    ) -> Answered {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(key) = key {
            use base64::Engine as _;
            let encoded = base64::engine::general_purpose::STANDARD.encode(key);
            request = request.header("authorization", format!("Basic {encoded}"));
        }
        let Payload(body) = body.into();
        if !body.is_empty() {
            request = request.header("content-type", "application/json").header("content-length", body.len());
        }
        let mut request = request.body(Body::full(body)).unwrap();
        request.extensions_mut().insert(principal);
        self.request(request).await
    }

    pub async fn request(&self, request: Request<Body>) -> Answered {
        Answered::of(self.door.handle(request).await).await
    }

    pub async fn get(&self, path: &str) -> Answered {
        self.send(Method::GET, &api(path), "").await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answered {
        self.send(Method::PUT, &api(path), body).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answered {
        self.send(Method::POST, &api(path), body).await
    }

    pub async fn delete(&self, path: &str) -> Answered {
        self.send(Method::DELETE, &api(path), "").await
    }

    /// Makes an action that runs on this machine's Node.
    pub async fn action(&self, name: &str, code: &str) -> Value {
        let made = self.put(&format!("actions/{name}"), json!({ "exec": node(code) })).await;
        assert_eq!(made.status, 200, "{made:?}");
        made.json()
    }
}

/// A path below the caller's namespace, or one that begins with a slash.
pub fn api(path: &str) -> String {
    match path.starts_with('/') {
        true => path.to_owned(),
        false => format!("/api/v1/namespaces/_/{path}"),
    }
}

/// What an action of Node is.
pub fn node(code: &str) -> Value {
    json!({ "kind": "nodejs:default", "code": code })
}

/// A key that is confined to a namespace.
pub fn owner(namespace: &str) -> Principal {
    key(Role::Manage, Some(namespace))
}

pub fn key(role: Role, tenant: Option<&str>) -> Principal {
    Principal::Key { id: "k".into(), role, tenant: tenant.map(Tenant::new) }
}

/// What a request brings.
pub struct Payload(Vec<u8>);

impl From<&str> for Payload {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl From<Value> for Payload {
    fn from(value: Value) -> Self {
        Self(value.to_string().into_bytes())
    }
}

/// What came back.
#[derive(Debug)]
pub struct Answered {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answered {
    async fn of(response: Response<Body>) -> Self {
        let (head, body) = response.into_parts();
        let bytes = body.collect(64 << 20).await.unwrap();
        Self { status: head.status, headers: head.headers, body: String::from_utf8(bytes.to_vec()).unwrap() }
    }

    /// What it says, which went well.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// What was wrong: the sentence; the rest of the answer is what all errors have.
    pub fn error(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{self:?}");
        let json = self.json();
        let transaction = self.headers["x-request-id"].to_str().unwrap();
        assert_eq!(json["code"], transaction, "{self:?}");
        json["error"].as_str().unwrap().to_owned()
    }

    pub fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        self.json()
    }
}

/// The built-in environments, on a machine that has all they need.
struct NothingMissing(Table);

impl Environments for NothingMissing {
    fn environment(&self, name: &str) -> Option<Arc<Environment>> {
        let mut environment = self.0.environment(name)?;
        // Blanks would be started for nothing.
        Arc::make_mut(&mut environment).blanks = None;
        Some(environment)
    }

    fn stands_in_for(&self, image: &str) -> Option<Arc<Environment>> {
        self.0.stands_in_for(image)
    }

    fn names(&self) -> Vec<String> {
        self.0.names()
    }

    fn missing(&self, _: &Environment) -> Vec<String> {
        Vec::new()
    }
}

struct NoKeys;

#[async_trait::async_trait]
impl Keys for NoKeys {
    fn authenticate(&self, _: &Credential, _: bool) -> Result<Principal, Error> {
        Ok(Principal::Local)
    }

    async fn issue(&self, _: KeyRequest) -> Result<(KeyInfo, String), Error> {
        Err(Error::internal("XB2999", "these tests have no business here"))
    }

    async fn list(&self) -> Result<Vec<KeyInfo>, Error> {
        Ok(Vec::new())
    }

    async fn revoke(&self, _: &str) -> Result<(), Error> {
        Err(Error::internal("XB2999", "these tests have no business here"))
    }
}
