//! Which snapshots there are, and which one a person means.

use crate::error::Named;
use crate::gc::{self, GcView};
use crate::{Error, ErrorKind, Repository, Result, repair};
use futures::future::{join, try_join3};
use futures::stream::{StreamExt, iter};
use repo_format::gc_record::{ForgetMarker, Tombstone};
use repo_format::layout::{FORGET_PREFIX, ObjectName, SNAPSHOT_PREFIX};
use repo_format::map::Place;
use repo_format::sealed::{Class, class_of};
use repo_format::snapshot::Snapshot;
use repo_format::{Id, SnapshotId};
use std::collections::HashSet;

/// Small objects fetched at the same time.
const READS_IN_FLIGHT: usize = 8;
/// Candidates that an error names.
const CANDIDATES_NAMED_MAX: usize = 8;

/// A committed snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotEntry {
    /// Its name in the store.
    pub id: SnapshotId,
    /// What it says.
    pub snapshot: Snapshot,
    /// When the store says that it was written, in Unix milliseconds.
    pub stored_ms: u64,
    /// A signed wish to drop it is there, or a plan of prune drops it.
    pub forgotten: bool,
    /// A signed mark says that something of it is lost.
    pub damaged: bool,
}

impl SnapshotEntry {
    /// The time that orders snapshots: no writer's clock can put one later than it was stored.
    pub fn time_ms(&self) -> u64 {
        retention_time(self.snapshot.time, self.stored_ms)
    }
}

/// The time that a snapshot counts with, in Unix milliseconds: its own, but not one that its store has not seen yet, be the
/// clock of the machine wrong. Stores say when they have written an object in whole seconds, rounded down: within that
/// second the snapshot's own time counts, or else snapshots of one second would change places.
pub(crate) fn retention_time(time_ms: u64, stored_ms: u64) -> u64 {
    if time_ms < stored_ms.saturating_add(1000) { time_ms } else { stored_ms }
}

/// All snapshots of the domain, oldest first, and what could not be read.
///
/// Tombstones are no snapshots. Those of other domains open with no key of this one and are left
/// out; where there is only one domain, such an object is damaged.
pub async fn list(repository: &Repository) -> Result<(Vec<SnapshotEntry>, Vec<Error>)> {
    list_as_of(repository, gc::view(repository)).await
}

/// As [`list`], of a repository whose state of deletion is read by `view`.
pub(crate) async fn list_as_of(
    repository: &Repository,
    view: impl Future<Output = Result<GcView>>,
) -> Result<(Vec<SnapshotEntry>, Vec<Error>)> {
    let (forgotten, marks) = (forgotten(repository, view), repair::marks(repository));
    let (forgotten, marks, read) = try_join3(forgotten, marks, read_all(repository)).await?;
    let ((forgotten, mut problems), (marks, unsigned)) = (forgotten, marks);
    // another domain's mark opens with no key of this one
    problems.extend(unsigned.into_iter().filter(|error| error.kind() != ErrorKind::WrongKey));
    let mut entries = Vec::new();
    for (id, stored_ms, found) in read {
        match found {
            Ok(snapshot) => {
                let forgotten = forgotten.contains(&id);
                let damaged = marks.get(&id).is_some_and(|mark| !mark.is_whole());
                entries.push(SnapshotEntry { id, snapshot, stored_ms, forgotten, damaged });
            }
            Err(error) => keep_damage(error, &mut problems)?,
        }
    }
    entries.sort_by_key(|entry| (entry.time_ms(), entry.id));
    Ok((entries, problems))
}

/// A snapshot's name, when it was stored, and what it says.
type Found = (SnapshotId, u64, Result<Snapshot>);

/// Every snapshot that is there, in order of name.
async fn read_all(repository: &Repository) -> Result<Vec<Found>> {
    let listed = repository.store().list(SNAPSHOT_PREFIX).await?;
    let names = listed.into_iter().filter_map(|(name, meta)| match name {
        ObjectName::Snapshot(sid) => Some((sid, meta.modified_ms)),
        _ => None,
    });
    let mut reads = iter(names)
        .map(|(sid, stored_ms)| async move { (sid, stored_ms, read(repository, sid).await) })
        .buffered(READS_IN_FLIGHT);
    let mut all = Vec::new();
    while let Some((sid, stored_ms, found)) = reads.next().await {
        repository.exec().check_cancelled()?;
        all.extend(found.transpose().map(|found| (sid, stored_ms, found)));
    }
    Ok(all)
}

