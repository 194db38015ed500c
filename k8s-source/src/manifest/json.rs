//! JSON documents, numbers verbatim, with the line of each value.

use super::error::{File, line_of};
use super::value::{Entries, Kind, Map, Shared, Value};
use super::{Limits, ManifestError};

/// Reads all documents and hands each to `take`: they follow each other directly or with lines of `---` between;
/// nulls are left out.
pub(super) fn documents(
    file: &File<'_>,
    text: &str,
    limits: &Limits,
    take: &mut dyn FnMut(&Shared) -> Result<(), ManifestError>,
) -> Result<(), ManifestError> {
    let mut reader = Reader { file, limits, text, offset: 0, counted: 0, line: 1, values: 0 };
    while reader.between_documents() {
        reader.values = 0;
        let document = reader.value(0)?;
        if !matches!(document.kind, Kind::Null) {
            take(&document)?;
        }
    }
    Ok(())
}

struct Reader<'a> {
    file: &'a File<'a>,
    limits: &'a Limits,
    text: &'a str,
    /// Of the next byte; at most the text's length and on a character's first byte.
    offset: usize,
    /// Lines are counted up to here.
    counted: usize,
    line: usize,
    /// Of the document so far.
    values: u64,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.offset..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.offset).copied()
    }

    fn skip(&mut self, bytes: usize) {
        self.offset = self.offset.saturating_add(bytes).min(self.text.len());
    }

    fn skip_space(&mut self) {
        let rest = self.rest();
        let space = rest.len().saturating_sub(rest.trim_start_matches([' ', '\t', '\r', '\n']).len());
        self.skip(space);
    }

    fn line(&mut self) -> usize {
        let new = self.text.as_bytes().get(self.counted..self.offset).unwrap_or_default();
        self.line = self.line.saturating_add(line_of(new)).saturating_sub(1);
        self.counted = self.offset;
        self.line
    }

    fn syntax<T>(&mut self, found: &str) -> Result<T, ManifestError> {
        let line = self.line();
        Err(self.file.syntax(line, "JSON", found.to_owned()))
    }

    /// Whether another document follows.
    fn between_documents(&mut self) -> bool {
        loop {
            self.skip_space();
            let separates =
                self.offset == 0 || self.text.as_bytes().get(self.offset.saturating_sub(1)) == Some(&b'\n');
            match self.rest().strip_prefix("---") {
                Some(after)
                    if separates && (after.is_empty() || after.starts_with([' ', '\t', '\r', '\n'])) =>
                {
                    self.skip(3)
                }
                _ => return self.offset < self.text.len(),
            }
        }
    }

    fn value(&mut self, level: usize) -> Result<Shared, ManifestError> {
        self.skip_space();
        let line = self.line();
        self.values = self.values.saturating_add(1);
        self.file.count(line, self.values, self.limits)?;
        let kind = match self.peek() {
            Some(b'{') => Kind::Map(self.map(level)?),
            Some(b'[') => Kind::List(self.list(level)?),
            Some(b'"') => Kind::Text(self.string()?),
            Some(b'-' | b'0'..=b'9') => Kind::Number(self.number()?),
            _ => self.word()?,
        };
        Ok(Value::new(line, kind))
    }

    fn word(&mut self) -> Result<Kind, ManifestError> {
        let rest = self.rest();
        let (len, kind) = if rest.starts_with("null") {
            (4, Kind::Null)
        } else if rest.starts_with("true") {
            (4, Kind::Bool(true))
        } else if rest.starts_with("false") {
            (5, Kind::Bool(false))
        } else if rest.is_empty() {
            return self.syntax("the text ends inside a value");
        } else {
            return self.syntax("a value is missing");
        };
        self.skip(len);
        Ok(kind)
    }

    fn deeper(&mut self, level: usize) -> Result<usize, ManifestError> {
        let (found, allowed) = (level.saturating_add(1), self.limits.depth.min(super::yaml::PARSER_DEPTH));
        if found > allowed {
            let line = self.line();
            return Err(self.file.limit(
                line,
                "lists and mappings inside each other",
                found as u64,
                allowed as u64,
            ));
        }
        self.skip(1);
        self.skip_space();
        Ok(found)
    }

    /// After an entry: whether another follows.
    fn another(&mut self, end: u8) -> Result<bool, ManifestError> {
        self.skip_space();
        match self.peek() {
            Some(b',') => {
                self.skip(1);
                self.skip_space();
                Ok(true)
            }
            Some(byte) if byte == end => {
                self.skip(1);
                Ok(false)
            }
            Some(_) => self.syntax("a comma or a closing bracket is missing"),
            None => self.syntax("the text ends inside a value"),
        }
    }

    fn list(&mut self, level: usize) -> Result<Vec<Shared>, ManifestError> {
        let level = self.deeper(level)?;
        let mut items = Vec::new();
        if self.peek() == Some(b']') {
            self.skip(1);
            return Ok(items);
        }
        loop {
            items.push(self.value(level)?);
            if !self.another(b']')? {
                return Ok(items);
            }
        }
    }

    fn map(&mut self, level: usize) -> Result<Map, ManifestError> {
        let level = self.deeper(level)?;
        let mut map = Entries::new();
        if self.peek() == Some(b'}') {
            self.skip(1);
            return Ok(Map::new(map));
        }
        loop {
            if self.peek() != Some(b'"') {
                return self.syntax("a key in double quotes is missing");
            }
            let line = self.line();
            let key = self.string()?;
            self.skip_space();
            if self.peek() != Some(b':') {
                return self.syntax("a colon is missing after a key");
            }
            self.skip(1);
            let value = self.value(level)?;
            if map.contains_key(&key) {
                return Err(self.file.duplicate_key(line, &key));
            }
            map.insert(key, value);
            if !self.another(b'}')? {
                return Ok(Map::new(map));
            }
        }
    }

    fn string(&mut self) -> Result<String, ManifestError> {
        self.skip(1);
        let mut out = String::new();
        loop {
            let rest = self.rest();
            let Some(plain) = rest.find(|c: char| c < ' ' || c == '"' || c == '\\') else {
                return self.syntax("a string without its closing quote");
            };
            out.push_str(rest.get(..plain).unwrap_or_default());
            self.skip(plain);
            match self.peek() {
                Some(b'"') => {
                    self.skip(1);
                    return Ok(out);
                }
                Some(b'\\') => out.push(self.escape()?),
                _ => return self.syntax("a control character in a string"),
            }
        }
    }

    fn escape(&mut self) -> Result<char, ManifestError> {
        self.skip(1);
        let short = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(),
            _ => return self.syntax("an unknown escape"),
        };
        self.skip(1);
        Ok(short)
    }

    fn unicode(&mut self) -> Result<char, ManifestError> {
        let first = self.hex()?;
        let code = match first {
            0xd800..=0xdbff if self.rest().starts_with("\\u") => {
                self.skip(1);
                let second = self.hex()?;
                match second {
                    0xdc00..=0xdfff => 0x1_0000 + ((first & 0x3ff) << 10) + (second & 0x3ff),
                    _ => return self.syntax("half of a surrogate pair"),
                }
            }
            _ => first,
        };
        match char::from_u32(code) {
            Some(c) => Ok(c),
            None => self.syntax("half of a surrogate pair"),
        }
    }

    /// `uXXXX`, the `u` included.
    fn hex(&mut self) -> Result<u32, ManifestError> {
        let digits = self.rest().get(1..5).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
        match digits.and_then(|d| u32::from_str_radix(d, 16).ok()) {
            Some(code) => {
                self.skip(5);
                Ok(code)
            }
            None => self.syntax("an escape without four hexadecimal digits"),
        }
    }

    fn number(&mut self) -> Result<String, ManifestError> {
        let rest = self.rest();
        let end =
            rest.find(|c: char| !matches!(c, '0'..='9' | '+' | '-' | '.' | 'e' | 'E')).unwrap_or(rest.len());
        let text = rest.get(..end).unwrap_or_default();
        if !is_number(text) {
            return self.syntax("a number that JSON does not know");
        }
        self.skip(end);
        Ok(text.to_owned())
    }
}

/// `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?`
fn is_number(text: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let text = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    digits(whole) && (whole == "0" || !whole.starts_with('0')) && digits(fraction) && digits(exponent)
}
