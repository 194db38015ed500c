//! One volume, window by window.

use super::RestoreReport;
use super::fetch::{self, Buffers, Shared};
use super::plan::{Limits, Piece, Window, next_window};
use super::target::Target;
use crate::Result;
use crate::progress::Progress;
use crate::reader::Reader;
use crate::vfs::{self, Extent, MapWalker};
use futures::stream::{FuturesUnordered, StreamExt};
use repo_format::Id;
use repo_format::snapshot::Volume;
use std::sync::Arc;

/// Records read again at once, of up to 4 MiB each.
const AGAIN_COUNT: usize = 4;

/// Writes a volume to its target and waits until it is on the medium.
pub(super) async fn restore(
    reader: &Reader,
    whose: &str,
    volume: &Volume,
    target: &Target,
    progress: &Arc<Progress>,
    report: &mut RestoreReport,
) -> Result<()> {
    let exec = reader.repository().exec();
    let limits = Limits::new(exec);
    let mut run = Run {
        shared: Shared { reader: reader.clone(), target: target.clone(), buffers: Arc::<Buffers>::default() },
        whose,
        limits,
        progress,
        report,
    };
    let mut next = exec.spawn(next_window(MapWalker::volume(reader, whose, volume)?, limits));
    loop {
        let (walker, window) = exec.unless_cancelled(next).await?;
        if window.is_empty() {
            break;
        }
        next = exec.spawn(next_window(walker, limits));
        run.window(window).await?;
    }
    let target = target.clone();
    exec.unless_cancelled(async { exec.blocking(move || target.sync()).await? }).await
}

struct Run<'a> {
    shared: Shared,
    whose: &'a str,
    limits: Limits,
    progress: &'a Arc<Progress>,
    report: &'a mut RestoreReport,
}

impl Run<'_> {
    async fn window(&mut self, window: Window) -> Result<()> {
        let exec = self.shared.reader.repository().exec().clone();
        for hole in &window.holes {
            self.hole(hole).await?;
        }
        let pieces = Arc::new(window.pieces);
        let mut failed = window.unplaced;
        let mut waiting = window.fetches.into_iter();
        let mut running = FuturesUnordered::new();
        loop {
            while running.len() < self.limits.jobs {
                let Some(fetch) = waiting.next() else { break };
                running.push(exec.spawn(fetch::run(self.shared.clone(), pieces.clone(), fetch)));
            }
            let done = exec.unless_cancelled(async { running.next().await.transpose() }).await?;
            let Some(mut done) = done else { break };
            self.count(done.written);
            failed.append(&mut done.failed);
        }
        failed.sort_unstable();
        for part in failed.chunks(AGAIN_COUNT) {
            let part: Vec<&Piece> = part.iter().filter_map(|n| pieces.get(*n)).collect();
            exec.unless_cancelled(self.again(&part)).await?;
        }
        Ok(())
    }

    fn count(&mut self, written: u64) {
        self.report.bytes_written = self.report.bytes_written.saturating_add(written);
        self.progress.add_done(written);
    }

    async fn hole(&mut self, hole: &Extent) -> Result<()> {
        self.report.bytes_holes = self.report.bytes_holes.saturating_add(hole.len);
        if !self.shared.target.is_device() {
            self.progress.add_done(hole.len);
            return Ok(());
        }
        let exec = self.shared.reader.repository().exec().clone();
        let (mut offset, mut left) = (hole.offset, hole.len);
        while left > 0 {
            let len = left.min(64 << 20);
            let target = self.shared.target.clone();
            let zeroed = async { exec.blocking(move || target.write_zeros(offset, len)).await? };
            exec.unless_cancelled(zeroed).await?;
            self.count(len);
            offset = offset.saturating_add(len);
            left -= len;
        }
        Ok(())
    }

    /// Pieces whose first copy is bad, from any other location.
    async fn again(&mut self, pieces: &[&Piece]) -> Result<()> {
        let ids: Vec<Id> = pieces.iter().map(|piece| piece.id).collect();
        let named = |error| vfs::within(self.whose, error);
        let plains = vfs::read_all(&self.shared.reader, &ids).await.map_err(named)?;
        for (piece, plain) in pieces.iter().zip(plains) {
            let extent = Extent { offset: 0, len: piece.len, id: Some(piece.id) };
            let plain = vfs::check_len(plain, &extent, &piece.id).map_err(named)?;
            let (target, offsets) = (self.shared.target.clone(), piece.offsets.clone());
            let exec = self.shared.reader.repository().exec();
            exec.blocking(move || offsets.iter().try_for_each(|offset| target.write(*offset, &plain)))
                .await??;
            self.count(piece.len.saturating_mul(piece.offsets.len() as u64));
        }
        Ok(())
    }
}
