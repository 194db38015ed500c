//! What must hold once everything is quiet: a plain model of which snapshots there are and what they
//! restore to.

use super::content::{LABEL, Spec};
use super::objects::Objects;
use super::process::{SimClock, SimDriver};
use super::rng::Rng;
use super::world::Shared;
use super::{Base, SeededRandom};
use futures::FutureExt;
use repo_format::SnapshotId;
use repo_format::layout::ObjectName;
use repository::check::{CheckOptions, ReadData, check};
use repository::progress::Progress;
use repository::reader::Reader;
use repository::snapshots::{self, SnapshotEntry};
use repository::vfs::{self, MapWalker};
use repository::{Env, Exec, Repository};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the operations have said so far.
#[derive(Debug, Default)]
pub(super) struct Model {
    /// Backups by number.
    pub(super) specs: Vec<Arc<Spec>>,
    /// Snapshots that a backup or an undelete has reported.
    pub(super) committed: Vec<SnapshotId>,
    /// Those of a backup, with its number; and others that were seen: undeleted, or landed after their backup had taken
    /// another name.
    pub(super) backed_up: Vec<(SnapshotId, usize)>,
}

/// Somebody asked for it to go.
fn is_forgotten(store: &Objects, sid: SnapshotId) -> bool {
    [false, true].iter().any(|last| store.was_made(&ObjectName::Forget { sid, last: *last }.to_string()))
}

/// Opens the repository from outside: without faults, lag or time.
pub(super) fn outside(world: &Shared, base: &Base) -> Repository {
    let clock = Arc::new(SimClock { world: world.clone(), skew_ms: 0 });
    let random = Arc::new(SeededRandom::new(Rng::new(7)));
    let env = Env { clock, random, kdf_cost: base.kdf_cost, mutant: None };
    let driver = Arc::new(SimDriver::outside(world));
    let exec =
        world.lock().profile.index_len.map_or(Exec::inline(), |len| Exec::inline().with_index_len(len));
    let opened = Repository::open(driver, &exec, &env, &base.owner).now_or_never();
    opened.expect("nothing waits").expect("the repository opens")
}

impl Model {
    /// Everything that must hold; says what does not.
    pub(super) fn verify(&mut self, world: &Shared, base: &Base) -> Result<(), String> {
        let repository = outside(world, base);
        let verified = self.verify_with(world, &repository).now_or_never();
        verified.unwrap_or_else(|| Err("looking from outside waits for something".into()))
    }

    /// After everything but one snapshot was forgotten and pruned, little more than that one is stored.
    pub(super) fn verify_size(&self, world: &Shared, base: &Base) -> Result<(), String> {
        let repository = outside(world, base);
        let listed = snapshots::list(&repository).now_or_never().ok_or("listing waits")?;
        let (entries, _) = listed.map_err(|e| e.to_string())?;
        let mut needed = 0;
        for entry in &entries {
            needed += self.spec(entry)?.stored_len();
        }
        let store = world.lock().store.clone();
        let packs: Vec<(&str, u64)> = store.alive().filter(|(name, _)| name.starts_with("packs/")).collect();
        let stored: u64 = packs.iter().map(|(_, len)| len).sum();
        if entries.len() > 1 || stored > needed {
            let what = "snapshots are left, and at most";
            return Err(format!(
                "stuck: {} {what} {needed} bytes of packs expected: {packs:?}",
                entries.len()
            ));
        }
        Ok(())
    }

    async fn verify_with(&mut self, world: &Shared, repository: &Repository) -> Result<(), String> {
        let (entries, problems) = snapshots::list(repository).await.map_err(|e| format!("listing: {e}"))?;
        if let Some(problem) = problems.first() {
            return Err(format!("listing snapshots: {problem}"));
        }
        for entry in &entries {
            if !self.is_known(entry.id) {
                self.backed_up.push((entry.id, self.spec(entry)?.no));
            }
        }
        let store = world.lock().store.clone();
        for sid in self.committed.iter().filter(|sid| !is_forgotten(&store, **sid)) {
            if !entries.iter().any(|entry| entry.id == *sid) {
                return Err(format!("snapshot {sid} was committed, forgotten by nobody, and is gone"));
            }
        }
        let (reader, problems) = vfs::reader(repository).await.map_err(|e| format!("index: {e}"))?;
        if let Some(problem) = problems.first() {
            return Err(format!("index: {problem}"));
        }
        let mut groups: BTreeMap<&str, bool> = BTreeMap::new();
        for entry in &entries {
            let spec = self.spec(entry)?;
            let restored = restores(&reader, entry, spec).await;
            if is_forgotten(&store, entry.id) {
                *groups.entry(&spec.group).or_default() |= restored.is_ok();
                continue;
            }
            restored.map_err(|what| format!("snapshot {} of {}: {what}", entry.id, spec.text()))?;
            groups.insert(&spec.group, true);
        }
        self.verify_groups(&store, &groups)?;
        let options = CheckOptions { read_data: ReadData::All, snapshots: Vec::new() };
        let report = check(repository, options, &Arc::new(Progress::default())).await;
        let report = report.map_err(|e| format!("check: {e}"))?;
        match report.errors.first() {
            Some(finding) => Err(format!("check: {finding:?}")),
            None => Ok(()),
        }
    }

