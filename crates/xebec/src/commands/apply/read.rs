//! Stack files → functions, with the files that they name.

use crate::failure::Failure;
use std::{
    collections::BTreeMap,
    io::Read as _,
    path::{Path, PathBuf},
};
use xebec_api_openfaas::names::DEFAULT_NAMESPACE;
use xebec_manifest_openfaas::{
    Fault, Field, Function, MAX_FILE, Selection, Stack, Substituted, environment_file, substitute,
};

/// The names that faas-cli looks for, too.
const USUAL: [&str; 2] = ["stack.yaml", "stack.yml"];

/// A stack file that was read.
pub(super) struct File {
    /// Its name, for people.
    pub(super) name: String,
    /// What paths in it begin at.
    folder: PathBuf,
    pub(super) stack: Stack,
}

/// A function that is meant, and all that its file names.
pub(super) struct Meant {
    pub(super) function: Function,
    pub(super) namespace: String,
    /// All of its variables.
    pub(super) environment: BTreeMap<String, String>,
    /// The folder with its source, where it is there.
    pub(super) handler: Option<PathBuf>,
    /// What goes into that folder besides: where it is, and its path below the folder.
    pub(super) copy: Vec<(PathBuf, PathBuf)>,
    /// The file that it is in.
    pub(super) file: String,
}

impl Meant {
    /// Something wrong with it, at a field of its file or at its name.
    pub(super) fn fault(&self, field: Option<&Field>, message: impl std::fmt::Display) -> String {
        let line = field.map_or(self.function.line, |field| field.line);
        format!("{}:{line}: functions.{}: {message}", self.file, self.function.name)
    }
}

/// The faults of all files, told together.
pub(super) fn refuse(faults: Vec<String>) -> Failure {
    let mut failure = Failure::misuse(match faults.len() {
        1 => "nothing was changed: there is a fault in what was to be applied".to_owned(),
        faults => format!("nothing was changed: there are {faults} faults in what was to be applied"),
    });
    failure.detail = faults;
    failure
}

/// Reads the files; without any, the one that is usually there.
pub(super) fn files(paths: &[PathBuf], envsubst: bool) -> Result<Vec<File>, Failure> {
    let usual: Vec<PathBuf>;
    let paths = match paths {
        [] => {
            let found = USUAL.iter().map(PathBuf::from).find(|path| path.is_file());
            let found = found.ok_or_else(|| {
                Failure::misuse("there is no stack.yaml here").with_hint("name the stack file: -f FILE")
            })?;
            usual = vec![found];
            &usual
        }
        given => given,
    };
    if paths.iter().filter(|path| path.as_os_str() == "-").count() > 1 {
        return Err(Failure::misuse("standard input can be read once only"));
    }
    let mut files = Vec::with_capacity(paths.len());
    let mut faults = Vec::new();
    for path in paths {
        let (name, text) = contents(path)?;
        let located = |fault: Fault| {
            if fault.line == 0 { format!("{name}: {}", fault.message) } else { at(&name, &fault) }
        };
        let source = match envsubst {
            true => substitute(&text, &|name| std::env::var(name).ok()),
            false => Ok(Substituted::verbatim(text)),
        };
        match source.map_err(|fault| vec![fault]).and_then(|source| Stack::read(&source)) {
            Ok(stack) => {
                let folder = match path.parent() {
                    Some(folder) if path.as_os_str() != "-" => folder.to_owned(),
                    _ => PathBuf::new(),
                };
                files.push(File { name, folder, stack });
            }
            Err(found) => faults.extend(found.into_iter().map(located)),
        }
    }
    if faults.is_empty() { Ok(files) } else { Err(refuse(faults)) }
}

fn at(name: &str, fault: &Fault) -> String {
    format!("{name}:{}: {}", fault.line, fault.message)
}

/// What a file holds, and how to call it.
fn contents(path: &Path) -> Result<(String, String), Failure> {
    let name = path.display().to_string();
    if name.starts_with("http://") || name.starts_with("https://") {
        return Err(Failure::misuse(format!("{name}: only files are read"))
            .with_hint(format!("curl -sSf {name} | xebec apply -f -")));
    }
    let (name, read) = match name.as_str() {
        "-" => ("standard input".to_owned(), bounded(std::io::stdin().lock())),
        _ => {
            let file = std::fs::File::open(path);
            (name, file.and_then(bounded))
        }
    };
    let bytes = read.map_err(|error| Failure::misuse(format!("{name}: {error}")))?;
    if bytes.len() > MAX_FILE {
        return Err(Failure::misuse(format!("{name}: it is over {MAX_FILE} bytes; that is no stack file")));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        Failure::misuse(format!(
            "{name}: it is not text: byte {} is not UTF-8",
            error.utf8_error().valid_up_to()
        ))
    })?;
    Ok((name, text))
}

