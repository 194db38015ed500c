//! Deterministic CBOR (RFC 8949 section 4.2), the subset that orlop uses.
//!
//! Unsigned integers, byte and text strings, arrays, maps with text keys, booleans. No floats,
//! tags, indefinite lengths, nulls or duplicate keys; the shortest form of every number; keys in
//! the order of their encoded bytes. What differs is refused, so equal values have equal bytes.

use crate::{Error, Result, limits};

/// A parsed document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// 0 to 2^64 - 1.
    Uint(u64),
    /// A byte string.
    Bytes(Vec<u8>),
    /// A text string.
    Text(String),
    /// An array.
    Array(Vec<Value>),
    /// A map, keys in canonical order once encoded.
    Map(Map),
    /// True or false.
    Bool(bool),
}

/// A map with text keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Map(Vec<(String, Value)>);

/// Where an encoded text key sorts: by length, then by bytes (true of canonical heads).
fn key_order(a: &str, b: &str) -> std::cmp::Ordering {
    (a.len(), a.as_bytes()).cmp(&(b.len(), b.as_bytes()))
}

impl Map {
    /// An empty map.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a key; an earlier value is replaced.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) -> &mut Self {
        let value = value.into();
        match self.0.binary_search_by(|(k, _)| key_order(k, key)) {
            Ok(at) => {
                if let Some(slot) = self.0.get_mut(at) {
                    slot.1 = value;
                }
            }
            Err(at) => self.0.insert(at, (key.to_owned(), value)),
        }
        self
    }

    /// Sets a key only where there is a value: absent means omitted.
    pub fn set_opt<T: Into<Value>>(&mut self, key: &str, value: Option<T>) -> &mut Self {
        if let Some(value) = value {
            self.set(key, value);
        }
        self
    }

    /// Takes a key out.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        let at = self.0.binary_search_by(|(k, _)| key_order(k, key)).ok()?;
        Some(self.0.remove(at).1)
    }

    /// Keys and values in canonical order.
    pub fn entries(&self) -> &[(String, Value)] {
        &self.0
    }

    /// Refuses what nobody took: for documents whose keys are all known.
    pub fn finish(self, what: &'static str) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(Error::Rule { what, rule: "unknown field" }) }
    }

    fn need(&mut self, key: &'static str) -> Result<Value> {
        self.remove(key).ok_or(Error::Rule { what: key, rule: "field is missing" })
    }

    /// Takes a required unsigned integer.
    pub fn uint(&mut self, key: &'static str) -> Result<u64> {
        self.need(key)?.into_uint(key)
    }

    /// Takes a required unsigned integer of a smaller type.
    pub fn small<T: TryFrom<u64>>(&mut self, key: &'static str) -> Result<T> {
        let found = self.uint(key)?;
        let limit = (1u128 << (8 * size_of::<T>())).saturating_sub(1).min(u128::from(u64::MAX)) as u64;
        T::try_from(found).map_err(|_| Error::TooLarge { what: key, found, limit })
    }

    /// Takes a required byte string.
    pub fn bytes(&mut self, key: &'static str) -> Result<Vec<u8>> {
        self.need(key)?.into_bytes(key)
    }

    /// Takes a required byte string of exactly `N` bytes.
    pub fn array<const N: usize>(&mut self, key: &'static str) -> Result<[u8; N]> {
        self.need(key)?.into_byte_array(key)
    }

    /// Takes a required text of at most [`limits::NAME_LEN_MAX`] bytes.
    pub fn text(&mut self, key: &'static str) -> Result<String> {
        self.need(key)?.into_text(key)
    }

    /// Takes a required array.
    pub fn list(&mut self, key: &'static str) -> Result<Vec<Value>> {
        self.need(key)?.into_list(key)
    }

    /// Takes a required map.
    pub fn map(&mut self, key: &'static str) -> Result<Map> {
        self.need(key)?.into_map(key)
    }

    /// Takes an optional value and converts it.
    pub fn opt<T>(
        &mut self,
        key: &'static str,
        convert: impl FnOnce(Value, &'static str) -> Result<T>,
    ) -> Result<Option<T>> {
        self.remove(key).map(|value| convert(value, key)).transpose()
    }
}