    /// Plain forgetting leaves each group a snapshot that restores.
    fn verify_groups(&self, store: &Objects, alive: &BTreeMap<&str, bool>) -> Result<(), String> {
        let was_last =
            |sid: &SnapshotId| store.was_made(&ObjectName::Forget { sid: *sid, last: true }.to_string());
        let mut groups: BTreeMap<&str, bool> = BTreeMap::new();
        for (sid, no) in &self.backed_up {
            *groups.entry(&self.specs[*no].group).or_default() |= was_last(sid);
        }
        // it came and went unseen: its group is not known
        let is_unknown = |name| matches!(ObjectName::parse(name), Ok(ObjectName::Forget { sid, last: true }) if !self.is_known(sid));
        let unknown = store.made().any(is_unknown);
        match groups.iter().find(|(group, last)| !**last && !unknown && alive.get(*group) != Some(&true)) {
            Some((group, _)) => {
                Err(format!("group {group} was only ever forgotten plainly and has nothing left"))
            }
            None => Ok(()),
        }
    }

    fn is_known(&self, sid: SnapshotId) -> bool {
        self.backed_up.iter().any(|(known, _)| *known == sid)
    }

    fn spec(&self, entry: &SnapshotEntry) -> Result<&Spec, String> {
        let label = entry.snapshot.labels.get(LABEL).and_then(|label| label.parse::<usize>().ok());
        let spec = label.and_then(|no| self.specs.get(no));
        spec.map(|spec| &**spec).ok_or_else(|| format!("snapshot {} is nobody's", entry.id))
    }
}

/// Reads a whole snapshot and compares it with its source.
async fn restores(reader: &Reader, entry: &SnapshotEntry, spec: &Spec) -> Result<(), String> {
    let snapshot = &entry.snapshot;
    let expected = spec.volumes.len() + usize::from(spec.stream.is_some());
    if snapshot.volumes.len() != expected {
        return Err(format!("{} volumes instead of {expected}", snapshot.volumes.len()));
    }
    for volume in &snapshot.volumes {
        let mut walker =
            MapWalker::volume(reader, &volume.name, volume).map_err(|e| format!("{}: {e}", volume.name))?;
        let content = spec.volumes.iter().find(|(name, _)| *name == volume.name).map(|(_, content)| content);
        let stream = spec.stream.as_ref().filter(|_| volume.name == "s");
        let len = content.map(|c| c.byte_len()).or(stream.map(|s| s.len() as u64));
        if len != Some(volume.size) {
            return Err(format!("{} is {} bytes long instead of {len:?}", volume.name, volume.size));
        }
        let mut extents = Vec::new();
        while walker.next_batch(&mut extents).await.map_err(|e| e.to_string())? {}
        for extent in &extents {
            let bytes = match extent.id {
                None => vec![0; usize::try_from(extent.len).unwrap_or(0)],
                Some(id) => {
                    let (mut found, failures) = reader.read(&[id]).await.map_err(|e| e.to_string())?;
                    if let Some((_, error)) = failures.first() {
                        return Err(format!("{} at {}: {error}", volume.name, extent.offset));
                    }
                    found.pop().flatten().unwrap_or_default()
                }
            };
            let right = match (content, stream) {
                (Some(content), _) => content.matches(extent.offset, &bytes),
                (None, Some(stream)) => {
                    let start = usize::try_from(extent.offset).unwrap_or(usize::MAX);
                    stream.get(start..).is_some_and(|rest| rest.starts_with(&bytes))
                }
                _ => false,
            };
            if !right || bytes.len() as u64 != extent.len {
                return Err(format!("{}: wrong bytes at {}", volume.name, extent.offset));
            }
        }
        let covered: u64 = extents.iter().map(|extent| extent.len).sum();
        if covered != volume.size {
            return Err(format!("{}: {covered} bytes of {}", volume.name, volume.size));
        }
    }
    match &spec.manifest {
        None if snapshot.catalogue.is_none() => Ok(()),
        None => Err("has manifests that nobody backed up".into()),
        Some(json) => {
            let read =
                vfs::manifest(reader, snapshot, "/ConfigMap/shop/a").await.map_err(|e| e.to_string())?;
            if read == json.as_bytes() { Ok(()) } else { Err("another manifest".into()) }
        }
    }
}