fn bounded(from: impl std::io::Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(MAX_FILE as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The functions that are meant.
pub(super) fn functions(
    files: &[File],
    selection: &Selection,
    namespace: &str,
    default_namespace: &str,
) -> Result<Vec<Meant>, Failure> {
    let mut meant: Vec<Meant> = Vec::new();
    let mut faults = Vec::new();
    let mut seen: BTreeMap<(String, String), String> = BTreeMap::new();
    for file in files {
        for function in file.stack.functions.iter().filter(|function| selection.takes(&function.name)) {
            let given = function.namespace.as_ref().map(|field| field.text.as_str()).unwrap_or_default();
            let namespace = [namespace, given, default_namespace].into_iter().find(|name| !name.is_empty());
            let namespace = namespace.unwrap_or_default().to_owned();
            let mut one = Meant {
                function: function.clone(),
                namespace,
                environment: BTreeMap::new(),
                handler: None,
                copy: Vec::new(),
                file: file.name.clone(),
            };
            let namespace = if one.namespace.is_empty() { DEFAULT_NAMESPACE } else { &one.namespace };
            let key = (namespace.to_owned(), function.name.clone());
            if let Some(place) = seen.insert(key, format!("{}:{}", file.name, function.line)) {
                faults.push(one.fault(None, format!("it is in {place} already")));
            }
            complete(&mut one, file, &mut faults);
            meant.push(one);
        }
    }
    if !faults.is_empty() {
        return Err(refuse(faults));
    }
    if meant.is_empty() && !matches!(selection, Selection::All) {
        return Err(Failure::misuse("no function of the files matches"));
    }
    Ok(meant)
}

/// Finds what a function names besides.
fn complete(meant: &mut Meant, file: &File, faults: &mut Vec<String>) {
    meant.environment.clone_from(&meant.function.environment);
    for field in meant.function.environment_files.clone() {
        match variables(&file.folder, &field.text) {
            Ok(variables) => meant.environment.extend(variables),
            Err(message) => faults.push(meant.fault(Some(&field), format!("environment_file: {message}"))),
        }
    }
    let Some(field) = meant.function.handler.clone() else { return };
    let folder = find(&file.folder, &field.text);
    if folder.is_dir() {
        meant.handler = Some(folder);
    } else if folder.exists() {
        faults
            .push(meant.fault(Some(&field), format!("handler: {:?} is a file; name its folder", field.text)));
    } else if meant.function.image.is_none() {
        faults.push(meant.fault(Some(&field), format!("handler: there is no folder {:?}", field.text)));
    }
    for field in &file.stack.copy {
        let path = Path::new(&field.text);
        let inside = path
            .components()
            .all(|part| matches!(part, std::path::Component::Normal(_) | std::path::Component::CurDir));
        let from = find(&file.folder, &field.text);
        let fault = if !inside {
            "it must lie below the stack file"
        } else if !from.exists() {
            "it does not exist"
        } else {
            meant.copy.push((from, path.components().filter(|part| part.as_os_str() != ".").collect()));
            continue;
        };
        let fault = format!("{}:{}: configuration.copy: {:?}: {fault}", file.name, field.line, field.text);
        if !faults.contains(&fault) {
            faults.push(fault);
        }
    }
}

fn variables(folder: &Path, name: &str) -> Result<BTreeMap<String, String>, String> {
    let path = find(folder, name);
    let file = std::fs::File::open(&path).map_err(|error| format!("{name:?}: {error}"))?;
    let bytes = bounded(file).map_err(|error| format!("{name:?}: {error}"))?;
    let text = String::from_utf8(bytes).map_err(|_| format!("{name:?} is not text"))?;
    environment_file(&text).map_err(|faults| {
        let faults: Vec<_> = faults.iter().map(|fault| at(&path.display().to_string(), fault)).collect();
        faults.join("; ")
    })
}

/// A path as the file means it: below the file's own folder or, as faas-cli has it, below the current one.
fn find(folder: &Path, name: &str) -> PathBuf {
    let beside = folder.join(name);
    if !beside.exists() && Path::new(name).exists() { PathBuf::from(name) } else { beside }
}