/// Snapshots whose objects cannot be read, among what a listing could not read.
pub fn unreadable(problems: &[Error]) -> Vec<SnapshotId> {
    let object = |error: &Error| match error {
        Error::Format { object, .. } | Error::Damage { object, .. } => ObjectName::parse(object).ok(),
        _ => None,
    };
    let sid = |name| if let ObjectName::Snapshot(sid) = name { Some(sid) } else { None };
    problems.iter().filter_map(object).filter_map(sid).collect()
}

/// What the bytes say is collected; what the store or the user says ends the listing.
fn keep_damage(error: Error, problems: &mut Vec<Error>) -> Result<()> {
    match error {
        Error::Format { .. } | Error::Damage { .. } => {
            problems.push(error);
            Ok(())
        }
        other => Err(other),
    }
}

/// A snapshot of this domain; nothing for a tombstone, another domain's, or one gone meanwhile.
async fn read(repository: &Repository, sid: SnapshotId) -> Result<Option<Snapshot>> {
    let name = ObjectName::Snapshot(sid);
    let Some(object) = repository.store().get(&name).await? else { return Ok(None) };
    let worker = repository.clone();
    let opened = repository.exec().cpu(move || open_snapshot(&worker, sid, &object)).await?;
    match opened {
        Err(error) if error.kind() == ErrorKind::WrongKey => {
            if repository.config().domains.len() > 1 {
                return Ok(None);
            }
            Err(Error::damage(name, "not sealed under the key of the repository's only domain"))
        }
        other => other,
    }
}

/// Opens a snapshot; nothing for a tombstone.
pub(crate) fn open_snapshot(
    repository: &Repository,
    sid: SnapshotId,
    object: &[u8],
) -> Result<Option<Snapshot>> {
    let name = ObjectName::Snapshot(sid);
    if class_of(object) == Some(Class::Tombstone) {
        let body = repository.open_signed(Class::Tombstone, &name, object)?;
        return check_sid(&name, sid, Tombstone::parse(&body).named(name)?.sid).map(|()| None);
    }
    open_final(repository, sid, object).map(Some)
}

/// Opens a snapshot that is no tombstone.
pub(crate) fn open_final(repository: &Repository, sid: SnapshotId, object: &[u8]) -> Result<Snapshot> {
    let name = ObjectName::Snapshot(sid);
    let body = repository.open_object(Class::Snapshot, &name, object)?;
    let snapshot = Snapshot::parse(&body).named(name)?;
    check_sid(&name, sid, snapshot.sid)?;
    if snapshot.domain != repository.domain() {
        return Err(Error::damage(name, format!("says that it is of domain {:?}", snapshot.domain)));
    }
    Ok(snapshot)
}

fn check_sid(name: &ObjectName, expected: SnapshotId, found: SnapshotId) -> Result<()> {
    if found == expected {
        Ok(())
    } else {
        Err(Error::damage(name, format!("says that it is of snapshot {found}")))
    }
}

/// Snapshots that a signed marker or plan gives up, and what could not be read.
async fn forgotten(
    repository: &Repository,
    view: impl Future<Output = Result<GcView>>,
) -> Result<(HashSet<SnapshotId>, Vec<Error>)> {
    let mut problems = Vec::new();
    let markers = async {
        let listed = repository.store().list(FORGET_PREFIX).await?;
        let reads = iter(listed).map(|(name, _)| read_marker(repository, name)).buffered(READS_IN_FLIGHT);
        Ok::<Vec<_>, Error>(reads.collect().await)
    };
    let (view, markers) = join(view, markers).await;
    let mut sids = match view {
        Ok(view) => view.forgotten,
        Err(error) => {
            keep_damage(error, &mut problems)?;
            HashSet::new()
        }
    };
    for marker in markers? {
        match marker {
            Ok(sid) => sids.extend(sid),
            // another domain's, or not by anyone who may sign
            Err(error) if error.kind() == ErrorKind::WrongKey => {}
            Err(error) => keep_damage(error, &mut problems)?,
        }
    }
    Ok((sids, problems))
}

