//! What stays, what changes and what is added.

use super::*;
use crate::wire::limits::ActionLimitsPut;
use proptest::prelude::*;
use serde_json::Value;
use xebec_core::{Digest, Tenant, workload::ArchiveFormat};

fn name() -> FullName {
    FullName::packaged(&Tenant::new("guest"), "pk", "a")
}

fn code() -> Exec {
    let code = crate::wire::exec::Code {
        digest: Digest::of("x"),
        bytes: 1,
        format: ArchiveFormat::Single,
        binary: false,
    };
    Exec::Code { kind: "nodejs:20".to_owned(), code, main: None }
}

fn sequence() -> Exec {
    Exec::Sequence { components: vec![name(), FullName::new(&Tenant::new("guest"), "b")] }
}

fn parameters() -> impl Strategy<Value = Parameters> {
    let value = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        ".{0,5}".prop_map(Value::from),
    ];
    let parameter = ("[a-e]", value, any::<bool>());
    prop::collection::vec(parameter, 0..6).prop_map(|all| {
        let all = all.into_iter();
        all.map(|(key, value, init)| Parameter { key, value, init, encryption: None }).collect()
    })
}

fn put() -> impl Strategy<Value = ActionPut> {
    let version = prop::option::of((1_u32..9).prop_map(|n| format!("{n}.0.0").parse().unwrap()));
    (
        prop::option::of(parameters()),
        prop::option::of(parameters()),
        version,
        prop::option::of(any::<bool>()),
        prop::option::of((prop::option::of(100_u64..1000), prop::option::of(128_u64..512))),
        prop::option::of(prop::collection::vec("[a-e]", 0..3)),
    )
        .prop_map(|(parameters, annotations, version, publish, limits, del_annotations)| ActionPut {
            exec: None,
            parameters,
            limits: limits.map(|(timeout, memory)| ActionLimitsPut {
                timeout,
                memory,
                ..ActionLimitsPut::default()
            }),
            version,
            publish,
            annotations,
            del_annotations,
        })
}

fn exec() -> impl Strategy<Value = Option<Exec>> {
    prop_oneof![Just(None), Just(Some(code())), Just(Some(sequence()))]
}

#[test]
fn a_new_action_needs_something_to_run() {
    assert!(action(&name(), None, ActionPut::default(), None, 1).is_none());
    let made = action(&name(), None, ActionPut::default(), Some(code()), 1).unwrap();
    assert_eq!(made.version.to_string(), "0.0.1");
    assert_eq!(made.annotations.get("provide-api-key"), Some(&json!(false)));
    assert_eq!(made.annotations.get("exec"), Some(&json!("nodejs:20")));
    assert_eq!(made.limits, ActionLimits::default());
}

proptest! {
    /// What an update does not say stays; what it says counts.
    #[test]
    fn updates_of_actions(first in put(), second in put(), from in exec(), to in exec()) {
        let from = from.unwrap_or_else(code);
        let before = action(&name(), None, first, Some(from.clone()), 1).unwrap();
        let after = action(&name(), Some(&before), second.clone(), to.clone(), 2).unwrap();
        prop_assert_eq!(&after.exec, to.as_ref().unwrap_or(&from));
        prop_assert_eq!(after.updated, 2);
        prop_assert_eq!(after.full_name(), name());
        prop_assert_eq!(after.version, second.version.unwrap_or_else(|| before.version.next()));
        prop_assert_eq!(after.publish, second.publish.unwrap_or(before.publish));
        let limits = second.limits.unwrap_or_default();
        prop_assert_eq!(after.limits.timeout, limits.timeout.unwrap_or(before.limits.timeout));
        prop_assert_eq!(after.limits.memory, limits.memory.unwrap_or(before.limits.memory));
        prop_assert_eq!(after.limits.logs, before.limits.logs);
        // Sequences are told their components and nothing else.
        if let Exec::Sequence { components } = &after.exec {
            prop_assert_eq!(after.parameters.iter().count(), 1);
            prop_assert_eq!(after.parameters.get("_actions"), Some(&json!(components)));
        } else {
            let inherited = match before.exec.components() {
                Some(_) => Parameters::default(),
                None => before.parameters.clone(),
            };
            prop_assert_eq!(&after.parameters, &second.parameters.clone().unwrap_or(inherited));
        }
        // Annotations: taken away first, then laid over, the server's own on top.
        let removed = second.del_annotations.unwrap_or_default();
        let added = second.annotations.unwrap_or_default();
        for annotation in before.annotations.iter().filter(|annotation| annotation.key != "exec") {
            let stays = added.get(&annotation.key).is_none() && !removed.contains(&annotation.key);
            prop_assert_eq!(after.annotations.get(&annotation.key) == Some(&annotation.value) || !stays, true);
            if !stays {
                prop_assert_eq!(after.annotations.get(&annotation.key), added.get(&annotation.key));
            }
        }
        for annotation in added.iter() {
            prop_assert_eq!(after.annotations.get(&annotation.key), Some(&annotation.value));
        }
        prop_assert_eq!(after.annotations.get("exec"), Some(&json!(after.exec.kind())));
    }

    /// What is stored is what is read back.
    #[test]
    fn stored_as_it_was(put in put(), exec in exec()) {
        let made = action(&name(), None, put, Some(exec.unwrap_or_else(code)), 7).unwrap();
        let stored = serde_json::to_value(&made).unwrap();
        prop_assert_eq!(serde_json::from_value::<Action>(stored).unwrap(), made);
    }

    /// A binding says what it is bound to, and nobody else says so.
    #[test]
    fn packages(first in parameters(), second in prop::option::of(parameters()), bound in any::<bool>()) {
        let binding = Binding { namespace: Tenant::new("other"), name: "pk".into() };
        let of_user = Parameter::new("binding", "of the user");
        let annotations = Some(second.iter().flat_map(Parameters::iter).cloned().chain([of_user]).collect());
        let put = PackagePut {
            binding: bound.then(|| binding.clone()),
            parameters: Some(first.clone()),
            annotations,
            ..PackagePut::default()
        };
        let made = package(&name(), None, put, 1);
        let says = bound.then(|| json!(binding));
        prop_assert_eq!(made.annotations.get("binding"), says.as_ref());
        let put = PackagePut { parameters: second.clone(), ..PackagePut::default() };
        let after = package(&name(), Some(&made), put, 2);
        prop_assert_eq!(&after.parameters, second.as_ref().unwrap_or(&first));
        prop_assert_eq!(after.binding.is_some(), bound);
        prop_assert_eq!(after.annotations, made.annotations);
        prop_assert_eq!(after.version, made.version.next());
    }

    #[test]
    fn triggers_keep_who_they_are(parameters in parameters(), annotations in prop::option::of(parameters())) {
        let made = trigger(&name(), None, TriggerPut { annotations, ..TriggerPut::default() }, 1);
        let put = TriggerPut { parameters: Some(parameters.clone()), ..TriggerPut::default() };
        let after = trigger(&name(), Some(&made), put, 2);
        prop_assert_eq!(after.id, made.id);
        prop_assert_eq!(after.annotations, made.annotations);
        prop_assert_eq!(after.parameters, parameters);
    }
}
