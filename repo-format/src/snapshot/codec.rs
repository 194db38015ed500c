//! Snapshots as CBOR: field names and checks.

use super::{
    Application, CatalogueRoot, ChangedSource, Chunker, Cluster, ItemError, LIST_COUNT_MAX, Snapshot,
    SnapshotKind, SnapshotStatus, Volume, VolumeMode, VolumeStats,
};
use crate::cbor::{Map, Value};
use crate::{Error, Id, Result, SnapshotId, catalogue, limits};
use std::collections::{BTreeMap, BTreeSet};

const WHAT: &str = "snapshot";

/// A closed set of words: the enum value and how it is written.
fn word_of<T: Copy + PartialEq>(words: &[(T, &'static str)], value: T) -> &'static str {
    words.iter().find(|(known, _)| *known == value).map_or("", |(_, word)| word)
}

fn parse_word<T: Copy>(what: &'static str, words: &[(T, &'static str)], text: &str) -> Result<T> {
    let found = words.iter().find(|(_, word)| *word == text).map(|(value, _)| *value);
    found.ok_or_else(|| Error::unknown_name(what, text))
}

const KINDS: [(SnapshotKind, &str); 1] = [(SnapshotKind::Backup, "backup")];
const STATUSES: [(SnapshotStatus, &str); 3] = [
    (SnapshotStatus::Success, "success"),
    (SnapshotStatus::Partial, "partial"),
    (SnapshotStatus::Failed, "failed"),
];
const MODES: [(VolumeMode, &str); 3] =
    [(VolumeMode::Block, "block"), (VolumeMode::File, "file"), (VolumeMode::Stream, "stream")];

impl Snapshot {
    /// The body of the sealed object; refuses what [`parse`](Self::parse) would refuse.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let mut map = Map::new();
        map.set("kind", word_of(&KINDS, self.kind));
        map.set("sid", &self.sid.0);
        map.set("domain", self.domain.as_str());
        map.set("time", self.time);
        map.set_opt("name", self.name.as_deref());
        map.set("group", self.group.as_str());
        if !self.labels.is_empty() {
            let mut labels = Map::new();
            for (key, value) in &self.labels {
                labels.set(key, value.as_str());
            }
            map.set("labels", labels);
        }
        map.set_opt("cluster", self.cluster.as_ref().map(encode_cluster));
        map.set_opt("application", self.application.as_ref().map(encode_application));
        set_list(&mut map, "volumes", &self.volumes, |volume| encode_volume(volume).into());
        map.set_opt("catalogue", self.catalogue.as_ref().map(encode_catalogue));
        map.set_opt("parent", self.parent.as_ref().map(|sid| &sid.0));
        set_list(&mut map, "errors", &self.errors, |error| encode_error(error).into());
        map.set("status", word_of(&STATUSES, self.status));
        map.set("tool", self.tool.as_str());
        let bytes = Value::Map(map).encode();
        // The limits are those of the reader, so the reader tells whether they are kept.
        Self::parse(&bytes)
            .map_err(|_| Error::Invalid { what: WHAT, rule: "a field is beyond its limit" })?;
        Ok(bytes)
    }

    /// Reads the body; unknown fields are left to newer readers.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        Error::check_limit(WHAT, bytes.len() as u64, limits::BODY_LEN_MAX)?;
        let mut map = Value::parse(bytes)?.into_map(WHAT)?;
        let domain = map.text("domain")?;
        Error::check_limit("domain", domain.len() as u64, limits::DOMAIN_LEN_MAX)?;
        if domain.is_empty() {
            return Err(Error::Rule { what: "domain", rule: "is empty" });
        }
        let snapshot = Snapshot {
            kind: parse_word("kind", &KINDS, &map.text("kind")?)?,
            sid: SnapshotId(map.array("sid")?),
            domain,
            time: map.uint("time")?,
            name: map.opt("name", Value::into_text)?,
            group: map.text("group")?,
            labels: map.opt("labels", parse_labels)?.unwrap_or_default(),
            cluster: map.opt("cluster", parse_cluster)?,
            application: map.opt("application", parse_application)?,
            volumes: take_list(&mut map, "volumes", parse_volume)?,
            catalogue: map.opt("catalogue", parse_catalogue)?,
            parent: map.opt("parent", Value::into_byte_array)?.map(SnapshotId),
            errors: take_list(&mut map, "errors", parse_error)?,
            status: parse_word("status", &STATUSES, &map.text("status")?)?,
            tool: map.text("tool")?,
        };
        let names: BTreeSet<&str> = snapshot.volumes.iter().map(|volume| volume.name.as_str()).collect();
        if names.len() != snapshot.volumes.len() {
            return Err(Error::Rule { what: WHAT, rule: "two volumes have one name" });
        }
        Ok(snapshot)
    }
}

