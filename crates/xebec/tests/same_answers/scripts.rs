//! Cases that are more than one request, and what was seen in their course.

use crate::asking::{Callee, PATIENCE, pieces, whole};
use bytes::Bytes;
use futures_util::future::join_all;
use http::Response;
use http_body_util::BodyExt as _;
use hyper::body::{Frame, Incoming};
use std::fmt::Write as _;
use tokio::time::timeout;

/// How many calls are made at a time.
const AT_A_TIME: usize = 8;

/// How often something is tried that a busy machine may get in the way of.
const TRIES: u32 = 20;

/// Where every function of the tests has its limit, in bytes.
pub(crate) const LIMIT: usize = 9 << 20;

/// What was seen.
pub(crate) async fn run(name: &str, callee: &Callee<'_>) -> String {
    match name {
        "a first call and a second" => first_and_second(callee).await,
        "pieces both ways" => pieces_both_ways(callee).await,
        "many at a time" => many_at_a_time(callee).await,
        "a caller that leaves" => a_caller_that_leaves(callee).await,
        "too much, told beforehand" => too_much_told(callee).await,
        "too much, in pieces" => too_much_in_pieces(callee).await,
        "never an answer" => callee.hasty().ask("POST", "/never", &[], whole("x")).await,
        "half an answer" => half_an_answer(&callee.hasty()).await,
        "an end before the answer" => end_before(callee).await,
        "an end in the middle of the answer" => end_in_the_middle(callee).await,
        other => panic!("there is no script {other}"),
    }
}

async fn first_and_second(callee: &Callee<'_>) -> String {
    let mut seen = String::new();
    for which in ["the first", "the second"] {
        let response = callee.send("GET", "/unread", &[], whole("")).await;
        let cold = response.headers().get("x-xebec-cold").cloned();
        writeln!(seen, "{which}: {} cold: {cold:?}", response.status().as_u16()).unwrap();
        callee.written(response, false).await;
    }
    seen.trim_end().to_owned()
}

/// Every piece is sent after the one before has come back, so none can have been held back.
async fn pieces_both_ways(callee: &Callee<'_>) -> String {
    let (sender, body) = pieces();
    let mut response = callee.send("POST", "/echo", &[("content-type", "text/csv")], body).await;
    let mut seen = format!("{} before anything was sent\n", response.status().as_u16());
    for piece in ["one", "two", "three"] {
        sender.send(Frame::data(Bytes::from_static(piece.as_bytes()))).await.unwrap();
        writeln!(seen, "{} came back", next(&mut response, piece.len()).await).unwrap();
    }
    drop(sender);
    seen + callee.written(response, false).await.as_str()
}

/// All of them are open before any of them ends.
async fn many_at_a_time(callee: &Callee<'_>) -> String {
    let open = join_all((0..AT_A_TIME).map(|number| async move {
        let (sender, body) = pieces();
        let mut response = callee.send("POST", "/echo", &[], body).await;
        let sent = format!("number {number}");
        sender.send(Frame::data(Bytes::from(sent.clone()))).await.unwrap();
        let came = next(&mut response, sent.len()).await;
        (sender, response, came == sent)
    }))
    .await;
    let right = open.iter().filter(|(.., right)| *right).count();
    let mut ended = 0;
    for (sender, response, _) in open {
        drop(sender);
        ended += usize::from(!callee.written(response, false).await.contains("broken off"));
    }
    format!("{right} of {AT_A_TIME} right while all were open, {ended} ended well")
}

async fn a_caller_that_leaves(callee: &Callee<'_>) -> String {
    let (sender, body) = pieces();
    let mut response = callee.send("POST", "/echo", &[], body).await;
    sender.send(Frame::data(Bytes::from_static(b"first"))).await.unwrap();
    let first = next(&mut response, 5).await;
    drop((sender, response));
    format!("{first}, and then:\n{}", callee.ask("GET", "/unread", &[], whole("")).await)
}

/// Nothing of it is sent: the answer comes all the same.
async fn too_much_told(callee: &Callee<'_>) -> String {
    let (sender, body) = pieces();
    let length = (LIMIT + 1).to_string();
    let response = callee.send("POST", "/sum", &[("content-length", &length)], body).await;
    let seen = callee.written(response, false).await;
    drop(sender);
    seen
}

/// One byte more than may be, and no end: all of that is read before the answer comes.
async fn too_much_in_pieces(callee: &Callee<'_>) -> String {
    let (sender, body) = pieces();
    let answered = callee.send("POST", "/sum", &[], body);
    let sent = async {
        for _ in 0..LIMIT / (64 << 10) {
            sender.send(Frame::data(Bytes::from(vec![1; 64 << 10]))).await.unwrap();
        }
        sender.send(Frame::data(Bytes::from_static(b"!"))).await.unwrap();
    };
    let (response, ()) = tokio::join!(answered, sent);
    let seen = callee.written(response, false).await;
    drop(sender);
    seen
}

/// The time of this function is short. Should all of it have passed before the answer began, it is asked again.
async fn half_an_answer(hasty: &Callee<'_>) -> String {
    let mut seen = String::new();
    for _ in 0..TRIES {
        seen = hasty.ask("POST", "/halfway", &[], whole("x")).await;
        if seen.starts_with("200") {
            break;
        }
    }
    seen
}

/// How a call ended is told by how its process did. Should a machine be so busy that the one is heard of long
/// before the other, it is asked again.
async fn end_before(callee: &Callee<'_>) -> String {
    let mut first = String::new();
    for _ in 0..TRIES {
        first = callee.ask("POST", "/exit/3", &[], whole("x")).await;
        if !first.contains("closed the connection") {
            break;
        }
    }
    format!("{first}\nand then:\n{}", callee.ask("GET", "/unread", &[], whole("")).await)
}

/// It ends when its caller has seen the first half.
async fn end_in_the_middle(callee: &Callee<'_>) -> String {
    let (sender, body) = pieces();
    let mut response = callee.send("POST", "/exit-halfway", &[], body).await;
    let mut seen = format!("{}\n{}\n", response.status().as_u16(), next(&mut response, 6).await);
    sender.send(Frame::data(Bytes::from_static(b"seen"))).await.unwrap();
    let rest = timeout(PATIENCE, response.body_mut().frame()).await.expect("no end in time");
    seen.push_str(if rest.is_some_and(|frame| frame.is_err()) { "broken off" } else { "ended well" });
    let after = callee.ask("GET", "/unread", &[], whole("")).await;
    format!("{seen}\nand then:\n{after}")
}

/// The next so many bytes of an answer.
async fn next(response: &mut Response<Incoming>, bytes: usize) -> String {
    let mut came = Vec::new();
    while came.len() < bytes {
        let frame = timeout(PATIENCE, response.body_mut().frame()).await.expect("held back");
        match frame {
            Some(Ok(frame)) => came.extend(frame.into_data().unwrap_or_default()),
            other => panic!("{other:?} after {:?}", String::from_utf8_lossy(&came)),
        }
    }
    String::from_utf8_lossy(&came).into_owned()
}