/// Roots of all maps of a snapshot, with what each page has to look like.
pub(crate) fn maps(snapshot: &Snapshot) -> Result<Vec<(Id, Place)>> {
    let name = ObjectName::Snapshot(snapshot.sid);
    let mut roots = Vec::new();
    for volume in snapshot.volumes.iter().filter(|volume| !volume.root.is_zero()) {
        let place = match volume.chunker.segment_len() {
            Some(segment_len) => Place::volume_root(segment_len, volume.size),
            None => Place::stream_root(volume.size),
        };
        roots.push((volume.root, place.named(name)?));
    }
    if let Some(catalogue) = &snapshot.catalogue {
        roots.push((catalogue.root, Place::stream_root(catalogue.size).named(name)?));
    }
    Ok(roots)
}

/// Checks that a forget marker is signed and of the snapshot that its name says.
pub(crate) fn open_marker(
    repository: &Repository,
    name: &ObjectName,
    sid: SnapshotId,
    object: &[u8],
) -> Result<()> {
    let body = repository.open_signed(Class::Forget, name, object)?;
    check_sid(name, sid, ForgetMarker::parse(&body).named(name)?.sid)
}

async fn read_marker(repository: &Repository, name: ObjectName) -> Result<Option<SnapshotId>> {
    let ObjectName::Forget { sid, .. } = name else { return Ok(None) };
    let Some(object) = repository.store().get(&name).await? else { return Ok(None) };
    open_marker(repository, &name, sid, &object).map(|()| Some(sid))
}

/// Which snapshots are meant. An empty filter means all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Not older than this, in Unix milliseconds.
    pub since_ms: Option<u64>,
    /// Not newer than this, in Unix milliseconds.
    pub until_ms: Option<u64>,
    /// Labels that it has to have, all of them.
    pub labels: Vec<(String, String)>,
    /// What its name looks like: `*` stands for any text, `?` for one character.
    pub name: Option<String>,
    /// A volume that it has to have.
    pub volume: Option<String>,
}

impl Filter {
    /// Whether a snapshot is meant.
    pub fn matches(&self, entry: &SnapshotEntry) -> bool {
        let (time, snapshot) = (entry.time_ms(), &entry.snapshot);
        let name = snapshot.name.as_deref();
        self.since_ms.is_none_or(|since| time >= since)
            && self.until_ms.is_none_or(|until| time <= until)
            && self.labels.iter().all(|(key, value)| snapshot.labels.get(key) == Some(value))
            && self.name.as_deref().is_none_or(|glob| name.is_some_and(|name| glob_matches(glob, name)))
            && self.volume.as_ref().is_none_or(|wanted| snapshot.volumes.iter().any(|v| v.name == *wanted))
    }
}

/// Whether `text` looks like `glob`, in time of the product of their lengths at most.
fn glob_matches(glob: &str, text: &str) -> bool {
    let (mut glob, mut text) = (glob.chars(), text.chars());
    let mut star: Option<(std::str::Chars<'_>, std::str::Chars<'_>)> = None;
    loop {
        let (ahead, at) = (glob.clone(), text.clone());
        match (glob.next(), text.next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                star = Some((glob.clone(), at.clone()));
                text = at;
            }
            (Some('?'), Some(_)) => {}
            (Some(wanted), Some(found)) if wanted == found => {}
            _ => {
                drop(ahead);
                // the last star takes one character more
                let Some((after_star, taken)) = &mut star else { return false };
                if taken.next().is_none() {
                    return false;
                }
                (glob, text) = (after_star.clone(), taken.clone());
            }
        }
    }
}

/// The snapshot that `spec` means among those of `filter`: an id, a unique start or end of one, or
/// `latest`, which passes over forgotten ones.
///
/// # Errors
/// [`Error::Usage`] if none or several match.
pub fn find<'a>(entries: &'a [SnapshotEntry], spec: &str, filter: &Filter) -> Result<&'a SnapshotEntry> {
    let mut wanted = entries.iter().filter(|entry| filter.matches(entry));
    if spec == "latest" {
        let newest = wanted.filter(|entry| !entry.forgotten).max_by_key(|entry| (entry.time_ms(), entry.id));
        let among =
            if *filter == Filter::default() { "there is no snapshot" } else { "no snapshot fits the filter" };
        return newest.ok_or_else(|| Error::Usage { what: format!("latest: {among}") });
    }
    let text = spec.to_ascii_lowercase().replace('-', "");
    let is_hex = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let found: Vec<&SnapshotEntry> = wanted
        .by_ref()
        .filter(|entry| {
            let id = entry.id.to_string();
            is_hex && (id.starts_with(&text) || id.ends_with(&text))
        })
        .collect();
    let shown: String = spec.chars().filter(|c| !c.is_control()).take(80).collect();
    match found.as_slice() {
        [one] => Ok(one),
        [] => Err(Error::Usage {
            what: format!("snapshot {shown:?}: none matches; `orlop snapshots` lists them"),
        }),
        several => {
            let names: Vec<String> =
                several.iter().take(CANDIDATES_NAMED_MAX).map(|entry| short_id(&entry.id)).collect();
            let more = if several.len() > names.len() { ", ..." } else { "" };
            let what = format!("snapshot {shown:?}: {} match: {}{more}", several.len(), names.join(", "));
            Err(Error::Usage { what })
        }
    }
}

