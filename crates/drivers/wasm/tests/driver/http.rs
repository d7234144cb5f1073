//! Requests: answered, streamed, and stopped.

use crate::guest::{HELLO, Host, PATIENCE, Slots, guest, memory, post, soon, text};
use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use xebec_contracts::AnswerError;
use xebec_core::{
    Body, BodyError, Outcome,
    body::CollectError,
    limits::{Clock, Limits},
    log::LogStream,
    outcome::{FunctionFault, PlatformFault},
    ports::instance::{IoError, Signal},
    revision::RevisionSpec,
};

fn unchanged(_: &mut RevisionSpec) {}

/// A body that is sent piece by piece.
fn piecewise() -> (mpsc::Sender<Result<Frame<Bytes>, BodyError>>, Body) {
    let (sender, mut receiver) = mpsc::channel(1);
    let pieces = futures_util::stream::poll_fn(move |context| receiver.poll_recv(context));
    (sender, Body::stream(StreamBody::new(pieces)))
}

async fn piece(body: &mut Body) -> String {
    let frame = soon(body.frame()).await.unwrap().unwrap();
    String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_greets_and_echoes() {
    let host = Host::new();
    let running = host.run(HELLO, unchanged).await;
    let answer = soon(running.io.request(post("/there?a=b", "ahoy"))).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "text/plain; charset=utf-8");
    assert_eq!(text(answer).await, "Hello from WebAssembly!\nYou called /there?a=b\nand sent: ahoy");
    let long = format!("/{}", "x".repeat(10_000));
    assert!(text(running.io.request(post(&long, "")).await.unwrap()).await.contains(&long));
}

