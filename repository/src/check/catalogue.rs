//! The manifests: that their stream parses, frame by frame.

use super::Check;
use super::objects::Finals;
use crate::error::Named;
use crate::reader::Reader;
use crate::{Error, Result};
use repo_format::catalogue::{CONTENTS_LEN_MAX, END_LEN, contents_range, parse_contents, parse_frame};
use repo_format::layout::ObjectName;
use repo_format::map::{Page, Place};
use repo_format::snapshot::CatalogueRoot;
use repo_format::{Id, SnapshotId};
use std::collections::HashSet;
use std::ops::Range;

/// Chunks read at a time: 4 MiB at their usual longest.
const BATCH_COUNT: usize = 16;

/// Parses the catalogue of each wanted snapshot that nothing was found to hurt.
pub(super) async fn check(
    check: &mut Check<'_>,
    reader: &Reader,
    finals: &Finals,
    wanted: &[usize],
) -> Result<()> {
    let mut done: HashSet<Id> = HashSet::new();
    for snapshot in wanted.iter().filter_map(|n| finals.snapshots.get(*n)) {
        let Some(root) = snapshot.catalogue else { continue };
        if check.findings.is_hurt(snapshot.sid) || done.contains(&root.root) {
            continue;
        }
        match parse(reader, snapshot.sid, &root).await {
            Ok(()) => drop(done.insert(root.root)),
            Err(error) if error.is_bad_copy() => {
                let object = named_object(&error);
                let finding = check.findings.add_error(object, "damaged", error)?;
                check.findings.hurt(finding, snapshot.sid);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn named_object(error: &Error) -> String {
    match error {
        Error::Format { object, .. } | Error::Damage { object, .. } => object.clone(),
        _ => String::new(),
    }
}

/// Contents first, then every frame in the order in which they lie.
async fn parse(reader: &Reader, sid: SnapshotId, root: &CatalogueRoot) -> Result<()> {
    let name = ObjectName::Snapshot(sid);
    let mut stream =
        Stream { reader, chunks: chunks(reader, sid, root).await?, buffer: Vec::new(), start: 0 };
    let end_start = root.size.saturating_sub(END_LEN as u64);
    let end = stream.bytes(end_start..root.size).await?;
    let end = <[u8; END_LEN]>::try_from(end).map_err(|_| Error::damage(name, "its catalogue has no end"))?;
    let range = contents_range(root.size, end).named(name)?;
    let entries = parse_contents(stream.bytes(range.clone()).await?, range.start).named(name)?;
    for entry in entries {
        parse_frame(stream.bytes(entry.range()).await?, &entry).named(name)?;
        reader.repository().exec().check_cancelled()?;
    }
    Ok(())
}

/// The chunks of the stream: where each ends, and its id.
async fn chunks(reader: &Reader, sid: SnapshotId, root: &CatalogueRoot) -> Result<Vec<(u64, Id)>> {
    let name = ObjectName::Snapshot(sid);
    let mut open = vec![(root.root, Place::stream_root(root.size).named(name)?)];
    let mut chunks: Vec<(u64, Id)> = Vec::new();
    while let Some((id, place)) = open.pop() {
        let pages = reader.pages(&[id]).await?;
        let page = pages.first().map(Vec::as_slice).unwrap_or_default();
        match place.parse(page).named(name)? {
            Page::Inner(children) => open.extend(children.iter().rev().map(|child| (child.id, child.place))),
            Page::Leaf(entries) => {
                for entry in entries {
                    let start = chunks.last().map_or(0, |(end, _)| *end);
                    chunks.push((start + u64::from(entry.len), entry.id.unwrap_or(Id::ZERO)));
                }
            }
        }
    }
    Ok(chunks)
}

/// A window that moves over the stream.
struct Stream<'a> {
    reader: &'a Reader,
    chunks: Vec<(u64, Id)>,
    /// Content from `start` on, whole chunks.
    buffer: Vec<u8>,
    start: u64,
}

impl Stream<'_> {
    /// Bytes of the stream, at most [`CONTENTS_LEN_MAX`].
    async fn bytes(&mut self, range: Range<u64>) -> Result<&[u8]> {
        let outside = || Error::damage("catalogue", "its frames are not those of its contents");
        let stream_len = self.chunks.last().map_or(0, |(end, _)| *end);
        let len = range.end.checked_sub(range.start).filter(|len| *len <= CONTENTS_LEN_MAX);
        if len.is_none() || range.end > stream_len {
            return Err(outside());
        }
        let buffer_end = self.start.saturating_add(self.buffer.len() as u64);
        let is_inside = range.start >= self.start && range.end <= buffer_end;
        if !is_inside {
            self.fill(&range, buffer_end).await?;
        }
        let from = range.start.checked_sub(self.start).and_then(|n| usize::try_from(n).ok());
        let to = range.end.checked_sub(self.start).and_then(|n| usize::try_from(n).ok());
        from.zip(to).and_then(|(from, to)| self.buffer.get(from..to)).ok_or_else(outside)
    }

    /// Makes the buffer cover `range`, which lies within the stream; what lies before it is dropped.
    async fn fill(&mut self, range: &Range<u64>, buffer_end: u64) -> Result<()> {
        if range.start < self.start || range.start > buffer_end {
            self.buffer.clear();
        }
        let first = if self.buffer.is_empty() {
            let first = self.chunks.partition_point(|(end, _)| *end <= range.start);
            self.start = self.chunk_start(first);
            first
        } else {
            let used = usize::try_from(range.start - self.start).unwrap_or(usize::MAX).min(self.buffer.len());
            self.buffer.drain(..used);
            self.start = range.start;
            self.chunks.partition_point(|(end, _)| *end <= buffer_end)
        };
        let last = self.chunks.partition_point(|(end, _)| *end < range.end).saturating_add(1);
        let ids: Vec<Id> = self
            .chunks
            .get(first..last.min(self.chunks.len()))
            .unwrap_or_default()
            .iter()
            .map(|(_, id)| *id)
            .collect();
        for batch in ids.chunks(BATCH_COUNT) {
            for chunk in self.reader.pages(batch).await? {
                self.buffer.extend_from_slice(&chunk);
            }
        }
        Ok(())
    }

    fn chunk_start(&self, n: usize) -> u64 {
        n.checked_sub(1).and_then(|before| self.chunks.get(before)).map_or(0, |(end, _)| *end)
    }
}
