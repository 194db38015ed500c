//! A store in memory, for tests and simulations: its times come from the injected clock.

use super::driver::{Driver, DriverError, ObjectMeta};
use crate::env::Clock;
use bytes::Bytes;
use futures::future::{BoxFuture, ready};
use futures::stream::{BoxStream, StreamExt, iter};
use object_store::PutPayload;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

/// Parts as they were put, and when: a pack is not copied on its way in.
type Object = (PutPayload, u64);
type Objects = BTreeMap<String, Object>;

/// Objects in a sorted map. Clones share them.
#[derive(Clone)]
pub struct MemoryDriver {
    objects: Arc<Mutex<Objects>>,
    clock: Arc<dyn Clock>,
    ignores_conditions: bool,
}

impl MemoryDriver {
    /// An empty store.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        MemoryDriver { objects: Arc::default(), clock, ignores_conditions: false }
    }

    /// The same store without put-if-absent: each put replaces what is there, and is told that it won.
    pub fn ignoring_conditions(mut self) -> Self {
        self.ignores_conditions = true;
        self
    }

    fn objects(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A copy that shares nothing with this store.
    pub fn fork(&self) -> Self {
        let objects = self.objects().clone();
        MemoryDriver { objects: Arc::new(Mutex::new(objects)), ..self.clone() }
    }

    fn object(&self, name: &str) -> Option<Object> {
        self.objects().get(name).cloned()
    }

    /// Names of all objects, in order.
    pub fn names(&self) -> Vec<String> {
        self.objects().keys().cloned().collect()
    }

    /// An object's bytes.
    pub fn bytes(&self, name: &str) -> Option<Bytes> {
        self.object(name).map(|(payload, _)| payload.into())
    }

    /// Damages, replaces or plants an object, as its store's owner could.
    pub fn tamper(&self, name: &str, bytes: impl Into<Bytes>) {
        let now_ms = self.clock.now_ms();
        let mut objects = self.objects();
        let entry = objects.entry(name.to_owned()).or_insert((PutPayload::new(), now_ms));
        entry.0 = PutPayload::from_bytes(bytes.into());
    }

    /// Loses an object.
    pub fn lose(&self, name: &str) {
        self.objects().remove(name);
    }
}

fn now<'a, T: Send + 'a>(value: T) -> BoxFuture<'a, T> {
    Box::pin(ready(value))
}

impl Driver for MemoryDriver {
    fn put_new<'a>(&'a self, name: &'a str, payload: PutPayload) -> BoxFuture<'a, Result<(), DriverError>> {
        let now_ms = self.clock.now_ms();
        let mut objects = self.objects();
        if objects.contains_key(name) && !self.ignores_conditions {
            return now(Err(DriverError::Exists));
        }
        objects.insert(name.to_owned(), (payload, now_ms));
        now(Ok(()))
    }

    fn get<'a>(
        &'a self,
        name: &'a str,
        range: Option<Range<u64>>,
    ) -> BoxFuture<'a, Result<Bytes, DriverError>> {
        let Some((payload, _)) = self.object(name) else { return now(Err(DriverError::NotFound)) };
        let len = payload.content_length();
        let Some(range) = range else { return now(Ok(payload.into())) };
        let clip = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).min(len);
        let (start, end) = (clip(range.start), clip(range.end));
        now(Ok(slice(&payload, start.min(end)..end)))
    }

    fn head<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<ObjectMeta, DriverError>> {
        let objects = self.objects();
        now(objects.get(name).map(|entry| meta(name, entry)).ok_or(DriverError::NotFound))
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxStream<'a, Result<ObjectMeta, DriverError>> {
        let found: Vec<_> = self
            .objects()
            .iter()
            .filter(|(name, _)| name.starts_with(prefix))
            .map(|(name, entry)| Ok(meta(name, entry)))
            .collect();
        iter(found).boxed()
    }

    fn delete<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), DriverError>> {
        self.lose(name);
        now(Ok(()))
    }

    fn url(&self) -> &str {
        "memory://"
    }
}

fn meta(name: &str, (payload, modified_ms): &Object) -> ObjectMeta {
    ObjectMeta { name: name.to_owned(), len: payload.content_length() as u64, modified_ms: *modified_ms }
}

/// A range within a payload; copied only if it lies in several of its parts.
fn slice(payload: &PutPayload, range: Range<usize>) -> Bytes {
    let mut parts = Vec::new();
    let mut part_start = 0;
    for part in payload {
        let (start, end) = (range.start.max(part_start), range.end.min(part_start + part.len()));
        if start < end {
            parts.push(part.slice(start - part_start..end - part_start));
        }
        part_start += part.len();
    }
    parts.into_iter().collect::<PutPayload>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_out_of_the_parts() {
        let payload: PutPayload = ["abc", "", "de", "fghi"].into_iter().map(Bytes::from).collect();
        for (start, end) in (0..=9).flat_map(|start| (start..=9).map(move |end| (start, end))) {
            assert_eq!(slice(&payload, start..end), b"abcdefghi"[start..end].to_vec(), "{start}..{end}");
        }
    }
}
