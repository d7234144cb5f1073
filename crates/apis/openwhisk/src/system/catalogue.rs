//! What is in `whisk.system`: there from the start, stored nowhere.

use super::{alarms, apimgmt, utils};
use crate::{
    caller::SYSTEM,
    wire::{
        action::Action,
        exec::{Code, Exec},
        limits::ActionLimits,
        name::FullName,
        package::Package,
        parameters::{Parameter, Parameters},
        version::SemVer,
    },
};
use serde_json::{Value, json};
use xebec_core::{Digest, Tenant, workload::ArchiveFormat};

/// What all of them are shown as, and what those in source are.
const KIND: &str = "nodejs:20";

/// When they were last changed, as far as anybody needs to know.
const UPDATED: i64 = 1_763_769_600_000;

/// What stands for the source of what is more than a function of its arguments.
const PART_OF_THE_SERVER: &str = include_str!("code/part_of_the_server.js");

/// The namespace.
pub(crate) fn system() -> Tenant {
    Tenant::new(SYSTEM)
}

/// Its packages.
pub(crate) fn packages() -> Vec<Package> {
    let package = |name: &str, publish: bool, description: &str| Package {
        namespace: system(),
        name: name.into(),
        binding: None,
        parameters: Parameters::default(),
        version: SemVer::default(),
        publish,
        annotations: [Parameter::new("description", description)].into_iter().collect(),
        updated: UPDATED,
    };
    vec![
        package("alarms", true, "Triggers that fire by the clock"),
        package("apimgmt", false, "The routes of the API gateway"),
        package("samples", true, "Simple actions to begin with"),
        package("utils", true, "Building blocks that format and assemble data"),
    ]
}

/// Its actions.
pub(crate) fn actions() -> Vec<Action> {
    let mut actions = Vec::new();
    for (name, description, parameters) in utils_actions() {
        let exec = builtin(utils::UTILS, json!({ "action": name }));
        actions.push(action("utils", name, exec, described(description, parameters)));
    }
    for (name, description, parameters) in samples_actions() {
        let source = source("samples", name).unwrap_or_default();
        actions.push(action("samples", name, code(source), described(description, parameters)));
    }
    for (name, description, parameters) in alarms_actions() {
        let exec = builtin(alarms::FEEDS, json!({ "feed": name }));
        let mut annotations = described(description, parameters);
        annotations.push(Parameter::new("feed", true));
        actions.push(action("alarms", name, exec, annotations));
    }
    for name in apimgmt::ACTIONS {
        let exec = builtin(apimgmt::APIMGMT, json!({ "action": name }));
        let annotations = vec![Parameter::new("web-export", true), Parameter::new("final", true)];
        actions.push(action("apimgmt", name, exec, annotations));
    }
    actions
}

/// The source of an action of this namespace, as it is shown and copied.
pub(crate) fn source_of(name: &FullName) -> Option<&'static str> {
    let package = name.package.as_deref().filter(|_| name.namespace.as_str() == SYSTEM)?;
    source(package, &name.name)
}

fn source(package: &str, name: &str) -> Option<&'static str> {
    Some(match (package, name) {
        ("utils", "cat") => include_str!("code/cat.js"),
        ("utils", "date") => include_str!("code/date.js"),
        ("utils", "echo") => include_str!("code/echo.js"),
        ("utils", "head") => include_str!("code/head.js"),
        ("utils", "hosturl") => include_str!("code/hosturl.js"),
        ("utils", "namespace") => include_str!("code/namespace.js"),
        ("utils", "smash") => include_str!("code/smash.js"),
        ("utils", "sort") => include_str!("code/sort.js"),
        ("utils", "split") => include_str!("code/split.js"),
        ("samples", "curl") => include_str!("code/curl.js"),
        ("samples", "greeting") => include_str!("code/greeting.js"),
        ("samples", "helloWorld") => include_str!("code/helloWorld.js"),
        ("samples", "wordCount") => include_str!("code/wordCount.js"),
        ("alarms" | "apimgmt", _) => PART_OF_THE_SERVER,
        _ => return None,
    })
}

fn action(package: &str, name: &str, exec: Exec, mut annotations: Vec<Parameter>) -> Action {
    annotations.push(Parameter::new("provide-api-key", false));
    annotations.push(Parameter::new("exec", KIND));
    Action {
        namespace: system(),
        package: Some(package.into()),
        name: name.into(),
        exec,
        parameters: Parameters::default(),
        limits: ActionLimits::default(),
        version: SemVer::default(),
        publish: false,
        annotations: annotations.into_iter().collect(),
        updated: UPDATED,
    }
}

fn builtin(name: &str, settings: Value) -> Exec {
    Exec::Builtin { kind: KIND.to_owned(), name: name.to_owned(), settings }
}

