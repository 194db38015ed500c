//! `cat`: one object of the repository. Keys, wrapped ones included, are left out.

use super::manifests::{self, ManifestEntry, Manifests};
use super::{document, key, select};
use crate::args::{CatArgs, CatKind};
use crate::context::Context;
use crate::exit::Failure;
use crate::format::{Config, Id, PackClass, PackId, Row, SnapshotId, Trailer};
use crate::text;
use repository::Repository;
use repository::inspect;
use repository::snapshots::Filter;
use serde_json::{Value, json};
use std::path::Path;

pub(super) async fn run(context: &Context, args: CatArgs) -> Result<(), Failure> {
    let id = args.id.as_deref().unwrap_or_default();
    // what cannot be an id is refused before anybody is asked for a password
    let wanted = Wanted::parse(args.kind, id)?;
    let repository = context.open().await?;
    let output = context.output;
    match wanted {
        Wanted::Config => output.pretty(&config(repository.config())),
        Wanted::Slot(spec) => output.pretty(&slot(context, &repository, spec).await?),
        Wanted::Pack(pack_id) => output.pretty(&pack(context, &repository, pack_id).await?),
        Wanted::Run(pack_id) => output.pretty(&index_run(context, &repository, pack_id).await?),
        Wanted::Pending(sid) => output.pretty(&pending(context, &repository, sid).await?),
        Wanted::Content(id) => output.bytes(&content(context, &repository, id).await?),
        Wanted::Snapshot(spec) => {
            let entry = select::one(context, &repository, spec, Filter::default()).await?;
            output.pretty(&document::full(&entry))
        }
        Wanted::Manifest(spec, path) => {
            output.bytes(&manifest(context, &repository, spec, path).await?)?;
            output.line("")
        }
    }
}

/// What the arguments mean.
enum Wanted<'a> {
    Config,
    Slot(&'a str),
    Pack(PackId),
    Run(PackId),
    Pending(SnapshotId),
    /// A page or a chunk.
    Content(Id),
    Snapshot(&'a str),
    /// Snapshot and path.
    Manifest(&'a str, &'a str),
}

impl<'a> Wanted<'a> {
    fn parse(kind: CatKind, id: &'a str) -> Result<Self, Failure> {
        let wrong = |expected: &str| Failure::usage(format!("{id:?}: {expected} expected"));
        Ok(match kind {
            CatKind::Config => Wanted::Config,
            CatKind::Slot => Wanted::Slot(id),
            CatKind::Pack => Wanted::Pack(PackId::parse(id).map_err(|_| wrong("32 hex digits of a pack"))?),
            CatKind::Run => Wanted::Run(PackId::parse(id).map_err(|_| wrong("32 hex digits of a run"))?),
            CatKind::Pending => {
                Wanted::Pending(SnapshotId::parse(id).map_err(|_| wrong("32 hex digits of a snapshot"))?)
            }
            CatKind::Page | CatKind::Chunk => {
                Wanted::Content(Id::parse(id).map_err(|_| wrong("64 hex digits of a page or chunk"))?)
            }
            CatKind::Snapshot => Wanted::Snapshot(id),
            CatKind::Manifest => {
                let (spec, path) = id.split_once(':').ok_or_else(|| wrong("SNAPSHOT:PATH"))?;
                Wanted::Manifest(spec, path)
            }
        })
    }
}

/// A config as JSON; the keys in it are public.
fn config(config: &Config) -> Value {
    let rows = config.chunking.rows().iter();
    json!({
        "repository_id": config.repo_id.to_string(),
        "n": config.n,
        "previous": config.prev.map(|hash| text::hex(&hash)),
        "content_public": text::hex(&config.content_public),
        "deletion_public": text::hex(&config.deletion_public),
        "domains": config.domains,
        "chunking": rows.map(|row| json!({
            "bytes_up_to": row.up_to,
            "min": row.min,
            "avg": row.avg,
            "max": row.max,
        })).collect::<Vec<_>>(),
        "created": text::time(config.created_ms),
        "store": {
            "mode": text::mode(config.store.mode),
            "delta_ms": config.store.delta_ms,
        },
        "features": {
            "compat": config.features.compat,
            "ro_compat": config.features.ro_compat,
            "incompat": config.features.incompat,
        },
    })
}

async fn slot(context: &Context, repository: &Repository, spec: &str) -> Result<Value, Failure> {
    let slot_id = key::find(repository, spec).await?;
    let (slots, damaged) = context.exec.unless_cancelled(repository::key::list(repository)).await?;
    if let Some(slot) = slots.iter().find(|slot| slot.slot_id == slot_id) {
        return Ok(key::document(slot));
    }
    let id = slot_id.to_string();
    Err(match damaged.into_iter().find(|error| error.to_string().contains(&id)) {
        Some(error) => error.into(),
        None => Failure::usage(format!("slot {id}: no such key slot")),
    })
}

async fn pack(context: &Context, repository: &Repository, pack_id: PackId) -> Result<Value, Failure> {
    let reader = manifests::reader(context, repository).await?;
    let info = reader.index().packs().iter().find(|pack| pack.pack_id == pack_id).cloned();
    let info = info.ok_or_else(|| Failure::usage(format!("pack {pack_id}: no run of the index names it")))?;
    let opened = context.exec.unless_cancelled(reader.trailer(&info)).await?;
    let trailer = &opened.trailer;
    Ok(json!({
        "pack_id": pack_id.to_string(),
        "class": class(info.class),
        "bytes": info.len,
        "bytes_trailer": info.trailer_len,
        "session": trailer.sid().to_string(),
        "keys": trailer.keys().iter().map(|key| json!({
            "key_id": key.key_id.to_string(),
            "alg": key.alg,
            "epoch": key.epoch,
        })).collect::<Vec<_>>(),
        "records": records(trailer),
    }))
}

fn class(class: PackClass) -> &'static str {
    match class {
        PackClass::Data => "data",
        PackClass::Map => "map",
        PackClass::Index => "index",
    }
}

