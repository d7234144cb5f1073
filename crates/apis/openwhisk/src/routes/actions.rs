//! Actions.

use super::{Call, body, list};
use crate::{
    Shared,
    entities::Right,
    errors::{self, Rejection},
    kinds::{self, Host, Place},
    merge, system,
    translate::{self, Running},
    wire::{
        action::{Action, ActionPut},
        exec::{Code, Exec, ExecPut},
        limits::{ActionLimitsPut, EffectiveLimits},
        name::FullName,
        package::Package,
        parameters::Parameters,
    },
};
use http::{Response, StatusCode};
use std::sync::Arc;
use xebec_core::{Body, Error, Tenant, ports::driver::Silent};

/// `GET …/actions`.
pub(super) fn list(shared: &Shared, call: &Call, namespace: &Tenant) -> Result<Response<Body>, Rejection> {
    let slice = call.query.slice("actions")?;
    call.caller.must_manage(namespace, namespace)?;
    let all = shared.entities.all::<Action>(namespace);
    Ok(list::answer("actions", all, slice, |action| action.updated, |action| action.summary()))
}

/// `GET …/actions/package/`: those of the package, or of the one that it is bound to.
pub(super) fn list_package(
    shared: &Shared,
    call: &Call,
    namespace: &Tenant,
    package: &str,
) -> Result<Response<Body>, Rejection> {
    let slice = call.query.slice("actions")?;
    let package = shared.entities.readable_package(&call.caller, namespace, package)?;
    let home = shared.entities.home_of(&package)?;
    let all = shared.entities.actions_in(&home.namespace, &home.name);
    Ok(list::answer("actions", all, slice, |action| action.updated, |action| action.summary()))
}

/// `GET …/actions/name`: through a package and a binding with what they bind.
pub(super) async fn get(shared: &Shared, call: &Call, name: &FullName) -> Result<Response<Body>, Rejection> {
    let with_code = call.query.flag("code", true)?;
    let resolved = shared.entities.resolve(&call.caller, name, Right::Read)?;
    let code = match with_code {
        true => {
            // What is part of the server has a source to copy.
            let source = || system::source_of(&resolved.action.full_name()).map(str::to_owned);
            code_of(shared, &resolved.action.exec).await?.or_else(source)
        }
        false => None,
    };
    Ok(errors::json(StatusCode::OK, &resolved.action.to_wire(code, &resolved.parameters)))
}

/// `PUT …/actions/name`.
pub(super) async fn put(
    shared: &Arc<Shared>,
    call: &Call,
    name: FullName,
    body: Body,
) -> Result<Response<Body>, Rejection> {
    let overwrite = call.query.flag("overwrite", false)?;
    call.caller.must_manage(&name.namespace, &name)?;
    let limits = shared.limits(&name.namespace);
    let bytes = body::read(call, body, body::most(shared, &limits)).await?;
    let mut put: ActionPut = body::parse(&bytes)?;
    drop(bytes);
    check_sizes(shared, &limits, &put)?;
    check_limits(&limits, put.limits.as_ref())?;
    let wanted = put.exec.take().map(|exec| resolve(shared, call, exec)).transpose()?;
    let kind = wanted.as_ref().map(Wanted::kind);
    if let Some(kind) = kind.filter(|kind| !limits.allows_kind(kind)) {
        return Err(Rejection::forbidden_kind(kind));
    }
    let _turn = shared.turns.take(&name.namespace, &name.local()).await;
    let package = writable_package(shared, &name)?;
    let before = shared.entities.replaced::<Action>(&name.namespace, &name.local(), overwrite)?;
    if let Some(Wanted::Sequence(components)) = &wanted {
        check_sequence(shared, call, &name, components)?;
    }
    let (exec, code) = match wanted {
        None => (None, None),
        Some(wanted) => {
            let (exec, code) = store(shared, wanted).await?;
            (Some(exec), code)
        }
    };
    let now = crate::wire::now_millis();
    let action = merge::action(&name, before.as_deref(), put, exec, now);
    let action = action.ok_or_else(|| Rejection::bad_request("exec undefined"))?;
    deploy(shared, &action, package.as_deref(), before.as_deref()).await?;
    let code = match code {
        Some(code) => Some(code),
        None => code_of(shared, &action.exec).await?,
    };
    Ok(errors::json(StatusCode::OK, &action.to_wire(code, &action.parameters)))
}

/// `DELETE …/actions/name`: answered with what was deleted.
pub(super) async fn delete(
    shared: &Arc<Shared>,
    call: &Call,
    name: FullName,
) -> Result<Response<Body>, Rejection> {
    call.caller.must_manage(&name.namespace, &name)?;
    let _turn = shared.turns.take(&name.namespace, &name.local()).await;
    writable_package(shared, &name)?;
    let action = shared.entities.named::<Action>(&name.namespace, &name.local())?;
    // Code that is damaged must not keep its action from going.
    let code = code_of(shared, &action.exec).await.unwrap_or_default();
    remove(shared, &action).await?;
    Ok(errors::json(StatusCode::OK, &action.to_wire(code, &action.parameters)))
}

