//! Which blocks of which runs may have an id: what ranges and filters say.

use super::fenced::Piece;
use super::outside::Question;
use super::pieces::{PIECES_AT_ONCE, Want};
use super::run_set::{Member, RunSet};
use crate::Result;
use crate::env::Mutant;
use repo_format::index::FilterPart;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A place where an id may be: a block that its run's filter lets through.
#[derive(Clone)]
pub(super) struct Candidate {
    /// Number of the id.
    pub(super) at: usize,
    pub(super) member: Member,
    pub(super) block: usize,
}

/// Parts of filters, by the numbers of run and part, and the ids that they may have, by number.
type Asked = Vec<((usize, usize), Vec<usize>)>;

impl RunSet {
    /// Blocks that may have those of `ids` that are not found yet.
    pub(super) async fn candidates(&self, ids: &[[u8; 16]], found: &[Option<u32>]) -> Result<Vec<Candidate>> {
        let members = self.state().members.clone();
        let skip = usize::from(self.repository.env().breaks(Mutant::LookupSkipsRun));
        let mut candidates = Vec::new();
        let mut asked: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
        for (m, member) in members.iter().enumerate().skip(skip) {
            for (at, id) in ids.iter().enumerate().filter(|(at, _)| found.get(*at) == Some(&None)) {
                if member.run.filter.is_empty() {
                    candidates.extend(candidate(member, at, id));
                } else if let Some(part) = member.run.part_of(id) {
                    asked.entry((m, part)).or_default().push(at);
                }
            }
        }
        let asked = self.ask_outside(&members, ids, asked.into_iter().collect(), &mut candidates).await?;
        for group in asked.chunks(PIECES_AT_ONCE) {
            let wants: Vec<Want> = group
                .iter()
                .filter_map(|((m, n), _)| {
                    Some(Want { run: members.get(*m)?.run.clone(), is_filter: true, n: *n })
                })
                .collect();
            let pieces = self.pieces.get(&wants).await?;
            let mut opened = Vec::new();
            for (((m, n), numbers), piece) in group.iter().zip(pieces) {
                let Some(member) = members.get(*m) else { continue };
                let part: Option<Arc<FilterPart>> = match piece {
                    Some(Ok(Piece::Filter(part))) => Some(part),
                    Some(Err(error)) => {
                        self.note(error)?;
                        None
                    }
                    // the run is gone, and marked
                    _ => continue,
                };
                for at in numbers {
                    let Some(id) = ids.get(*at) else { continue };
                    // a filter that cannot be read lets everything through
                    if part.as_ref().is_none_or(|part| part.may_have(id)) {
                        candidates.extend(candidate(member, *at, id));
                    }
                }
                opened.extend(part.map(|part| (member.run.file.pack_id, *n, part)));
            }
            if let Some(outside) = &self.outside {
                outside.keep(opened).await?;
            }
        }
        Ok(candidates)
    }

    /// Asks the parts that lie in a temporary file, and gives back the others.
    async fn ask_outside(
        &self,
        members: &[Member],
        ids: &[[u8; 16]],
        asked: Asked,
        candidates: &mut Vec<Candidate>,
    ) -> Result<Asked> {
        let Some(outside) = &self.outside else { return Ok(asked) };
        let questions: Vec<Question<'_>> = asked
            .iter()
            .filter_map(|((m, part), numbers)| {
                let ids = numbers.iter().filter_map(|at| Some((*at, ids.get(*at)?))).collect();
                Some(Question { run: members.get(*m)?.run.file.pack_id, part: *part, ids })
            })
            .collect();
        let mut others = Vec::new();
        for (asked, answer) in asked.into_iter().zip(outside.ask(&questions).await?) {
            let Some(passed) = answer else {
                others.push(asked);
                continue;
            };
            let ((m, _), _) = asked;
            let Some(member) = members.get(m) else { continue };
            for at in passed {
                candidates.extend(ids.get(at).into_iter().flat_map(|id| candidate(member, at, id)));
            }
        }
        Ok(others)
    }
}

fn candidate(member: &Member, at: usize, id: &[u8; 16]) -> impl Iterator<Item = Candidate> + use<> {
    let member = member.clone();
    member.run.blocks_of(id).map(move |block| Candidate { at, member: member.clone(), block })
}
