//! One volume, window by window.

use super::fetch::{self, Buffers, Shared};
use super::in_place::InPlace;
use super::plan::{Limits, Piece, Window, next_window};
use super::target::Target;
use super::{RestoreReport, Way};
use crate::Result;
use crate::progress::Progress;
use crate::reader::Reader;
use crate::repair::joined;
use crate::vfs::{self, Extent};
use futures::stream::{FuturesUnordered, StreamExt};
use repo_format::Id;
use repo_format::snapshot::Volume;
use std::sync::Arc;

/// Records read again at once, of up to 4 MiB each.
const AGAIN_COUNT: usize = 4;

/// Writes a volume to its target and waits until it is on the medium. Gives what is lost of it.
pub(super) async fn restore(
    reader: &Reader,
    way: Way<'_>,
    volume: &Volume,
    target: &Target,
    progress: &Arc<Progress>,
    report: &mut RestoreReport,
) -> Result<Vec<(u64, u64)>> {
    let exec = reader.repository().exec();
    let limits = Limits::new(exec);
    let mut run = Run {
        shared: Shared { reader: reader.clone(), target: target.clone(), buffers: Arc::<Buffers>::default() },
        way,
        limits,
        progress,
        report,
        lost: Vec::new(),
        fresh: None,
    };
    let in_place = way.in_place.then(|| Arc::new(InPlace::new(reader.repository(), target, progress)));
    let mut next = exec.spawn(next_window(way.walker(reader, volume)?, limits, in_place.clone()));
    loop {
        let (walker, window) = exec.unless_cancelled(next).await?;
        if window.is_empty() {
            break;
        }
        next = exec.spawn(next_window(walker, limits, in_place.clone()));
        run.window(window).await?;
    }
    let kept = in_place.map_or(0, |in_place| in_place.kept());
    run.report.bytes_kept = run.report.bytes_kept.saturating_add(kept);
    let lost = joined(run.lost);
    let target = target.clone();
    exec.unless_cancelled(async { exec.blocking(move || target.sync()).await? }).await?;
    Ok(lost)
}

struct Run<'a> {
    shared: Shared,
    way: Way<'a>,
    limits: Limits,
    progress: &'a Arc<Progress>,
    report: &'a mut RestoreReport,
    /// What is lost so far, in no order.
    lost: Vec<(u64, u64)>,
    /// An index that was read after the first record was missed.
    fresh: Option<Reader>,
}

impl Run<'_> {
    async fn window(&mut self, window: Window) -> Result<()> {
        let exec = self.shared.reader.repository().exec().clone();
        self.lost.extend(window.lost);
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
            if self.way.allow_damaged {
                self.again_past_damage(&part).await?;
            } else {
                exec.unless_cancelled(self.again(&part)).await?;
            }
        }
        Ok(())
    }

    fn count(&mut self, written: u64) {
        self.report.bytes_written = self.report.bytes_written.saturating_add(written);
        self.progress.add_done(written);
    }

    async fn hole(&mut self, hole: &Extent) -> Result<()> {
        self.report.bytes_holes = self.report.bytes_holes.saturating_add(hole.len);
        if !self.shared.target.is_device() && !self.way.in_place {
            self.progress.add_done(hole.len);
            return Ok(());
        }
        let exec = self.shared.reader.repository().exec().clone();
        let (mut offset, mut left) = (hole.offset, hole.len);
        while left > 0 {
            let len = left.min(64 << 20);
            let target = self.shared.target.clone();
            let zeroed = async { exec.blocking(move || target.punch(offset, len)).await? };
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
        let named = |error| vfs::within(self.way.whose, error);
        let plains = vfs::read_all(&self.shared.reader, &ids).await.map_err(named)?;
        for (piece, plain) in pieces.iter().zip(plains) {
            let extent = Extent { offset: 0, len: piece.len, id: Some(piece.id) };
            let plain = vfs::check_len(plain, &extent, &piece.id).map_err(named)?;
            self.write(piece, plain).await?;
        }
        Ok(())
    }

    /// As [`again`](Self::again); what has no good copy becomes zeros and is noted.
    async fn again_past_damage(&mut self, pieces: &[&Piece]) -> Result<()> {
        let exec = self.shared.reader.repository().exec().clone();
        let ids: Vec<Id> = pieces.iter().map(|piece| piece.id).collect();
        let read = vfs::read_there(&self.shared.reader, &mut self.fresh, &ids);
        let plains = exec.unless_cancelled(read).await?;
        for (piece, plain) in pieces.iter().zip(plains) {
            match plain.filter(|plain| plain.len() as u64 == piece.len) {
                Some(plain) => self.write(piece, plain).await?,
                None => {
                    for offset in piece.offsets.iter().copied() {
                        self.lost.push((offset, piece.len));
                        self.hole(&Extent { offset, len: piece.len, id: None }).await?;
                    }
                }
            }
        }
        Ok(())
    }

    async fn write(&mut self, piece: &Piece, plain: Vec<u8>) -> Result<()> {
        let (target, offsets) = (self.shared.target.clone(), piece.offsets.clone());
        let exec = self.shared.reader.repository().exec();
        exec.blocking(move || offsets.iter().try_for_each(|offset| target.write(*offset, &plain))).await??;
        self.count(piece.len.saturating_mul(piece.offsets.len() as u64));
        Ok(())
    }
}
