//! The same function gives the same answers, whatever runs it and whichever door it is called through.
//!
//! What is asked and what is to be seen is in `answers.txt`. Framing is not looked at: whether a body comes in
//! chunks belongs to one connection.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod asking;
mod places;
mod scripts;
#[path = "../support/mod.rs"]
mod support;
mod table;

use asking::{Callee, Door, whole};
use futures_util::future::join_all;
use places::Place;
use table::{Asked, Case};

/// What is to be seen of the function as a web server and as a component that answers HTTP.
const ANSWERS: &str = include_str!("answers.txt");

#[test]
fn of_a_function_that_answers_http() {
    let compiled = places::compile();
    let engine = places::engine(0, &[&compiled.server]);
    let folder = tempfile::tempdir().unwrap();
    let server = places::server(engine.as_ref(), folder.path());
    let mut there = vec![Place::Source];
    let source = "environment = \"http\"\ncommand = [\"./same-answers-server\"]";
    places::deploy(&server, Place::Source, source, Some(&compiled.server));
    if engine.is_some() {
        places::deploy(&server, Place::Image, "image = \"same-answers/same-answers-server:1\"", None);
        there.push(Place::Image);
    }
    if let Some(component) = &compiled.wasm {
        let wasm = "environment = \"wasm\"\nartifact = \"same_answers_component.wasm\"";
        places::deploy(&server, Place::Wasm, wasm, Some(component));
        there.push(Place::Wasm);
    }
    hold_to(ANSWERS, &server.url, &there);
}

/// Asks every case at every place, through both doors, and compares what is seen.
fn hold_to(table: &str, url: &str, places: &[Place]) {
    let cases = table::read(table);
    let server = url.strip_prefix("http://").unwrap();
    let wrong: Vec<String> = support::block_on(async {
        let all = places.iter().map(|place| async {
            let mut wrong = Vec::new();
            for door in [Door::Native, Door::OpenFaas] {
                let callee = Callee { door, server, function: place.name().to_owned() };
                for case in &cases {
                    wrong.extend(differs(case, &callee, *place).await);
                }
            }
            wrong
        });
        join_all(all).await.concat()
    });
    assert!(wrong.is_empty(), "{} answers are not as they should be:\n{}", wrong.len(), wrong.join("\n"));
}

/// What was seen where that is not what was to be seen.
async fn differs(case: &Case, callee: &Callee<'_>, place: Place) -> Option<String> {
    let (door, place) = (callee.door.name(), place.name());
    let wanted = case.seen(door, place)?;
    let seen = match &case.asked {
        Asked::Script(name) => scripts::run(name, callee).await,
        Asked::Once { method, path, headers, body } => {
            let headers: Vec<_> =
                headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            callee.ask(method, path, &headers, whole(body.clone())).await
        }
    };
    (seen != wanted)
        .then(|| format!("== {} ({door}, {place})\n{seen}\n-- in place of\n{wanted}\n", case.name))
}
