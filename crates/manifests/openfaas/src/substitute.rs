//! `${VAR}` and kin, as `faas-cli` has them replaced in a stack file before it is read: what bash calls parameter
//! expansion, in the dialect of the library that it uses. What is not set is empty.
//!
//! | written | becomes |
//! |---|---|
//! | `${A}` | the value |
//! | `${A:-x}`, `${A:=x}`, `${A=x}`, `${A:+x}`, `${A:?x}` | the value, or `x` where it is empty: all of them alike |
//! | `${#A}` | its length in bytes |
//! | `${A^}` `${A^^}` `${A,}` `${A,,}` | upper or lower case, of the first letter or of all |
//! | `${A:2}` `${A:2:3}` | a part |
//! | `${A#p}` `${A##p}` `${A%p}` `${A%%p}` | without the shortest or longest beginning or end that `p` matches |
//! | `${A/p/x}` `${A//p/x}` `${A/#p/x}` `${A/%p/x}` | with `x` for the first `p`, for all, at the beginning, at the end |
//! | `$$` | `$` |
//! | `\\`, `\/` | the second of the two |

use crate::{MAX_FILE, fault::Fault, glob};

/// How deep one may lie within another.
const MAX_DEPTH: usize = 16;

/// The longest value, in characters, of which a pattern may take something away: that takes its square.
const MAX_TRIMMED: usize = 4096;

/// A text with its variables replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Substituted {
    /// The text.
    pub text: String,
    /// Of each of its lines, which line of the original it began in.
    lines: Vec<usize>,
}

impl Substituted {
    /// A text as it is.
    pub fn verbatim(text: String) -> Self {
        let lines = (1..=text.split('\n').count()).collect();
        Self { text, lines }
    }

    /// The line of the original that a line of the text came from, both from 1.
    pub fn line(&self, line: usize) -> usize {
        let found = line.checked_sub(1).and_then(|line| self.lines.get(line).or_else(|| self.lines.last()));
        found.copied().unwrap_or(line)
    }
}

