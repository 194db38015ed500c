//! Canonical JSON: keys sorted by bytes, no white space, only the escapes that RFC 8259 requires.

use super::value::{Kind, Map, Value};

/// Encodes a mapping.
///
/// # Errors
/// The length that it would have, if that is more than `limit`: no more than `limit` bytes are ever kept.
pub(super) fn encode(map: &Map, limit: u64) -> Result<Vec<u8>, u64> {
    let mut out = Out { bytes: Vec::new(), len: 0, limit };
    out.map(map);
    if out.len > limit { Err(out.len) } else { Ok(out.bytes) }
}

struct Out {
    bytes: Vec<u8>,
    len: u64,
    limit: u64,
}

impl Out {
    fn put(&mut self, bytes: &[u8]) {
        self.len = self.len.saturating_add(bytes.len() as u64);
        if self.len <= self.limit {
            self.bytes.extend_from_slice(bytes);
        }
    }

    fn value(&mut self, value: &Value) {
        match &value.kind {
            Kind::Null => self.put(b"null"),
            Kind::Bool(true) => self.put(b"true"),
            Kind::Bool(false) => self.put(b"false"),
            Kind::Number(text) => self.put(text.as_bytes()),
            Kind::Text(text) => self.text(text),
            Kind::List(items) => {
                self.put(b"[");
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        self.put(b",");
                    }
                    self.value(item);
                }
                self.put(b"]");
            }
            Kind::Map(map) => self.map(map),
        }
    }

    fn map(&mut self, map: &Map) {
        self.put(b"{");
        for (i, (key, value)) in map.iter().enumerate() {
            if i > 0 {
                self.put(b",");
            }
            self.text(key);
            self.put(b":");
            self.value(value);
        }
        self.put(b"}");
    }

    fn text(&mut self, text: &str) {
        self.put(b"\"");
        let mut rest = text;
        while let Some(i) = rest.find(|c: char| c < ' ' || c == '"' || c == '\\') {
            let (plain, tail) = rest.split_at(i);
            self.put(plain.as_bytes());
            let mut tail = tail.chars();
            match tail.next() {
                Some('"') => self.put(b"\\\""),
                Some('\\') => self.put(b"\\\\"),
                Some('\u{8}') => self.put(b"\\b"),
                Some('\u{c}') => self.put(b"\\f"),
                Some('\n') => self.put(b"\\n"),
                Some('\r') => self.put(b"\\r"),
                Some('\t') => self.put(b"\\t"),
                Some(other) => self.put(format!("\\u{:04x}", u32::from(other)).as_bytes()),
                None => {}
            }
            rest = tail.as_str();
        }
        self.put(rest.as_bytes());
        self.put(b"\"");
    }
}
