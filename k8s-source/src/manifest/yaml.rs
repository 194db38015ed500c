//! YAML documents, from a parser's events to value trees.

use std::collections::{BTreeMap, BTreeSet};

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};

use super::error::{File, line_of};
use super::scalar::{Scalar, resolve};
use super::value::{Entries, Kind, Map, Shared, Value};
use super::{Limits, ManifestError};

/// What the event parser allows; [`Limits::depth`] is checked first up to here.
pub(super) const PARSER_DEPTH: usize = 200;

const TAG_PREFIX: &str = "tag:yaml.org,2002:";

/// Reads all documents and hands each to `take`; empty ones and those that are null are left out.
pub(super) fn documents(
    file: &File<'_>,
    text: &str,
    limits: &Limits,
    take: &mut dyn FnMut(&Shared) -> Result<(), ManifestError>,
) -> Result<(), ManifestError> {
    refuse_control_characters(file, text)?;
    let mut options = granit_parser::options! {
        flow_nesting_limit: PARSER_DEPTH,
        block_nesting_limit: PARSER_DEPTH,
    };
    options.set_emit_comments(false);
    let events = Parser::new_from_str_with_options(text, options);
    let mut reader =
        Reader { file, limits, events, anchors: BTreeMap::new(), alias_weight: 0, values: 0, line: 1 };
    while let Some((event, span)) = reader.next()? {
        match event {
            Event::DocumentStart(..) => {
                reader.anchors.clear();
                reader.alias_weight = 0;
                reader.values = 0;
            }
            Event::StreamStart | Event::DocumentEnd => {}
            Event::StreamEnd => break,
            event => {
                let document = reader.node(event, span, 0)?;
                if !matches!(document.kind, Kind::Null) {
                    take(&document)?;
                }
            }
        }
    }
    Ok(())
}

/// YAML's set of characters, which also keeps NUL from ending the text early.
fn refuse_control_characters(file: &File<'_>, text: &str) -> Result<(), ManifestError> {
    let bad = |c: char| match c {
        '\t' | '\n' | '\r' | '\u{85}' => false,
        other => other.is_control() || matches!(other, '\u{fffe}' | '\u{ffff}'),
    };
    match text.char_indices().find(|(_, c)| bad(*c)) {
        Some((i, c)) => {
            let line = line_of(text.as_bytes().get(..i).unwrap_or_default());
            Err(file.syntax(line, "YAML", format!("control character U+{:04X}", u32::from(c))))
        }
        None => Ok(()),
    }
}

