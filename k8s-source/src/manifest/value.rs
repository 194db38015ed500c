//! What YAML and JSON have in common: the value tree, shared where YAML aliases share it.

use std::collections::BTreeMap;
use std::rc::Rc;

/// A value that aliases may share, so that they cost no memory.
pub(super) type Shared = Rc<Value>;

/// What a value costs beside its text, for [`Limits::alias_bytes`](super::Limits).
const WEIGHT_OVERHEAD: u64 = 16;

/// One value and where it stands.
pub(super) struct Value {
    /// Line of the file, from 1.
    pub(super) line: usize,
    /// Lists and mappings inside each other, this one included; 0 for a scalar.
    pub(super) depth: usize,
    /// Bytes of text plus the overhead of each value, aliases expanded; saturates.
    pub(super) weight: u64,
    pub(super) kind: Kind,
}

/// The kinds of JSON.
pub(super) enum Kind {
    Null,
    Bool(bool),
    /// A valid JSON number, as it will be written.
    Number(String),
    Text(String),
    List(Vec<Shared>),
    Map(Map),
}

/// A mapping as it is built.
pub(super) type Entries = BTreeMap<String, Shared>;

/// A mapping as it is kept: a list sorted by the bytes of its keys, since a tree per mapping costs several times that.
pub(super) struct Map(Box<[(Box<str>, Shared)]>);

impl Map {
    pub(super) fn new(entries: Entries) -> Self {
        Self(entries.into_iter().map(|(key, value)| (key.into_boxed_str(), value)).collect())
    }

    pub(super) fn get(&self, key: &str) -> Option<&Shared> {
        let i = self.0.binary_search_by(|(known, _)| (**known).cmp(key)).ok()?;
        self.0.get(i).map(|(_, value)| value)
    }

    pub(super) fn contains_key(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Shared)> {
        self.0.iter().map(|(key, value)| (&**key, value))
    }

    /// A copy to change; the values are shared.
    pub(super) fn to_entries(&self) -> Entries {
        self.iter().map(|(key, value)| (key.to_owned(), Shared::clone(value))).collect()
    }
}

impl Value {
    pub(super) fn new(line: usize, kind: Kind) -> Shared {
        let mut weight = WEIGHT_OVERHEAD;
        let mut below = 0;
        let mut add = |key: &str, child: &Value| {
            weight = weight.saturating_add(key.len() as u64).saturating_add(child.weight);
            below = below.max(child.depth);
        };
        let depth = match &kind {
            Kind::Null | Kind::Bool(_) => 0,
            Kind::Number(text) | Kind::Text(text) => {
                weight = weight.saturating_add(text.len() as u64);
                0
            }
            Kind::List(items) => {
                items.iter().for_each(|item| add("", item));
                below.saturating_add(1)
            }
            Kind::Map(map) => {
                map.iter().for_each(|(key, item)| add(key, item));
                below.saturating_add(1)
            }
        };
        Rc::new(Self { line, depth, weight, kind })
    }

    pub(super) fn as_map(&self) -> Option<&Map> {
        match &self.kind {
            Kind::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The kind, for an error; never the value itself.
    pub(super) fn describe(&self) -> &'static str {
        match self.kind {
            Kind::Null => "null",
            Kind::Bool(_) => "a boolean",
            Kind::Number(_) => "a number",
            Kind::Text(_) => "text",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a mapping",
        }
    }
}
