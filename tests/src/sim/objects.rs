//! What the store holds, and who sees how much of it (assumptions A1 and A2).

use super::profile::Profile;
use super::rng::mix;
use bytes::Bytes;
use repository::store::{DriverError, ObjectMeta};
use std::collections::BTreeMap;
use std::ops::Bound;

/// Number of a process: who writes, who looks.
pub(super) type ProcessNo = usize;

/// Wrote what was there before the schedule began; sees everything.
pub(super) const NOBODY: ProcessNo = usize::MAX;

/// One object, kept after its removal for those who see that late.
#[derive(Debug, Clone)]
struct Object {
    bytes: Bytes,
    writer: ProcessNo,
    created_ms: u64,
    removed: Option<(u64, ProcessNo)>,
}

/// Objects by name.
#[derive(Debug, Clone, Default)]
pub(super) struct Objects {
    by_name: BTreeMap<String, Object>,
    /// The longest lag, in milliseconds, and how many of a thousand objects have any.
    lag: (u64, u64),
    /// Every lag is the longest.
    full: bool,
    salt: u64,
}

/// A put, as far as it matters when it lands.
pub(super) struct Landing {
    /// Who sent it.
    pub(super) writer: ProcessNo,
    /// When it was sent.
    pub(super) sent_ms: u64,
    /// When it lands.
    pub(super) now_ms: u64,
    /// A4: a put sent before the object was removed does not land this long after it was made.
    pub(super) window_ms: u64,
}

impl Objects {
    /// The same objects, with another lag.
    pub(super) fn with_lag(&self, profile: &Profile, salt: u64) -> Self {
        let lag = (profile.delta_ms, profile.lag);
        Objects { by_name: self.by_name.clone(), lag, full: profile.full_lag, salt }
    }

    /// How late `who` sees a change of `name` made at `when`.
    fn lag_ms(&self, name: &str, who: ProcessNo, when_ms: u64) -> u64 {
        let (delta_ms, permille) = self.lag;
        if delta_ms == 0 || permille == 0 || who == NOBODY {
            return 0;
        }
        let mut hash = self.salt ^ when_ms ^ (who as u64) << 48;
        for byte in name.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        let hash = mix(hash);
        let quarters = if self.full { 4 } else { 1 + (hash >> 32) % 4 };
        if hash % 1000 < permille { delta_ms * quarters / 4 } else { 0 }
    }

    fn is_seen(&self, name: &str, object: &Object, who: ProcessNo, now_ms: u64) -> bool {
        let seen = [who, NOBODY].contains(&object.writer)
            || now_ms >= object.created_ms + self.lag_ms(name, who, object.created_ms);
        let gone = object
            .removed
            .is_some_and(|(at_ms, by)| by == who || now_ms >= at_ms + self.lag_ms(name, who, at_ms));
        seen && !gone
    }

    fn seen(&self, name: &str, who: ProcessNo, now_ms: u64) -> Result<&Object, DriverError> {
        let found = self.by_name.get(name).filter(|object| self.is_seen(name, object, who, now_ms));
        found.ok_or(DriverError::NotFound)
    }

    /// A1: one winner. `None` for a duplicate that A4 rules out.
    pub(super) fn put(
        &mut self,
        name: &str,
        bytes: Bytes,
        landing: &Landing,
    ) -> Option<Result<(), DriverError>> {
        if let Some(old) = self.by_name.get(name) {
            let Some((removed_ms, _)) = old.removed else { return Some(Err(DriverError::Exists)) };
            let outlived = landing.now_ms >= old.created_ms.saturating_add(landing.window_ms);
            if landing.sent_ms <= removed_ms && outlived {
                return None;
            }
        }
        let (writer, created_ms) = (landing.writer, landing.now_ms);
        self.by_name.insert(name.to_owned(), Object { bytes, writer, created_ms, removed: None });
        Some(Ok(()))
    }

    /// The bytes, as `who` sees them.
    pub(super) fn get(&self, name: &str, who: ProcessNo, now_ms: u64) -> Result<Bytes, DriverError> {
        self.seen(name, who, now_ms).map(|object| object.bytes.clone())
    }

    /// Length and time, as `who` sees them.
    pub(super) fn head(&self, name: &str, who: ProcessNo, now_ms: u64) -> Result<ObjectMeta, DriverError> {
        self.seen(name, who, now_ms).map(|object| meta(name, object))
    }

    /// One page of a listing: `count` names after `after` that begin with `prefix`.
    pub(super) fn page(
        &self,
        prefix: &str,
        after: Option<&str>,
        count: usize,
        who: ProcessNo,
        now_ms: u64,
    ) -> Vec<ObjectMeta> {
        let from = after.map_or(Bound::Included(prefix), Bound::Excluded);
        self.by_name
            .range::<str, _>((from, Bound::Unbounded))
            .take_while(|(name, _)| name.starts_with(prefix))
            .filter(|(name, object)| self.is_seen(name, object, who, now_ms))
            .map(|(name, object)| meta(name, object))
            .take(count)
            .collect()
    }

    /// Removes an object, if it is there.
    pub(super) fn remove(&mut self, name: &str, by: ProcessNo, now_ms: u64) {
        if let Some(object) = self.by_name.get_mut(name)
            && object.removed.is_none()
        {
            object.removed = Some((now_ms, by));
        }
    }

    /// Names and lengths of what is there now, by name.
    pub(super) fn alive(&self) -> impl Iterator<Item = (&str, u64)> {
        let alive = self.by_name.iter().filter(|(_, object)| object.removed.is_none());
        alive.map(|(name, object)| (name.as_str(), object.bytes.len() as u64))
    }

    /// Names of all that ever was there.
    pub(super) fn made(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// True if an object of this name was ever there.
    pub(super) fn was_made(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }
}

fn meta(name: &str, object: &Object) -> ObjectMeta {
    ObjectMeta {
        name: name.to_owned(),
        len: object.bytes.len() as u64,
        modified_ms: super::EPOCH_MS + object.created_ms,
    }
}
