//! A stream: cut in order, sealed side by side, taken in order.

use super::sealer::Sealed;
use super::session::Session;
use crate::{Error, Result};
use chunker::stream::{MAX_LEN, StreamChunker};
use futures::future::BoxFuture;
use futures::stream::{FuturesOrdered, StreamExt};
use repo_format::Id;
use repo_format::map::StreamMapBuilder;
use std::io::{self, Read};
use std::sync::Arc;

/// Read, cut and sealed in one go.
const UNIT_LEN: usize = 4 << 20;

/// What one step of reading and cutting gave.
struct Step {
    reader: Box<dyn Read + Send>,
    /// Whole chunks, and their lengths.
    unit: Vec<u8>,
    lens: Vec<usize>,
    /// What follows the last cut.
    rest: Vec<u8>,
    eof: bool,
}

/// Reads a stream to its end, stores what is new, and gives the root of its map and its length.
pub(super) async fn backup_stream(
    session: &mut Session,
    name: &str,
    reader: Box<dyn Read + Send>,
) -> Result<(Id, u64)> {
    let repository = session.repository.clone();
    let exec = repository.exec();
    let map_error = |source| Error::Format { object: name.to_owned(), source };
    let identity = repository.identity("backup")?;
    let gear =
        identity.gear.as_slice().try_into().map_err(|_| Error::internal("gear key of a wrong length"))?;
    let chunker = Arc::new(StreamChunker::new(gear));
    let mut map = StreamMapBuilder::new(repository.page_key().clone());
    let width = session.limits.units(UNIT_LEN as u64);
    let mut running: FuturesOrdered<BoxFuture<'static, Result<Sealed>>> = FuturesOrdered::new();
    let mut state = Some((reader, Vec::new()));
    let mut read_len = 0u64;
    loop {
        while let Some((reader, rest)) = state.take_if(|_| running.len() < width) {
            let chunker = chunker.clone();
            let step =
                exec.unless_cancelled(exec.blocking(move || read_step(reader, rest, &chunker))).await?;
            let step = step.map_err(|source| Error::Source {
                name: name.to_owned(),
                what: "reading failed",
                offset: read_len,
                source,
            })?;
            read_len += step.unit.len() as u64;
            session.progress.add_done(step.unit.len() as u64);
            if !step.lens.is_empty() {
                let sealer = session.sealer.clone();
                running.push_back(exec.spawn(sealer.stream(exec.clone(), step.lens, step.unit)));
            }
            if !step.eof {
                state = Some((step.reader, step.rest));
            }
        }
        let Some(mut sealed) = exec.unless_cancelled(async { running.next().await.transpose() }).await?
        else {
            break;
        };
        session.take(&mut sealed).await?;
        for entry in &sealed.entries {
            let id = entry.id.ok_or_else(|| Error::internal("a stream with a hole"))?;
            let pages = map.push_chunk(entry.len, id).map_err(map_error)?;
            session.take_pages(pages).await?;
        }
    }
    session.report.bytes_read += read_len;
    let stream_len = map.stream_len();
    let (root, pages) = map.finish().map_err(map_error)?;
    session.take_pages(pages).await?;
    Ok((root, stream_len))
}

/// Reads up to a unit and cuts it; what cannot be cut yet is left for the next step.
fn read_step(
    mut reader: Box<dyn Read + Send>,
    mut rest: Vec<u8>,
    chunker: &StreamChunker,
) -> io::Result<Step> {
    let wanted = (UNIT_LEN + MAX_LEN).saturating_sub(rest.len());
    let mut limited = io::Read::take(&mut reader, wanted as u64);
    let got = limited.read_to_end(&mut rest)?;
    let eof = got < wanted;
    let mut lens = Vec::new();
    let mut end = 0;
    while let Some(len) = chunker.next_cut(rest.get(end..).unwrap_or_default(), eof) {
        end += len;
        lens.push(len);
    }
    let after = rest.split_off(end);
    Ok(Step { reader, unit: rest, lens, rest: after, eof })
}
