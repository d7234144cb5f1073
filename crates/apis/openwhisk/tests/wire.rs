//! What is read is what was written, and nothing that is not allowed is read.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::{Value, json};
use xebec_api_openwhisk::wire::{
    action::ActionPut,
    exec::{ExecPut, is_base64},
    limits::NamespaceLimits,
    name::{FullName, is_name, is_path},
    package::PackagePut,
    parameters::Parameters,
    rule::RulePut,
    trigger::TriggerPut,
    version::SemVer,
};
use xebec_core::Tenant;

#[test]
fn names() {
    for good in ["a", "_", "9", "a b", "a@b.c&d-e_f", "a-", "a.", &"n".repeat(256)] {
        assert!(is_name(good), "{good}");
    }
    for bad in
        ["", " ", " a", "a ", "-a", ".a", "@a", "&", "a/b", "a:b", "ä", "a\n", "a\u{0}", &"n".repeat(257)]
    {
        assert!(!is_name(bad), "{bad:?}");
    }
    assert!(is_path("/a/b/c/") && is_path("a") && !is_path("/") && !is_path("") && !is_path("a/ b"));
}

#[test]
fn full_names() {
    let guest = Tenant::new("guest");
    for (text, name) in [
        ("/guest/a", FullName::new(&guest, "a")),
        ("guest/a", FullName::new(&guest, "a")),
        ("/guest/p/a", FullName::packaged(&guest, "p", "a")),
        ("//guest//p//a/", FullName::packaged(&guest, "p", "a")),
        ("/_/a", FullName::new(&Tenant::new("_"), "a")),
    ] {
        assert_eq!(FullName::parse(text), Some(name.clone()), "{text}");
        assert_eq!(serde_json::from_value::<FullName>(json!(text)).unwrap(), name);
    }
    for bad in ["", "a", "/a", "/a/b/c/d", "/a/ b", "/a/b /c"] {
        assert_eq!(FullName::parse(bad), None, "{bad}");
    }
    let object = json!({"path": "guest/p", "name": "a"});
    let read: FullName = serde_json::from_value(object.clone()).unwrap();
    assert_eq!(read.as_object(), object);
    for bad in [json!(7), json!({}), json!({"path": "guest"}), json!({"path": "", "name": "a"}), json!(null)]
    {
        assert!(serde_json::from_value::<FullName>(bad.clone()).is_err(), "{bad}");
    }
}

#[test]
fn versions() {
    for (text, shown) in [("1", "1.0.0"), ("1.2", "1.2.0"), ("0.0.1", "0.0.1"), ("1.2.3.4", "1.2.3")] {
        assert_eq!(text.parse::<SemVer>().unwrap().to_string(), shown);
    }
    for bad in ["", "0.0.0", "-1.0.0", "a", "1.x", "99999999999", "1..2"] {
        assert!(bad.parse::<SemVer>().is_err(), "{bad}");
    }
}

#[test]
fn parameters() {
    let all = json!([
        {"key": "a", "value": 1},
        {"key": "b", "value": null, "init": true},
        {"key": "c", "value": {"x": []}, "init": true, "encryption": "aes-256"},
        {"key": "d", "value": "t", "encryption": "noop"},
    ]);
    let read: Parameters = serde_json::from_value(all.clone()).unwrap();
    assert_eq!(json!(read), all);
    assert_eq!(json!(read.arguments()), json!({"a": 1, "d": "t"}));
    assert_eq!(read.defined().collect::<Vec<_>>(), ["a", "c", "d"]);
    let twice = json!([{"key": "a", "value": 1}, {"key": "a", "value": 2}]);
    let read: Parameters = serde_json::from_value(twice).unwrap();
    assert_eq!(json!(read), json!([{"key": "a", "value": 2}]));
    let nulls = json!([{"key": "a", "value": 1, "init": null, "encryption": null}]);
    assert!(serde_json::from_value::<Parameters>(nulls).is_ok());
    for bad in [
        json!({}),
        json!([1]),
        json!([{"key": "a"}]),
        json!([{"value": 1}]),
        json!([{"key": 1, "value": 1}]),
        json!([{"key": "a", "value": 1, "init": "yes"}]),
        json!([{"key": "a", "value": 1, "encryption": 1}]),
    ] {
        assert!(serde_json::from_value::<Parameters>(bad.clone()).is_err(), "{bad}");
    }
    let truthy: Parameters = serde_json::from_value(json!([
        {"key": "f", "value": false}, {"key": "z", "value": 0}, {"key": "e", "value": ""},
        {"key": "n", "value": null}, {"key": "t", "value": true}, {"key": "o", "value": {}},
        {"key": "s", "value": "false"},
    ]))
    .unwrap();
    for (key, is) in
        [("f", false), ("z", false), ("e", false), ("n", false), ("t", true), ("o", true), ("s", true)]
    {
        assert_eq!(truthy.is_truthy(key, !is), is, "{key}");
    }
    assert!(truthy.is_truthy("none", true) && !truthy.is_truthy("none", false));
}

