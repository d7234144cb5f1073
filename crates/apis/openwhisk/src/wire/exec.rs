//! What an action runs.

use super::name::FullName;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::fmt;
use xebec_core::{Digest, workload::ArchiveFormat};

/// The kind of sequences.
pub const SEQUENCE: &str = "sequence";
/// The kind of images that users bring.
pub const BLACKBOX: &str = "blackbox";

/// What an action runs, as it is stored: its code is a blob.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Exec {
    /// Code of a kind.
    Code {
        /// The kind, e.g. `nodejs:20`.
        kind: String,
        /// The code.
        code: Code,
        /// What of it is called.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        main: Option<String>,
    },
    /// An image, and code that it is handed.
    Blackbox {
        /// The image.
        image: String,
        /// The code.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<Code>,
        /// What of it is called.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        main: Option<String>,
    },
    /// Other actions, one after the other.
    Sequence {
        /// Which.
        components: Vec<FullName>,
    },
    /// Code that is part of the server.
    Builtin {
        /// The kind that it is shown as.
        kind: String,
        /// Which.
        name: String,
        /// What it is told.
        #[serde(default)]
        settings: Value,
    },
}

/// Code in a blob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Code {
    /// The blob.
    pub digest: Digest,
    /// Its size in bytes.
    pub bytes: u64,
    /// What it is.
    pub format: ArchiveFormat,
    /// It was sent as Base64.
    pub binary: bool,
}

impl Exec {
    /// The kind that it is shown as.
    pub fn kind(&self) -> &str {
        match self {
            Self::Code { kind, .. } | Self::Builtin { kind, .. } => kind,
            Self::Blackbox { .. } => BLACKBOX,
            Self::Sequence { .. } => SEQUENCE,
        }
    }

    /// Its code.
    pub fn code(&self) -> Option<&Code> {
        match self {
            Self::Code { code, .. } => Some(code),
            Self::Blackbox { code, .. } => code.as_ref(),
            Self::Sequence { .. } | Self::Builtin { .. } => None,
        }
    }

    /// Whether its code was sent as Base64.
    pub fn is_binary(&self) -> bool {
        self.code().is_some_and(|code| code.binary)
    }

    /// The components of a sequence.
    pub fn components(&self) -> Option<&[FullName]> {
        match self {
            Self::Sequence { components } => Some(components),
            _ => None,
        }
    }

    /// As clients see it, with its code where it is given.
    pub fn to_wire(&self, code: Option<String>) -> Value {
        let mut wire = Map::new();
        wire.insert("kind".to_owned(), self.kind().into());
        let main = match self {
            Self::Sequence { components } => {
                wire.insert("components".to_owned(), json!(components));
                return Value::Object(wire);
            }
            Self::Blackbox { image, main, .. } => {
                wire.insert("image".to_owned(), image.as_str().into());
                main
            }
            Self::Code { main, .. } => main,
            Self::Builtin { .. } => &None,
        };
        if let Some(code) = code {
            wire.insert("code".to_owned(), code.into());
        }
        wire.insert("binary".to_owned(), self.is_binary().into());
        if let Some(main) = main {
            wire.insert("main".to_owned(), main.as_str().into());
        }
        Value::Object(wire)
    }
}

/// What an action shall run, as a request says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecPut {
    /// Code of a kind.
    Code {
        /// The kind in lower case; families' defaults are not resolved yet.
        kind: String,
        /// The code as it was sent.
        code: String,
        /// What of it is called.
        main: Option<String>,
    },
    /// An image.
    Blackbox {
        /// The image.
        image: String,
        /// The code as it was sent.
        code: Option<String>,
        /// What of it is called.
        main: Option<String>,
    },
    /// Other actions.
    Sequence {
        /// Which.
        components: Vec<FullName>,
    },
}

impl ExecPut {
    /// How much it is, as it counts against the limit.
    pub fn bytes(&self) -> usize {
        let main_bytes = |main: &Option<String>| main.as_ref().map_or(0, String::len);
        match self {
            Self::Code { code, main, .. } => code.len() + main_bytes(main),
            Self::Blackbox { code, main, .. } => code.as_ref().map_or(0, String::len) + main_bytes(main),
            Self::Sequence { components } => {
                components.iter().map(|component| component.to_string().len()).sum()
            }
        }
    }
}

/// Why what an action shall run cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub struct ExecError(pub String);

impl fmt::Display for ExecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ExecPut {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let written = Value::deserialize(from)?;
        read(written).map_err(serde::de::Error::custom)
    }
}

fn read(written: Value) -> Result<ExecPut, ExecError> {
    let error = |message: String| Err(ExecError(message));
    let Value::Object(mut fields) = written else { return error("'exec' must be an object".to_owned()) };
    let kind = match fields.remove("kind") {
        Some(Value::String(kind)) => kind.trim().to_lowercase(),
        _ => return error("'kind' must be a string defined in 'exec'".to_owned()),
    };
    if kind == SEQUENCE {
        return match fields.remove("components") {
            Some(components @ Value::Array(_)) => {
                let components =
                    serde_json::from_value(components).map_err(|error| ExecError(error.to_string()))?;
                Ok(ExecPut::Sequence { components })
            }
            Some(_) => error("'components' must be an array".to_owned()),
            None => error("'components' must be defined for sequence kind".to_owned()),
        };
    }
    let main = match fields.remove("main") {
        None | Some(Value::Null) => None,
        Some(Value::String(main)) => Some(main),
        Some(_) => return error(format!("if defined, 'main' be a string in 'exec' for '{kind}' actions")),
    };
    // Java's actions had a "jar" once.
    let code = match fields.remove("code").or_else(|| fields.remove("jar")) {
        Some(Value::String(code)) => Some(code),
        None | Some(Value::Null) => None,
        Some(_) => return error(format!("'code' must be a string defined in 'exec' for '{kind}' actions")),
    };
    if kind == BLACKBOX {
        return match fields.remove("image") {
            Some(Value::String(image)) if is_image(&image) => {
                let code = code.filter(|code| !code.trim().is_empty());
                Ok(ExecPut::Blackbox { image, code, main })
            }
            Some(Value::String(image)) => error(format!("could not parse image {image:?}")),
            _ => error(format!("'image' must be a string defined in 'exec' for '{BLACKBOX}' actions")),
        };
    }
    match code {
        Some(code) => Ok(ExecPut::Code { kind, code, main }),
        None => error(format!("'code' must be a string defined in 'exec' for '{kind}' actions")),
    }
}

/// Whether a text may name an image: no more than what no reference may have is refused here.
fn is_image(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | ':' | '@');
    !text.is_empty() && text.len() <= 512 && text.chars().all(allowed)
}

/// Whether code is taken for Base64: it is written in its alphabet, whole, with its padding.
pub fn is_base64(code: &str) -> bool {
    let bytes = code.trim().as_bytes();
    if bytes.is_empty() || !bytes.len().is_multiple_of(4) {
        return false;
    }
    let padding = bytes.iter().rev().take(2).take_while(|byte| **byte == b'=').count();
    let letter = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    bytes[..bytes.len() - padding].iter().all(letter)
}
