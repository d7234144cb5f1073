//! What differs between the files and the server, and what is done about it.

use super::{
    From,
    gateway::{Gateway, Verb},
    read,
    source::Ready,
};
use crate::{
    failure::Failure,
    output::{self, Format, Steps},
};
use serde::Serialize;
use std::collections::BTreeSet;
use xebec_api_openfaas::names::DEFAULT_NAMESPACE;
use xebec_manifest_openfaas::{Difference, STACK_ANNOTATION, differences};

/// What the command was asked for.
pub(super) struct Wishes<'a> {
    pub(super) from: From,
    pub(super) force: bool,
    /// Nothing is to be changed.
    pub(super) only_show: bool,
    pub(super) stack: Option<&'a str>,
    pub(super) prune: bool,
}

/// What is to be done.
pub(super) struct Plan {
    steps: Vec<Step>,
}

struct Step {
    name: String,
    namespace: String,
    action: Action,
    changes: Vec<Difference>,
    /// What is deployed; none where something is removed.
    ready: Option<Ready>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Action {
    Created,
    Updated,
    Unchanged,
    Removed,
    Failed,
}

/// A step, as it is printed.
#[derive(Serialize)]
struct Done<'a> {
    name: &'a str,
    namespace: &'a str,
    action: Action,
    /// `image` or `source`.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    changes: Vec<Change<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
}

#[derive(Serialize)]
struct Change<'a> {
    field: &'a str,
    before: Option<&'a str>,
    after: Option<&'a str>,
}

/// Compares, and has the server check what would be deployed: after this, nothing in the files is wrong.
pub(super) async fn make(gateway: &Gateway, ready: Vec<Ready>, wishes: &Wishes<'_>) -> Result<Plan, Failure> {
    let mut steps = Vec::with_capacity(ready.len());
    let mut faults = Vec::new();
    for ready in ready {
        let meant = &ready.meant;
        let (name, namespace) = (meant.function.name.clone(), meant.namespace.clone());
        let current = gateway.function(&namespace, &name).await?;
        let changes = current.as_ref().map_or_else(Vec::new, |now| differences(now, &ready.document));
        let action = match &current {
            None => Action::Created,
            Some(_) if wishes.force || !changes.is_empty() => Action::Updated,
            Some(_) => Action::Unchanged,
        };
        if let Some(verb) = action.verb()
            && let Err(failure) = gateway.check(verb, &ready.document).await
        {
            faults.push(refused(&ready, &failure));
        }
        steps.push(Step { name, namespace, action, changes, ready: Some(ready) });
    }
    if !faults.is_empty() {
        return Err(read::refuse(faults));
    }
    if let Some(stack) = wishes.stack.filter(|_| wishes.prune) {
        steps.extend(forgotten(gateway, stack, &steps).await?);
    }
    Ok(Plan { steps })
}

/// What the server would not take, with the line that it is about.
fn refused(ready: &Ready, failure: &Failure) -> String {
    let function = &ready.meant.function;
    let field = match &ready.code {
        None => function.image.as_ref(),
        Some(_) => function.lang.as_ref(),
    };
    let mut message = failure.message.clone();
    if ready.code.is_none() && function.handler.is_some() && !function.skip_build {
        message.push_str(
            "; apply builds no images: build and push it (faas-cli publish) if it is not there yet",
        );
    }
    ready.meant.fault(field, message)
}

/// Functions that are marked as parts of the stack and that the files do not have.
async fn forgotten(gateway: &Gateway, stack: &str, steps: &[Step]) -> Result<Vec<Step>, Failure> {
    let qualified = |namespace: &str, name: &str| {
        (if namespace.is_empty() { DEFAULT_NAMESPACE } else { namespace }.to_owned(), name.to_owned())
    };
    let kept: BTreeSet<_> = steps.iter().map(|step| qualified(&step.namespace, &step.name)).collect();
    let mut found = Vec::new();
    for namespace in gateway.namespaces().await? {
        for function in gateway.functions(&namespace).await? {
            let name = function["name"].as_str().unwrap_or_default().to_owned();
            let marked = function["annotations"][STACK_ANNOTATION] == *stack;
            if marked && !name.is_empty() && !kept.contains(&qualified(&namespace, &name)) {
                let (action, changes) = (Action::Removed, Vec::new());
                found.push(Step { name, namespace: namespace.clone(), action, changes, ready: None });
            }
        }
    }
    Ok(found)
}

