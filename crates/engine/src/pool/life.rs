//! An instance's life, from the order to start it until everything it held is given back: one task, read
//! from top to bottom.

use super::{
    Failure, Pool,
    instance::{Announcer, Instance},
    state::Order,
};
use crate::{lines::InstanceLines, memory::Reservation, trace::StartTrace};
use rand::RngExt as _;
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::time::{Instant, timeout};
use xebec_contracts::{Brings, Opening, Session, StartError};
use xebec_core::{
    Error,
    ports::{
        control::Happening,
        driver::Start,
        instance::{DESTROY_DEADLINE, Exit, InstanceId, InstanceIo},
    },
    trace::TraceContext,
    workload::Workload,
};

/// What a contract gets to say why, once the instance has ended under its hands.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Lives an instance's life; `above` is the span of the caller for whom it is started, where that is traced.
pub(super) async fn live(pool: Arc<Pool>, order: Order, memory: Reservation, above: Option<TraceContext>) {
    let begun = Instant::now();
    let Order { number, cancelled } = order;
    let instance = Arc::new(new_instance(&pool, number));
    let start_clock = pool.revision.spec.limits.clocks.start;
    let mut trace = StartTrace::begin(&pool, &pool.shared.options.traces, &instance.id.0, above);
    let outcome = tokio::select! {
        biased;
        // Its other end is dropped when nobody waits for the start any more.
        _ = cancelled => Err(None),
        opened = timeout(start_clock, bring_up(&pool, &instance, &trace)) => match opened {
            Ok(opened) => opened.map_err(Some),
            Err(_) => {
                let message = format!("it did not come to take calls within {start_clock:?}");
                Err(Some(StartError::new(message)))
            }
        },
    };
    pool.shared.blanks.refill(&pool.shared, &pool.environment);
    let session = match outcome {
        Ok(session) => session,
        Err(why) => {
            trace.fail(why.as_ref().map_or("nobody waited for it any more", |why| &why.message));
            drop(trace);
            give_up(&pool, &instance, why).await;
            return drop(memory);
        }
    };
    drop(trace);
    // Set once, here, before the pool hands out the first slot.
    let _ = instance.session.set(session);
    let took = begun.elapsed();
    if !pool.started(&instance, took) {
        destroy(&instance).await;
        return drop(memory);
    }
    let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let ready = Happening::InstanceReady { instance: instance.id.to_string(), milliseconds };
    pool.shared.events.tell(&pool.key, ready);

    let reason = serve(&pool, &instance).await;
    destroy(&instance).await;
    drop(memory);
    pool.gone(number);
    let gone = Happening::InstanceGone { instance: instance.id.to_string(), reason };
    pool.shared.events.tell(&pool.key, gone);
}

fn new_instance(pool: &Arc<Pool>, number: u64) -> Instance {
    // Drivers make names of files and hosts of it.
    let fit = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = pool.key.name.chars().take(40).map(fit).collect();
    let id = InstanceId(format!("{name}-{:010x}", rand::rng().random::<u64>() >> 24).into());
    let lines = {
        let log_bytes = pool.revision.spec.limits.log_bytes;
        InstanceLines::new(pool.shared.clone(), pool.key.clone(), id.to_string(), log_bytes)
    };
    Instance::new(id, number, pool.clone(), Arc::new(lines))
}

/// Starts it and brings it to the point where it takes calls.
async fn bring_up(
    pool: &Arc<Pool>,
    instance: &Arc<Instance>,
    trace: &StartTrace,
) -> Result<Arc<dyn Session>, StartError> {
    let io = start(pool, instance, trace).await.map_err(StartError::new)?;
    // Set once, here: whatever happens from now on, it is destroyed at the end.
    let _ = instance.io.set(io.clone());
    let spec = &pool.revision.spec;
    let command = if spec.command.is_empty() { &pool.environment.command } else { &spec.command };
    let opening = Opening {
        io: io.clone(),
        spec: spec.contract.clone(),
        command: command.clone(),
        limits: spec.limits.clone(),
        slots: Arc::new(Announcer { pool: pool.clone(), number: instance.number }),
        lines: instance.lines.clone(),
        brings: brings(pool).await?,
    };
    let _ready = trace.step("become ready");
    let begun = Instant::now();
    let mut opened = pool.contract.open(opening);
    let opened = tokio::select! {
        biased;
        opened = &mut opened => opened,
        exit = io.exited() => match timeout(LAST_WORDS, opened).await {
            Ok(Err(error)) => Err(error),
            _ => Err(StartError::new(format!("it {exit} before it took calls"))),
        },
    };
    // Set once, here; read by the first call.
    let _ = instance.init.set(begun.elapsed());
    opened
}

/// What a contract hands over that brings the code itself.
async fn brings(pool: &Pool) -> Result<Brings, StartError> {
    let spec = &pool.revision.spec;
    let code = async |archive| {
        let bytes = pool.shared.blobs.get(archive).await;
        bytes.map_err(|error| StartError::new(format!("its code cannot be read: {error}")))
    };
    let code = match &spec.workload {
        Workload::Image { code: Some(packed), .. } => Some((packed.format, code(&packed.archive).await?)),
        Workload::Code { archive, format, .. } if pool.environment.image.is_some() => {
            Some((*format, code(archive).await?))
        }
        _ => None,
    };
    Ok(Brings {
        function: pool.key.name.to_string(),
        handler: spec.handler.clone(),
        variables: spec.variables.clone(),
        code,
    })
}

