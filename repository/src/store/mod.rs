//! Typed access to the store: names, retries with a bound, time limits by length, counts.

#[cfg(feature = "s3")]
mod aws_profile;
#[cfg(feature = "azure")]
mod azure;
#[cfg(any(feature = "s3", feature = "azure", feature = "gcs"))]
mod cloud;
mod driver;
#[cfg(feature = "fault")]
pub mod fault;
mod local;
mod memory;
mod object;
mod probe;
mod url;

pub use driver::{Driver, DriverError, ObjectMeta};
pub use memory::MemoryDriver;
pub use object::ObjectDriver;
pub use object_store::PutPayload;
pub use probe::{ProbeReport, probe};
pub use url::{StoreUrl, connect};

use crate::{Env, Error, Exec, Result};
use bytes::Bytes;
use futures::stream::StreamExt;
use repo_format::layout::ObjectName;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A request that failed for good: which, on what, and the store's own words.
#[derive(Debug, thiserror::Error)]
#[error("{verb} {url}/{name}: {cause}")]
pub struct StoreError {
    /// put, get, head, list or delete.
    pub verb: &'static str,
    /// The store.
    pub url: String,
    /// The object.
    pub name: String,
    /// The last answer.
    pub cause: DriverError,
}

/// How long a request is tried again.
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    /// First pause; doubled each time, with up to half of it at random on top.
    pub first_pause: Duration,
    /// Longest pause.
    pub longest_pause: Duration,
    /// No new try after this time since the first failure.
    pub give_up_after: Duration,
}

impl RetryPolicy {
    /// 100 ms to 10 s between tries, three minutes in all.
    pub const DEFAULT: RetryPolicy = RetryPolicy {
        first_pause: Duration::from_millis(100),
        longest_pause: Duration::from_secs(10),
        give_up_after: Duration::from_secs(180),
    };
}

/// Requests and bytes so far.
#[derive(Debug, Default)]
pub struct StoreCounters {
    requests: AtomicU64,
    uploaded_bytes: AtomicU64,
    downloaded_bytes: AtomicU64,
}

/// A reading of [`StoreCounters`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Requests of any kind, retries included.
    pub requests: u64,
    /// Bytes of objects written, retries not included.
    pub uploaded_bytes: u64,
    /// Bytes of objects read.
    pub downloaded_bytes: u64,
}

/// What became of a put-if-absent.
#[derive(Debug, PartialEq, Eq)]
pub enum Put {
    /// The object is there, with these bytes.
    Created,
    /// Somebody else's object has the name.
    Taken,
}

/// What became of a put that must not be repeated.
#[derive(Debug)]
pub enum PutOnce {
    /// Acknowledged.
    Created,
    /// An object of the name is there: ours, if an earlier answer was lost.
    Exists,
    /// No answer, or an error that leaves the effect open.
    Ambiguous(DriverError),
}

/// The store of one repository. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    driver: Arc<dyn Driver>,
    exec: Exec,
    env: Env,
    retry: RetryPolicy,
    counters: Arc<StoreCounters>,
    /// Whether the store honours the condition of a put.
    is_conditional: bool,
}

/// Slowest line that is still served: time limits are 30 s plus length over this.
const SLOWEST_BYTES_PER_SECOND: u64 = 64 << 10;
/// Looks at an object that a put has met, with pauses in between.
const MET_TRIES: u32 = 32;
/// Time for one page of a listing.
const LIST_PAGE_LIMIT: Duration = Duration::from_secs(30);

impl Store {
    /// Typed access over `driver`.
    pub fn new(driver: Arc<dyn Driver>, exec: Exec, env: Env) -> Self {
        let (retry, counters) = (RetryPolicy::DEFAULT, Arc::default());
        Store { driver, exec, env, retry, counters, is_conditional: true }
    }

    /// For a store that ignores conditions (mode *one*): [`put`](Self::put) looks before and after.
    pub(crate) fn without_conditions(mut self) -> Self {
        self.is_conditional = false;
        self
    }

    /// With another retry policy.
    pub fn with_retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// Where this is, without credentials.
    pub fn url(&self) -> &str {
        self.driver.url()
    }

    /// Requests and bytes so far.
    pub fn stats(&self) -> StoreStats {
        StoreStats {
            requests: self.counters.requests.load(Ordering::Relaxed),
            uploaded_bytes: self.counters.uploaded_bytes.load(Ordering::Relaxed),
            downloaded_bytes: self.counters.downloaded_bytes.load(Ordering::Relaxed),
        }
    }

    fn error(&self, verb: &'static str, name: &str, cause: DriverError) -> Error {
        Error::Store(StoreError { verb, url: self.url().to_owned(), name: name.to_owned(), cause })
    }

    fn count(&self, uploaded: u64, downloaded: u64) {
        if self.exec.rates().is_bound() {
            self.exec.rates().after_download(self.env.clock.monotonic(), downloaded);
        }
        self.counters.uploaded_bytes.fetch_add(uploaded, Ordering::Relaxed);
        self.counters.downloaded_bytes.fetch_add(downloaded, Ordering::Relaxed);
    }