impl Plan {
    /// Says what would be done.
    pub(super) fn show(&self, format: Format, with_changes: bool) -> Result<(), Failure> {
        let done: Vec<_> = self.steps.iter().map(|step| step.done(None)).collect();
        output::print(format, &done, || {
            let lines = self.steps.iter().map(|step| {
                let mut text = step.line(true);
                for change in step.changes.iter().filter(|_| with_changes) {
                    for (sign, value) in [('-', &change.before), ('+', &change.after)] {
                        if let Some(value) = value {
                            text.push_str(&format!("\n  {sign} {}: {}", change.field, value.escape_debug()));
                        }
                    }
                }
                text
            });
            lines.collect::<Vec<_>>().join("\n")
        })
    }

    /// Does it, function by function. One that fails does not keep the others.
    pub(super) async fn carry_out(mut self, gateway: &Gateway, format: Format) -> Result<(), Failure> {
        let mut failures = Vec::new();
        for step in &mut self.steps {
            // Nothing goes away while something that may take its place did not come.
            if step.action == Action::Removed && !failures.is_empty() {
                failures.push(format!("{}: not removed, since not all was deployed", step.name));
                step.action = Action::Failed;
                continue;
            }
            if let Err(failure) = step.carry_out(gateway).await {
                let mut text = format!("{}: {}", step.name, failure.message);
                failure.detail.iter().for_each(|line| text.push_str(&format!("\n    {line}")));
                failures.push(text);
                step.action = Action::Failed;
            } else if format == Format::Text {
                output::line(&step.line(false))?;
            }
        }
        if format == Format::Json {
            let done: Vec<_> = self.steps.iter().map(|step| step.done(Some(gateway.base()))).collect();
            output::print(format, &done, String::new)?;
        }
        if failures.is_empty() {
            return Ok(());
        }
        let mut failure =
            Failure::new(format!("{} of {} functions failed", failures.len(), self.steps.len()));
        failure.detail = failures;
        Err(failure)
    }
}

impl Step {
    async fn carry_out(&mut self, gateway: &Gateway) -> Result<(), Failure> {
        if self.action == Action::Removed {
            return gateway.remove(&self.namespace, &self.name).await;
        }
        let (Some(verb), Some(ready)) = (self.action.verb(), &mut self.ready) else { return Ok(()) };
        let steps = Steps::start(&format!("deploying {}", self.name));
        if let Some(code) = ready.code.take() {
            steps.step(&format!("{}: sending {} KiB", self.name, code.len().div_ceil(1024)));
            gateway.store_code(code).await?;
        }
        gateway.deploy(verb, &ready.document).await
    }

    fn line(&self, would: bool) -> String {
        let action = match (self.action, would) {
            (Action::Created, false) => "created",
            (Action::Created, true) => "would be created",
            (Action::Updated, false) => "updated",
            (Action::Updated, true) => "would be updated",
            (Action::Unchanged, _) => "unchanged",
            (Action::Removed, false) => "removed",
            (Action::Removed, true) => "would be removed",
            (Action::Failed, _) => "failed",
        };
        let place = match self.namespace.as_str() {
            "" => self.name.clone(),
            namespace => format!("{}.{namespace}", self.name),
        };
        let fields: Vec<_> = self.changes.iter().map(|change| change.field.as_str()).collect();
        let why = if fields.is_empty() { String::new() } else { format!(" ({})", fields.join(", ")) };
        format!("{place} {action}{why}")
    }

    fn done(&self, base: Option<&str>) -> Done<'_> {
        let document = self.ready.as_ref().map(|ready| &ready.document);
        let callable = self.action != Action::Removed && self.action != Action::Failed;
        let url = base.filter(|_| callable).map(|base| match self.namespace.as_str() {
            "" => format!("{base}/function/{}", self.name),
            namespace => format!("{base}/function/{}.{namespace}", self.name),
        });
        Done {
            name: &self.name,
            namespace: if self.namespace.is_empty() { DEFAULT_NAMESPACE } else { &self.namespace },
            action: self.action,
            from: document.map(|document| if document["source"].is_null() { "image" } else { "source" }),
            changes: self.changes.iter().map(Change::of).collect(),
            url,
        }
    }
}

impl<'a> Change<'a> {
    fn of(difference: &'a Difference) -> Self {
        Self {
            field: &difference.field,
            before: difference.before.as_deref(),
            after: difference.after.as_deref(),
        }
    }
}

impl Action {
    /// How it is sent.
    fn verb(self) -> Option<Verb> {
        match self {
            Self::Created => Some(Verb::Create),
            Self::Updated => Some(Verb::Update),
            Self::Unchanged | Self::Removed | Self::Failed => None,
        }
    }
}
