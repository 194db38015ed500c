//! One volume, window by window.

use super::fetch::{self, Done, Fetched, Pool, Shared};
use super::in_place::InPlace;
use super::plan::{Limits, Piece, Window, Windows};
use super::target::Target;
use super::{RestoreReport, Way};
use crate::Result;
use crate::progress::Progress;
use crate::reader::{Fetch, Reader};
use crate::repair::joined;
use crate::vfs::{self, Extent};
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use repo_format::Id;
use repo_format::snapshot::Volume;
use std::collections::VecDeque;
use std::sync::Arc;

/// Records read again at once, of up to 4 MiB each.
const AGAIN_COUNT: usize = 4;
/// Ranges held at a time at most, however short they are.
const DEPTH_MAX: usize = 64;

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
        shared: Shared { reader: reader.clone(), target: target.clone(), pool: Arc::<Pool>::default() },
        way,
        progress,
        report,
        lost: Vec::new(),
        fresh: None,
    };
    let in_place = way.in_place.then(|| Arc::new(InPlace::new(reader.repository(), target, progress)));
    let windows = Windows::new(way.walker(reader, volume)?, in_place.clone());
    Pipeline::new(run.shared.clone(), limits, windows).drain(&mut run).await?;
    let kept = in_place.map_or(0, |in_place| in_place.kept());
    run.report.bytes_kept = run.report.bytes_kept.saturating_add(kept);
    let lost = joined(run.lost);
    let target = target.clone();
    exec.unless_cancelled(async { exec.blocking(move || target.sync()).await? }).await?;
    Ok(lost)
}

/// A step that has come to its end.
enum Event {
    Window(Box<(Windows, Window)>),
    Fetched(Fetched),
    /// With the bytes that had been fetched for it.
    Done(Done, u64),
}

/// Windows, fetches and writes on their way: the next window is prepared and ranges are fetched while others are opened
/// and written.
struct Pipeline {
    shared: Shared,
    limits: Limits,
    running: FuturesUnordered<BoxFuture<'static, Result<Event>>>,
    /// The window after the one that is worked on.
    prepared: Option<Box<(Windows, Window)>>,
    /// Of the window, not begun.
    waiting: VecDeque<Fetch>,
    pieces: Arc<Vec<Piece>>,
    /// Fetched, not opened.
    ready: VecDeque<Fetched>,
    fetching: usize,
    opening: usize,
    /// Ranges held at a time: more of them the farther the store is away.
    depth: usize,
    /// Their bytes.
    held_len: u64,
}

impl Pipeline {
    fn new(shared: Shared, limits: Limits, windows: Windows) -> Self {
        let mut pipeline = Pipeline {
            shared,
            limits,
            running: FuturesUnordered::new(),
            prepared: None,
            waiting: VecDeque::new(),
            pieces: Arc::default(),
            ready: VecDeque::new(),
            fetching: 0,
            opening: 0,
            depth: DEPTH_MAX.min(2 * limits.opening),
            held_len: 0,
        };
        pipeline.prepare(windows);
        pipeline
    }

    fn push(&mut self, step: impl Future<Output = Result<Event>> + Send + 'static) {
        self.running.push(self.shared.reader.repository().exec().spawn(step));
    }

    fn prepare(&mut self, windows: Windows) {
        self.push(async move { windows.next().await.map(|next| Event::Window(Box::new(next))) });
    }

    /// Works until all windows are written.
    async fn drain(mut self, run: &mut Run<'_>) -> Result<()> {
        let exec = self.shared.reader.repository().exec().clone();
        loop {
            if self.waiting.is_empty()
                && let Some((windows, window)) = self.prepared.take().map(|next| *next)
                && !window.is_empty()
            {
                self.take_window(windows, window, run).await?;
            }
            self.start();
            let event = exec.unless_cancelled(async { self.running.next().await.transpose() }).await?;
            match event {
                None => return Ok(()),
                Some(Event::Window(next)) => self.prepared = Some(next),
                Some(Event::Fetched(fetched)) => self.fetched(fetched),
                Some(Event::Done(done, fetched_len)) => {
                    self.opening -= 1;
                    self.held_len = self.held_len.saturating_sub(fetched_len);
                    run.done(done).await?;
                }
            }
        }
    }

    async fn take_window(&mut self, windows: Windows, window: Window, run: &mut Run<'_>) -> Result<()> {
        self.prepare(windows);
        self.waiting = window.fetches.into();
        self.pieces = Arc::new(window.pieces);
        self.start();
        run.lost.extend(window.lost);
        for hole in &window.holes {
            run.hole(hole).await?;
        }
        run.done(Done { written: 0, failed: window.unplaced, pieces: self.pieces.clone() }).await
    }

    /// Starts what there is room for.
    fn start(&mut self) {
        while self.opening < self.limits.opening
            && let Some(fetched) = self.ready.pop_front()
        {
            self.opening += 1;
            let fetched_len = fetched.range_len();
            let written = fetch::write(self.shared.clone(), fetched);
            self.push(async move { written.await.map(|done| Event::Done(done, fetched_len)) });
        }
        while let Some(fetch) = self.next_fetch() {
            self.fetching += 1;
            self.held_len = self.held_len.saturating_add(fetch.range_len());
            let read = fetch::read(self.shared.clone(), self.pieces.clone(), fetch);
            self.push(async move { read.await.map(Event::Fetched) });
        }
    }

    /// The next range, if there is room for it. One alone always has room.
    fn next_fetch(&mut self) -> Option<Fetch> {
        let held = self.fetching + self.ready.len() + self.opening;
        let len = self.held_len.saturating_add(self.waiting.front()?.range_len());
        let has_room = held < self.depth && len <= self.limits.fetched_len;
        (has_room || held == 0).then(|| self.waiting.pop_front())?
    }

    fn fetched(&mut self, fetched: Fetched) {
        self.fetching -= 1;
        if self.opening < self.limits.opening && self.ready.is_empty() {
            // somebody had to wait for it
            self.depth = DEPTH_MAX.min(self.depth + 1);
        }
        self.ready.push_back(fetched);
    }
}

struct Run<'a> {
    shared: Shared,
    way: Way<'a>,
    progress: &'a Arc<Progress>,
    report: &'a mut RestoreReport,
    /// What is lost so far, in no order.
    lost: Vec<(u64, u64)>,
    /// An index that was read after the first record was missed.
    fresh: Option<Reader>,
}

impl Run<'_> {
    /// Counts what was written, and reads again what failed.
    async fn done(&mut self, mut done: Done) -> Result<()> {
        let exec = self.shared.reader.repository().exec().clone();
        self.count(done.written);
        done.failed.sort_unstable();
        for part in done.failed.chunks(AGAIN_COUNT) {
            let part: Vec<&Piece> = part.iter().filter_map(|n| done.pieces.get(*n)).collect();
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
