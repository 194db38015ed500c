//! Maps of the volumes, built while packs are.

use super::plan::Spec;
use anyhow::{Context, Result, ensure};
use repo_format::Id;
use repo_format::map::{EncodedPage, LeafEntry, PageKey, StreamMapBuilder, VolumeMapBuilder};
use std::ops::Range;

enum Shape {
    Volume { builder: VolumeMapBuilder, segment: Vec<LeafEntry>, filled: u64 },
    Stream(StreamMapBuilder),
}

/// The map of one volume, open until its last chunk.
struct Open {
    shape: Shape,
    rest: u64,
}

/// The maps of all volumes. Chunks of one volume come in order; volumes may alternate.
pub(super) struct Maps {
    key: PageKey,
    spec: Spec,
    volumes: Vec<Range<u64>>,
    open: Vec<Option<Open>>,
    roots: Vec<Id>,
}

impl Maps {
    pub(super) fn new(spec: &Spec, key: &PageKey) -> Self {
        let volumes = spec.volumes();
        let open = volumes.iter().map(|_| None).collect();
        Maps { key: key.clone(), spec: *spec, open, roots: vec![Id::ZERO; volumes.len()], volumes }
    }

    /// Takes a chunk; gives its volume and the pages that are now finished.
    pub(super) fn push(&mut self, number: u64, id: Id) -> Result<(usize, Vec<EncodedPage>)> {
        let volume = self.volumes.partition_point(|range| range.end <= number);
        let range = self.volumes.get(volume).context("a chunk of no volume")?;
        let slot = self.open.get_mut(volume).context("a chunk of no volume")?;
        let open = match slot {
            Some(open) => open,
            None => slot.insert(Open::new(&self.spec, &self.key, range.end - range.start)?),
        };
        ensure!(range.end - open.rest == number, "chunk {number} of volume {volume} out of order");
        let mut pages = open.push(self.spec.chunk_len, id)?;
        if open.rest == 0 {
            let Some(open) = slot.take() else { return Ok((volume, pages)) };
            let (root, last) = open.finish()?;
            pages.extend(last);
            *self.roots.get_mut(volume).context("a root of no volume")? = root;
        }
        Ok((volume, pages))
    }

    /// The roots, once all chunks were pushed.
    pub(super) fn finish(self) -> Result<Vec<Id>> {
        ensure!(self.open.iter().all(Option::is_none), "a map is not finished");
        Ok(self.roots)
    }
}

impl Open {
    fn new(spec: &Spec, key: &PageKey, chunks: u64) -> Result<Self> {
        let len = chunks * u64::from(spec.chunk_len);
        let shape = match spec.chunker().segment_len() {
            Some(segment_len) => Shape::Volume {
                builder: VolumeMapBuilder::new(key.clone(), segment_len, len)?,
                segment: Vec::new(),
                filled: 0,
            },
            None => Shape::Stream(StreamMapBuilder::new(key.clone())),
        };
        Ok(Open { shape, rest: chunks })
    }

    fn push(&mut self, len: u32, id: Id) -> Result<Vec<EncodedPage>> {
        self.rest = self.rest.checked_sub(1).context("more chunks than the volume has")?;
        match &mut self.shape {
            Shape::Stream(builder) => Ok(builder.push_chunk(len, id)?),
            Shape::Volume { builder, segment, filled } => {
                segment.push(LeafEntry { len, id: Some(id) });
                *filled += u64::from(len);
                if *filled < builder.next_span() {
                    return Ok(Vec::new());
                }
                *filled = 0;
                Ok(builder.push_segment(&std::mem::take(segment))?)
            }
        }
    }

    fn finish(self) -> Result<(Id, Vec<EncodedPage>)> {
        Ok(match self.shape {
            Shape::Stream(builder) => builder.finish()?,
            Shape::Volume { builder, .. } => builder.finish()?,
        })
    }
}