    async fn try_once<T>(
        &self,
        len: u64,
        call: impl Future<Output = Result<T, DriverError>>,
    ) -> Result<T, DriverError> {
        self.counters.requests.fetch_add(1, Ordering::Relaxed);
        let limit = Duration::from_secs(30u64.saturating_add(len / SLOWEST_BYTES_PER_SECOND));
        let late = || DriverError::Transient(format!("no answer within {} s", limit.as_secs()));
        self.exec.timeout(limit, call).await.unwrap_or_else(|| Err(late()))
    }

    /// Waits until the bounds on the line let `len` bytes be sent, or anything be read.
    async fn turn(&self, verb: &'static str, len: u64) -> Result<()> {
        let rates = self.exec.rates();
        if !rates.is_bound() {
            return Ok(());
        }
        let now = self.env.clock.monotonic();
        let wait = match verb {
            "put" => rates.before_upload(now, len),
            "get" => rates.before_download(now),
            _ => Duration::ZERO,
        };
        if wait.is_zero() {
            return Ok(());
        }
        let slept = async {
            self.exec.sleep(wait).await;
            Ok(())
        };
        self.exec.unless_cancelled(slept).await
    }

    /// Pauses before the next try; false once the time is up.
    async fn pause(&self, since: Duration, tries: u32) -> Result<bool> {
        self.exec.check_cancelled()?;
        if self.env.clock.monotonic().saturating_sub(since) >= self.retry.give_up_after {
            return Ok(false);
        }
        let factor = 1u32.checked_shl(tries).unwrap_or(u32::MAX);
        let pause = self.retry.first_pause.saturating_mul(factor).min(self.retry.longest_pause);
        let jitter = u32::from_le_bytes(self.env.random()?) % 512;
        self.exec
            .unless_cancelled(async {
                self.exec.sleep(pause + pause * jitter / 1024).await;
                Ok(())
            })
            .await?;
        Ok(true)
    }

