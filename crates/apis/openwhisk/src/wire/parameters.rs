//! Parameters and annotations: what is bound to entities.

use serde::{Deserialize, Deserializer, Serialize, Serializer, ser::SerializeMap as _};
use serde_json::{Map, Value};

/// What is bound to a name.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// The name.
    pub key: String,
    /// The value.
    pub value: Value,
    /// It is told to the action when it is initialised, as a variable, and is no argument.
    pub init: bool,
    /// How the value was encrypted before it was sent; kept, and otherwise not looked at.
    pub encryption: Option<String>,
}

impl Parameter {
    /// A plain parameter.
    pub fn new(key: impl Into<String>, value: impl Into<Value>) -> Self {
        Self { key: key.into(), value: value.into(), init: false, encryption: None }
    }

    fn bytes(&self) -> usize {
        self.key.len() + self.value.to_string().len()
    }
}

/// Parameters or annotations, no two of the same name, in the order they were written.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Parameters(Vec<Parameter>);

impl Parameters {
    /// All of them.
    pub fn iter(&self) -> std::slice::Iter<'_, Parameter> {
        self.0.iter()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of a name.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.iter().find(|parameter| parameter.key == key).map(|parameter| &parameter.value)
    }

    /// Whether a name has a value that counts as true; `otherwise`, where it has none.
    pub fn is_truthy(&self, key: &str, otherwise: bool) -> bool {
        match self.get(key) {
            None => otherwise,
            Some(Value::Bool(value)) => *value,
            Some(Value::Number(number)) => number.as_f64() != Some(0.0),
            Some(Value::String(text)) => !text.is_empty(),
            Some(Value::Null) => false,
            Some(Value::Array(_) | Value::Object(_)) => true,
        }
    }

    /// Binds a name, in place of what it was bound to.
    pub fn set(&mut self, parameter: Parameter) {
        match self.0.iter_mut().find(|known| known.key == parameter.key) {
            Some(known) => *known = parameter,
            None => self.0.push(parameter),
        }
    }

    /// Unbinds a name.
    pub fn remove(&mut self, key: &str) {
        self.0.retain(|parameter| parameter.key != key);
    }

    /// These, with `over` on top.
    #[must_use]
    pub fn overlaid(&self, over: &Self) -> Self {
        let mut merged = self.clone();
        for parameter in over.iter() {
            merged.set(parameter.clone());
        }
        merged
    }

    /// Those that are arguments, as one object.
    pub fn arguments(&self) -> Map<String, Value> {
        let arguments = self.0.iter().filter(|parameter| !parameter.init);
        arguments.map(|parameter| (parameter.key.clone(), parameter.value.clone())).collect()
    }

    /// Names with a value: what a call may not override where they are final.
    pub fn defined(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter(|parameter| !parameter.value.is_null()).map(|parameter| parameter.key.as_str())
    }

    /// How much they are, as it counts against the limit.
    pub fn bytes(&self) -> usize {
        self.0.iter().map(Parameter::bytes).sum()
    }
}

impl FromIterator<Parameter> for Parameters {
    /// Of two of the same name the later one counts.
    fn from_iter<T: IntoIterator<Item = Parameter>>(parameters: T) -> Self {
        let mut collected = Self::default();
        for parameter in parameters {
            collected.set(parameter);
        }
        collected
    }
}

impl<'de> Deserialize<'de> for Parameters {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let malformed = || serde::de::Error::custom("parameters malformed!");
        let Value::Array(written) = Value::deserialize(from)? else { return Err(malformed()) };
        written.into_iter().map(read).collect::<Option<Self>>().ok_or_else(malformed)
    }
}

/// A parameter as it is written: `{"key", "value"}` and, as wished, `init` and `encryption`.
fn read(written: Value) -> Option<Parameter> {
    let Value::Object(mut fields) = written else { return None };
    let key = match fields.remove("key")? {
        Value::String(key) => key,
        _ => return None,
    };
    let value = fields.remove("value")?;
    let init = match fields.remove("init") {
        None | Some(Value::Null) => false,
        Some(init) => init.as_bool()?,
    };
    let encryption = match fields.remove("encryption") {
        None | Some(Value::Null) => None,
        Some(Value::String(scheme)) => Some(scheme),
        Some(_) => return None,
    };
    Some(Parameter { key, value, init, encryption })
}

impl Serialize for Parameter {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        map.serialize_entry("key", &self.key)?;
        map.serialize_entry("value", &self.value)?;
        if self.init {
            map.serialize_entry("init", &true)?;
        }
        if let Some(scheme) = &self.encryption {
            map.serialize_entry("encryption", scheme)?;
        }
        map.end()
    }
}