struct Reader<'a> {
    file: &'a File<'a>,
    limits: &'a Limits,
    events: Parser<'a, StrInput<'a>>,
    anchors: BTreeMap<usize, Shared>,
    alias_weight: u64,
    /// Of the document so far.
    values: u64,
    /// Of the last event.
    line: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<Option<(Event<'a>, Span)>, ManifestError> {
        match self.events.next_event() {
            Some(Ok((event, span))) => {
                self.line = span.start.line().max(1);
                Ok(Some((event, span)))
            }
            Some(Err(error)) => Err(self.syntax(&error)),
            None => Ok(None),
        }
    }

    fn syntax(&self, error: &ScanError) -> ManifestError {
        self.file.syntax(error.marker().line().max(1), "YAML", error.info())
    }

    fn node_event(&mut self) -> Result<(Event<'a>, Span), ManifestError> {
        let line = self.line;
        self.next()?.ok_or_else(|| self.file.syntax(line, "YAML", "the text ends inside a value".to_owned()))
    }

    /// The node that `event` starts, `level` collections deep.
    fn node(&mut self, event: Event<'a>, span: Span, level: usize) -> Result<Shared, ManifestError> {
        let line = span.start.line().max(1);
        self.values = self.values.saturating_add(1);
        self.file.count(line, self.values, self.limits)?;
        match event {
            Event::Alias(id) => self.alias(id, line, level),
            Event::Scalar(text, style, anchor, tag) => {
                let scalar = self.scalar(&text, style, tag.as_deref(), line)?;
                let kind = scalar.into_kind().ok_or_else(|| {
                    self.file.invalid(line, "infinity or NaN", "a number that JSON can hold")
                })?;
                Ok(self.anchored(anchor, Value::new(line, kind)))
            }
            Event::SequenceStart(_, anchor, _) => {
                let level = self.deeper(level, 1, line)?;
                let mut items = Vec::new();
                loop {
                    match self.node_event()? {
                        (Event::SequenceEnd, _) => break,
                        (event, span) => items.push(self.node(event, span, level)?),
                    }
                }
                Ok(self.anchored(anchor, Value::new(line, Kind::List(items))))
            }
            Event::MappingStart(_, anchor, _) => {
                let level = self.deeper(level, 1, line)?;
                let map = self.mapping(level)?;
                Ok(self.anchored(anchor, Value::new(line, Kind::Map(map))))
            }
            _ => Err(self.file.syntax(line, "YAML", "a value is missing".to_owned())),
        }
    }

    fn anchored(&mut self, anchor: usize, value: Shared) -> Shared {
        if anchor != 0 {
            self.anchors.insert(anchor, Shared::clone(&value));
        }
        value
    }

    fn deeper(&self, level: usize, by: usize, line: usize) -> Result<usize, ManifestError> {
        let (found, allowed) = (level.saturating_add(by), self.limits.depth);
        if found > allowed {
            return Err(self.file.limit(
                line,
                "lists and mappings inside each other",
                found as u64,
                allowed as u64,
            ));
        }
        Ok(found)
    }

    fn alias(&mut self, id: usize, line: usize, level: usize) -> Result<Shared, ManifestError> {
        let Some(target) = self.anchors.get(&id).map(Shared::clone) else {
            return Err(self.file.invalid(
                line,
                "an alias inside the value that it names",
                "an anchor that ends before",
            ));
        };
        self.deeper(level, target.depth, line)?;
        self.alias_weight = self.alias_weight.saturating_add(target.weight);
        if self.alias_weight > self.limits.alias_bytes {
            let what = "bytes that aliases add to a document";
            return Err(self.file.limit(line, what, self.alias_weight, self.limits.alias_bytes));
        }
        Ok(target)
    }

    /// Reads entries up to the end of the mapping. As in go-yaml v2, `<<` takes effect where it stands: what comes
    /// later wins, be it merged or written; only a key written twice is an error.
    fn mapping(&mut self, level: usize) -> Result<Map, ManifestError> {
        let mut map = Entries::new();
        let mut written = BTreeSet::new();
        let mut merges = false;
        loop {
            let (event, span) = self.node_event()?;
            let line = span.start.line().max(1);
            if matches!(event, Event::MappingEnd) {
                return Ok(Map::new(map));
            }
            if is_merge(&event) {
                if !merges {
                    merges = true;
                    written.extend(map.keys().cloned());
                }
                self.merge(&mut map, level)?;
                continue;
            }
            let key = self.key(event, line)?;
            let twice = if merges { !written.insert(key.clone()) } else { map.contains_key(&key) };
            if twice {
                return Err(self.file.duplicate_key(line, &key));
            }
            let (event, span) = self.node_event()?;
            map.insert(key, self.node(event, span, level)?);
        }
    }

    fn key(&mut self, event: Event<'a>, line: usize) -> Result<String, ManifestError> {
        const EXPECTED: &str = "a key that is text, a number or a boolean";
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let scalar = self.scalar(&text, style, tag.as_deref(), line)?;
                if anchor != 0 {
                    let kind = scalar.clone().into_kind().unwrap_or(Kind::Null);
                    self.anchored(anchor, Value::new(line, kind));
                }
                let found =
                    if scalar == Scalar::Null { "null as a key" } else { "a number above 64 bits as a key" };
                scalar.into_key().ok_or_else(|| self.file.invalid(line, found, EXPECTED))
            }
            Event::Alias(id) => match &self.alias(id, line, 0)?.kind {
                Kind::Text(text) => Ok(text.clone()),
                Kind::Bool(value) => Ok(value.to_string()),
                _ => Err(self.file.invalid(line, "an alias as a key", "one that names text")),
            },
            Event::SequenceStart(..) => Err(self.file.invalid(line, "a list as a key", EXPECTED)),
            _ => Err(self.file.invalid(line, "a mapping as a key", EXPECTED)),
        }
    }

    fn merge(&mut self, map: &mut Entries, level: usize) -> Result<(), ManifestError> {
        let (event, span) = self.node_event()?;
        let value = self.node(event, span, level)?;
        let sources: Vec<&Shared> = match &value.kind {
            // The first of a list wins, so it comes last.
            Kind::List(items) => items.iter().rev().collect(),
            _ => vec![&value],
        };
        for source in sources {
            let Some(entries) = source.as_map() else {
                return Err(self.file.invalid(
                    source.line,
                    "a merge of something else",
                    "a mapping or a list of mappings",
                ));
            };
            map.extend(entries.iter().map(|(key, value)| (key.to_owned(), Shared::clone(value))));
        }
        Ok(())
    }

    fn scalar(
        &self,
        text: &str,
        style: ScalarStyle,
        tag: Option<&Tag>,
        line: usize,
    ) -> Result<Scalar, ManifestError> {
        let plain = style == ScalarStyle::Plain;
        let Some(tag) = tag.and_then(|tag| tag.suffix_in_namespace(TAG_PREFIX)) else {
            // `!` alone says "not plain" in YAML 1.2 and nothing in go-yaml; tags of applications make text.
            let own = tag.is_some_and(|tag| !(tag.suffix() == "!" || tag.suffix().is_empty()));
            return Ok(if plain && !own { resolve(text) } else { Scalar::Text(text.to_owned()) });
        };
        let resolved = match (tag.as_ref(), resolve(text)) {
            ("int", value @ Scalar::Int(_))
            | ("float", value @ Scalar::Float(_))
            | ("bool", value @ Scalar::Bool(_))
            | ("null", value @ Scalar::Null) => Some(value),
            #[allow(clippy::cast_precision_loss)] // what the tag asks for
            ("float", Scalar::Int(value)) if i64::try_from(value).is_ok() => {
                Some(Scalar::Float(value as f64))
            }
            ("int" | "float" | "bool" | "null", _) => None,
            ("binary", _) => binary(text).map(Scalar::Text),
            _ => Some(Scalar::Text(text.to_owned())),
        };
        resolved.ok_or_else(|| {
            self.file.invalid(line, format!("a value that is no !!{tag}"), "what its tag says")
        })
    }
}

fn is_merge(event: &Event<'_>) -> bool {
    match event {
        Event::Scalar(text, style, _, tag) if text == "<<" => match tag {
            None => *style == ScalarStyle::Plain,
            Some(tag) => tag.suffix_in_namespace(TAG_PREFIX).is_some_and(|tag| tag == "merge"),
        },
        _ => false,
    }
}

/// The text inside `!!binary`; `None` if it is no base64 or no UTF-8, which JSON could not hold.
fn binary(text: &str) -> Option<String> {
    let packed: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    let bytes = data_encoding::BASE64.decode(packed.as_bytes()).ok()?;
    String::from_utf8(bytes).ok()
}
