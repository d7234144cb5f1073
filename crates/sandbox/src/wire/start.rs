//! What a starter hears and says, packed so that starting a process costs it next to nothing: the strings
//! of a start lie in the message as `execve` wants them, each with its zero.

use crate::exec::{Exec, Stream};
use std::{
    collections::BTreeMap,
    ffi::{CStr, CString, OsStr},
    io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

const START: u8 = 1;
const KILL: u8 = 2;
const ADOPT: u8 = 3;
const ALLOW: u8 = 4;

const STDIN: u8 = 1;
const STDOUT: u8 = 2;
const STDERR: u8 = 4;
const COMBINED: u8 = 8;

/// The most descriptors that a process is started with, beside its standard streams.
pub(crate) const MAX_EXTRA: usize = 16;

/// What a starter is asked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum StarterCall {
    Start(Start),
    /// End a process and everything it started.
    Kill {
        pid: i32,
    },
    /// Count a process that others started as running.
    Adopt {
        pid: i32,
    },
    /// Let processes reach a path of the host, where the sandbox has no root of its own.
    Allow {
        path: PathBuf,
        writable: bool,
    },
}

/// A process to start. Descriptors come with the message: the streams that are not null, then the others.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) serial: u64,
    pub(crate) stdin: bool,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
    pub(crate) combined: bool,
    pub(crate) directory: CString,
    pub(crate) argv: Vec<CString>,
    pub(crate) variables: Vec<CString>,
}

/// Packs a start.
///
/// # Errors
/// A string with a zero in it, no program, too many descriptors.
pub(crate) fn pack_start(
    serial: u64,
    exec: &Exec,
    base: &BTreeMap<String, String>,
    directory: &Path,
) -> io::Result<Vec<u8>> {
    let refuse = |why: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    if exec.argv.is_empty() {
        return refuse("there is no program to start");
    }
    if exec.descriptors.len() > MAX_EXTRA {
        return refuse("a process can be given 16 further descriptors at most");
    }
    let mut flags = 0;
    flags |= if exec.stdin == Stream::Pipe { STDIN } else { 0 };
    flags |= if exec.stdout == Stream::Pipe { STDOUT } else { 0 };
    flags |= match exec.stderr {
        Stream::Pipe => STDERR,
        Stream::Combined => COMBINED,
        Stream::Null => 0,
    };
    let directory = exec.directory.as_deref().unwrap_or(directory);
    let variables = base
        .iter()
        .filter(|(name, _)| !exec.variables.contains_key(*name))
        .chain(exec.variables.iter())
        .filter(|(name, _)| !name.is_empty() && !name.contains('='));

    let mut bytes = Vec::with_capacity(1024);
    bytes.push(START);
    bytes.extend(serial.to_le_bytes());
    bytes.push(flags);
    bytes.extend((exec.argv.len() as u32).to_le_bytes());
    let mut push = |parts: &[&[u8]]| {
        for part in parts {
            if part.contains(&0) {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "a string contains a zero byte"));
            }
            bytes.extend_from_slice(part);
        }
        bytes.push(0);
        Ok(())
    };
    push(&[directory.as_os_str().as_encoded_bytes()])?;
    for argument in &exec.argv {
        push(&[argument.as_bytes()])?;
    }
    for (name, value) in variables {
        push(&[name.as_bytes(), b"=", value.as_bytes()])?;
    }
    Ok(bytes)
}

/// Packs a kill.
pub(crate) fn pack_kill(pid: i32) -> Vec<u8> {
    pack_pid(KILL, pid)
}

/// Packs an adoption.
pub(crate) fn pack_adopt(pid: i32) -> Vec<u8> {
    pack_pid(ADOPT, pid)
}

/// Packs a permission.
pub(crate) fn pack_allow(path: &Path, writable: bool) -> Vec<u8> {
    [&[ALLOW, u8::from(writable)], path.as_os_str().as_bytes()].concat()
}

fn pack_pid(kind: u8, pid: i32) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend(pid.to_le_bytes());
    bytes
}

impl StarterCall {
    /// Unpacks a message; `None` if it is none.
    pub(crate) fn unpack(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        match *kind {
            START => Start::unpack(rest).map(Self::Start),
            KILL => Some(Self::Kill { pid: i32::from_le_bytes(rest.try_into().ok()?) }),
            ADOPT => Some(Self::Adopt { pid: i32::from_le_bytes(rest.try_into().ok()?) }),
            ALLOW => {
                let (writable, path) = rest.split_first()?;
                Some(Self::Allow { path: OsStr::from_bytes(path).into(), writable: *writable != 0 })
            }
            _ => None,
        }
    }
}

impl Start {
    fn unpack(bytes: &[u8]) -> Option<Self> {
        let (serial, rest) = bytes.split_first_chunk::<8>()?;
        let (flags, rest) = rest.split_first()?;
        let (count, mut rest) = rest.split_first_chunk::<4>()?;
        let mut next = || {
            let string = CStr::from_bytes_until_nul(rest).ok()?;
            rest = &rest[string.count_bytes() + 1..];
            Some(string.to_owned())
        };
        let directory = next()?;
        let argv = (0..u32::from_le_bytes(*count)).map(|_| next()).collect::<Option<Vec<_>>>()?;
        if argv.is_empty() {
            return None;
        }
        let variables = std::iter::from_fn(next).collect();
        Some(Self {
            serial: u64::from_le_bytes(*serial),
            stdin: flags & STDIN != 0,
            stdout: flags & STDOUT != 0,
            stderr: flags & STDERR != 0,
            combined: flags & COMBINED != 0,
            directory,
            argv,
            variables,
        })
    }
}