/// The last 8 hex digits: the first ones are equal for a minute.
pub fn short_id(id: &SnapshotId) -> String {
    let text = id.to_string();
    text.get(text.len().saturating_sub(8)..).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(n: u8, time: u64) -> SnapshotEntry {
        let mut id = [0x01; 16];
        id[15] = n;
        let id = SnapshotId(id);
        let mut snapshot = Snapshot::new(id, "main", time);
        snapshot.name = Some(format!("shop-{n}"));
        SnapshotEntry { id, snapshot, stored_ms: 1000, forgotten: false, damaged: false }
    }

    #[test]
    fn a_store_that_rounds_down_to_seconds_changes_no_places() {
        // made at .2 and .9 of a second; the first was brought back later
        let (old, new) = (entry_at(1, 5200, 9000), entry_at(2, 5900, 5000));
        assert!(old.time_ms() < new.time_ms());
        // a clock that is ahead does not count
        assert_eq!(entry_at(3, 6000, 5000).time_ms(), 5000);
    }

    fn entry_at(n: u8, time: u64, stored_ms: u64) -> SnapshotEntry {
        SnapshotEntry { stored_ms, ..entry(n, time) }
    }

    #[test]
    fn finds_by_start_end_and_latest() {
        let mut entries = vec![entry(0x10, 10), entry(0x21, 20), entry(0x22, 5000)];
        let any = Filter::default();
        let find = |entries: &[SnapshotEntry], spec: &str, filter: &Filter| {
            super::find(entries, spec, filter).map(|entry| entry.id.0[15]).map_err(|error| error.to_string())
        };
        assert_eq!(find(&entries, "22", &any), Ok(0x22));
        assert_eq!(find(&entries, &entries[0].id.to_string(), &any), Ok(0x10));
        assert_eq!(find(&entries, "latest", &any), Ok(0x22));
        assert_eq!(find(&entries, "latest", &Filter { until_ms: Some(20), ..Filter::default() }), Ok(0x21));
        assert!(find(&entries, "latest", &Filter { since_ms: Some(1001), ..Filter::default() }).is_err());
        let ambiguous = find(&entries, "0101", &any).unwrap_err();
        assert!(ambiguous.contains("3 match: 01010110, 01010121, 01010122"), "{ambiguous}");
        for unknown in ["", "ff", "xyz", "\n"] {
            assert!(find(&entries, unknown, &any).is_err(), "{unknown:?}");
        }
        entries[2].forgotten = true;
        assert_eq!(find(&entries, "latest", &any), Ok(0x21));
    }

    #[test]
    fn globs() {
        for (glob, text, matches) in [
            ("*", "", true),
            ("shop-*", "shop-1", true),
            ("*-1?", "shop-1-12", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("?", "", false),
            ("ä?", "äö", true),
            ("", "x", false),
        ] {
            assert_eq!(glob_matches(glob, text), matches, "{glob} {text}");
        }
    }

    /// The plain definition.
    fn slow(glob: &[u8], text: &[u8]) -> bool {
        match (glob.split_first(), text.split_first()) {
            (None, rest) => rest.is_none(),
            (Some((b'*', after)), rest) => {
                slow(after, text) || rest.is_some_and(|(_, shorter)| slow(glob, shorter))
            }
            (Some((b'?', after)), Some((_, rest))) => slow(after, rest),
            (Some((wanted, after)), Some((found, rest))) => wanted == found && slow(after, rest),
            (Some(_), None) => false,
        }
    }

    proptest! {
        #[test]
        fn globs_match_as_defined(glob in "[ab*?]{0,7}", text in "[ab]{0,8}") {
            prop_assert_eq!(glob_matches(&glob, &text), slow(glob.as_bytes(), text.as_bytes()));
        }
    }
}