/// Replaces variables by what `lookup` says they are.
///
/// # Errors
/// A `${` that is not closed or makes no sense, with its line; a result past [`MAX_FILE`].
pub fn substitute(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Substituted, Fault> {
    let mut reader = Reader { rest: text, line: 1, lookup };
    let mut out = Substituted { text: String::with_capacity(text.len()), lines: vec![1] };
    while !reader.rest.is_empty() {
        let line = reader.line;
        if reader.skip("${") {
            let value = reader.expression(line, 0)?;
            out.lines.extend(std::iter::repeat_n(line, value.matches('\n').count()));
            out.text.push_str(&value);
        } else if let Some(c) = reader.literal(true) {
            out.text.push(c);
            if c == '\n' {
                out.lines.push(reader.line);
            }
        }
        if out.text.len() > MAX_FILE {
            return Err(Fault::new(
                line,
                format!("with its variables replaced, it is over {MAX_FILE} bytes"),
            ));
        }
    }
    Ok(out)
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
    lookup: &'a dyn Fn(&str) -> Option<String>,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.rest = &self.rest[c.len_utf8()..];
        self.line += usize::from(c == '\n');
        Some(c)
    }

    fn skip(&mut self, what: &str) -> bool {
        let Some(rest) = self.rest.strip_prefix(what) else { return false };
        self.rest = rest;
        true
    }

    /// One character; of an escape, the one that is meant.
    fn literal(&mut self, escapes: bool) -> Option<char> {
        if escapes && ["$$", "\\\\", "\\/"].iter().any(|escape| self.rest.starts_with(escape)) {
            self.next();
        }
        self.next()
    }

    /// What follows a `${` of this line, up to its `}`.
    fn expression(&mut self, line: usize, depth: usize) -> Result<String, Fault> {
        if depth >= MAX_DEPTH {
            return Err(Fault::new(line, format!("${{…}} within each other more than {MAX_DEPTH} deep")));
        }
        if self.skip("#") {
            let name = self.name(line)?;
            self.close(line, &name)?;
            return Ok(self.value(&name).len().to_string());
        }
        let name = self.name(line)?;
        let value = self.value(&name);
        match self.peek() {
            Some(':' | '=') => {
                let defaults = [":-", ":=", ":?", ":+", "="];
                if defaults.iter().any(|operator| self.skip(operator)) {
                    let default = self.argument(line, depth, &['}'], false)?;
                    self.close(line, &name)?;
                    return Ok(if value.is_empty() { default } else { value });
                }
                self.skip(":");
                self.part(&name, value, line, depth)
            }
            Some(',' | '^') => {
                let cased = self.cased(value);
                self.close(line, &name)?;
                Ok(cased)
            }
            Some('#' | '%') => self.trimmed(&name, value, line, depth),
            Some('/') => self.replaced(&name, value, line, depth),
            _ => {
                self.close(line, &name)?;
                Ok(value)
            }
        }
    }

    fn name(&mut self, line: usize) -> Result<String, Fault> {
        let end = self.rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        if name.is_empty() {
            return Err(Fault::new(
                line,
                "${ is not followed by a name; write $${ for the characters themselves",
            ));
        }
        Ok(name.to_owned())
    }

    fn value(&self, name: &str) -> String {
        (self.lookup)(name).unwrap_or_default()
    }

    fn close(&mut self, line: usize, name: &str) -> Result<(), Fault> {
        if self.skip("}") {
            return Ok(());
        }
        let message = match self.peek() {
            None => format!("${{{name} is never closed"),
            Some('-') => format!("${{{name}- makes no sense here; write ${{{name}:-…}} for a default"),
            Some(other) => {
                format!(
                    "${{{name} is followed by {other:?}; close it with }}, or write $${{ for the characters"
                )
            }
        };
        Err(Fault::new(line, message))
    }

    /// Text and further `${…}`, up to one of these characters, which is left.
    fn argument(&mut self, line: usize, depth: usize, ends: &[char], escapes: bool) -> Result<String, Fault> {
        let mut text = String::new();
        loop {
            match self.peek() {
                None => return Err(Fault::new(line, "${ is never closed")),
                Some(c) if ends.contains(&c) => return Ok(text),
                Some(_) if self.skip("${") => text.push_str(&self.expression(line, depth + 1)?),
                Some(_) => text.extend(self.literal(escapes)),
            }
            if text.len() > MAX_FILE {
                return Err(Fault::new(line, format!("${{…}} becomes more than {MAX_FILE} bytes")));
            }
        }
    }

    fn part(&mut self, name: &str, value: String, line: usize, depth: usize) -> Result<String, Fault> {
        let from = self.argument(line, depth, &[':', '}'], false)?;
        let length = match self.skip(":") {
            true => Some(self.argument(line, depth, &['}'], false)?),
            false => None,
        };
        self.close(line, name)?;
        // As in bash, what is no number takes nothing away.
        let Ok(from) = from.trim().parse::<i64>() else { return Ok(value) };
        let size = i64::try_from(value.len()).unwrap_or(i64::MAX);
        let start = if from < 0 { size.saturating_add(from) } else { from }.clamp(0, size);
        let end = match length.map(|length| length.trim().parse::<i64>()) {
            None => size,
            Some(Err(_)) => return Ok(value),
            Some(Ok(length)) if length < 0 => size.saturating_add(length),
            Some(Ok(length)) => start.saturating_add(length),
        }
        .clamp(start, size);
        let [start, end] = [start, end].map(|at| usize::try_from(at).unwrap_or(0));
        Ok(value[value.floor_char_boundary(start)..value.floor_char_boundary(end)].to_owned())
    }

    fn cased(&mut self, value: String) -> String {
        if self.skip("^^") {
            return value.to_uppercase();
        }
        if self.skip(",,") {
            return value.to_lowercase();
        }
        let upper = self.skip("^");
        if !upper {
            self.skip(",");
        }
        let mut rest = value.chars();
        match rest.next() {
            None => value,
            Some(first) if upper => first.to_uppercase().chain(rest).collect(),
            Some(first) => first.to_lowercase().chain(rest).collect(),
        }
    }

    fn trimmed(&mut self, name: &str, value: String, line: usize, depth: usize) -> Result<String, Fault> {
        let longest = self.rest.starts_with("##") || self.rest.starts_with("%%");
        let beginning = self.peek() == Some('#');
        self.rest = &self.rest[if longest { 2 } else { 1 }..];
        let pattern: Vec<char> = self.argument(line, depth, &['}'], false)?.chars().collect();
        self.close(line, name)?;
        let chars: Vec<char> = value.chars().collect();
        if chars.len() > MAX_TRIMMED || pattern.len() > MAX_TRIMMED {
            return Err(Fault::new(
                line,
                format!("{name} has over {MAX_TRIMMED} characters: too long to trim"),
            ));
        }
        let fits = |length: &usize| {
            let part = if beginning { &chars[..*length] } else { &chars[chars.len() - length..] };
            glob::matches(&pattern, part)
        };
        let mut lengths = 1..=chars.len();
        let found = if longest { lengths.rev().find(fits) } else { lengths.find(fits) };
        let Some(length) = found else { return Ok(value) };
        Ok(if beginning { &chars[length..] } else { &chars[..chars.len() - length] }.iter().collect())
    }

    fn replaced(&mut self, name: &str, value: String, line: usize, depth: usize) -> Result<String, Fault> {
        let how = ["//", "/#", "/%", "/"].into_iter().find(|how| self.skip(how)).unwrap_or("/");
        let pattern = self.argument(line, depth, &['/', '}'], true)?;
        let with = match self.skip("/") {
            true => Some(self.argument(line, depth, &['}'], true)?),
            false => None,
        };
        self.close(line, name)?;
        let with_text = with.as_deref().unwrap_or_default();
        if pattern.is_empty() {
            return Ok(value);
        }
        let result = match (how, &with) {
            ("//", _) => {
                let grown = value.matches(&pattern).count().saturating_mul(with_text.len());
                if grown > MAX_FILE {
                    return Err(Fault::new(line, format!("${{…}} becomes more than {MAX_FILE} bytes")));
                }
                value.replace(&pattern, with_text)
            }
            ("/#", Some(with)) => match value.strip_prefix(&pattern) {
                Some(rest) => format!("{with}{rest}"),
                None => value,
            },
            ("/%", Some(with)) => match value.strip_suffix(&pattern) {
                Some(rest) => format!("{rest}{with}"),
                None => value,
            },
            ("/#" | "/%", None) => value,
            _ => value.replacen(&pattern, with_text, 1),
        };
        Ok(result)
    }
}

#[cfg(test)]
mod tests;
