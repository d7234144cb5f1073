//! Functions of every environment, in real sandboxes.

mod support;

use support::{Function, Place};
use xebec_core::ports::{driver::{Driver as _, OpenSecret}, instance::Signal};

macro_rules! place {
    ($($environment:literal),*) => {{
        let Some(place) = Place::launch().await else { return };
        $(if place.environment($environment).is_none() { return })*
        place
    }};
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python() {
    let place = place!("python");
    let source = "import os, sys\ndef handle(event, context):\n    print('seen')\n    \
                  return {'body': [event.body.decode(), os.environ['A'], os.getcwd(), context.function_name]}";
    let open = place.run(&Function::python(source).variable("A", "1")).await;
    assert_eq!(open.call("x").await, (200, r#"["x", "1", "/app", "test"]"#.to_owned()));
    open.lines.wait_for("seen").await;
    open.io.destroy().await;
    assert!(!open.io.exited().await.out_of_memory);
}
