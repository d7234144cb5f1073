//! Functions of OpenFaaS' Go templates: a handler becomes a program that serves `$PORT`.

use super::read::Meant;
use crate::failure::Failure;
use std::{
    path::{Path, PathBuf},
    process::Stdio,
};
use xebec_manifest_openfaas::language::Build;

/// The module that a handler is, where it does not say.
const MODULE: &str = "handler/function";

/// The version of the language where a handler does not say.
const VERSION: &str = "1.21";

/// The package that `golang-http` handlers take their types from.
const SDK: &str = "github.com/openfaas/templates-sdk";

/// A program that was built; its folder goes with it.
pub(super) struct Built {
    pub(super) binary: PathBuf,
    _folder: tempfile::TempDir,
}

/// Whether this machine has Go.
pub(super) fn is_there() -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join("go").is_file()))
}

/// Builds a handler. The same source makes the same program, wherever it is built.
pub(super) async fn build(meant: &Meant, source: &Path, build: Build, arch: &str) -> Result<Built, Failure> {
    let folder = tempfile::tempdir().map_err(Failure::io("a temporary folder"))?;
    let function = folder.path().join("function");
    copy(source, &function)?;
    for (from, below) in &meant.copy {
        copy(from, &function.join(below))?;
    }
    let module = Module::read(&function)?;
    let write = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).map_err(Failure::io(path.display()))
    };
    if !module.is_one {
        write("function/go.mod", format!("module {MODULE}\n\ngo {VERSION}\n"))?;
    }
    write("main.go", program(build, &module.name))?;
    write("go.mod", format!("module xebec.dev/entrypoint\n\ngo {}\n{}", module.version, module.sdk))?;
    write("go.work", format!("go {}\n\nuse (\n\t.\n\t./function\n)\n", module.version))?;
    let sums = function.join("go.sum");
    if sums.is_file() {
        copy(&sums, &folder.path().join("go.sum"))?;
    }
    let binary = folder.path().join("handler");
    let output = tokio::process::Command::new("go")
        .args(["build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o"])
        .arg(&binary)
        .arg(".")
        .current_dir(folder.path())
        .envs([("CGO_ENABLED", "0"), ("GOOS", "linux"), ("GOARCH", arch), ("GO111MODULE", "on")])
        .env("GOWORK", folder.path().join("go.work"))
        .stdin(Stdio::null())
        .output()
        .await
        .map_err(Failure::io("go"))?;
    if !output.status.success() {
        let mut failure = Failure::new(format!(
            "nothing was changed: {} cannot be built ({})",
            meant.function.name, output.status
        ));
        failure.detail = String::from_utf8_lossy(&output.stderr).lines().map(str::to_owned).collect();
        return Err(failure);
    }
    Ok(Built { binary, _folder: folder })
}

/// What a handler's `go.mod` says.
struct Module {
    is_one: bool,
    name: String,
    version: String,
    /// The line that requires the templates' SDK.
    sdk: String,
}

impl Module {
    fn read(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join("go.mod");
        let is_one = path.is_file();
        let text = if is_one {
            std::fs::read_to_string(&path).map_err(Failure::io(path.display()))?
        } else {
            String::new()
        };
        Ok(Self { is_one, ..Self::parse(&text) })
    }

    fn parse(text: &str) -> Self {
        let lines = || text.lines().map(|line| line.split("//").next().unwrap_or_default().trim());
        let after =
            |word: &str| lines().find_map(|line| line.strip_prefix(word)).map(|rest| rest.trim().to_owned());
        let sdk = lines().find_map(|line| {
            let line = line.strip_prefix("require").unwrap_or(line).trim();
            line.starts_with(SDK).then(|| format!("\nrequire {line}\n"))
        });
        Self {
            is_one: true,
            name: after("module ")
                .map_or_else(|| MODULE.to_owned(), |name| name.trim_matches('"').to_owned()),
            version: after("go ").unwrap_or_else(|| VERSION.to_owned()),
            sdk: sdk.unwrap_or_default(),
        }
    }
}

/// The program around a handler.
fn program(build: Build, module: &str) -> String {
    let (imports, handle) = match build {
        Build::GoMiddleware => (String::new(), "function.Handle(w, r)".to_owned()),
        Build::GoHttp => (
            format!("\t\"io\"\n\n\thandler \"{SDK}/go-http\"\n"),
            "body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		req := handler.Request{Body: body, Header: r.Header, Method: r.Method, QueryString: r.URL.RawQuery}
		req.WithContext(r.Context())
		res, err := function.Handle(req)
		for name, values := range res.Header {
			w.Header()[name] = values
		}
		switch {
		case err != nil:
			log.Print(err)
			w.WriteHeader(http.StatusInternalServerError)
		case res.StatusCode != 0:
			w.WriteHeader(res.StatusCode)
		}
		w.Write(res.Body)"
                .to_owned(),
        ),
        Build::GoClassic => (
            "\t\"fmt\"\n\t\"io\"\n".to_owned(),
            "body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if kind := r.Header.Get(\"Content-Type\"); kind != \"\" {
			w.Header().Set(\"Content-Type\", kind)
		}
		fmt.Fprintln(w, function.Handle(body))"
                .to_owned(),
        ),
    };
    format!(
        "package main

import (
	\"context\"
	\"log\"
	\"net/http\"
	\"os\"
	\"os/signal\"
	\"syscall\"

{imports}
	function \"{module}\"
)

func main() {{
	http.HandleFunc(\"/\", func(w http.ResponseWriter, r *http.Request) {{
		{handle}
	}})
	server := &http.Server{{Addr: \":\" + os.Getenv(\"PORT\")}}
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	done := make(chan struct{{}})
	go func() {{
		<-stop.Done()
		server.Shutdown(context.Background())
		close(done)
	}}()
	if err := server.ListenAndServe(); err != http.ErrServerClosed {{
		log.Fatal(err)
	}}
	<-done
}}
"
    )
}

/// Copies a file, or a folder with all that is in it.
fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    let failed = || Failure::io(from.display());
    if !from.is_dir() {
        return std::fs::copy(from, to).map(drop).map_err(failed());
    }
    std::fs::create_dir_all(to).map_err(failed())?;
    for entry in std::fs::read_dir(from).map_err(failed())? {
        let entry = entry.map_err(failed())?;
        if entry.file_name() != ".git" {
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_module_says() {
        let module = Module::parse(
            "module \"handler/function\" // mine\n\ngo 1.24.0\n\nrequire (\n\tgithub.com/openfaas/templates-sdk/go-http \
             v0.0.0-1 // indirect\n\tx v1\n)\n",
        );
        assert_eq!((module.name.as_str(), module.version.as_str()), ("handler/function", "1.24.0"));
        assert_eq!(module.sdk, "\nrequire github.com/openfaas/templates-sdk/go-http v0.0.0-1\n");
        let module = Module::parse("");
        assert_eq!(
            (module.name.as_str(), module.version.as_str(), module.sdk.as_str()),
            (MODULE, VERSION, "")
        );
    }
}