macro_rules! into_variant {
    ($(#[$doc:meta])* $name:ident, $variant:ident, $out:ty, $expected:literal) => {
        $(#[$doc])*
        pub fn $name(self, what: &'static str) -> Result<$out> {
            match self {
                Value::$variant(inner) => Ok(inner),
                other => Err(other.unexpected(what, $expected)),
            }
        }
    };
}

impl Value {
    into_variant!(
        /// The integer, or an error that names `what`.
        into_uint, Uint, u64, "an unsigned integer"
    );
    into_variant!(
        /// The byte string, or an error that names `what`.
        into_bytes, Bytes, Vec<u8>, "a byte string"
    );
    into_variant!(
        /// The array, or an error that names `what`.
        into_list, Array, Vec<Value>, "an array"
    );
    into_variant!(
        /// The map, or an error that names `what`.
        into_map, Map, Map, "a map"
    );
    into_variant!(
        /// The boolean, or an error that names `what`.
        into_bool, Bool, bool, "a boolean"
    );

    /// The text, at most [`limits::NAME_LEN_MAX`] bytes, or an error that names `what`.
    pub fn into_text(self, what: &'static str) -> Result<String> {
        match self {
            Value::Text(text) => {
                Error::check_limit(what, text.len() as u64, limits::NAME_LEN_MAX)?;
                Ok(text)
            }
            other => Err(other.unexpected(what, "a text")),
        }
    }

    /// The byte string of exactly `N` bytes, or an error that names `what`.
    pub fn into_byte_array<const N: usize>(self, what: &'static str) -> Result<[u8; N]> {
        let bytes = self.into_bytes(what)?;
        <[u8; N]>::try_from(bytes.as_slice()).map_err(|_| Error::Unexpected {
            what,
            found: format!("{} bytes", bytes.len()),
            expected: format!("{N} bytes"),
        })
    }

    fn unexpected(&self, what: &'static str, expected: &'static str) -> Error {
        let found = match self {
            Value::Uint(_) => "an unsigned integer",
            Value::Bytes(_) => "a byte string",
            Value::Text(_) => "a text",
            Value::Array(_) => "an array",
            Value::Map(_) => "a map",
            Value::Bool(_) => "a boolean",
        };
        Error::Unexpected { what, found: found.into(), expected: expected.into() }
    }

    /// Encodes deterministically.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode_into(&mut out);
        out
    }

    /// Appends the encoding: for secrets, into a buffer that need not grow.
    pub(crate) fn encode_into(&self, out: &mut Vec<u8>) {
        match self {
            Value::Uint(n) => write_head(out, 0, *n),
            Value::Bytes(bytes) => {
                write_head(out, 2, bytes.len() as u64);
                out.extend_from_slice(bytes);
            }
            Value::Text(text) => {
                write_head(out, 3, text.len() as u64);
                out.extend_from_slice(text.as_bytes());
            }
            Value::Array(items) => {
                write_head(out, 4, items.len() as u64);
                items.iter().for_each(|item| item.encode_into(out));
            }
            Value::Map(Map(entries)) => {
                write_head(out, 5, entries.len() as u64);
                for (key, value) in entries {
                    write_head(out, 3, key.len() as u64);
                    out.extend_from_slice(key.as_bytes());
                    value.encode_into(out);
                }
            }
            Value::Bool(flag) => out.push(0xf4 | u8::from(*flag)),
        }
    }

    /// Parses one document that fills `bytes`.
    pub fn parse(bytes: &[u8]) -> Result<Value> {
        let mut reader = Reader { rest: bytes, items_left: limits::CBOR_ITEM_COUNT_MAX };
        let value = reader.value(0)?;
        if reader.rest.is_empty() { Ok(value) } else { Err(Error::Trailing { what: "CBOR" }) }
    }
}

/// Wipes strings, so that parsed key bundles leave nothing behind.
impl zeroize::Zeroize for Value {
    fn zeroize(&mut self) {
        match self {
            Value::Uint(n) => n.zeroize(),
            Value::Bytes(bytes) => bytes.zeroize(),
            Value::Text(text) => text.zeroize(),
            Value::Array(items) => items.iter_mut().for_each(Self::zeroize),
            Value::Map(map) => map.zeroize(),
            Value::Bool(flag) => flag.zeroize(),
        }
    }
}
impl zeroize::Zeroize for Map {
    fn zeroize(&mut self) {
        self.0.iter_mut().for_each(|(_, value)| value.zeroize());
    }
}

impl From<u64> for Value {
    fn from(n: u64) -> Self {
        Value::Uint(n)
    }
}
impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(text.to_owned())
    }
}
impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Text(text)
    }
}
impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Value::Bytes(bytes)
    }
}
impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Value::Bytes(bytes.to_vec())
    }
}
impl<const N: usize> From<&[u8; N]> for Value {
    fn from(bytes: &[u8; N]) -> Self {
        Value::Bytes(bytes.to_vec())
    }
}
impl From<Vec<Value>> for Value {
    fn from(items: Vec<Value>) -> Self {
        Value::Array(items)
    }
}
impl From<Map> for Value {
    fn from(map: Map) -> Self {
        Value::Map(map)
    }
}
impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Value::Bool(flag)
    }
}

fn write_head(out: &mut Vec<u8>, major: u8, n: u64) {
    let major = major << 5;
    if n < 24 {
        out.push(major | n as u8);
    } else if n <= 0xff {
        out.extend_from_slice(&[major | 24, n as u8]);
    } else if n <= 0xffff {
        out.push(major | 25);
        out.extend_from_slice(&(n as u16).to_be_bytes());
    } else if n <= 0xffff_ffff {
        out.push(major | 26);
        out.extend_from_slice(&(n as u32).to_be_bytes());
    } else {
        out.push(major | 27);
        out.extend_from_slice(&n.to_be_bytes());
    }
}