/// What an action shall run, before its code is stored.
enum Wanted {
    Code { kind: String, code: String, main: Option<String> },
    Blackbox { image: String, code: Option<String>, main: Option<String> },
    Sequence(Vec<FullName>),
}

impl Wanted {
    fn kind(&self) -> &str {
        match self {
            Self::Code { kind, .. } => kind,
            Self::Blackbox { .. } => crate::wire::exec::BLACKBOX,
            Self::Sequence(_) => crate::wire::exec::SEQUENCE,
        }
    }
}

/// What a request means: families' defaults are kinds, `_` is the caller's namespace.
fn resolve(shared: &Shared, call: &Call, exec: ExecPut) -> Result<Wanted, Rejection> {
    let host = Host::new(shared.control.as_ref());
    match exec {
        ExecPut::Sequence { components } => {
            let own = &call.caller.namespace;
            Ok(Wanted::Sequence(components.into_iter().map(|component| component.resolved(own)).collect()))
        }
        ExecPut::Code { kind, code, main } => {
            let found = host.kind(&kind).ok_or_else(|| unknown_kind(&host, &kind))?;
            if found.requires_main && main.is_none() {
                let fault = format!("'main' must be a string defined in 'exec' for '{kind}' actions");
                return Err(Rejection::malformed(fault));
            }
            Ok(Wanted::Code { kind: found.name(), code, main })
        }
        ExecPut::Blackbox { image, code, main } => {
            if host.place_of_image(&image).is_none() {
                return Err(no_place_for_image(&image));
            }
            Ok(Wanted::Blackbox { image, code, main })
        }
    }
}

fn unknown_kind(host: &Host<'_>, kind: &str) -> Rejection {
    let names: Vec<String> = host.names().iter().map(|name| format!("'{name}'")).collect();
    Rejection::malformed(format!(
        "The specified runtime '{kind}' is not supported by this platform. Valid values are: {}.",
        names.join(", ")
    ))
}

fn no_place_for_image(image: &str) -> Rejection {
    Rejection::bad_request(format!(
        "The image '{image}' cannot be run: this server has no container engine. Install one, or let an \
         environment stand in for the image in the server's configuration."
    ))
}

/// Stores the code of an action. Returns it as it was sent, too.
async fn store(shared: &Shared, wanted: Wanted) -> Result<(Exec, Option<String>), Rejection> {
    Ok(match wanted {
        Wanted::Sequence(components) => (Exec::Sequence { components }, None),
        Wanted::Code { kind, code, main } => {
            let stored = store_code(shared, &code).await?;
            (Exec::Code { kind, code: stored, main }, Some(code))
        }
        Wanted::Blackbox { image, code: None, main } => (Exec::Blackbox { image, code: None, main }, None),
        Wanted::Blackbox { image, code: Some(code), main } => {
            let stored = store_code(shared, &code).await?;
            (Exec::Blackbox { image, code: Some(stored), main }, Some(code))
        }
    })
}

async fn store_code(shared: &Shared, code: &str) -> Result<Code, Rejection> {
    let packed = translate::pack(code);
    let (digest, bytes) = shared.control.put_code(Body::full(packed.bytes)).await?;
    Ok(Code { digest, bytes, format: packed.format, binary: packed.binary })
}

/// Code as it was sent.
async fn code_of(shared: &Shared, exec: &Exec) -> Result<Option<String>, Rejection> {
    let Some(code) = exec.code() else { return Ok(None) };
    let bytes = shared.control.code(&code.digest).await?;
    Ok(Some(translate::unpack(&bytes, code.binary)))
}

/// The package of an action that is to be changed.
///
/// # Errors
/// 404, 400 for a binding: what is in it is another's.
fn writable_package(shared: &Shared, name: &FullName) -> Result<Option<Arc<Package>>, Rejection> {
    let Some(package) = &name.package else { return Ok(None) };
    let package = shared.entities.named::<Package>(&name.namespace, package)?;
    match package.binding {
        None => Ok(Some(package)),
        Some(_) => Err(Rejection::bad_request("Operation not permitted on package binding.")),
    }
}

/// Deploys an action; `before`: what it was until now.
///
/// # Errors
/// 400 where nothing here can run it, or what engine and driver refuse.
pub(crate) async fn deploy(
    shared: &Shared,
    action: &Action,
    package: Option<&Package>,
    before: Option<&Action>,
) -> Result<(), Rejection> {
    let limits = shared.limits(&action.namespace);
    let place = place(shared, &action.exec)?;
    let running =
        place.map(|place| Running { place, limits: &limits, api_host: &shared.options.api_host, package });
    for deployment in translate::deployments(action, running.as_ref(), &limits)? {
        shared.control.deploy(deployment, &Silent).await?;
    }
    let name = action.full_name();
    shared.entities.read_again(shared.control.as_ref(), &name.function()).await?;
    let was_conductor = before.is_some_and(translate::is_conductor);
    if was_conductor && !translate::is_conductor(action) {
        remove_function(shared, &translate::conductors_code(&name)).await?;
    }
    Ok(())
}