    async fn retried<T, F>(&self, verb: &'static str, name: &str, len: u64, call: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<T, DriverError>>,
    {
        let mut failing_since = None;
        let mut tries = 0;
        loop {
            // not part of the time limit of the request
            self.turn(verb, len).await?;
            match self.try_once(len, call()).await {
                Err(cause @ DriverError::Transient(_)) => {
                    let since = *failing_since.get_or_insert_with(|| self.env.clock.monotonic());
                    if !self.pause(since, tries).await? {
                        return Err(self.error(verb, name, cause));
                    }
                    tries += 1;
                }
                Err(cause) => return Err(self.error(verb, name, cause)),
                Ok(value) => return Ok(value),
            }
        }
    }

    /// Put-if-absent. After an answer that leaves the effect open it is sent again; an object that
    /// is there already is read and compared, and equal bytes mean that this put won.
    ///
    /// On a store that ignores conditions an object that can be seen is not replaced, and what was put is
    /// read back. Two that race may both be told that they won: nothing may rest on one winner there.
    pub async fn put(&self, name: &ObjectName, payload: PutPayload) -> Result<Put> {
        if self.is_conditional {
            return self.send(name, payload).await;
        }
        if let Some(found) = self.get(name).await? {
            return Ok(if same_bytes(&found, &payload) { Put::Created } else { Put::Taken });
        }
        self.send(name, payload.clone()).await?;
        Ok(match self.get(name).await? {
            Some(found) if !same_bytes(&found, &payload) => Put::Taken,
            // or removed since, by somebody who went on from it
            _ => Put::Created,
        })
    }

    /// The put, as often as it takes.
    async fn send(&self, name: &ObjectName, payload: PutPayload) -> Result<Put> {
        let path = name.to_string();
        let len = payload.content_length() as u64;
        let sent = self.retried("put", &path, len, || self.driver.put_new(&path, payload.clone())).await;
        match sent {
            Ok(()) => {}
            Err(Error::Store(StoreError { cause: DriverError::Exists, .. })) => {
                match self.get_met(name).await? {
                    Some(found) if same_bytes(&found, &payload) => {}
                    Some(_) => return Ok(Put::Taken),
                    None => return Err(self.error("put", &path, DriverError::Exists)),
                }
            }
            Err(other) => return Err(other),
        }
        self.count(len, 0);
        Ok(Put::Created)
    }

    /// An object that a put has met: it may be readable a little later only.
    async fn get_met(&self, name: &ObjectName) -> Result<Option<Bytes>> {
        let since = self.env.clock.monotonic();
        for tries in 0..MET_TRIES {
            let found = self.get(name).await?;
            if found.is_some() || !self.pause(since, tries).await? {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Puts an object whose name was drawn at random: anything but success is an error. Nobody else has the
    /// name, so there is nothing to look at before or after, condition or not: packs are large.
    pub async fn put_unique(&self, name: &ObjectName, payload: PutPayload) -> Result<()> {
        match self.send(name, payload).await {
            Ok(Put::Created) => Ok(()),
            Ok(Put::Taken) => Err(self.error("put", &name.to_string(), DriverError::Exists)),
            // an earlier try had its effect, and somebody has removed the object since
            Err(Error::Store(StoreError { cause: DriverError::Exists, .. })) => Err(Error::Conflict {
                what: format!("{name}: was stored and is gone: a prune has outlived this run; run it again"),
            }),
            Err(other) => Err(other),
        }
    }

    /// One put-if-absent request, never repeated: the commit of a snapshot.
    pub async fn put_once(&self, name: &ObjectName, payload: PutPayload) -> Result<PutOnce> {
        let path = name.to_string();
        let len = payload.content_length() as u64;
        self.turn("put", len).await?;
        match self.try_once(len, self.driver.put_new(&path, payload)).await {
            Ok(()) => {
                self.count(len, 0);
                Ok(PutOnce::Created)
            }
            Err(DriverError::Exists) => Ok(PutOnce::Exists),
            Err(cause @ DriverError::Transient(_)) => Ok(PutOnce::Ambiguous(cause)),
            Err(cause) => Err(self.error("put", &path, cause)),
        }
    }

    /// A whole object, or `None` where there is none.
    pub async fn get(&self, name: &ObjectName) -> Result<Option<Bytes>> {
        let path = name.to_string();
        let limit = repo_format::limits::PACK_LEN_MAX.max(repo_format::limits::OBJECT_LEN_MAX);
        let range = Some(0..limit + 1);
        match self.retried("get", &path, limit, || self.driver.get(&path, range.clone())).await {
            Ok(bytes) if bytes.len() as u64 > limit => {
                Err(Error::damage(&path, format!("longer than {limit} bytes")))
            }
            Ok(bytes) => {
                self.count(0, bytes.len() as u64);
                Ok(Some(bytes))
            }
            Err(other) => absent_or_damaged(&path, other),
        }
    }

    /// `range` of an object, clipped to its end, or `None` where there is no object.
    pub async fn get_range(&self, name: &ObjectName, range: Range<u64>) -> Result<Option<Bytes>> {
        let path = name.to_string();
        let len = range.end.saturating_sub(range.start);
        match self.retried("get", &path, len, || self.driver.get(&path, Some(range.clone()))).await {
            Ok(bytes) => {
                self.count(0, bytes.len() as u64);
                Ok(Some(bytes))
            }
            Err(other) => absent_or_damaged(&path, other),
        }
    }

    /// Length and time, or `None` where there is no object.
    pub async fn head(&self, name: &ObjectName) -> Result<Option<ObjectMeta>> {
        let path = name.to_string();
        match self.retried("head", &path, 0, || self.driver.head(&path)).await {
            Ok(meta) => Ok(Some(meta)),
            Err(Error::Store(StoreError { cause: DriverError::NotFound, .. })) => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// Everything below `prefix`, sorted by name. Names that are not the format's are left out.
    pub async fn list(&self, prefix: &str) -> Result<Vec<(ObjectName, ObjectMeta)>> {
        // no limit on the whole: `collect` has one for each page
        let mut found = self.retried("list", prefix, u64::MAX >> 8, || self.collect(prefix)).await?;
        found.sort_by(|a, b| a.1.name.cmp(&b.1.name));
        found.dedup_by(|a, b| a.1.name == b.1.name);
        Ok(found)
    }

    async fn collect(&self, prefix: &str) -> Result<Vec<(ObjectName, ObjectMeta)>, DriverError> {
        let mut found = Vec::new();
        let mut listing = self.driver.list(prefix);
        let late = || DriverError::Transient("no answer within 30 s".into());
        while let Some(meta) = self.exec.timeout(LIST_PAGE_LIMIT, listing.next()).await.ok_or_else(late)? {
            let meta = meta?;
            if let Ok(name) = ObjectName::parse(&meta.name) {
                found.push((name, meta));
            }
        }
        Ok(found)
    }

    /// Whether the store keeps its promises, see [`probe`].
    pub async fn probe(&self) -> Result<ProbeReport> {
        probe(self.driver.as_ref(), &self.exec, &self.env).await
    }

    /// Removes an object; none of this name is no error.
    pub async fn delete(&self, name: &ObjectName) -> Result<()> {
        let path = name.to_string();
        self.retried("delete", &path, 0, || self.driver.delete(&path)).await
    }
}

/// No object is an answer; an object whose medium has lost it is damage.
fn absent_or_damaged(path: &str, error: Error) -> Result<Option<Bytes>> {
    match error {
        Error::Store(StoreError { cause: DriverError::NotFound, .. }) => Ok(None),
        Error::Store(StoreError { cause: DriverError::Unreadable(text), .. }) => {
            Err(Error::damage(path, text))
        }
        other => Err(other),
    }
}

fn same_bytes(found: &Bytes, payload: &PutPayload) -> bool {
    let mut rest: &[u8] = found;
    for part in payload {
        match rest.strip_prefix(part.as_ref()) {
            Some(after) => rest = after,
            None => return false,
        }
    }
    rest.is_empty()
}
