//! `xebec apply`
//!
//! * `read`: files → functions, with all that they name · `source`, `golang`: what is sent in place of an image
//! * `gateway`: the OpenFaaS API · `plan`: what differs, and what is done about it

mod gateway;
mod golang;
mod plan;
mod read;
mod source;

use crate::{
    client::{Client, ServerArguments},
    failure::Failure,
    output::Format,
};
use gateway::Gateway;
use std::path::PathBuf;
use xebec_api_openfaas::names::namespace_of;
use xebec_core::Tenant;
use xebec_manifest_openfaas::Selection;

const EXAMPLES: &str = "\
Examples:
  xebec apply -f stack.yaml
  xebec apply -f stack.yaml --diff
  xebec apply -f stack.yaml --filter '*-api' --namespace staging
  cat stack.yaml | xebec apply -f -
  xebec apply -f stack.yaml --stack shop --prune";

/// The server that is meant where nothing names one.
const DEFAULT_URL: &str = "http://127.0.0.1:8080";

/// Bring the server to what stack files of faas-cli say
///
/// Functions that are missing are created, those that differ updated; those that are as they should be are left
/// alone. A function whose source is there runs from it where its language can run without an image; all others
/// run as the image that they name. Nothing is changed if anything in the files is wrong.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Apply {
    /// A stack file, or - for standard input; can be given several times [default: stack.yaml or stack.yml]
    #[arg(short, long = "file", visible_alias = "yaml", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Only functions whose names match this wildcard
    #[arg(long, value_name = "WILDCARD", conflicts_with = "regex")]
    filter: Option<String>,
    /// Only functions in whose names this expression is found
    #[arg(long, value_name = "REGEX")]
    regex: Option<String>,
    /// The namespace of all functions, in place of what the files say
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// The server; it goes before --url, provider.gateway of the files and OPENFAAS_URL
    #[arg(short, long, value_name = "URL")]
    gateway: Option<String>,
    /// What functions run from
    #[arg(long, value_enum, default_value_t, value_name = "WHAT")]
    from: From,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Only show what would change, field by field
    #[arg(long)]
    diff: bool,
    /// Deploy what is unchanged, too: for an image whose tag has moved, or a secret that has changed
    #[arg(long)]
    force: bool,
    /// Mark the functions as parts of the stack of this name
    #[arg(long, value_name = "NAME")]
    stack: Option<String>,
    /// Remove functions that are marked as parts of the stack and are not in the files any more
    #[arg(long, requires = "stack", conflicts_with_all = ["filter", "regex"])]
    prune: bool,
    /// Whether ${VARIABLES} in the files are replaced
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    envsubst: bool,
}

/// What functions run from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum From {
    /// From their source where it is there and can run without an image, else as their image
    #[default]
    Auto,
    /// As their image
    Image,
    /// From their source
    Source,
}

impl Apply {
    pub(crate) async fn run(self, server: &ServerArguments, format: Format) -> Result<(), Failure> {
        let selection = match (&self.filter, &self.regex) {
            (Some(filter), _) => Selection::Filter(filter.clone()),
            (None, Some(regex)) => Selection::regex(regex)
                .map_err(|fault| Failure::misuse(format!("--regex {regex:?}: {fault}")))?,
            (None, None) => Selection::All,
        };
        if let Some(stack) = self.stack.as_ref().filter(|stack| stack.trim().is_empty()) {
            return Err(Failure::misuse(format!("--stack {stack:?}: a stack needs a name")));
        }
        let files = read::files(&self.files, self.envsubst)?;
        let named = self.server(server, &files)?;
        let namespace = self.namespace.clone().unwrap_or_default();
        let default_namespace = server
            .tenant
            .as_deref()
            .map_or_else(String::new, |tenant| namespace_of(&Tenant::new(tenant)).to_owned());
        let functions = read::functions(&files, &selection, &namespace, &default_namespace)?;
        let gateway = Gateway::new(Client::new(&named.arguments)?, named.from);
        let arch = gateway.arch().await?;
        let wishes = plan::Wishes {
            from: self.from,
            force: self.force,
            only_show: self.dry_run || self.diff,
            stack: self.stack.as_deref(),
            prune: self.prune,
        };
        let ready = source::prepare(functions, wishes.from, wishes.stack, &arch).await?;
        let plan = plan::make(&gateway, ready, &wishes).await?;
        if wishes.only_show {
            return plan.show(format, self.diff);
        }
        plan.carry_out(&gateway, format).await
    }

    /// Which server is meant: by `--gateway`, by `--url` or its variable, by the files, by faas-cli's variable.
    fn server(&self, server: &ServerArguments, files: &[read::File]) -> Result<Named, Failure> {
        let chosen = |url: &str, from: String, token: Option<String>| {
            let url = url.trim_end_matches('/');
            let url = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
            Named { arguments: ServerArguments { url, token, ..server.clone() }, from }
        };
        let token = server.token.clone();
        if let Some(url) = &self.gateway {
            return Ok(chosen(url, "--gateway".to_owned(), token));
        }
        if server.url.trim_end_matches('/') != DEFAULT_URL {
            return Ok(chosen(&server.url, "--url or XEBEC_URL".to_owned(), token));
        }
        let mut named = files.iter().filter_map(|file| {
            let gateway = file.stack.gateway.as_ref()?;
            let says = gateway.text.trim_end_matches('/');
            (says != DEFAULT_URL).then(|| (says, format!("{}:{}", file.name, gateway.line)))
        });
        if let Some((url, place)) = named.next() {
            if let Some((other, elsewhere)) = named.find(|(other, _)| *other != url) {
                return Err(Failure::misuse(format!("{place} names {url}, {elsewhere} names {other}"))
                    .with_hint("say which is meant: --gateway"));
            }
            // Whoever wrote the file shall not get a token that is meant for another server.
            return Ok(chosen(url, place, None));
        }
        match std::env::var("OPENFAAS_URL") {
            Ok(url) if !url.is_empty() => Ok(chosen(&url, "OPENFAAS_URL".to_owned(), token)),
            _ => Ok(chosen(DEFAULT_URL, "the default".to_owned(), token)),
        }
    }
}

/// A server, and what named it.
struct Named {
    arguments: ServerArguments,
    from: String,
}
