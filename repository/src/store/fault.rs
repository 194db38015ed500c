//! A store that fails on purpose: before or after the effect of any numbered call.

use super::driver::{Driver, DriverError, ObjectMeta};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{BoxStream, StreamExt, once};
use object_store::PutPayload;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What happens to one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing; the call goes through.
    None,
    /// The process ends before the call has an effect; every later call fails too.
    CrashBefore,
    /// The process ends after the call had its effect; every later call fails too.
    CrashAfter,
    /// The call fails without effect and may be tried again.
    FailBefore,
    /// The call has its effect, and the answer is lost.
    FailAfter,
    /// The store refuses for good.
    Refuse,
    /// Half of what was asked to be read is given.
    Shorter,
    /// What was asked to be read is given twice over.
    Longer,
}

/// A verb, as a fault plan sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Put-if-absent.
    Put,
    /// Whole or ranged read.
    Get,
    /// Length and time.
    Head,
    /// Listing.
    List,
    /// Removal.
    Delete,
}

type Plan = dyn Fn(u64, Verb, &str) -> Fault + Send + Sync;

/// Wraps a store; `plan(number, verb, name)` decides each call, numbered from 0.
pub struct FaultDriver {
    inner: Arc<dyn Driver>,
    plan: Box<Plan>,
    calls: AtomicU64,
    dead: AtomicBool,
}

impl FaultDriver {
    /// Wraps `inner`.
    pub fn new(
        inner: Arc<dyn Driver>,
        plan: impl Fn(u64, Verb, &str) -> Fault + Send + Sync + 'static,
    ) -> Self {
        FaultDriver { inner, plan: Box::new(plan), calls: AtomicU64::new(0), dead: AtomicBool::new(false) }
    }

    /// Calls seen so far.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    fn fault(&self, verb: Verb, name: &str) -> Fault {
        if self.dead.load(Ordering::SeqCst) {
            return Fault::CrashBefore;
        }
        let fault = (self.plan)(self.calls.fetch_add(1, Ordering::SeqCst), verb, name);
        if matches!(fault, Fault::CrashBefore | Fault::CrashAfter) {
            self.dead.store(true, Ordering::SeqCst);
        }
        fault
    }

    async fn apply<T>(
        &self,
        fault: Fault,
        call: impl Future<Output = Result<T, DriverError>>,
    ) -> Result<T, DriverError> {
        match fault {
            Fault::None | Fault::Shorter | Fault::Longer => call.await,
            Fault::CrashBefore => Err(DriverError::Crashed),
            Fault::CrashAfter => call.await.and(Err(DriverError::Crashed)),
            Fault::FailBefore => Err(DriverError::Transient("503 by a fault".into())),
            Fault::FailAfter => call.await.and(Err(DriverError::Transient("reset by a fault".into()))),
            Fault::Refuse => Err(DriverError::Permanent("refused by a fault".into())),
        }
    }
}

impl Driver for FaultDriver {
    fn put_new<'a>(&'a self, name: &'a str, payload: PutPayload) -> BoxFuture<'a, Result<(), DriverError>> {
        Box::pin(async move {
            self.apply(self.fault(Verb::Put, name), async { self.inner.put_new(name, payload).await }).await
        })
    }

    fn get<'a>(
        &'a self,
        name: &'a str,
        range: Option<Range<u64>>,
    ) -> BoxFuture<'a, Result<Bytes, DriverError>> {
        Box::pin(async move {
            let fault = self.fault(Verb::Get, name);
            let bytes = self.apply(fault, async { self.inner.get(name, range).await }).await?;
            Ok(match fault {
                Fault::Shorter => bytes.slice(..bytes.len() / 2),
                Fault::Longer => [&bytes[..], &bytes[..]].concat().into(),
                _ => bytes,
            })
        })
    }

    fn head<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<ObjectMeta, DriverError>> {
        Box::pin(async move {
            self.apply(self.fault(Verb::Head, name), async { self.inner.head(name).await }).await
        })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxStream<'a, Result<ObjectMeta, DriverError>> {
        match self.fault(Verb::List, prefix) {
            Fault::None | Fault::Shorter | Fault::Longer => self.inner.list(prefix),
            Fault::CrashBefore | Fault::CrashAfter => once(async { Err(DriverError::Crashed) }).boxed(),
            Fault::Refuse => once(async { Err(DriverError::Permanent("refused by a fault".into())) }).boxed(),
            _ => once(async { Err(DriverError::Transient("503 by a fault".into())) }).boxed(),
        }
    }

    fn delete<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), DriverError>> {
        Box::pin(async move {
            self.apply(self.fault(Verb::Delete, name), async { self.inner.delete(name).await }).await
        })
    }

    fn lag_ms(&self) -> u64 {
        self.inner.lag_ms()
    }

    fn url(&self) -> &str {
        self.inner.url()
    }
}
