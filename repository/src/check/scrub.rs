//! Scrubbing: what anyone with the bucket can check, without a key.

use super::report::{CheckReport, Findings, describe, describe_format};
use crate::error::Named;
use crate::open::config_numbers;
use crate::progress::Progress;
use crate::store::Driver;
use crate::{Env, Error, Exec, Result, Store};
use futures::stream::{StreamExt, iter};
use repo_format::keys::slot::SealedSlot;
use repo_format::layout::{
    CONFIG_PREFIX, DAMAGE_PREFIX, FORGET_PREFIX, GC_PREFIX, INDEX_PREFIX, ObjectName, PACK_PREFIX,
    PENDING_PREFIX, SLOT_PREFIX, SNAPSHOT_PREFIX,
};
use repo_format::pack::{self, PackClass};
use repo_format::sealed;
use std::sync::Arc;

/// All that a repository consists of.
const PREFIXES: [&str; 9] = [
    CONFIG_PREFIX,
    SLOT_PREFIX,
    SNAPSHOT_PREFIX,
    PENDING_PREFIX,
    FORGET_PREFIX,
    DAMAGE_PREFIX,
    GC_PREFIX,
    INDEX_PREFIX,
    PACK_PREFIX,
];
/// Objects in memory at the same time, 64 MiB each at most.
const IN_FLIGHT: usize = 2;

/// Reads every object whole and compares it with its own hash or checksum.
///
/// Which snapshots damage hurts takes a key: [`check`](super::check) says it.
///
/// # Errors
/// [`Error::NoRepository`] without a config, and the store's refusals.
pub async fn scrub(
    driver: Arc<dyn Driver>,
    exec: &Exec,
    env: &Env,
    progress: &Arc<Progress>,
) -> Result<CheckReport> {
    let store = Store::new(driver, exec.clone(), env.clone());
    if config_numbers(&store).await?.is_empty() {
        return Err(Error::NoRepository { url: store.url().to_owned() });
    }
    progress.phase("scrub");
    let mut listed = Vec::new();
    for prefix in PREFIXES {
        listed.extend(store.list(prefix).await?);
    }
    progress.add_total(listed.iter().map(|(_, meta)| meta.len).sum());
    let objects = listed.len() as u64;
    let jobs = iter(listed).map(|(name, meta)| {
        let (store, exec) = (store.clone(), exec.clone());
        let job = exec.clone();
        job.spawn(async move { Ok((name, meta.len, scrub_one(&store, &exec, name).await?)) })
    });
    let mut jobs = jobs.buffered(IN_FLIGHT);
    let mut findings = Findings::default();
    while let Some(done) = jobs.next().await {
        let (name, len, flaw) = done?;
        progress.add_done(len);
        if let Some((found, expected)) = flaw {
            let kind = if matches!(name, ObjectName::Slot(_)) { "slot" } else { "damaged" };
            findings.add(name, kind, found, expected);
        }
        exec.check_cancelled()?;
    }
    Ok(CheckReport {
        errors: findings.finish(),
        objects,
        bytes_read: store.stats().downloaded_bytes,
        confidence: None,
        snapshots_checked: 0,
        unreferenced: 0,
        content_opened: false,
    })
}

/// Found and expected, if an object is not what it was.
async fn scrub_one(store: &Store, exec: &Exec, name: ObjectName) -> Result<Option<(String, String)>> {
    let object = match store.get(&name).await {
        Ok(Some(object)) => object,
        // merged or pruned away since it was listed
        Ok(None) => return Ok(None),
        Err(error) => return describe(error).map(Some),
    };
    exec.cpu(move || match name {
        ObjectName::Slot(slot_id) => {
            SealedSlot::parse(slot_id, &object).named(name).err().and_then(|error| describe(error).ok())
        }
        ObjectName::Run { pack: id, .. } => flaw(&object, id, PackClass::Index),
        ObjectName::MapPack(id) => flaw(&object, id, PackClass::Map),
        ObjectName::DataPack(id) => flaw(&object, id, PackClass::Data),
        ObjectName::Probe(_) => None,
        _ => sealed::check_sum(&object).err().map(|error| describe_format(&error)),
    })
    .await
}

fn flaw(object: &[u8], pack_id: repo_format::PackId, class: PackClass) -> Option<(String, String)> {
    match pack::scrub(object, pack_id) {
        Ok(footer) if footer.class == class => None,
        Ok(footer) => Some((format!("class {:?}", footer.class), format!("class {class:?} by its name"))),
        Err(error) => Some(describe_format(&error)),
    }
}
