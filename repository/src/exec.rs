//! Where work runs: the one bridge between asynchronous I/O and the threads that compute.
//!
//! With threads, CPU work goes to a rayon pool, blocking reads to tokio's blocking threads.
//! Inline, everything runs where it is called, in call order, on one thread: a seeded run of
//! the engine is then reproducible, and crash tests can stop it at any store call.

use crate::rates::Rates;
use crate::{Error, Result};
use futures::channel::oneshot;
use futures::future::{BoxFuture, Either, select};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Runs the engine's work. Cheap to clone.
#[derive(Clone)]
pub struct Exec {
    mode: Mode,
    cancel: Arc<Cancel>,
    memory_len: u64,
    index_len: Option<u64>,
    rates: Rates,
}

/// What an operation may hold in memory unless told otherwise: with the program itself and its buffers of the line it is
/// to be less than 192 MiB.
pub const MEMORY_LEN: u64 = 176 << 20;

/// How inline time passes: a simulator moves its clock and runs others meanwhile.
pub trait InlineTime: Send + Sync {
    /// Ends once `time` has passed.
    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()>;
}

#[derive(Clone)]
enum Mode {
    Inline(Option<Arc<dyn InlineTime>>),
    Threads(Arc<rayon::ThreadPool>),
}

#[derive(Default)]
struct Cancel {
    flag: AtomicBool,
    wakers: std::sync::Mutex<Vec<std::task::Waker>>,
}

/// Asks a running operation to end. Handed to signal handlers.
#[derive(Clone)]
pub struct CancelHandle(Arc<Cancel>);

impl CancelHandle {
    /// Ends the operation at its next step.
    pub fn cancel(&self) {
        self.0.flag.store(true, Ordering::SeqCst);
        if let Ok(mut wakers) = self.0.wakers.lock() {
            wakers.drain(..).for_each(std::task::Waker::wake);
        }
    }
}

struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Exec {
    fn new(mode: Mode) -> Self {
        let (cancel, rates) = (Arc::default(), Rates::default());
        Exec { mode, cancel, memory_len: MEMORY_LEN, index_len: None, rates }
    }

    /// Everything on the calling thread, in call order.
    pub fn inline() -> Self {
        Exec::new(Mode::Inline(None))
    }

    /// Everything on the calling thread; waits are `time`'s.
    pub fn inline_with(time: Arc<dyn InlineTime>) -> Self {
        Exec::new(Mode::Inline(Some(time)))
    }

    /// `threads` CPU threads; the caller provides a tokio runtime for the asynchronous part.
    pub fn threads(threads: usize) -> Result<Self> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads.max(1))
            .thread_name(|n| format!("orlop-cpu-{n}"))
            .build()
            .map_err(|e| Error::Internal { what: format!("starting {threads} threads: {e}") })?;
        Ok(Exec::new(Mode::Threads(Arc::new(pool))))
    }

    /// With bounds on what goes over the line; all stores that this reaches share them.
    #[must_use]
    pub fn with_rates(mut self, rates: Rates) -> Self {
        self.rates = rates;
        self
    }

    /// Bounds on what goes over the line.
    pub(crate) fn rates(&self) -> &Rates {
        &self.rates
    }

    /// With another bound on memory, in bytes; at least 64 MiB are used.
    #[must_use]
    pub fn with_memory(mut self, memory_len: u64) -> Self {
        self.memory_len = memory_len;
        self
    }

    /// With another bound on the index in memory, in bytes: tests make it tiny.
    #[must_use]
    pub fn with_index_len(mut self, index_len: u64) -> Self {
        self.index_len = Some(index_len);
        self
    }

    /// What an index may take in memory before it is looked up in its runs, in bytes: a sixth of the memory.
    pub fn index_len(&self) -> u64 {
        self.index_len.unwrap_or(self.memory_len.max(64 << 20) / 6)
    }

    /// What an operation may hold in memory, in bytes.
    pub fn memory_len(&self) -> u64 {
        self.memory_len
    }

    /// CPU threads: how many pieces of work are worth handing out at once.
    pub fn width(&self) -> usize {
        match &self.mode {
            Mode::Inline(_) => 1,
            Mode::Threads(pool) => pool.current_num_threads(),
        }
    }

    /// True where everything runs on the calling thread.
    pub fn is_inline(&self) -> bool {
        matches!(self.mode, Mode::Inline(_))
    }

    /// Runs CPU work. `f` never blocks and never touches a channel.
    pub fn cpu<T, F>(&self, f: F) -> impl Future<Output = Result<T>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let (done, result) = oneshot::channel();
        let work = move || drop(done.send(f()));
        match &self.mode {
            Mode::Inline(_) => work(),
            Mode::Threads(pool) => pool.spawn(work),
        }
        async { result.await.map_err(|_| Error::Internal { what: "a worker ended without a result".into() }) }
    }

    /// Runs work that blocks in the kernel (reads, writes, stat).
    pub fn blocking<T, F>(&self, f: F) -> impl Future<Output = Result<T>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let (done, result) = oneshot::channel();
        let work = move || drop(done.send(f()));
        match (&self.mode, tokio::runtime::Handle::try_current()) {
            (Mode::Threads(_), Ok(handle)) => drop(handle.spawn_blocking(work)),
            _ => work(),
        }
        async { result.await.map_err(|_| Error::Internal { what: "a reader ended without a result".into() }) }
    }

    /// Reads, then computes: on a CPU thread alone if `at_hand` finds all in memory, else `read` waits in the kernel and
    /// `compute` takes on what it gives. The caller is woken once, at the end: each wake costs as much as a small read.
    ///
    /// Inline it runs when it is awaited.
    pub fn read_and_compute<A, T>(
        &self,
        at_hand: impl FnOnce() -> Option<T> + Send + 'static,
        read: impl FnOnce() -> A + Send + 'static,
        compute: impl FnOnce(A) -> T + Send + 'static,
    ) -> BoxFuture<'static, Result<T>>
    where
        A: Send + 'static,
        T: Send + 'static,
    {
        let (Mode::Threads(pool), Ok(handle)) = (&self.mode, tokio::runtime::Handle::try_current()) else {
            return Box::pin(async { Ok(at_hand().unwrap_or_else(|| compute(read()))) });
        };
        let (done, result) = oneshot::channel();
        let cpu = pool.clone();
        pool.spawn(move || match at_hand() {
            Some(value) => drop(done.send(value)),
            None => drop(handle.spawn_blocking(move || {
                let input = read();
                cpu.spawn(move || drop(done.send(compute(input))));
            })),
        });
        Box::pin(async {
            result.await.map_err(|_| Error::Internal { what: "a worker ended without a result".into() })
        })
    }

    /// Starts an asynchronous piece of work that goes on while the caller does something else.
    ///
    /// Dropping the answer ends the work at its next wait. Inline it runs when it is awaited.
    pub fn spawn<T, F>(&self, work: F) -> BoxFuture<'static, Result<T>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        match (&self.mode, tokio::runtime::Handle::try_current()) {
            (Mode::Threads(_), Ok(handle)) => {
                let task = AbortOnDrop(handle.spawn(work));
                Box::pin(async {
                    let mut task = task;
                    match (&mut task.0).await {
                        Ok(result) => result,
                        Err(e) => Err(Error::Internal { what: format!("a task ended: {e}") }),
                    }
                })
            }
            _ => Box::pin(work),
        }
    }

    /// Waits. Inline without a time of its own, no time passes: the caller's clock is moved by its test.
    pub async fn sleep(&self, time: Duration) {
        match (&self.mode, tokio::runtime::Handle::try_current()) {
            (Mode::Threads(_), Ok(_)) => tokio::time::sleep(time).await,
            (Mode::Inline(Some(inline)), _) => inline.sleep(time).await,
            _ => {}
        }
    }

    /// `work`, or `None` once `limit` has passed. Inline without a time of its own nothing is late.
    pub async fn timeout<T>(&self, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
        let late: BoxFuture<'static, ()> = match (&self.mode, tokio::runtime::Handle::try_current()) {
            (Mode::Threads(_), Ok(_)) => Box::pin(tokio::time::sleep(limit)),
            (Mode::Inline(Some(inline)), _) => inline.sleep(limit),
            _ => return Some(work.await),
        };
        match select(pin!(work), late).await {
            Either::Left((value, _)) => Some(value),
            Either::Right(_) => None,
        }
    }

    /// A handle that ends what runs here.
    pub fn cancel_handle(&self) -> CancelHandle {
        CancelHandle(self.cancel.clone())
    }

    /// An error once cancelled; asked between steps.
    pub fn check_cancelled(&self) -> Result<()> {
        if self.cancel.flag.load(Ordering::SeqCst) { Err(Error::Cancelled) } else { Ok(()) }
    }

    /// `work`, dropped and answered with [`Error::Cancelled`] once cancelled.
    pub async fn unless_cancelled<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let cancel = self.cancel.clone();
        let cancelled = futures::future::poll_fn(move |cx| {
            if cancel.flag.load(Ordering::SeqCst) {
                return std::task::Poll::Ready(());
            }
            if let Ok(mut wakers) = cancel.wakers.lock() {
                wakers.retain(|w| !w.will_wake(cx.waker()));
                wakers.push(cx.waker().clone());
            }
            // a cancel between the first look and the registration must not be missed
            if cancel.flag.load(Ordering::SeqCst) {
                std::task::Poll::Ready(())
            } else {
                std::task::Poll::Pending
            }
        });
        // asked first: work that is always ready must not keep a cancel waiting
        match select(cancelled, pin!(work)).await {
            Either::Left(_) => Err(Error::Cancelled),
            Either::Right((result, _)) => result,
        }
    }
}
