use super::*;
use proptest::prelude::*;

fn read(text: &str) -> Result<Stack, Vec<Fault>> {
    Stack::read(&Substituted::verbatim(text.to_owned()))
}

fn faults(text: &str) -> Vec<(usize, String)> {
    read(text).unwrap_err().into_iter().map(|fault| (fault.line, fault.message)).collect()
}

const WHOLE: &str = r#"
version: 1.0
provider:
  name: openfaas
  gateway: http://127.0.0.1:8080
x-shared: &shared
  LEVEL: debug
functions:
  hello:
    lang: python3-http@1.2
    handler: ./hello
    image: registry.example.com/hello:0.1
    environment:
      <<: *shared
      NUMBER: 1.10
      YES: true
      NOTHING:
    environment_file:
      - env.yml
    secrets: [api-key]
    constraints:
      - "node.role == worker"
    labels:
      com.openfaas.scale.min: 2
    annotations: {topic: "a,b"}
    limits: {memory: 128Mi, cpu: 100m}
    requests:
      memory: 64Mi
    readonly_root_filesystem: yes
    build_options: [dev]
    build_args:
      A: b
    build_secrets: {pip: ./pip}
    platforms: linux/amd64,linux/arm64
  env:
    image: ghcr.io/openfaas/alpine:latest
    fprocess: env
    namespace: staging
    skip_build: true
configuration:
  templates:
    - name: python3-http
      source: https://example.com/templates
  copy: [./common]
"#;

#[test]
fn every_field() {
    let stack = read(WHOLE).unwrap();
    assert_eq!(stack.gateway.as_ref().unwrap().text, "http://127.0.0.1:8080");
    assert_eq!(stack.copy, [Field { line: 44, text: "./common".to_owned() }]);
    let [hello, env] = &stack.functions[..] else { panic!("{stack:?}") };
    assert_eq!((hello.name.as_str(), hello.line), ("hello", 9));
    assert_eq!(hello.lang.as_ref().unwrap().text, "python3-http@1.2");
    let variables: Vec<_> = hello.environment.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(variables, [("LEVEL", "debug"), ("NOTHING", ""), ("NUMBER", "1.10"), ("YES", "true")]);
    assert_eq!(hello.environment_files, [Field { line: 19, text: "env.yml".to_owned() }]);
    assert_eq!(hello.labels["com.openfaas.scale.min"], "2");
    assert_eq!((hello.limits.memory.as_str(), hello.limits.cpu.as_str()), ("128Mi", "100m"));
    assert_eq!(hello.requests, Resources { memory: "64Mi".to_owned(), cpu: String::new() });
    assert!(hello.read_only_root && !hello.skip_build);
    assert_eq!(hello.build_fields, ["build_options", "build_args", "build_secrets"]);
    assert_eq!(env.namespace.as_ref().unwrap().text, "staging");
    assert!(env.skip_build && env.fprocess.as_ref().unwrap().line == 37);
}

#[test]
fn what_is_wrong_is_named_with_its_line_and_all_at_once() {
    let found = faults(
        "provider:\n  name: openfaas\nfunctions:\n  hello:\n    image: a\n    enviroment:\n      A: b\n    \
         environmentFile: [x]\n    limits: {memmory: 1}\n    secrets: one\n    skip_build: \"true\"\n    labels: \
         [a]\n    nonsense: 1\n  Bad_Name:\n    lang: x\nfunction: {}\n",
    );
    let expected = [
        (6, "functions.hello: there is no field \"enviroment\"; did you mean \"environment\"?"),
        (8, "did you mean \"environment_file\"?"),
        (9, "functions.hello.limits: there is no field \"memmory\"; did you mean \"memory\"?"),
        (10, "functions.hello.secrets: a list is wanted (- …), this is the text \"one\""),
        (11, "without quotes"),
        (12, "functions.hello.labels: a mapping is wanted, this is a list"),
        (13, "there is no field \"nonsense\"; there are: lang, handler"),
        (14, "a name has lower-case letters"),
        (14, "neither an image nor a handler"),
        (16, "did you mean \"functions\"?"),
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for ((line, message), (wanted_line, wanted)) in found.iter().zip(expected) {
        assert!(*line == wanted_line && message.contains(wanted), "{line}: {message}\nwanted {wanted}");
    }
}

#[test]
fn version_and_provider() {
    assert!(read("provider: {name: openfaas}").unwrap().functions.is_empty());
    assert_eq!(faults("functions: {}")[0].0, 1);
    assert!(faults("version: 2.0\nprovider: {name: openfaas}")[0].1.contains("2.0"));
    assert!(faults("provider: {name: faas}")[0].1.contains("openfaas"));
    assert!(faults("provider: {gateway: x}")[0].1.contains("provider.name is missing"));
    assert!(faults("")[0].1.contains("provider is missing"));
    assert!(faults("- a")[0].1.contains("mapping is wanted"));
}

#[test]
fn lines_are_those_of_the_original() {
    let source = crate::substitute(
        "provider: {name: openfaas}\nx-a: |\n  ${TEXT}\nfunctions:\n  f: {image: a, imag: b}\n",
        &|_| Some("one\n  two\n  three".to_owned()),
    )
    .unwrap();
    assert_eq!(Stack::read(&source).unwrap_err()[0].line, 5);
}

#[test]
fn files_of_variables() {
    let variables = environment_file("environment:\n  A: 1\n  B: \"x\"\n").unwrap();
    assert_eq!(variables["A"], "1");
    assert_eq!(environment_file("# nothing\n").unwrap(), BTreeMap::new());
    assert!(environment_file("A: 1\n").unwrap_err()[0].message.contains("no field \"A\""));
    assert!(environment_file("environment:\n  A=B: 1\n").unwrap_err()[0].message.contains("A=B"));
    assert!(environment_file("environment:\n  A: [1]\n").unwrap_err()[0].message.contains("environment.A"));
}

#[test]
fn thousands_of_functions_fit() {
    let one = |n: usize| format!("  f{n}: {{image: a, environment: {{A: b, C: d}}, labels: {{l: m}}}}\n");
    let text: String = (0..8000).map(one).collect();
    let stack = read(&format!("provider: {{name: openfaas}}\nfunctions:\n{text}")).unwrap();
    assert_eq!(stack.functions.len(), 8000);
}

#[test]
fn too_large_a_file_is_refused() {
    let text = format!("provider: {{name: openfaas}}\n#{}", "x".repeat(MAX_FILE));
    assert!(read(&text).unwrap_err()[0].message.contains("bytes"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn no_text_panics(text in "\\PC{0,300}") {
        let _ = read(&text);
        let _ = environment_file(&text);
    }

    /// A whole file with anything in the place of one of its lines.
    #[test]
    fn no_mutation_panics(at in 0usize..47, with in "[ ]{0,6}([a-z_]{1,9}: )?[-a-z*&!|>\\[\\]{}:,#\"'0-9 ]{0,20}") {
        let mut lines: Vec<&str> = WHOLE.lines().collect();
        let at = at.min(lines.len() - 1);
        lines[at] = &with;
        if let Err(faults) = read(&lines.join("\n")) {
            prop_assert!(!faults.is_empty() && faults.iter().all(|fault| fault.line <= lines.len() + 1));
        }
    }
}
