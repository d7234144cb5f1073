use super::*;
use proptest::prelude::*;

fn lookup(name: &str) -> Option<String> {
    let value = match name {
        "A" => "hello World",
        "EMPTY" => "",
        "PATH_" => "/usr/local/bin",
        "FILE" => "archive.tar.gz",
        "TWO" => "one\ntwo",
        "B" => "A",
        _ => return None,
    };
    Some(value.to_owned())
}

fn done(text: &str) -> String {
    substitute(text, &lookup).unwrap_or_else(|fault| panic!("{text}: {fault:?}")).text
}

#[test]
fn every_form() {
    for (text, becomes) in [
        ("plain", "plain"),
        ("${A}", "hello World"),
        ("x${NONE}y", "xy"),
        ("$A {A} $", "$A {A} $"),
        ("${NONE:-x y}", "x y"),
        ("${EMPTY:-x}", "x"),
        ("${A:-x}", "hello World"),
        ("${NONE=x}${NONE:=y}${NONE:+z}${NONE:?w}", "xyzw"),
        ("${NONE:-${A}!}", "hello World!"),
        ("${NONE:-${NONE:-deep}}", "deep"),
        ("${NONE:-http://127.0.0.1:8080}", "http://127.0.0.1:8080"),
        ("${#A}", "11"),
        ("${A^}|${A^^}|${A,}|${A,,}", "Hello World|HELLO WORLD|hello World|hello world"),
        ("${A:6}", "World"),
        ("${A:0:5}", "hello"),
        ("${A:99}|${A:x}|${A: -3}", "|hello World|rld"),
        ("${A:6:99}", "World"),
        ("${FILE%.*}|${FILE%%.*}", "archive.tar|archive"),
        ("${FILE#*.}|${FILE##*.}", "tar.gz|gz"),
        ("${PATH_##*/}", "bin"),
        ("${A/o/0}|${A//o/0}", "hell0 World|hell0 W0rld"),
        ("${A/#hello/bye}|${A/%World/all}", "bye World|hello all"),
        ("${PATH_//\\//.}", ".usr.local.bin"),
        ("$${A}", "${A}"),
        ("a$$b", "a$b"),
        ("C:\\\\x \\n", "C:\\x \\n"),
    ] {
        assert_eq!(done(text), becomes, "{text}");
    }
}

#[test]
fn what_makes_no_sense_is_named_with_its_line() {
    for (text, line, says) in [
        ("a\n${A", 2, "never closed"),
        ("${}", 1, "name"),
        ("\n\n${A-x}", 3, ":-"),
        ("${A:-x", 1, "never closed"),
        ("${A.b}", 1, "'.'"),
        ("${NONE:-${}}", 1, "name"),
    ] {
        let fault = substitute(text, &lookup).unwrap_err();
        assert_eq!(fault.line, line, "{text}");
        assert!(fault.message.contains(says), "{text}: {fault:?}");
    }
    let nested = format!("{}{}", "${A:-".repeat(40), "}".repeat(40));
    assert!(substitute(&nested, &lookup).unwrap_err().message.contains("deep"));
}

#[test]
fn lines_lead_back_to_the_original() {
    let substituted = substitute("a: 1\nb: ${TWO}\nc: 3\n", &lookup).unwrap();
    assert_eq!(substituted.text, "a: 1\nb: one\ntwo\nc: 3\n");
    assert_eq!([1, 2, 3, 4].map(|line| substituted.line(line)), [1, 2, 2, 3]);
    let default = substitute("a: ${NONE:-x\ny}\nb: 2", &lookup).unwrap();
    assert_eq!(default.line(3), 3);
    assert_eq!(Substituted::verbatim("a\nb".to_owned()).line(2), 2);
}

#[test]
fn results_are_bounded() {
    let large = |_: &str| Some("x".repeat(100_000));
    assert!(substitute(&"${A}".repeat(20), &large).unwrap_err().message.contains("bytes"));
    assert!(substitute("${A//x/0123456789012345}", &large).unwrap_err().message.contains("bytes"));
    assert!(substitute("${A##*a}", &large).unwrap_err().message.contains("too long"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn no_text_panics(text in "\\PC{0,200}") {
        let _ = substitute(&text, &lookup);
    }

    #[test]
    fn nothing_like_it_panics(
        text in "(\\$\\{|[}$\\\\/:#%^,=?+*\\[\\]é A\n-]|FILE|TWO|NONE|[0-9]){0,40}",
    ) {
        let _ = substitute(&text, &|name| lookup(name).map(|value| format!("é{value}")));
    }

    #[test]
    fn text_without_variables_stays(text in "[a-z:\\- \n#{}]{0,100}") {
        prop_assert_eq!(done(&text), text);
    }
}