/// Makes a blank an instance where there is one, else starts from nothing.
async fn start(
    pool: &Arc<Pool>,
    instance: &Arc<Instance>,
    trace: &StartTrace,
) -> Result<Arc<dyn InstanceIo>, String> {
    let start = Start {
        instance: instance.id.clone(),
        function: pool.key.clone(),
        revision: pool.revision.clone(),
        environment: pool.environment.clone(),
        secrets: pool.secrets.clone(),
        lines: instance.lines.clone(),
    };
    let spec = &pool.revision.spec;
    let fits_blanks = spec.command.is_empty() && matches!(spec.workload, Workload::Code { .. });
    if fits_blanks && let Some(blank) = pool.shared.blanks.take(&pool.environment) {
        let _step = trace.step("specialise a blank");
        match pool.driver.specialize(blank, start.clone()).await {
            Ok(io) => {
                pool.shared.totals.blanks_used.fetch_add(1, Ordering::Relaxed);
                return Ok(io);
            }
            // The blank may have died in its sleep, which says nothing about the function.
            Err(error) => tracing::debug!(%error, "a blank could not be specialised, starting without"),
        }
    }
    let begun = Instant::now();
    let _step = trace.step("start a sandbox");
    match pool.driver.start(start.clone()).await {
        Err(error) if error.code == "XB3005" => match prepare_again(pool, begun, trace).await {
            Ok(true) => pool.driver.start(start).await.map_err(|error| error.to_string()),
            Ok(false) => Err(error.to_string()),
            Err(error) => Err(error.to_string()),
        },
        started => started.map_err(|error| error.to_string()),
    }
}

async fn prepare_again(pool: &Arc<Pool>, begun: Instant, trace: &StartTrace) -> Result<bool, Error> {
    let _step = trace.step("prepare again");
    pool.again.prepare(pool, begun).await
}

/// Ends a start that came to nothing. Callers are told once all that it printed is in, but do not wait for a
/// driver that takes long over destroying it.
async fn give_up(pool: &Arc<Pool>, instance: &Arc<Instance>, why: Option<StartError>) {
    let destroyed = destroy(instance);
    tokio::pin!(destroyed);
    let Some(why) = why else { return destroyed.await };
    let quickly = timeout(LAST_WORDS, &mut destroyed).await;
    fail(pool, instance, why);
    if quickly.is_err() {
        destroyed.await;
    }
}

fn fail(pool: &Arc<Pool>, instance: &Arc<Instance>, why: StartError) {
    let StartError { message, output, late } = why;
    let failed = Happening::StartFailed { message: message.clone() };
    pool.shared.events.tell(&pool.key, failed);
    instance.lines.never_called(pool.waits_for(instance.number));
    instance.lines.platform(format!("start failed: {message}"));
    let tail = instance.lines.tail();
    pool.start_failed(
        instance.number,
        Failure { message, output, late, tail, overloaded: false, retry_after: None },
    );
}

/// Waits until the instance has ended or is not wanted any more; returns why, for people.
async fn serve(pool: &Arc<Pool>, instance: &Arc<Instance>) -> String {
    let Some(io) = instance.io.get() else { return String::new() };
    let exited = io.exited();
    tokio::pin!(exited);
    tokio::select! {
        biased;
        exit = &mut exited => return ended(pool, instance, exit),
        () = instance.wake.notified() => {}
    }
    // Retired: what is in flight goes on, each call held by its own clocks.
    let last_call = pool.revision.spec.limits.clocks.run.saturating_add(LAST_WORDS);
    let done = async {
        while pool.busy_on(instance.number) > 0 {
            instance.wake.notified().await;
        }
    };
    tokio::select! {
        biased;
        exit = &mut exited => return ended(pool, instance, exit),
        _ = timeout(last_call, done) => {}
    }
    if let Some(active) = pool.active.upgrade() {
        // What it used since it was last measured would be lost with it.
        active.measure_instance(&pool.shared, instance).await;
    }
    let grace = pool.shared.options.stop_grace;
    if let Some(session) = instance.session() {
        tokio::select! {
            exit = &mut exited => instance.set_exit(exit),
            _ = timeout(grace + LAST_WORDS, session.close(grace)) => {}
        }
    }
    "not needed any more".to_owned()
}

fn ended(pool: &Arc<Pool>, instance: &Arc<Instance>, exit: Exit) -> String {
    let in_flight = pool.busy_on(instance.number);
    instance.set_exit(exit);
    // It gets no more calls from here on, long before it is destroyed.
    pool.retire(instance.number);
    let text = match in_flight {
        0 => format!("the instance {exit}"),
        1 => format!("the instance {exit} with a call in flight"),
        calls => format!("the instance {exit} with {calls} calls in flight"),
    };
    instance.lines.platform(text.clone());
    text
}

/// Ends it and gives back everything it held.
async fn destroy(instance: &Arc<Instance>) {
    let Some(io) = instance.io.get() else { return };
    if timeout(DESTROY_DEADLINE, io.destroy()).await.is_err() {
        tracing::warn!(instance = %instance.id, "the driver did not destroy the instance within its deadline");
    }
}