fn code(source: &str) -> Exec {
    let code = Code {
        digest: Digest::of(source),
        bytes: source.len() as u64,
        format: ArchiveFormat::Single,
        binary: false,
    };
    Exec::Code { kind: KIND.to_owned(), code, main: None }
}

fn described(description: &str, parameters: Value) -> Vec<Parameter> {
    vec![Parameter::new("description", description), Parameter::new("parameters", parameters)]
}

/// A parameter, as annotations describe it.
fn parameter(name: &str, required: bool, description: &str) -> Value {
    json!({ "name": name, "required": required, "description": description })
}

type Described = (&'static str, &'static str, Value);

fn utils_actions() -> [Described; 9] {
    let lines = || parameter("lines", true, "An array of texts");
    let payload = |required| parameter("payload", required, "A text");
    [
        ("cat", "Joins lines to one text", json!([lines()])),
        ("date", "The current date and time", json!([])),
        ("echo", "Answers what it is told", json!([parameter("payload", false, "Anything")])),
        ("head", "The first lines of several", json!([lines(), parameter("num", false, "How many")])),
        (
            "hosturl",
            "The URL that calls an action or fires a trigger",
            json!([
                parameter("path", false, "The action's name, or package and name"),
                parameter("web", false, "True for web actions"),
                parameter("ext", false, "The extension of a web action"),
                parameter("trigger", false, "True for triggers"),
            ]),
        ),
        ("namespace", "The namespace on whose behalf it is called", json!([])),
        (
            "smash",
            "Puts everything into one field",
            json!([parameter("$fieldName", true, "The field's name")]),
        ),
        ("sort", "Sorts lines", json!([lines()])),
        (
            "split",
            "Splits a text into lines",
            json!([payload(true), parameter("separator", false, "What stands between them")]),
        ),
    ]
}

fn samples_actions() -> [Described; 4] {
    [
        ("curl", "Fetches what is at a URL", json!([parameter("payload", true, "The URL")])),
        (
            "greeting",
            "A friendly greeting",
            json!([parameter("name", false, "Whom"), parameter("place", false, "Where they are from")]),
        ),
        ("helloWorld", "Prints a line", json!([parameter("payload", false, "What the line says")])),
        ("wordCount", "Counts the words of a text", json!([parameter("payload", true, "A text")])),
    ]
}

fn alarms_actions() -> [Described; 3] {
    let payload = || parameter("trigger_payload", false, "What the trigger is fired with");
    let dates = |first| {
        vec![
            first,
            payload(),
            parameter("startDate", false, "Not before; ISO 8601, or milliseconds since 1970"),
            parameter("stopDate", false, "Not after"),
        ]
    };
    let mut cron = dates(parameter("cron", true, "Five fields, or six with seconds first"));
    cron.push(parameter("timezone", false, "The time zone of the fields; UTC where it is left out"));
    let interval = dates(parameter("minutes", true, "The length of the interval"));
    let once = [
        parameter("date", true, "When; ISO 8601, or milliseconds since 1970"),
        payload(),
        parameter(
            "deleteAfterFire",
            false,
            "What goes with the alarm: `true` the trigger, `rules` its rules as well",
        ),
    ];
    [
        ("alarm", "Fires a trigger by a cron expression", json!(cron)),
        ("interval", "Fires a trigger at an interval", json!(interval)),
        ("once", "Fires a trigger once", json!(once)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_is_in_a_package_and_has_a_source_and_a_description() {
        let packages: Vec<_> = packages().into_iter().map(|package| package.name).collect();
        let actions = actions();
        assert_eq!(actions.len(), 19);
        for action in &actions {
            assert!(packages.contains(action.package.as_ref().unwrap()), "{action:?}");
            let source = source_of(&action.full_name()).unwrap();
            assert!(source.contains("function main("), "{source}");
            let wire = action.to_wire(Some(source.to_owned()), &action.parameters);
            assert_eq!((&wire["exec"]["kind"], &wire["exec"]["binary"]), (&json!(KIND), &json!(false)));
            let settings = match &action.exec {
                Exec::Builtin { settings, .. } => {
                    settings["action"].as_str().or_else(|| settings["feed"].as_str())
                }
                _ => Some(action.name.as_str()),
            };
            assert_eq!(settings, Some(action.name.as_str()));
        }
        assert_eq!(source_of(&FullName::packaged(&Tenant::new("guest"), "utils", "cat")), None);
        let names: Vec<_> =
            actions.iter().filter(|action| action.package.as_deref() == Some("utils")).collect();
        assert!(names.iter().map(|action| action.name.as_str()).eq(utils::ACTIONS));
    }
}
