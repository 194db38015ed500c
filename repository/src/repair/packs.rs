//! What each pack says of itself, against what the runs say of it.

use super::flawed::{Flawed, can_tell, look_whole};
use crate::index::Index;
use crate::reader::{open_tail, read_trailer};
use crate::{Error, ErrorKind, Repository, Result};
use repo_format::PackId;
use repo_format::layout::ObjectName;
use repo_format::pack::{FOOTER_LEN, PackClass, Trailer};
use std::collections::BTreeSet;

/// Last bytes of a pack read when its trailer's length is not known.
pub(super) const TAIL_GUESS_LEN: u64 = 64 << 10;

/// What a pack turned out to be.
pub(super) enum Found {
    /// As the index says.
    Known,
    /// Its trailer says other things than the index.
    Trailer(Trailer),
    /// Its trailer opens, and something else in it is wrong.
    Flawed(Flawed),
    /// Another domain's, or deleted since it was listed.
    Nobodys,
    /// Neither.
    Lost(String),
}

/// Which packs are read whole, beside those of map pages.
#[derive(Clone, Copy)]
pub(super) struct Depth {
    /// All of them.
    pub(super) data: bool,
    /// Those that no run names: they may have been left out because of what is wrong with them.
    pub(super) unnamed: bool,
}

impl Depth {
    pub(super) fn is_whole(self, job: &Job) -> bool {
        job.class == PackClass::Map || self.data || (self.unnamed && job.number.is_none())
    }
}

/// A pack to look into.
pub(super) struct Job {
    pub(super) name: ObjectName,
    pub(super) pack_id: PackId,
    pub(super) class: PackClass,
    /// By the listing; none if it is not listed.
    pub(super) len: Option<u64>,
    pub(super) number: Option<u32>,
}

/// Looks into one pack, whole where `depth` says so.
pub(super) async fn look(repository: &Repository, known: &Known, job: &Job, depth: Depth) -> Result<Found> {
    let found = look_at_trailer(repository, known, job).await?;
    if job.len.is_none() || !depth.is_whole(job) || !matches!(found, Found::Known | Found::Trailer(_)) {
        return Ok(found);
    }
    let flawed = look_whole(repository, job.name, job.class, job.number.is_some()).await?;
    Ok(match flawed {
        None => found,
        Some(flawed) if can_tell(repository, job.class) => Found::Flawed(flawed),
        // its hash is wrong, and which record that is only content's key can tell
        Some(flawed) => Found::Lost(flawed.why),
    })
}

async fn look_at_trailer(repository: &Repository, known: &Known, job: &Job) -> Result<Found> {
    let info = job.number.and_then(|n| known.index.packs().get(n as usize).cloned());
    if let (Some(info), Some(number)) = (&info, job.number)
        && job.len.is_none_or(|len| len == info.len)
    {
        match read_trailer(repository, info).await {
            Ok(trailer) if known.agrees(number, &trailer) => return Ok(Found::Known),
            Ok(trailer) if job.len.is_some() => return Ok(Found::Trailer(trailer)),
            Ok(_) => return Ok(Found::Known),
            Err(error) if error.is_damage() && job.len.is_none() => return Ok(Found::Lost(detail(&error))),
            Err(error) if error.is_damage() => {}
            Err(error) => return Err(error),
        }
    }
    let Some(len) = job.len else { return Ok(Found::Lost("no object".into())) };
    let guess = TAIL_GUESS_LEN.max(FOOTER_LEN as u64);
    match open_tail(repository, &job.name, job.pack_id, job.class, len, guess).await {
        Ok(trailer) => Ok(Found::Trailer(trailer)),
        Err(error) if error.kind() == ErrorKind::WrongKey && has_foreign_domains(repository) => {
            Ok(if info.is_none() { Found::Nobodys } else { Found::Lost(detail(&error)) })
        }
        Err(error) if error.is_damage() => {
            let is_there = repository.store().head(&job.name).await?.is_some();
            // deleted since it was listed, and nobody misses it
            Ok(if is_there || info.is_some() { Found::Lost(detail(&error)) } else { Found::Nobodys })
        }
        Err(error) => Err(error),
    }
}

/// What the runs say.
pub(super) struct Known {
    pub(super) index: Index,
    /// Entries of each pack.
    pub(super) counts: Vec<usize>,
}

impl Known {
    /// Whether the runs list exactly the records of the trailer. One of two runs that share a pack may
    /// be lost: its name alone proves nothing.
    fn agrees(&self, number: u32, trailer: &Trailer) -> bool {
        let ids: BTreeSet<[u8; 16]> = trailer.rows().iter().map(|row| row.id.short()).collect();
        let holds = |id: &[u8; 16]| self.index.find_all(id).iter().any(|entry| entry.pack == number);
        self.counts.get(number as usize) == Some(&ids.len()) && ids.iter().all(holds)
    }
}

fn detail(error: &Error) -> String {
    match error {
        Error::Damage { detail, .. } => detail.clone(),
        Error::Format { source, .. } => source.to_string(),
        other => other.to_string(),
    }
}

pub(super) fn has_foreign_domains(repository: &Repository) -> bool {
    repository.config().domains.len() > 1
}