#[test]
fn sizes_in_limits() {
    for (written, bytes) in [(json!(5), 5), (json!("1 MB"), 1 << 20), (json!("2KB"), 2048), (json!("3 b"), 3)]
    {
        let read: NamespaceLimits = serde_json::from_value(json!({"maxPayloadSize": written})).unwrap();
        assert_eq!(read.max_payload_size, Some(bytes));
        let again: NamespaceLimits = serde_json::from_value(json!(read)).unwrap();
        assert_eq!(again, read);
    }
    for bad in [json!("x"), json!(-1), json!("1 TB"), json!([]), json!("99999999999999999999 GB")] {
        assert!(serde_json::from_value::<NamespaceLimits>(json!({"maxPayloadSize": bad})).is_err());
    }
}

#[test]
fn base64() {
    for good in ["abcd", "ab==", "abc=", " abcd\n", "+/+/"] {
        assert!(is_base64(good), "{good}");
    }
    for bad in ["", "abc", "a===", "====", "ab=c", "a-_b", "abcd efg"] {
        assert!(!is_base64(bad), "{bad}");
    }
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        Just(json!("sequence")),
        Just(json!("blackbox")),
        Just(json!("nodejs:default")),
    ];
    let key = prop_oneof![
        ".{0,3}",
        Just("exec".to_owned()),
        Just("kind".to_owned()),
        Just("code".to_owned()),
        Just("components".to_owned()),
        Just("image".to_owned()),
        Just("key".to_owned()),
        Just("value".to_owned()),
        Just("parameters".to_owned()),
        Just("annotations".to_owned()),
        Just("binding".to_owned()),
        Just("limits".to_owned()),
        Just("trigger".to_owned()),
        Just("version".to_owned()),
    ];
    leaf.prop_recursive(4, 24, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_request_panics(value in json_value()) {
        let _ = serde_json::from_value::<ActionPut>(value.clone());
        let _ = serde_json::from_value::<PackagePut>(value.clone());
        let _ = serde_json::from_value::<TriggerPut>(value.clone());
        let _ = serde_json::from_value::<RulePut>(value.clone());
        let _ = serde_json::from_value::<NamespaceLimits>(value.clone());
        let _ = serde_json::from_value::<ExecPut>(value);
    }

    #[test]
    fn full_names_come_back(parts in prop::collection::vec("[A-Za-z0-9_]([A-Za-z0-9_@ .&-]{0,6}[A-Za-z0-9_@.&-])?", 2..4)) {
        let text = format!("/{}", parts.join("/"));
        let name = FullName::parse(&text).unwrap();
        prop_assert_eq!(format!("/{name}"), text.clone());
        prop_assert_eq!(serde_json::from_value::<FullName>(json!(name)).unwrap(), name.clone());
        prop_assert_eq!(serde_json::from_value::<FullName>(name.as_object()).unwrap(), name.clone());
        prop_assert_eq!(FullName::of_local(&name.namespace, &name.local()), name.clone());
        prop_assert_eq!(FullName::of_function(&name.function()), name);
    }

    #[test]
    fn no_text_makes_names_panic(text in any::<String>()) {
        let named = is_name(&text);
        prop_assert!(!named || is_path(&text));
        prop_assert_eq!(FullName::parse(&format!("ns/{text}")).is_some() && !text.contains('/'), named);
        let _ = text.parse::<SemVer>();
        let _ = is_base64(&text);
    }

    #[test]
    fn later_parameters_win(
        below in prop::collection::vec(("[a-d]", any::<u8>()), 0..5),
        above in prop::collection::vec(("[a-d]", any::<u8>()), 0..5),
    ) {
        let of = |pairs: &[(String, u8)]| -> Parameters {
            let written: Vec<_> = pairs.iter().map(|(key, value)| json!({"key": key, "value": value})).collect();
            serde_json::from_value(Value::from(written)).unwrap()
        };
        let (low, high) = (of(&below), of(&above));
        let merged = low.overlaid(&high);
        for key in ["a", "b", "c", "d"] {
            prop_assert_eq!(merged.get(key), high.get(key).or_else(|| low.get(key)));
        }
        prop_assert_eq!(merged.overlaid(&high), merged.clone());
        prop_assert_eq!(low.overlaid(&Parameters::default()), low);
    }
}
