//! What `xebec new` starts a function from.

/// A file of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TemplateFile {
    /// Its path in the function's folder.
    pub path: &'static str,
    /// What is in it; `{{name}}` stands for the function's name.
    pub contents: &'static str,
    /// It is to be executable.
    pub executable: bool,
}

macro_rules! files {
    ($lang:literal: $($path:literal),*) => {
        &[$(TemplateFile {
            path: $path,
            contents: include_str!(concat!("../templates/", $lang, "/", $path)),
            executable: is_script($path),
        }),*]
    };
}

const fn is_script(path: &str) -> bool {
    matches!(path.as_bytes(), [.., b'.', b's', b'h'])
}

const TEMPLATES: [(&str, &[TemplateFile]); 6] = [
    ("python", files!("python": "function.toml", "handler.py", "requirements.txt")),
    ("node", files!("node": "function.toml", "handler.js", "package.json")),
    ("shell", files!("shell": "function.toml", "handler.sh")),
    ("go", files!("go": "function.toml", "go.mod", "main.go", "README.md")),
    ("rust", files!("rust": "function.toml", "Cargo.toml", "src/main.rs", "README.md")),
    ("wasm", files!("wasm": "function.toml", "Cargo.toml", "src/main.rs", "README.md")),
];

/// The languages, as `--lang` takes them.
pub fn names() -> [&'static str; TEMPLATES.len()] {
    TEMPLATES.map(|(name, _)| name)
}

/// The files of a language's template; none for a language that is not there.
pub fn files(lang: &str) -> &'static [TemplateFile] {
    TEMPLATES.iter().find(|(name, _)| *name == lang).map_or(&[], |(_, files)| files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Table;
    use xebec_core::environment::Environments as _;

    #[test]
    fn every_template_can_be_deployed() {
        let table = Table::builtin();
        for lang in names() {
            let files = files(lang);
            let manifest = files.iter().find(|file| file.path == "function.toml").unwrap();
            let manifest: toml::Table =
                toml::from_str(&manifest.contents.replace("{{name}}", "hello")).unwrap();
            assert_eq!(manifest["name"].as_str(), Some("hello"), "{lang}");
            let environment = table.environment(manifest["environment"].as_str().unwrap()).unwrap();
            let brings_command = manifest.contains_key("command");
            let needs_command = environment.driver == "process" && environment.command.is_empty();
            assert_eq!(brings_command, needs_command, "{lang}");
            assert!(files.len() > 1, "{lang}");
        }
        assert!(files("cobol").is_empty());
    }
}
