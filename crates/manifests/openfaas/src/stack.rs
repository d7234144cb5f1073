//! What a stack file says.

use crate::{
    MAX_FILE,
    fault::Fault,
    fields::{Faults, boolean, entries, fields, list, shortened, text, text_map, texts},
    substitute::Substituted,
    yaml::{self, Entry, Node},
};
use std::collections::BTreeMap;

/// How many functions one file may have.
const MAX_FUNCTIONS: usize = 10_000;

const ROOT: &[&str] = &["version", "provider", "functions", "configuration"];
const PROVIDER: &[&str] = &["name", "gateway"];
const CONFIGURATION: &[&str] = &["templates", "copy"];
const TEMPLATE: &[&str] = &["name", "source"];
const RESOURCES: &[&str] = &["memory", "cpu"];
const FUNCTION: &[&str] = &[
    "lang",
    "handler",
    "image",
    "fprocess",
    "environment",
    "environment_file",
    "secrets",
    "constraints",
    "labels",
    "annotations",
    "limits",
    "requests",
    "readonly_root_filesystem",
    "namespace",
    "skip_build",
    "build_options",
    "build_args",
    "build_secrets",
    "platforms",
];

/// A stack file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stack {
    /// `provider.gateway`.
    pub gateway: Option<Field>,
    /// The functions, as they stand in the file.
    pub functions: Vec<Function>,
    /// `configuration.copy`: what goes into every function's folder besides its handler.
    pub copy: Vec<Field>,
}

/// A text, and the line that it stands in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Field {
    /// The line, from 1.
    pub line: usize,
    /// The text.
    pub text: String,
}

/// A function of a stack file. Fields that concern only how images are built are checked, and mostly not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// The line of its name.
    pub line: usize,
    /// The language template, e.g. `python3-http`.
    pub lang: Option<Field>,
    /// The folder with its source.
    pub handler: Option<Field>,
    /// Its image.
    pub image: Option<Field>,
    /// The command that the image's watchdog runs.
    pub fprocess: Option<Field>,
    /// The namespace.
    pub namespace: Option<Field>,
    /// Environment variables.
    pub environment: BTreeMap<String, String>,
    /// Files with more of them, which win.
    pub environment_files: Vec<Field>,
    /// Names of secrets.
    pub secrets: Vec<String>,
    /// Where it may run.
    pub constraints: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// What an instance may use.
    pub limits: Resources,
    /// What should be set aside for it.
    pub requests: Resources,
    /// It must not write anywhere but `/tmp`.
    pub read_only_root: bool,
    /// The image is there; nothing is to be built.
    pub skip_build: bool,
    /// Those of its fields that only the building of images heeds, as `build_args`.
    pub build_fields: Vec<&'static str>,
}

/// Limits or requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// E.g. `128Mi`.
    pub memory: String,
    /// E.g. `100m`.
    pub cpu: String,
}

impl Stack {
    /// Reads a file, its variables replaced.
    ///
    /// # Errors
    /// All that is wrong with it, by line of the original.
    pub fn read(source: &Substituted) -> Result<Self, Vec<Fault>> {
        read_whole(source, Self::of)
    }

    fn of(root: &Node, faults: &mut Faults) -> Self {
        let found = fields(root, "", ROOT, faults);
        let mut stack = Self::default();
        if let Some(entry) = found.get("version") {
            let version = text(&entry.node, "version", faults);
            if !matches!(version.as_str(), "" | "1.0") {
                let message = format!("version: {:?} is unknown; 1.0 is what there is", shortened(&version));
                faults.add(entry.line, message);
            }
        }
        match found.get("provider") {
            Some(entry) => stack.gateway = provider(entry, faults),
            None => faults.add(1, "provider is missing; it should be provider: {name: openfaas}"),
        }
        if let Some(entry) = found.get("configuration") {
            stack.copy = configuration(entry, faults);
        }
        if let Some(entry) = found.get("functions") {
            let functions = entries(&entry.node, "functions", faults);
            if functions.len() > MAX_FUNCTIONS {
                faults.add(
                    entry.line,
                    format!("functions: {} of them, {MAX_FUNCTIONS} are allowed", functions.len()),
                );
                return stack;
            }
            stack.functions = functions.iter().map(|entry| function(entry, faults)).collect();
        }
        stack
    }
}

/// Reads a file that `environment_file` names: variables under `environment`.
///
/// # Errors
/// All that is wrong with it, by line.
pub fn environment_file(contents: &str) -> Result<BTreeMap<String, String>, Vec<Fault>> {
    read_whole(&Substituted::verbatim(contents.to_owned()), |root, faults| {
        match fields(root, "", &["environment"], faults).get("environment") {
            Some(entry) => variables(entry, "environment", faults),
            None => BTreeMap::new(),
        }
    })
}

fn read_whole<T>(source: &Substituted, read: impl FnOnce(&Node, &mut Faults) -> T) -> Result<T, Vec<Fault>> {
    if source.text.len() > MAX_FILE {
        return Err(vec![Fault::new(0, format!("it is over {MAX_FILE} bytes"))]);
    }
    let original = |fault: Fault| Fault { line: source.line(fault.line), ..fault };
    let root = yaml::read(&source.text).map_err(|fault| vec![original(fault)])?;
    let mut faults = Faults::default();
    let value = read(&root, &mut faults);
    if faults.0.is_empty() {
        return Ok(value);
    }
    let mut faults: Vec<_> = faults.0.into_iter().map(original).collect();
    faults.sort_by_key(|fault| fault.line);
    faults.dedup();
    Err(faults)
}

