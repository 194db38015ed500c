//! The catalogue: all manifests of a snapshot as one stream, readable in parts.
//!
//! ```text
//! frame:     path_len u16 | path | json_len u32 | JSON            rising by path
//! contents:  count u32 | { path_len u16 | path | frame_len u32 } ...
//! end:       offset of the contents, u64
//! ```
//! The stream is cut into chunks like any other; its contents name lengths and not offsets, so
//! that one object's growth leaves the rest as it was.

use crate::fields::Fields;
use crate::{Error, Result, limits};
use std::ops::Range;

const WHAT: &str = "catalogue";
/// Bytes of the offset that ends the stream.
pub const END_LEN: usize = 8;
/// Longest JSON of one object; API servers stop far below.
pub const JSON_LEN_MAX: u64 = 16 << 20;
/// Longest table of contents.
pub const CONTENTS_LEN_MAX: u64 = 256 << 20;
/// A frame beside its path and JSON.
const FRAME_OVERHEAD_LEN: u64 = 2 + 4;
/// A row of the contents beside its path.
const ROW_OVERHEAD_LEN: u64 = 2 + 4;
/// `group/kind/namespace/name`.
const PATH_SLASH_COUNT: usize = 3;

/// Refuses what is no path of an object.
fn check_path(path: &str) -> Result<()> {
    Error::check_limit("path in the catalogue", path.len() as u64, limits::NAME_LEN_MAX)?;
    let mut parts = path.split('/');
    let (_group, kind, _namespace, name) = (parts.next(), parts.next(), parts.next(), parts.next());
    let slashes = path.bytes().filter(|byte| *byte == b'/').count();
    if slashes != PATH_SLASH_COUNT || kind.is_none_or(str::is_empty) || name.is_none_or(str::is_empty) {
        return Err(Error::Rule { what: "path in the catalogue", rule: "is not group/kind/namespace/name" });
    }
    Ok(())
}

/// Writes a catalogue frame by frame; only the contents stay in memory.
#[derive(Debug, Clone, Default)]
pub struct CatalogueWriter {
    contents: Vec<u8>,
    count: u32,
    offset: u64,
    last_path: String,
}

impl CatalogueWriter {
    /// An empty catalogue.
    pub fn new() -> Self {
        Self::default()
    }

    /// Objects so far.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Appends one object's frame to `out`. Paths (`group/kind/namespace/name`, at most 1024 B)
    /// come in strictly rising byte order.
    pub fn push(&mut self, path: &str, json: &[u8], out: &mut Vec<u8>) -> Result<()> {
        check_path(path)?;
        Error::check_limit("manifest", json.len() as u64, JSON_LEN_MAX)?;
        if self.count > 0 && path <= self.last_path.as_str() {
            return Err(Error::Invalid { what: WHAT, rule: "paths do not rise" });
        }
        let contents_len = self.contents.len() as u64 + path.len() as u64 + ROW_OVERHEAD_LEN + 4;
        Error::check_limit("contents of the catalogue", contents_len, CONTENTS_LEN_MAX)?;
        let path_len = (path.len() as u16).to_le_bytes();
        let frame_len = FRAME_OVERHEAD_LEN + path.len() as u64 + json.len() as u64;
        out.extend_from_slice(&path_len);
        out.extend_from_slice(path.as_bytes());
        out.extend_from_slice(&(json.len() as u32).to_le_bytes());
        out.extend_from_slice(json);
        self.contents.extend_from_slice(&path_len);
        self.contents.extend_from_slice(path.as_bytes());
        self.contents.extend_from_slice(&(frame_len as u32).to_le_bytes());
        self.count += 1;
        self.offset += frame_len;
        self.last_path = path.to_owned();
        Ok(())
    }

    /// Appends the contents and their offset, which end the stream.
    pub fn finish(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&self.contents);
        out.extend_from_slice(&self.offset.to_le_bytes());
    }
}

/// An object as the contents name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogueEntry {
    /// `group/kind/namespace/name`; the core group and cluster scope are empty.
    pub path: String,
    /// Where its frame begins in the stream.
    pub offset: u64,
    /// Bytes of its frame.
    pub frame_len: u32,
}

impl CatalogueEntry {
    /// The frame's bytes within the stream.
    pub fn range(&self) -> Range<u64> {
        self.offset..self.offset.saturating_add(self.frame_len.into())
    }
}

/// Where the contents lie in a stream of `stream_len` bytes that ends with `end`.
pub fn contents_range(stream_len: u64, end: [u8; END_LEN]) -> Result<Range<u64>> {
    let offset = u64::from_le_bytes(end);
    let least = 4 + END_LEN as u64;
    let short = Error::Truncated { what: WHAT, found: stream_len, expected: least };
    let contents_end = stream_len.checked_sub(END_LEN as u64).ok_or(short.clone())?;
    Error::check_limit("offset of the contents", offset, contents_end.checked_sub(4).ok_or(short)?)?;
    Error::check_limit("contents of the catalogue", contents_end - offset, CONTENTS_LEN_MAX)?;
    Ok(offset..contents_end)
}