/// What runs an action's code here; `None`: it has none.
fn place(shared: &Shared, exec: &Exec) -> Result<Option<Place>, Rejection> {
    let host = Host::new(shared.control.as_ref());
    match exec {
        Exec::Sequence { .. } | Exec::Builtin { .. } => Ok(None),
        Exec::Blackbox { image, .. } => {
            host.place_of_image(image).map(Some).ok_or_else(|| no_place_for_image(image))
        }
        Exec::Code { kind, code, .. } => {
            let place = kinds::known(kind).and_then(|known| known.place(&host, !code.binary));
            place.map(Some).ok_or_else(|| unknown_kind(&host, kind))
        }
    }
}

/// Removes an action.
///
/// # Errors
/// What the engine says.
pub(crate) async fn remove(shared: &Shared, action: &Action) -> Result<(), Rejection> {
    let name = action.full_name();
    remove_function(shared, &name.function()).await?;
    shared.entities.forget(&name.namespace, &name.local());
    if translate::is_conductor(action) {
        remove_function(shared, &translate::conductors_code(&name)).await?;
    }
    Ok(())
}

/// Removes a function, if it is there.
pub(crate) async fn remove_function(shared: &Shared, key: &xebec_core::FunctionKey) -> Result<(), Error> {
    match shared.control.remove(key).await {
        Err(error) if error.code == "XB2002" => Ok(()),
        other => other,
    }
}

fn check_sizes(shared: &Shared, limits: &EffectiveLimits, put: &ActionPut) -> Result<(), Rejection> {
    let most = shared.options.limits.code_bytes;
    let bytes = put.exec.as_ref().map_or(0, |exec| exec.bytes() as u64);
    if bytes > most {
        return Err(Rejection::too_large("exec", bytes, most));
    }
    let (parameters, annotations): (Option<&Parameters>, Option<&Parameters>) =
        (put.parameters.as_ref(), put.annotations.as_ref());
    body::check_sizes(limits, parameters, annotations)
}

/// Whether an action may use what it asks for.
fn check_limits(limits: &EffectiveLimits, put: Option<&ActionLimitsPut>) -> Result<(), Rejection> {
    let Some(put) = put else { return Ok(()) };
    let fault = |text: String| Err(Rejection::bad_request(text));
    for (name, wanted, (least, most)) in
        [("memory", put.memory, limits.memory()), ("log", put.logs, limits.logs())]
    {
        match wanted {
            Some(is) if is > most => {
                return fault(format!("{name} size {is} MB exceeds allowed threshold of {most} MB"));
            }
            Some(is) if is < least => {
                return fault(format!("{name} size {is} MB below allowed threshold of {least} MB"));
            }
            _ => {}
        }
    }
    let (least, most) = limits.timeout();
    match put.timeout {
        Some(is) if is > most => {
            return fault(format!(
                "duration {is} milliseconds exceeds allowed threshold of {most} milliseconds"
            ));
        }
        Some(is) if is < least => {
            return fault(format!(
                "duration {is} milliseconds below allowed threshold of {least} milliseconds"
            ));
        }
        _ => {}
    }
    let (least, most) = limits.concurrency();
    match put.concurrency {
        Some(is) if is > most => {
            return fault(format!("concurrency {is} exceeds allowed threshold of {most}"));
        }
        Some(is) if is < least => {
            return fault(format!("concurrency {is} below allowed threshold of {least}"));
        }
        _ => {}
    }
    let most = limits.concurrent_invocations();
    match put.instances {
        Some(is) if is > most => fault(format!(
            "Max action instance concurrency must not exceed your namespace concurrency of {most}."
        )),
        _ => Ok(()),
    }
}

/// Whether a sequence can be: its components are there, not too many, and it is none of them.
fn check_sequence(
    shared: &Shared,
    call: &Call,
    name: &FullName,
    components: &[FullName],
) -> Result<(), Rejection> {
    let most = shared.options.limits.sequence_length;
    let too_long = || Rejection::bad_request("Too many actions in the sequence.");
    if components.is_empty() {
        return Err(Rejection::bad_request("No component specified for the sequence."));
    }
    // What is left to look at; a sequence in a sequence stands for its components.
    let mut left: Vec<FullName> = components.to_vec();
    let (mut atomic, mut looked_at) = (0, 0);
    while let Some(component) = left.pop() {
        looked_at += 1;
        // Every sequence that was looked at has an action at least, unless they go round in a circle.
        if atomic + left.len() >= most || looked_at > most * most {
            return Err(too_long());
        }
        let resolved =
            shared.entities.resolve(&call.caller, &component, Right::Read).map_err(|rejection| {
                match rejection.status {
                    StatusCode::NOT_FOUND => Rejection::bad_request("Sequence component does not exist."),
                    _ => rejection,
                }
            })?;
        if resolved.action.full_name() == *name {
            return Err(Rejection::bad_request("Sequence may not refer to itself."));
        }
        match resolved.action.exec.components() {
            Some(inner) => left.extend(inner.iter().cloned()),
            None => atomic += 1,
        }
    }
    Ok(())
}
