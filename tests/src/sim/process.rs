//! A process of the schedule: its store, its clock, its randomness, its waits.

use super::objects::ProcessNo;
use super::rng::Rng;
use super::world::{Call, Key, Reply, Shared};
use super::{Base, EPOCH_MS, SeededRandom};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{BoxStream, StreamExt, iter, try_unfold};
use futures::{FutureExt, TryStreamExt};
use repository::env::Clock;
use repository::exec::InlineTime;
use repository::store::{Driver, DriverError, ObjectMeta, PutPayload};
use repository::{Env, Exec, Repository};
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

/// Opens the repository in a new process. Opening itself is not part of the schedule.
pub(super) fn open(
    world: &Shared,
    base: &Base,
    seed: u64,
    skew_ms: i64,
    (may_delete, keeper): (bool, bool),
) -> (ProcessNo, Repository) {
    let (no, mutant, index_len) = {
        let mut world = world.lock();
        (world.add_process(may_delete, keeper), world.profile.mutant, world.profile.index_len)
    };
    let clock = Arc::new(SimClock { world: world.clone(), skew_ms });
    let random = SeededRandom::new(Rng::new(seed ^ (no as u64 + 1) << 40));
    let env = Env { clock, random: Arc::new(random), kdf_cost: base.kdf_cost, mutant };
    let exec = Exec::inline_with(Arc::new(SimTime { world: world.clone() }));
    let exec = index_len.map_or(exec.clone(), |len| exec.with_index_len(len));
    let driver = Arc::new(SimDriver { world: world.clone(), no, direct: AtomicBool::new(true) });
    let opened = Repository::open(driver.clone(), &exec, &env, &base.owner).now_or_never();
    driver.direct.store(false, Ordering::SeqCst);
    (no, opened.expect("opening waits for nothing").expect("the repository opens"))
}

/// The store as one process reaches it.
pub(super) struct SimDriver {
    world: Shared,
    no: ProcessNo,
    /// Calls happen at once and never fail.
    direct: AtomicBool,
}

impl SimDriver {
    /// The store as it is, for who looks from outside.
    pub(super) fn outside(world: &Shared) -> Self {
        SimDriver { world: world.clone(), no: super::objects::NOBODY, direct: AtomicBool::new(true) }
    }

    async fn call(&self, call: Call) -> Result<Reply, DriverError> {
        if self.direct.load(Ordering::SeqCst) {
            let mut world = self.world.lock();
            let now_ms = world.now_ms;
            return world.happen(&call, self.no, now_ms, false);
        }
        CallFuture { world: &self.world, no: self.no, call: Some(call), ticket: None }.await
    }
}

struct CallFuture<'a> {
    world: &'a Shared,
    no: ProcessNo,
    call: Option<Call>,
    ticket: Option<u64>,
}

impl Future for CallFuture<'_> {
    type Output = Result<Reply, DriverError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut world = self.world.lock();
        if let Some(call) = self.call.take() {
            self.ticket = world.submit(self.no, call);
        }
        // a dead process is never polled again
        let Some(ticket) = self.ticket else { return Poll::Pending };
        match world.take_answer(ticket, cx.waker()) {
            Some(answer) => {
                self.ticket = None;
                Poll::Ready(answer)
            }
            None => Poll::Pending,
        }
    }
}

impl Drop for CallFuture<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.world.lock().abandon(ticket);
        }
    }
}

fn surprise() -> DriverError {
    DriverError::Permanent("an answer to another question".into())
}

impl Driver for SimDriver {
    fn put_new<'a>(&'a self, name: &'a str, payload: PutPayload) -> BoxFuture<'a, Result<(), DriverError>> {
        let call = Call::Put(name.to_owned(), Bytes::from(payload));
        Box::pin(async move { self.call(call).await.map(drop) })
    }

    fn get<'a>(
        &'a self,
        name: &'a str,
        range: Option<Range<u64>>,
    ) -> BoxFuture<'a, Result<Bytes, DriverError>> {
        Box::pin(async move {
            match self.call(Call::Get(name.to_owned(), range)).await? {
                Reply::Bytes(bytes) => Ok(bytes),
                _ => Err(surprise()),
            }
        })
    }

    fn head<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<ObjectMeta, DriverError>> {
        Box::pin(async move {
            match self.call(Call::Head(name.to_owned())).await? {
                Reply::Meta(meta) => Ok(meta),
                _ => Err(surprise()),
            }
        })
    }

    fn lag_ms(&self) -> u64 {
        self.world.lock().profile.delta_ms
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxStream<'a, Result<ObjectMeta, DriverError>> {
        try_unfold(Some(None::<String>), move |after| async move {
            let Some(after) = after else { return Ok(None) };
            match self.call(Call::List(prefix.to_owned(), after)).await? {
                Reply::Page(page, more) => {
                    let next = page.last().filter(|_| more).map(|meta| Some(meta.name.clone()));
                    Ok(Some((iter(page.into_iter().map(Ok)), next)))
                }
                _ => Err(surprise()),
            }
        })
        .try_flatten()
        .boxed()
    }

    fn delete<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), DriverError>> {
        let call = Call::Delete(name.to_owned());
        Box::pin(async move { self.call(call).await.map(drop) })
    }

    fn url(&self) -> &str {
        "sim://"
    }
}

/// Virtual time, with a wall clock that is wrong by a constant.
pub(super) struct SimClock {
    /// Whose time.
    pub(super) world: Shared,
    /// How wrong, in milliseconds.
    pub(super) skew_ms: i64,
}

impl Clock for SimClock {
    fn now_ms(&self) -> u64 {
        (EPOCH_MS + self.world.lock().now_ms).saturating_add_signed(self.skew_ms)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.world.lock().now_ms)
    }
}

/// Waits in virtual time.
pub(super) struct SimTime {
    /// Whose time.
    pub(super) world: Shared,
}

impl InlineTime for SimTime {
    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        let mut world = self.world.lock();
        let at_ms = world.now_ms.saturating_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        let key = world.add_timer(at_ms);
        Box::pin(Sleep { world: self.world.clone(), key })
    }
}

struct Sleep {
    world: Shared,
    key: Key,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.world.lock().poll_timer(self.key, cx.waker()) { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.world.lock().remove_timer(self.key);
    }
}