struct Reader<'a> {
    rest: &'a [u8],
    items_left: u64,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: u64) -> Result<&'a [u8]> {
        let truncated = Error::Truncated { what: "CBOR", found: self.rest.len() as u64, expected: len };
        let len = usize::try_from(len).map_err(|_| truncated.clone())?;
        let (head, rest) = self.rest.split_at_checked(len).ok_or(truncated)?;
        self.rest = rest;
        Ok(head)
    }

    fn head(&mut self) -> Result<(u8, u64)> {
        let first = self.take(1)?[0];
        let (major, low) = (first >> 5, first & 31);
        let width = match low {
            0..=23 => return Ok((major, u64::from(low))),
            24..=27 => 1u64 << (low - 24),
            _ => return Err(Error::Rule { what: "CBOR", rule: "indefinite or reserved length" }),
        };
        let n = self.take(width)?.iter().fold(0u64, |n, byte| n << 8 | u64::from(*byte));
        let least = if width == 1 { 24 } else { 1u64 << (4 * width) };
        if n < least {
            return Err(Error::Rule { what: "CBOR", rule: "number is not in its shortest form" });
        }
        Ok((major, n))
    }

    fn count(&mut self, n: u64) -> Result<()> {
        self.items_left = self.items_left.checked_sub(n).ok_or(Error::TooLarge {
            what: "CBOR items",
            found: limits::CBOR_ITEM_COUNT_MAX.saturating_sub(self.items_left).saturating_add(n),
            limit: limits::CBOR_ITEM_COUNT_MAX,
        })?;
        Ok(())
    }

    fn text(&mut self, len: u64) -> Result<String> {
        let raw = self.take(len)?;
        match std::str::from_utf8(raw) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(Error::Rule { what: "CBOR", rule: "text is not UTF-8" }),
        }
    }

    fn value(&mut self, depth: u32) -> Result<Value> {
        Error::check_limit("CBOR depth", u64::from(depth), u64::from(limits::CBOR_DEPTH_MAX))?;
        let (major, n) = self.head()?;
        match major {
            0 => Ok(Value::Uint(n)),
            2 => Ok(Value::Bytes(self.take(n)?.to_vec())),
            3 => Ok(Value::Text(self.text(n)?)),
            4 => {
                self.count(n)?;
                let mut items = Vec::new();
                for _ in 0..n {
                    items.push(self.value(depth + 1)?);
                }
                Ok(Value::Array(items))
            }
            5 => {
                self.count(n.saturating_mul(2))?;
                self.entries(n, depth)
            }
            7 if n == 20 || n == 21 => Ok(Value::Bool(n == 21)),
            _ => Err(Error::Rule { what: "CBOR", rule: "negative number, tag, float, null or undefined" }),
        }
    }

    fn entries(&mut self, n: u64, depth: u32) -> Result<Value> {
        let mut entries: Vec<(String, Value)> = Vec::new();
        for _ in 0..n {
            let (major, len) = self.head()?;
            if major != 3 {
                return Err(Error::Rule { what: "CBOR", rule: "map key is not a text" });
            }
            let key = self.text(len)?;
            if entries.last().is_some_and(|(last, _)| key_order(last, &key).is_ge()) {
                return Err(Error::Rule { what: "CBOR", rule: "map keys are not in order or not unique" });
            }
            let value = self.value(depth + 1)?;
            entries.push((key, value));
        }
        Ok(Value::Map(Map(entries)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<u64>().prop_map(Value::Uint),
            any::<u8>().prop_map(|n| Value::Uint(u64::from(n))),
            any::<bool>().prop_map(Value::Bool),
            prop::collection::vec(any::<u8>(), 0..40).prop_map(Value::Bytes),
            "[a-zä]{0,30}".prop_map(Value::Text),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
                prop::collection::vec(("[a-z]{0,30}", inner), 0..6).prop_map(|pairs| {
                    let mut map = Map::new();
                    for (key, value) in pairs {
                        map.set(&key, value);
                    }
                    Value::Map(map)
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn round_trips(value in any_value()) {
            prop_assert_eq!(Value::parse(&value.encode()), Ok(value));
        }

        #[test]
        fn what_parses_is_canonical(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(value) = Value::parse(&bytes) {
                prop_assert_eq!(value.encode(), bytes);
            }
        }
    }

    #[test]
    fn refuses_what_is_not_canonical() {
        let cases: [&[u8]; 12] = [
            b"",
            b"\x18\x17",               // 23 in two bytes
            b"\x19\x00\xff",           // 255 in three
            b"\x20",                   // -1
            b"\x9f\xff",               // indefinite array
            b"\xf8\x14",               // false in two bytes
            b"\xf6",                   // null
            b"\xa2\x61b\x00\x61a\x00", // keys out of order
            b"\xa2\x61a\x00\x61a\x00", // duplicate
            b"\x00\x00",               // trailing
            b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\x5b\xff\xff\xff\xff\xff\xff\xff\xff",
        ];
        for case in cases {
            assert!(Value::parse(case).is_err(), "{case:x?}");
        }
        assert!(Value::parse(&[0x81; 40]).is_err(), "depth");
    }
}