/// Reads the contents, which begin at `offset` of the stream: all objects, rising by path.
pub fn parse_contents(bytes: &[u8], offset: u64) -> Result<Vec<CatalogueEntry>> {
    let mut fields = Fields::new("contents of the catalogue", bytes);
    let count = fields.u32()?;
    fields.check_room(count.into(), ROW_OVERHEAD_LEN)?;
    let mut entries: Vec<CatalogueEntry> = Vec::new();
    let mut at = 0u64;
    for _ in 0..count {
        let path = parse_path(&mut fields)?;
        let frame_len = fields.u32()?;
        if entries.last().is_some_and(|last| last.path.as_str() >= path) {
            return Err(Error::Rule { what: WHAT, rule: "paths do not rise" });
        }
        let frame_len_min = FRAME_OVERHEAD_LEN + path.len() as u64;
        let json_len = u64::from(frame_len).checked_sub(frame_len_min).ok_or(Error::Truncated {
            what: "frame of the catalogue",
            found: frame_len.into(),
            expected: frame_len_min,
        })?;
        Error::check_limit("manifest", json_len, JSON_LEN_MAX)?;
        entries.push(CatalogueEntry { path: path.to_owned(), offset: at, frame_len });
        at = at.saturating_add(frame_len.into());
    }
    fields.finish()?;
    if at != offset {
        return Err(Error::Unexpected {
            what: "length of all frames of the catalogue",
            found: at.to_string(),
            expected: offset.to_string(),
        });
    }
    Ok(entries)
}

/// The JSON of one object from the bytes of its frame.
pub fn parse_frame<'a>(frame: &'a [u8], entry: &CatalogueEntry) -> Result<&'a [u8]> {
    let mut fields = Fields::new("frame of the catalogue", frame);
    if parse_path(&mut fields)? != entry.path {
        return Err(Error::Mismatch { what: "path of a frame and of the contents" });
    }
    let json_len = fields.u32()?;
    let json = fields.take(json_len as usize)?;
    fields.finish()?;
    Ok(json)
}

fn parse_path<'a>(fields: &mut Fields<'a>) -> Result<&'a str> {
    let len = fields.u16()?;
    let path = std::str::from_utf8(fields.take(len.into())?)
        .map_err(|_| Error::Rule { what: "path in the catalogue", rule: "is not UTF-8" })?;
    check_path(path)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn write(objects: &BTreeMap<String, Vec<u8>>) -> Vec<u8> {
        let (mut writer, mut out) = (CatalogueWriter::new(), Vec::new());
        for (path, json) in objects {
            writer.push(path, json, &mut out).unwrap();
        }
        assert_eq!(writer.count() as usize, objects.len());
        writer.finish(&mut out);
        out
    }

    fn contents(stream: &[u8]) -> Result<Vec<CatalogueEntry>> {
        let end = *stream.last_chunk().ok_or(Error::Trailing { what: "test" })?;
        let range = contents_range(stream.len() as u64, end)?;
        parse_contents(&stream[range.start as usize..range.end as usize], range.start)
    }

    fn read(stream: &[u8]) -> Result<BTreeMap<String, Vec<u8>>> {
        let object = |entry: CatalogueEntry| {
            let range = entry.range();
            let json = parse_frame(&stream[range.start as usize..range.end as usize], &entry)?;
            Ok((entry.path, json.to_vec()))
        };
        contents(stream)?.into_iter().map(object).collect()
    }

    fn shop() -> BTreeMap<String, Vec<u8>> {
        let paths = ["/Namespace//shop", "/Secret/shop/db", "/Secret/shop-a/db", "apps/Deployment/shop/web"];
        paths.iter().map(|path| ((*path).to_owned(), format!("{{\"at\":\"{path}\"}}").into_bytes())).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn round_trips(objects in prop::collection::btree_map(
            "[a-z.]{0,9}/[A-Z][a-z]{0,9}/[a-z-]{0,9}/[a-z:ä]{1,9}", prop::collection::vec(any::<u8>(), 0..200), 0..40)) {
            prop_assert_eq!(read(&write(&objects)), Ok(objects));
        }

        #[test]
        fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..100), offset in 0u64..200) {
            let _ = contents(&bytes);
            let _ = parse_contents(&bytes, offset);
            let entry = CatalogueEntry { path: "/a//b".into(), offset, frame_len: 5 };
            let _ = parse_frame(&bytes, &entry);
        }
    }

    #[test]
    fn golden_catalogue() {
        golden::check("catalogue", &write(&shop()));
        assert_eq!(read(&golden::read("catalogue")), Ok(shop()));
    }

    #[test]
    fn every_flip_and_cut_of_the_structure_is_found_or_harmless() {
        let stream = write(&shop());
        for bit in 0..stream.len() * 8 {
            let mut flipped = stream.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            // Ids guard the bytes; here it is enough that nothing panics and shape is kept.
            if let Ok(objects) = read(&flipped) {
                assert_eq!(objects.len(), 4, "bit {bit}");
            }
        }
        for len in 0..stream.len() {
            assert!(read(&stream[..len]).is_err(), "cut at {len}");
        }
    }

    #[test]
    fn writers_refuse_what_readers_would() {
        let mut out = Vec::new();
        for path in ["", "a/b/c", "a//c/d", "a/b/c/", "a/b/c/d/e", &format!("a/b/c/{}", "d".repeat(1024))] {
            assert!(CatalogueWriter::new().push(path, b"{}", &mut out).is_err(), "{path}");
        }
        let mut writer = CatalogueWriter::new();
        writer.push("/b//b", b"{}", &mut out).unwrap();
        assert!(writer.push("/b//b", b"{}", &mut out).is_err());
        assert!(writer.push("/b//a", b"{}", &mut out).is_err());
        let twice = [&2u32.to_le_bytes()[..], &b"\x05\x00/b//b\x0b\x00\x00\x00".repeat(2)].concat();
        assert!(parse_contents(&twice, 22).is_err());
        assert!(contents_range(11, [0; 8]).is_err());
        assert_eq!(contents_range(12, [0; 8]), Ok(0..4));
        assert!(contents_range(12, [1, 0, 0, 0, 0, 0, 0, 0]).is_err());
        assert!(contents_range(u64::MAX, [0; 8]).is_err());
    }
}
