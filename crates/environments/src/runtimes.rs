//! The language workers, embedded: the files of `runtimes/`, as drivers put them where instances see them.

/// A file of the workers, by its path below `$XEBEC_RUNTIMES`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuntimeFile {
    /// Its path, e.g. `node/worker.js`.
    pub path: &'static str,
    /// What is in it.
    pub contents: &'static str,
}

macro_rules! files {
    ($($path:literal),* $(,)?) => {
        &[$(RuntimeFile { path: $path, contents: include_str!(concat!("../../../runtimes/", $path)) }),*]
    };
}

/// All of them.
pub const FILES: &[RuntimeFile] = files![
    "go/build.sh",
    "go/launcher.go",
    "go/prepare.sh",
    "go/settings.sh",
    "node/action.js",
    "node/install.sh",
    "node/loading.js",
    "node/openwhisk.js",
    "node/serving.js",
    "node/worker.js",
    "python/install.sh",
    "python/xebec_worker/__init__.py",
    "python/xebec_worker/asynchronous.py",
    "python/xebec_worker/blocking.py",
    "python/xebec_worker/loading.py",
    "python/xebec_worker/openfaas.py",
    "python/xebec_worker/openwhisk.py",
    "python/xebec_worker/requests.py",
    "python/xebec_worker/responses.py",
    "python/xebec_worker/styles.py",
    "python/xebec_worker/wsgi.py",
];

#[cfg(test)]
mod tests {
    use super::FILES;
    use std::{collections::BTreeSet, path::Path};

    /// A file that is added to a worker and forgotten above would be missed at the first call only.
    #[test]
    fn every_file_of_the_workers_is_there() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../runtimes");
        let mut found = BTreeSet::new();
        for folder in ["go", "node", "python", "python/xebec_worker"] {
            for entry in std::fs::read_dir(root.join(folder)).unwrap() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_file() {
                    found.insert(format!("{folder}/{}", entry.file_name().to_str().unwrap()));
                }
            }
        }
        let embedded: BTreeSet<_> = FILES.iter().map(|file| file.path.to_owned()).collect();
        assert_eq!(found, embedded);
    }
}