/// What a starter says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StarterWord {
    /// The program runs.
    Started { serial: u64, pid: i32 },
    /// It could not be started: which step failed, and why.
    Failed { serial: u64, step: Step, errno: i32 },
    /// It ended, with this wait status; `leftovers`: something it started may still run.
    Exited { pid: i32, status: i32, leftovers: bool },
}

/// The step of a start that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Fork,
    Directory,
    Program,
}

impl StarterWord {
    const BYTES: usize = 17;

    /// Packs some words into one message.
    pub(crate) fn pack_all(words: &[Self]) -> Vec<u8> {
        words.iter().flat_map(|word| word.pack()).collect()
    }

    /// Unpacks a message; `None` if it is none.
    pub(crate) fn unpack_all(bytes: &[u8]) -> Option<Vec<Self>> {
        let (words, rest) = bytes.as_chunks::<{ Self::BYTES }>();
        if words.is_empty() || !rest.is_empty() {
            return None;
        }
        words.iter().map(Self::unpack).collect()
    }

    fn pack(self) -> [u8; Self::BYTES] {
        let (kind, a, b, c) = match self {
            Self::Started { serial, pid } => (1u8, serial, pid, 0),
            Self::Failed { serial, step, errno } => (2, serial, errno, step as i32),
            Self::Exited { pid, status, leftovers } => (3, u64::from(leftovers), pid, status),
        };
        let mut bytes = [0; Self::BYTES];
        bytes[0] = kind;
        bytes[1..9].copy_from_slice(&a.to_le_bytes());
        bytes[9..13].copy_from_slice(&b.to_le_bytes());
        bytes[13..17].copy_from_slice(&c.to_le_bytes());
        bytes
    }

    fn unpack(bytes: &[u8; Self::BYTES]) -> Option<Self> {
        let a = u64::from_le_bytes(bytes[1..9].try_into().ok()?);
        let b = i32::from_le_bytes(bytes[9..13].try_into().ok()?);
        let c = i32::from_le_bytes(bytes[13..17].try_into().ok()?);
        match bytes[0] {
            1 => Some(Self::Started { serial: a, pid: b }),
            2 => {
                let step =
                    [Step::Fork, Step::Directory, Step::Program].into_iter().find(|s| *s as i32 == c)?;
                Some(Self::Failed { serial: a, step, errno: b })
            }
            3 => Some(Self::Exited { pid: b, status: c, leftovers: a != 0 }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_survives_the_way() {
        let base = BTreeMap::from([("A".to_owned(), "1".to_owned()), ("B".to_owned(), "2".to_owned())]);
        let exec = Exec {
            argv: vec!["cat".to_owned(), String::new(), "-".to_owned()],
            variables: BTreeMap::from([("B".to_owned(), "x=y".to_owned()), ("C".to_owned(), String::new())]),
            stdin: Stream::Pipe,
            stdout: Stream::Pipe,
            stderr: Stream::Combined,
            ..Exec::default()
        };
        let bytes = pack_start(9, &exec, &base, Path::new("/work")).unwrap();
        let Some(StarterCall::Start(start)) = StarterCall::unpack(&bytes) else { panic!("no start") };
        assert_eq!(start.argv, [c"cat".to_owned(), c"".to_owned(), c"-".to_owned()]);
        assert_eq!(start.variables, [c"A=1".to_owned(), c"B=x=y".to_owned(), c"C=".to_owned()]);
        assert_eq!((start.serial, start.directory.as_c_str()), (9, c"/work"));
        assert_eq!((start.stdin, start.stdout, start.stderr, start.combined), (true, true, false, true));
    }

    #[test]
    fn what_execve_cannot_take_is_refused() {
        let with = |argv: Vec<String>| {
            pack_start(1, &Exec { argv, ..Exec::default() }, &BTreeMap::new(), Path::new("/"))
        };
        assert!(with(vec![]).is_err());
        assert!(with(vec!["a\0b".to_owned()]).is_err());
        assert!(StarterCall::unpack(b"").is_none());
        assert!(StarterCall::unpack(&[START, 1, 2]).is_none());
    }

    #[test]
    fn words_survive_the_way() {
        let words = [
            StarterWord::Started { serial: 7, pid: 3 },
            StarterWord::Failed { serial: 7, step: Step::Program, errno: 2 },
            StarterWord::Exited { pid: 3, status: 256, leftovers: true },
        ];
        let bytes = StarterWord::pack_all(&words);
        assert_eq!(StarterWord::unpack_all(&bytes).as_deref(), Some(words.as_slice()));
        assert_eq!(StarterWord::unpack_all(&bytes[..20]), None);
        assert_eq!(StarterWord::unpack_all(b""), None);
    }
}