#[tokio::test(flavor = "multi_thread")]
async fn small_answers_go_out_in_one_piece() {
    let host = Host::new();
    let running = host.run(HELLO, unchanged).await;
    // Not all of them do: a tick may come between an answer's head and its end.
    let mut whole = 0;
    for _ in 0..100 {
        let answer = soon(running.io.request(post("/", "ahoy"))).await.unwrap();
        whole += usize::from(answer.body().replay().is_some());
    }
    assert!(whole > 50, "{whole} of 100");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_gets_a_fresh_guest_and_all_of_them_give_their_memory_back() {
    let host = Host::new();
    let running = host.run(guest(), unchanged).await;
    let mut used = Duration::ZERO;
    for _ in 0..50 {
        assert_eq!(text(soon(running.io.request(post("/echo", "x"))).await.unwrap()).await, "x");
        assert_eq!(memory(&running).await, Some(0));
        let now = running.io.usage().await.unwrap().cpu;
        assert!(now > used, "{now:?} after {used:?}");
        used = now;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_stream_both_ways() {
    let host = Host::new();
    let running = host.run(guest(), unchanged).await;
    let (sender, body) = piecewise();
    // The head comes before the request's body has ended.
    let answer = soon(running.io.request(post("/echo", body))).await.unwrap();
    let mut body = answer.into_body();
    for word in ["one", "two", "three"] {
        sender.send(Ok(Frame::data(word.into()))).await.unwrap();
        assert_eq!(piece(&mut body).await, word);
    }
    drop(sender);
    assert!(soon(body.frame()).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_pass_through_whole() {
    let host = Host::new();
    let running = host.run(guest(), unchanged).await;
    let (sender, body) = piecewise();
    let sent: Vec<u8> = (0..8 << 20).map(|n: u32| u8::try_from(n % 251).unwrap()).collect();
    let expected = sent.clone();
    tokio::spawn(async move {
        for piece in sent.chunks(50_000) {
            if sender.send(Ok(Frame::data(Bytes::copy_from_slice(piece)))).await.is_err() {
                return;
            }
        }
    });
    let answer = soon(running.io.request(post("/echo", body))).await.unwrap();
    let received = soon(answer.into_body().collect(16 << 20)).await.unwrap();
    assert!(received == expected);
    assert!(memory(&running).await == Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_without_end_is_interrupted_by_its_clock() {
    let host = Host::new();
    for path in ["/loop", "/print", "/wait"] {
        let running = host.run(guest(), |spec| spec.limits.clocks.run = Duration::from_millis(100)).await;
        let began = Instant::now();
        let error = soon(running.io.request(post(path, ""))).await.unwrap_err();
        assert!(matches!(error, IoError::Interrupted), "{path}: {error}");
        assert!(began.elapsed() >= Duration::from_millis(100), "{path}");
        assert!(began.elapsed() < PATIENCE / 2, "{path}");
    }
}

/// Whatever guests compute, one thread is enough for others to be served beside them.
#[tokio::test(flavor = "current_thread")]
async fn a_guest_that_computes_leaves_room_for_others() {
    let host = Host::new();
    let running = host.run(guest(), unchanged).await;
    let spinning = running.io.clone();
    let spinning = tokio::spawn(async move { spinning.request(post("/loop", "")).await.map(drop) });
    for _ in 0..3 {
        assert_eq!(
            text(soon(running.io.request(post("/echo", "still here"))).await.unwrap()).await,
            "still here"
        );
    }
    assert!(!spinning.is_finished());
    spinning.abort();
    assert!(soon(spinning).await.unwrap_err().is_cancelled());
    soon(async {
        while memory(&running).await != Some(0) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_eats_memory_is_stopped_at_its_limit() {
    let host = Host::new();
    let running = host.run(guest(), |spec| spec.limits.memory_bytes = Some(8 << 20)).await;
    let error = soon(running.io.request(post("/memory", ""))).await.unwrap_err();
    assert!(matches!(error, IoError::OutOfMemory), "{error}");
    assert_eq!(memory(&running).await, Some(0));
    assert_eq!(text(soon(running.io.request(post("/echo", "fine"))).await.unwrap()).await, "fine");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_is_told_with_its_stack_in_the_log() {
    let host = Host::new();
    let running = host.run(guest(), unchanged).await;
    let error = soon(running.io.request(post("/trap", ""))).await.unwrap_err();
    let IoError::Trapped(why) = error else { panic!("{error}") };
    assert!(why.contains("unreachable"), "{why}");
    let log = running.lines.on(LogStream::Platform).join("\n");
    assert!(log.contains("unreachable") && log.contains("!trap"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_a_bad_answer() {
    let host = Host::new();
    let running = host.run(guest(), unchanged).await;
    for (path, why) in [("/nothing", "without an answer"), ("/refuse", "HttpProtocolError")] {
        let error = soon(running.io.request(post(path, ""))).await.unwrap_err();
        assert!(matches!(&error, IoError::BadAnswer(said) if said.contains(why)), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_guest_prints_without_end_costs_no_memory() {
    let host = Host::new();
    let running = host.run(guest(), |spec| spec.limits.clocks.run = Duration::from_millis(200)).await;
    soon(running.io.request(post("/print", ""))).await.unwrap_err();
    assert!(running.lines.count() > 100);
    assert!(running.lines.on(LogStream::Stdout).iter().all(|line| line == "printed line"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_ends_the_guest() {
    let host = Host::new();
    let running = host.run(guest(), unchanged).await;
    // Before the answer, while the guest computes and while it waits.
    for path in ["/loop", "/wait"] {
        let request = running.io.request(post(path, ""));
        assert!(tokio::time::timeout(Duration::from_millis(30), request).await.is_err());
        assert_eq!(memory(&running).await, Some(0), "{path}");
    }
    // In the middle of one.
    for path in ["/stream", "/idle"] {
        let mut body = soon(running.io.request(post(path, ""))).await.unwrap().into_body();
        assert!(!piece(&mut body).await.is_empty());
        assert!(memory(&running).await > Some(0));
        drop(body);
        assert_eq!(memory(&running).await, Some(0), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_not_read_stops_its_guest() {
    let host = Host::new();
    let running = host.run(guest(), unchanged).await;
    let mut body = soon(running.io.request(post("/stream", ""))).await.unwrap().into_body();
    for _ in 0..1000 {
        assert_eq!(piece(&mut body).await.len(), 4096);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_may_go_on_after_its_answer() {
    let host = Host::new();
    let running = host.run(guest(), unchanged).await;
    let answer = soon(running.io.request(post("/after", ""))).await.unwrap();
    assert_eq!(text(answer).await, "some words");
    running.lines.has(LogStream::Stdout, "printed line").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_can_break_off() {
    let host = Host::new();
    let running = host.run(guest(), unchanged).await;
    let mut body = soon(running.io.request(post("/half", ""))).await.unwrap().into_body();
    assert_eq!(piece(&mut body).await, "some words");
    let error = soon(body.frame()).await.unwrap().unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(IoError::Trapped(_))), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_beyond_the_pool_are_refused_at_once() {
    let host = Host::with_calls(4);
    let running = host.run(guest(), unchanged).await;
    let mut answers = Vec::new();
    for _ in 0..4 {
        answers.push(soon(running.io.request(post("/idle", ""))).await.unwrap());
    }
    let error = soon(running.io.request(post("/echo", "x"))).await.unwrap_err();
    assert!(matches!(error, IoError::Overloaded(_)), "{error}");
    answers.pop();
    assert_eq!(text(soon(running.io.request(post("/echo", "x"))).await.unwrap()).await, "x");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_calls_at_once_are_each_answered_or_refused() {
    let host = Host::with_calls(100);
    let running = host.run(guest(), unchanged).await;
    let calls: Vec<_> = (0..1000)
        .map(|number| {
            let io = running.io.clone();
            tokio::spawn(async move {
                let number = number.to_string();
                match io.request(post("/echo", number.clone())).await {
                    Ok(answer) => {
                        assert_eq!(text(answer).await, number);
                        true
                    }
                    Err(IoError::Overloaded(_)) => false,
                    Err(error) => panic!("{error}"),
                }
            })
        })
        .collect();
    let mut answered = 0;
    for call in calls {
        answered += usize::from(soon(call).await.unwrap());
    }
    assert!(answered >= 100, "{answered}");
    assert_eq!(memory(&running).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_ends_when_it_is_told_to() {
    let host = Host::new();
    let running = host.run(guest(), unchanged).await;
    let mut idle = soon(running.io.request(post("/idle", ""))).await.unwrap().into_body();
    assert_eq!(piece(&mut idle).await, "some words");

    // Asked, it ends with its last call.
    running.io.signal(Signal::Stop).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(20), running.io.exited()).await.is_err());
    drop(idle);
    assert!(soon(running.io.exited()).await.is_success());
    assert!(soon(running.io.exited()).await.is_success(), "also those who ask later are told");
    assert!(matches!(running.io.request(post("/echo", "")).await, Err(IoError::Exited(_))));

    // Killed, its calls end with it, whether they compute or wait.
    for path in ["/loop", "/wait"] {
        let running = host.run(guest(), unchanged).await;
        let calling = running.io.clone();
        let call = tokio::spawn(async move { calling.request(post(path, "")).await });
        soon(async {
            while memory(&running).await == Some(0) {
                tokio::task::yield_now().await;
            }
        })
        .await;
        running.io.destroy().await;
        assert!(matches!(soon(call).await.unwrap(), Err(IoError::Exited(_))), "{path}");
        assert_eq!(soon(running.io.exited()).await.signal, Some(9));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_gives_slots_back_and_names_outcomes() {
    let host = Host::new();
    let limited = |spec: &mut RevisionSpec| {
        spec.limits.memory_bytes = Some(8 << 20);
        spec.limits.clocks.run = Duration::from_millis(300);
    };
    let running = host.run(guest(), limited).await;
    let conversation = running.open(Limits { concurrency: 7, ..Limits::default() }).await;
    let seen = |freed| Slots { announced: 7, freed, retired: None };
    assert_eq!(conversation.slots.seen(), seen(0));

    assert_eq!(text(conversation.call(post("/echo", "x")).await.unwrap()).await, "x");
    assert_eq!(conversation.slots.seen(), seen(1));

    for (count, (path, outcome)) in [
        ("/trap", Outcome::FunctionError(FunctionFault::Crash)),
        ("/memory", Outcome::FunctionError(FunctionFault::OutOfMemory)),
        ("/loop", Outcome::FunctionError(FunctionFault::Timeout(Clock::Run))),
        ("/nothing", Outcome::FunctionError(FunctionFault::BadResponse)),
    ]
    .into_iter()
    .enumerate()
    {
        let error = conversation.call(post(path, "")).await.unwrap_err();
        assert_eq!(error.outcome, outcome, "{path}: {}", error.message);
        assert_eq!(conversation.slots.seen(), seen(2 + u32::try_from(count).unwrap()), "{path}");
    }

    // A slot is busy until its answer has ended …
    let mut body = conversation.call(post("/half", "")).await.unwrap().into_body();
    assert_eq!(conversation.slots.seen(), seen(5));
    assert_eq!(piece(&mut body).await, "some words");
    let error = soon(body.frame()).await.unwrap().unwrap_err();
    let error = error.downcast::<AnswerError>().unwrap();
    assert_eq!(error.outcome, Outcome::FunctionError(FunctionFault::Crash));
    assert_eq!(conversation.slots.seen(), seen(6));

    // … or was dropped; and a call that is given up costs nothing either.
    drop(conversation.call(post("/idle", "")).await.unwrap());
    assert_eq!(conversation.slots.seen(), seen(7));
    let given_up = conversation.call(post("/wait", ""));
    assert!(tokio::time::timeout(Duration::from_millis(20), given_up).await.is_err());
    assert_eq!(conversation.slots.seen(), seen(8));

    // Closing waits for calls in flight, and then stops the instance.
    let idle = conversation.call(post("/idle", "")).await.unwrap();
    let session = conversation.session.clone();
    let closing = tokio::spawn(async move { session.close(PATIENCE).await });
    drop(idle);
    soon(closing).await.unwrap();
    assert!(soon(running.io.exited()).await.is_success());
    let error = conversation.call(post("/echo", "")).await.unwrap_err();
    assert_eq!(error.outcome, Outcome::PlatformError(PlatformFault::Unavailable));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_breaks_off_is_its_senders_fault() {
    let host = Host::new();
    let running = host.run(HELLO, unchanged).await;
    let conversation = running.open(Limits::default()).await;
    for (error, outcome) in [
        (BodyError::from("the line went dead"), PlatformFault::Cancelled),
        (BodyError::from(CollectError::TooLarge(7)), PlatformFault::TooLarge),
    ] {
        let (sender, body) = piecewise();
        sender.send(Err(error)).await.unwrap();
        // Depending on when the guest is interrupted, before the answer's head or after it.
        let ended = match conversation.call(post("/", body)).await {
            Ok(answer) => match soon(answer.into_body().collect(1 << 20)).await.unwrap_err() {
                CollectError::Broken(error) => error.downcast::<AnswerError>().unwrap().outcome,
                error => panic!("{error}"),
            },
            Err(error) => error.outcome,
        };
        assert_eq!(ended, Outcome::PlatformError(outcome));
    }
    assert_eq!(conversation.slots.seen().freed, 2);
}