fn provider(entry: &Entry, faults: &mut Faults) -> Option<Field> {
    let found = fields(&entry.node, "provider", PROVIDER, faults);
    match found.get("name") {
        Some(name) => {
            let value = text(&name.node, "provider.name", faults);
            if value != "openfaas" {
                let message =
                    format!("provider.name: {:?} is unknown; it should be openfaas", shortened(&value));
                faults.add(name.line, message);
            }
        }
        None => faults.add(entry.line, "provider.name is missing; it should be openfaas"),
    }
    field(&found, "gateway", "provider", faults)
}

fn configuration(entry: &Entry, faults: &mut Faults) -> Vec<Field> {
    let found = fields(&entry.node, "configuration", CONFIGURATION, faults);
    if let Some(templates) = found.get("templates") {
        let path = "configuration.templates";
        for (n, template) in list(&templates.node, path, faults).iter().enumerate() {
            let path = format!("{path}[{n}]");
            for (name, entry) in fields(template, &path, TEMPLATE, faults) {
                text(&entry.node, &format!("{path}.{name}"), faults);
            }
        }
    }
    let copy = found.get("copy").map(|entry| texts(&entry.node, "configuration.copy", faults));
    copy.unwrap_or_default().into_iter().map(|(line, text)| Field { line, text }).collect()
}

fn function(entry: &Entry, faults: &mut Faults) -> Function {
    let path = format!("functions.{}", shortened(&entry.key));
    let found = fields(&entry.node, &path, FUNCTION, faults);
    let mut function = Function { name: entry.key.clone(), line: entry.line, ..Function::default() };
    if let Err(message) = check_name(&entry.key) {
        faults.add(entry.line, format!("{path}: {message}"));
    }
    function.lang = field(&found, "lang", &path, faults);
    function.handler = field(&found, "handler", &path, faults);
    function.image = field(&found, "image", &path, faults);
    function.fprocess = field(&found, "fprocess", &path, faults);
    function.namespace = field(&found, "namespace", &path, faults);
    if let Some(entry) = found.get("environment") {
        function.environment = variables(entry, &format!("{path}.environment"), faults);
    }
    if let Some(entry) = found.get("environment_file") {
        let files = texts(&entry.node, &format!("{path}.environment_file"), faults);
        function.environment_files = files.into_iter().map(|(line, text)| Field { line, text }).collect();
    }
    let mut names = |name: &str| -> Vec<String> {
        let read = found.get(name).map(|entry| texts(&entry.node, &format!("{path}.{name}"), faults));
        read.unwrap_or_default().into_iter().map(|(_, text)| text).collect()
    };
    function.secrets = names("secrets");
    function.constraints = names("constraints");
    names("build_options");
    let mut map = |name: &str| {
        let read = found.get(name).map(|entry| text_map(&entry.node, &format!("{path}.{name}"), faults));
        read.unwrap_or_default()
    };
    function.labels = map("labels");
    function.annotations = map("annotations");
    map("build_args");
    map("build_secrets");
    let mut resources = |name: &str| match found.get(name) {
        Some(entry) => self::resources(entry, &format!("{path}.{name}"), faults),
        None => Resources::default(),
    };
    function.limits = resources("limits");
    function.requests = resources("requests");
    let mut flag = |name: &str| {
        found.get(name).is_some_and(|entry| boolean(&entry.node, &format!("{path}.{name}"), faults))
    };
    function.read_only_root = flag("readonly_root_filesystem");
    function.skip_build = flag("skip_build");
    field(&found, "platforms", &path, faults);
    function.build_fields = FUNCTION
        .iter()
        .copied()
        .filter(|name| name.starts_with("build_") && found.contains_key(name))
        .collect();
    if function.image.is_none() && function.handler.is_none() {
        faults.add(
            entry.line,
            format!("{path}: it has neither an image nor a handler: there is nothing to run"),
        );
    }
    function
}

/// A text that is there and not empty.
fn field(found: &BTreeMap<&str, &Entry>, name: &str, path: &str, faults: &mut Faults) -> Option<Field> {
    let entry = found.get(name)?;
    let text = text(&entry.node, &format!("{path}.{name}"), faults);
    (!text.is_empty()).then_some(Field { line: entry.line, text })
}

fn variables(entry: &Entry, path: &str, faults: &mut Faults) -> BTreeMap<String, String> {
    for variable in entries(&entry.node, path, faults) {
        if variable.key.is_empty() || variable.key.contains(['=', '\0']) {
            faults.add(
                variable.line,
                format!("{path}: no variable can be called {:?}", shortened(&variable.key)),
            );
        }
    }
    let mut again = Faults::default();
    let variables = text_map(&entry.node, path, &mut again);
    faults.0.extend(again.0);
    variables
}

fn resources(entry: &Entry, path: &str, faults: &mut Faults) -> Resources {
    let found = fields(&entry.node, path, RESOURCES, faults);
    let mut read = |name: &str| {
        found.get(name).map(|entry| text(&entry.node, &format!("{path}.{name}"), faults)).unwrap_or_default()
    };
    Resources { memory: read("memory"), cpu: read("cpu") }
}

/// The rule that the server has for names, told with a line.
fn check_name(name: &str) -> Result<(), String> {
    let allowed = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '-');
    let good = (1..=63).contains(&name.len())
        && name.chars().all(allowed)
        && !name.starts_with('-')
        && !name.ends_with('-');
    if good {
        Ok(())
    } else {
        Err("a name has lower-case letters, digits and -, at most 63 of them".to_owned())
    }
}

#[cfg(test)]
mod tests;
