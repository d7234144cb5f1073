//! The guest as the proxy of an action: `/init` once, `/run` as often as wished. Its action says what it knows.

use serde_json::{Value, json};
use std::sync::Mutex;

static CODE: Mutex<Option<Value>> = Mutex::new(None);

pub(crate) fn init(body: &[u8]) -> (u16, Vec<u8>) {
    let Ok(mut message) = serde_json::from_slice::<Value>(body) else { return refuse(400, "no JSON") };
    let Ok(mut known) = CODE.lock() else { return refuse(500, "poisoned") };
    if known.is_some() {
        return refuse(403, "Cannot initialize the action more than once.");
    }
    if message["value"]["code"] == "broken" {
        println!("cannot compile");
        return refuse(502, "the code is broken");
    }
    *known = Some(message["value"].take());
    answer(200, &json!({"ok": true}))
}

pub(crate) fn run(body: &[u8]) -> (u16, Vec<u8>) {
    let Ok(message) = serde_json::from_slice::<Value>(body) else { return refuse(400, "no JSON") };
    let Ok(known) = CODE.lock() else { return refuse(500, "poisoned") };
    let Some(code) = &*known else { return refuse(500, "no action defined yet") };
    println!("running");
    println!("XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX");
    eprintln!("XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX");
    answer(200, &json!({"init": code, "run": message, "variable": std::env::var("A").ok()}))
}

fn refuse(status: u16, error: &str) -> (u16, Vec<u8>) {
    answer(status, &json!({ "error": error }))
}

fn answer(status: u16, value: &Value) -> (u16, Vec<u8>) {
    (status, value.to_string().into_bytes())
}
