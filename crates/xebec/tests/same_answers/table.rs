//! Tables of cases, as text: what is asked, and what is to be seen, in general and by door and place.
//!
//! ```text
//! == a name
//! POST /path?query
//! a-header: its value
//!
//! the body
//! ->
//! 200
//! a-header: its value
//!
//! the body
//! -> native, wasm: why it is another one there
//! …
//! ```
//!
//! Headers are in Latin-1, large bodies are written `<8388608 bytes>`. In place of a request there may be
//! `script <name>`. Of several answers that hold the last one counts; an empty one leaves the case out.

/// One case.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) asked: Asked,
    answers: Vec<Answer>,
}

/// What is asked.
pub(crate) enum Asked {
    /// One request, its body at hand.
    Once { method: String, path: String, headers: Vec<(String, String)>, body: Vec<u8> },
    /// More than that.
    Script(String),
}

/// What is to be seen through this door, at this place; both where they are not named.
struct Answer {
    door: Option<String>,
    place: Option<String>,
    seen: String,
}

impl Case {
    /// What is to be seen; `None`: it is not asked there.
    pub(crate) fn seen(&self, door: &str, place: &str) -> Option<&str> {
        let holds = |wanted: &Option<String>, is: &str| wanted.as_ref().is_none_or(|wanted| wanted == is);
        let answer =
            self.answers.iter().rfind(|answer| holds(&answer.door, door) && holds(&answer.place, place));
        answer.map(|answer| answer.seen.as_str()).filter(|seen| !seen.is_empty())
    }
}

/// Reads a table.
pub(crate) fn read(text: &str) -> Vec<Case> {
    let (_, cases) = text.split_once("\n== ").expect("a table has cases");
    cases.split("\n== ").map(case).collect()
}

fn case(text: &str) -> Case {
    let (name, rest) = text.split_once('\n').expect("a case has a name and more");
    let (asked, rest) = rest.split_once("\n->").unwrap_or_else(|| panic!("{name} has no answer"));
    let answers = rest.split("\n->").map(|text| answer(name, text)).collect();
    Case { name: name.to_owned(), asked: self::asked(asked), answers }
}

fn asked(text: &str) -> Asked {
    if let Some(script) = text.strip_prefix("script ") {
        return Asked::Script(script.trim().to_owned());
    }
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let (method, path) = lines.next().and_then(|line| line.split_once(' ')).expect("a method and a path");
    let header = |line: &str| {
        let (name, value) = line.split_once(':').expect("a header has a name and a value");
        (name.to_owned(), value.strip_prefix(' ').unwrap_or(value).to_owned())
    };
    let large = body.strip_prefix('<').and_then(|body| body.strip_suffix(" bytes>"));
    let body = match large {
        Some(count) => (0..count.parse().unwrap()).map(same_answers_guest::pattern).collect(),
        None => body.as_bytes().to_vec(),
    };
    Asked::Once {
        method: method.to_owned(),
        path: path.to_owned(),
        headers: lines.map(header).collect(),
        body,
    }
}

fn answer(name: &str, text: &str) -> Answer {
    let (holds, seen) = text.split_once('\n').unwrap_or((text, ""));
    let (places, why) = holds.split_once(':').unwrap_or((holds, ""));
    let mut answer = Answer { door: None, place: None, seen: seen.trim_end_matches('\n').to_owned() };
    for word in places.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        match word {
            "native" | "openfaas" => answer.door = Some(word.to_owned()),
            "source" | "image" | "wasm" => {
                assert!(!why.trim().is_empty(), "{name}: why is it another one as {word}?");
                answer.place = Some(word.to_owned());
            }
            other => panic!("{name}: {other} is no door and no place"),
        }
    }
    answer
}
