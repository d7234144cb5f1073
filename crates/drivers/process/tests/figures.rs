//! How long starts and calls take, from the driver to the answer. `cargo test --release … -- --ignored --nocapture`

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use std::time::Instant;
use support::{Function, Place};
use xebec_core::ports::driver::Driver as _;

const STARTS: usize = 30;
const CALLS: usize = 500;

fn table(name: &str, mut times: Vec<f64>) {
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!("{name:42} p50 {:8.2} ms   p90 {:8.2}   min {:8.2}", at(0.5), at(0.9), at(0.0));
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures; run it by itself, optimised"]
async fn figures() {
    let Some(place) = Place::launch_with(|options| options.spare_sandboxes = 4).await else { return };
    let functions = [
        (
            "python",
            Function::python(
                "import json\ndef handle(event, context):\n    return {'body': json.dumps({'n': 1})}",
            ),
        ),
        ("node", Function::node("module.exports = async e => ({ n: 1 })")),
    ];
    for (name, function) in functions {
        if place.environment(name).is_none() {
            continue;
        }
        let deployed = place.deploy(&function).await.unwrap();
        let (mut cold, mut blank, mut bare, mut making) = (vec![], vec![], vec![], vec![]);
        let argument = if name == "python" { ["python3", "-c", "pass"] } else { ["node", "-e", "0"] };
        let resolved = support::resolved(&place, name).await;
        for _ in 0..STARTS {
            let began = Instant::now();
            assert!(std::process::Command::new(&resolved).args(&argument[1..]).status().unwrap().success());
            bare.push(milliseconds(began));
            let open = place.open(&deployed).await;
            assert_eq!(open.call("x").await.0, 200);
            cold.push(milliseconds(open.started));
            open.io.destroy().await;
            let began = Instant::now();
            let waiting = place.driver.start_blank(deployed.environment.clone()).await.unwrap();
            making.push(milliseconds(began));
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            let open = place.open_blank(waiting, &deployed).await;
            assert_eq!(open.call("x").await.0, 200);
            blank.push(milliseconds(open.started));
            open.io.destroy().await;
        }
        let open = place.open(&deployed).await;
        let mut warm = vec![];
        for _ in 0..CALLS {
            let began = Instant::now();
            open.call("x").await;
            warm.push(milliseconds(began));
        }
        table(&format!("{name}: the bare interpreter, outside"), bare);
        table(&format!("{name}: first call, no blank"), cold);
        table(&format!("{name}: making a blank"), making);
        table(&format!("{name}: first call, from a blank"), blank);
        table(&format!("{name}: warm call"), warm);
    }
    let open = place.run(&Function::exec(&["true"])).await;
    let mut times = vec![];
    for _ in 0..CALLS {
        let began = Instant::now();
        open.call("").await;
        times.push(milliseconds(began));
    }
    table("exec: a call of /bin/true", times);
}