async fn index_run(context: &Context, repository: &Repository, pack_id: PackId) -> Result<Value, Failure> {
    let view = context.exec.unless_cancelled(inspect::run(repository, pack_id)).await?;
    let (head, run) = (&view.run.head, &view.run);
    Ok(json!({
        "pack_id": pack_id.to_string(),
        "seq": view.seq,
        "bytes": view.len,
        "built": head.built,
        "lowest": text::hex(&head.lowest),
        "highest": text::hex(&head.highest),
        "entry_count": head.entry_count,
        "packs": run.packs.iter().map(|pack| json!({
            "pack_id": pack.pack_id.to_string(),
            "class": class(pack.class),
            "bytes": pack.size,
            "bytes_trailer": pack.trailer_len,
            "session": pack.sid.to_string(),
        })).collect::<Vec<_>>(),
        "entries": run.entries.iter().map(|entry| json!({
            "id": text::hex(&entry.id),
            "pack": entry.pack,
            "bytes_sealed": entry.clen,
        })).collect::<Vec<_>>(),
    }))
}

async fn pending(context: &Context, repository: &Repository, sid: SnapshotId) -> Result<Value, Failure> {
    let view = context.exec.unless_cancelled(inspect::pending(repository, sid)).await?;
    Ok(json!({
        "snapshot": document::announced(&view.snapshot),
        "parent_id": view.parent.map(|id| id.to_string()),
        "g0": view.g0,
    }))
}

fn records(trailer: &Trailer) -> Vec<Value> {
    let record = |(n, row): (usize, &Row)| {
        json!({
            "id": row.id.to_string(),
            "type": format!("{:?}", row.record_type).to_lowercase(),
            "compression": format!("{:?}", row.comp).to_lowercase(),
            "key": row.key,
            "offset": trailer.offset(n),
            "bytes_sealed": row.clen,
            "bytes_plain": row.rlen,
        })
    };
    trailer.rows().iter().enumerate().map(record).collect()
}

/// The plain bytes of a record.
async fn content(context: &Context, repository: &Repository, id: Id) -> Result<Vec<u8>, Failure> {
    let reader = manifests::reader(context, repository).await?;
    let (mut found, failures) = context.exec.unless_cancelled(reader.read(&[id])).await?;
    match (found.pop().flatten(), failures.into_iter().next()) {
        (Some(plain), _) => Ok(plain),
        (None, Some((_, error))) => Err(error.into()),
        (None, None) => Err(Failure::failed(format!("record {id}: not found"))),
    }
}

/// A manifest by either of its names.
async fn manifest(
    context: &Context,
    repository: &Repository,
    spec: &str,
    path: &str,
) -> Result<Vec<u8>, Failure> {
    let (entry, reader) = select::one_to_read(context, repository, spec, Filter::default()).await?;
    let manifests = Manifests::open(context, &reader, &entry.snapshot).await?;
    let file = path.strip_prefix("manifests/").map(Path::new);
    let named = |entry: &&ManifestEntry| entry.path == path || Some(entry.file.as_path()) == file;
    let missing = || Failure::failed(format!("{path:?}: no manifest of this name; `orlop ls` shows them"));
    manifests.read(context, manifests.entries.iter().find(named).ok_or_else(missing)?).await
}