/// Sets a list unless it is empty: absent means omitted.
fn set_list<T>(map: &mut Map, key: &str, items: &[T], encode: impl Fn(&T) -> Value) {
    if !items.is_empty() {
        map.set(key, items.iter().map(encode).collect::<Vec<_>>());
    }
}

fn take_list<T>(
    map: &mut Map,
    key: &'static str,
    parse: impl Fn(Value, &'static str) -> Result<T>,
) -> Result<Vec<T>> {
    let items = map.opt(key, Value::into_list)?.unwrap_or_default();
    Error::check_limit(key, items.len() as u64, LIST_COUNT_MAX)?;
    items.into_iter().map(|item| parse(item, key)).collect()
}

fn parse_labels(value: Value, what: &'static str) -> Result<BTreeMap<String, String>> {
    let map = value.into_map(what)?;
    Error::check_limit(what, map.entries().len() as u64, LIST_COUNT_MAX)?;
    let mut labels = BTreeMap::new();
    for (key, value) in map.entries() {
        Error::check_limit("label", key.len() as u64, limits::NAME_LEN_MAX)?;
        labels.insert(key.clone(), value.clone().into_text("label")?);
    }
    Ok(labels)
}

fn encode_cluster(cluster: &Cluster) -> Map {
    let mut map = Map::new();
    map.set("uid", cluster.uid.as_str()).set("name", cluster.name.as_str());
    map
}

fn parse_cluster(value: Value, what: &'static str) -> Result<Cluster> {
    let mut map = value.into_map(what)?;
    Ok(Cluster { uid: map.text("uid")?, name: map.text("name")? })
}

fn encode_application(application: &Application) -> Map {
    let mut map = Map::new();
    set_list(&mut map, "namespaces", &application.namespaces, |name| name.as_str().into());
    map.set_opt("selector", application.selector.as_deref());
    set_list(&mut map, "hooks", &application.hooks, |hook| hook.as_str().into());
    map.set_opt("consistency", application.consistency.as_deref());
    map
}

fn parse_application(value: Value, what: &'static str) -> Result<Application> {
    let mut map = value.into_map(what)?;
    Ok(Application {
        namespaces: take_list(&mut map, "namespaces", Value::into_text)?,
        selector: map.opt("selector", Value::into_text)?,
        hooks: take_list(&mut map, "hooks", Value::into_text)?,
        consistency: map.opt("consistency", Value::into_text)?,
    })
}

fn encode_catalogue(root: &CatalogueRoot) -> Map {
    let mut map = Map::new();
    map.set("size", root.size).set("root", &root.root.0);
    map
}

fn parse_catalogue(value: Value, what: &'static str) -> Result<CatalogueRoot> {
    let mut map = value.into_map(what)?;
    let root = CatalogueRoot { size: map.uint("size")?, root: Id(map.array("root")?) };
    if root.size < 4 + catalogue::END_LEN as u64 || root.root.is_zero() {
        return Err(Error::Rule { what, rule: "is shorter than an empty one" });
    }
    Ok(root)
}

fn encode_error(error: &ItemError) -> Map {
    let mut map = Map::new();
    map.set("item", error.item.as_str()).set("message", error.message.as_str());
    map
}

fn parse_error(value: Value, what: &'static str) -> Result<ItemError> {
    let mut map = value.into_map(what)?;
    Ok(ItemError { item: map.text("item")?, message: map.text("message")? })
}

fn encode_volume(volume: &Volume) -> Map {
    let mut map = Map::new();
    map.set("name", volume.name.as_str());
    map.set_opt("uid", volume.uid.as_deref());
    map.set("size", volume.size);
    map.set("mode", word_of(&MODES, volume.mode));
    map.set_opt("storage_class", volume.storage_class.as_deref());
    map.set("chunker", encode_chunker(&volume.chunker));
    map.set("root", &volume.root.0);
    map.set_opt("changed", volume.changed.as_ref().map(encode_changed));
    map.set("stats", encode_stats(&volume.stats));
    map
}

fn parse_volume(value: Value, what: &'static str) -> Result<Volume> {
    let mut map = value.into_map(what)?;
    let volume = Volume {
        name: map.text("name")?,
        uid: map.opt("uid", Value::into_text)?,
        size: map.uint("size")?,
        mode: parse_word("mode", &MODES, &map.text("mode")?)?,
        storage_class: map.opt("storage_class", Value::into_text)?,
        chunker: parse_chunker(map.map("chunker")?)?,
        root: Id(map.array("root")?),
        changed: map.opt("changed", parse_changed)?,
        stats: parse_stats(map.map("stats")?)?,
    };
    let stream = volume.chunker == Chunker::FastCdc;
    if volume.root.is_zero() && stream && volume.size > 0 || !volume.root.is_zero() && volume.size == 0 {
        return Err(Error::Rule { what: "volume", rule: "root and size do not agree" });
    }
    Ok(volume)
}

fn encode_chunker(chunker: &Chunker) -> Map {
    let mut map = Map::new();
    match chunker {
        Chunker::Blocks { min, avg, max } => {
            map.set("kind", "blocks").set("min", u64::from(*min));
            map.set("avg", u64::from(*avg)).set("max", u64::from(*max));
        }
        Chunker::FastCdc => {
            map.set("kind", "fastcdc");
        }
    }
    map
}

fn parse_chunker(mut map: Map) -> Result<Chunker> {
    let stream = parse_word("chunker", &[(false, "blocks"), (true, "fastcdc")], &map.text("kind")?)?;
    if stream {
        return Ok(Chunker::FastCdc);
    }
    let (min, avg, max) = (map.small::<u32>("min")?, map.small::<u32>("avg")?, map.small::<u32>("max")?);
    let ordered =
        1 <= min && min <= avg && avg <= max && max <= limits::RECORD_PLAIN_LEN_MAX / limits::BLOCK_LEN;
    if !ordered || avg < 2 || avg > min.saturating_mul(16) {
        return Err(Error::Rule { what: "chunker", rule: "parameters are not those of a chunker" });
    }
    Ok(Chunker::Blocks { min, avg, max })
}

fn encode_changed(changed: &ChangedSource) -> Map {
    let mut map = Map::new();
    map.set("driver", changed.driver.as_str()).set("handle", changed.handle.as_str());
    map.set("id", changed.id.as_slice());
    map
}

fn parse_changed(value: Value, what: &'static str) -> Result<ChangedSource> {
    let mut map = value.into_map(what)?;
    let changed =
        ChangedSource { driver: map.text("driver")?, handle: map.text("handle")?, id: map.bytes("id")? };
    Error::check_limit("id of a source's state", changed.id.len() as u64, limits::NAME_LEN_MAX)?;
    Ok(changed)
}

fn encode_stats(stats: &VolumeStats) -> Map {
    let mut map = Map::new();
    map.set("bytes_read", stats.bytes_read).set("bytes_new", stats.bytes_new);
    map.set("bytes_stored", stats.bytes_stored);
    map.set("chunks_new", stats.chunks_new).set("chunks_reused", stats.chunks_reused);
    map.set_opt("scan", stats.scan.as_deref()).set_opt("reason", stats.reason.as_deref());
    map.set_opt("partial_scans", (stats.partial_scans > 0).then_some(u64::from(stats.partial_scans)));
    map
}

pub(super) fn parse_stats(mut map: Map) -> Result<VolumeStats> {
    Ok(VolumeStats {
        bytes_read: map.uint("bytes_read")?,
        bytes_new: map.uint("bytes_new")?,
        bytes_stored: map.uint("bytes_stored")?,
        chunks_new: map.uint("chunks_new")?,
        chunks_reused: map.uint("chunks_reused")?,
        scan: map.opt("scan", Value::into_text)?,
        reason: map.opt("reason", Value::into_text)?,
        partial_scans: parse_partial_scans(&mut map)?,
    })
}

/// Absent for none, so that there is one way to say it.
fn parse_partial_scans(map: &mut Map) -> Result<u32> {
    let what = "count of partial scans";
    let Some(count) = map.opt("partial_scans", |value, what| value.into_uint(what))? else { return Ok(0) };
    Error::check_limit(what, count, u32::MAX.into())?;
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    if count > 0 { Ok(count) } else { Err(Error::Rule { what, rule: "is zero and should be absent" }) }
}
