//! A compiled component, linked and ready to be instantiated.

use crate::{runtime::Runtime, state::State};
use wasmtime::component::Component;
use wasmtime_wasi::p2::bindings::CommandPre;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use xebec_core::Error;

const PAGE_BYTES: u64 = 64 * 1024;

/// A compiled component, linked and ready to be instantiated.
pub(crate) struct Loaded {
    /// It exports `wasi:http/incoming-handler`.
    pub(crate) http: Option<ProxyPre<State>>,
    /// It exports `wasi:cli/run`.
    pub(crate) command: Option<CommandPre<State>>,
    /// Bytes that its largest memory has from the start, where that can be told.
    pub(crate) initial_memory: u64,
}

impl Loaded {
    /// Links a component to what the platform offers.
    ///
    /// # Errors
    /// `XB3002`: it imports what is not there.
    pub(crate) fn new(runtime: &Runtime, component: &Component) -> Result<Self, Error> {
        let linked = runtime.linker.instantiate_pre(component).map_err(|error| {
            Error::invalid("XB3002", format!("the component needs what is not offered: {error:#}"))
                .with_hint("components get the interfaces of wasi:cli and wasi:http, version 0.2")
        })?;
        let pages = component.resources_required().and_then(|required| required.max_initial_memory_size);
        let initial_memory = pages.unwrap_or(0).saturating_mul(PAGE_BYTES);
        Ok(Self {
            http: ProxyPre::new(linked.clone()).ok(),
            command: CommandPre::new(linked).ok(),
            initial_memory,
        })
    }

    /// Whether the contract can be spoken with it.
    ///
    /// # Errors
    /// `XB3002`, naming the export that is missing.
    pub(crate) fn speaks(&self, contract: &str) -> Result<(), Error> {
        let (speaks, export) = match contract {
            "stdio" => (self.command.is_some(), "wasi:cli/run"),
            _ => (self.http.is_some(), "wasi:http/incoming-handler"),
        };
        if speaks {
            return Ok(());
        }
        let message = format!("the component does not export {export}, which the contract {contract} calls");
        let hint = match contract {
            "stdio" if self.http.is_some() => "it answers HTTP: use the contract wasi-http",
            "stdio" => "build a program with a main function for the target wasm32-wasip2",
            _ if self.command.is_some() => "it is a program with a main function: use the contract stdio",
            _ => "implement the world wasi:http/proxy, version 0.2",
        };
        Err(Error::invalid("XB3002", message).with_hint(hint))
    }
}
