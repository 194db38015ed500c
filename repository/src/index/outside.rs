//! Filters that do not fit into memory: each part is opened once, and its codes then lie in a temporary file, from
//! which a look-up reads the few hundred bytes that decide. To open the part again would cost a hundred times as much.

use crate::masked::MaskedFile;
use crate::{Repository, Result};
use hashbrown::HashMap;
use repo_format::PackId;
use repo_format::index::{FilterCodes, FilterFrame, FilterPart};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// A part of a run's filter, by its number.
type PartKey = (PackId, u32);

/// A part whose codes lie in the file from `offset` on.
struct Part {
    offset: u64,
    frame: FilterFrame,
}

#[derive(Default)]
struct State {
    parts: HashMap<PartKey, Part>,
    /// Where the next codes go.
    end: u64,
    file: Option<Arc<MaskedFile>>,
    /// The file could not be made, written or read: what is in it does not count any more.
    is_broken: bool,
}

/// Opened parts of filters.
pub(super) struct Outside {
    repository: Repository,
    folder: PathBuf,
    state: Mutex<State>,
}

/// Ids that may be in one part, by the caller's numbers.
pub(super) struct Question<'a> {
    pub(super) run: PackId,
    pub(super) part: usize,
    pub(super) ids: Vec<(usize, &'a [u8; 16])>,
}

/// What is to be read about one id: number of the question and of the id, where the codes lie.
type Read = (usize, usize, u64, FilterCodes);

fn key_of(run: PackId, part: usize) -> PartKey {
    (run, u32::try_from(part).unwrap_or(u32::MAX))
}

impl Outside {
    /// Codes go to `folder` once there are some.
    pub(super) fn new(repository: &Repository, folder: PathBuf) -> Self {
        Outside { repository: repository.clone(), folder, state: Mutex::default() }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For each question the numbers of the ids that the part lets through; nothing about a part that is not here.
    pub(super) async fn ask(&self, questions: &[Question<'_>]) -> Result<Vec<Option<Vec<usize>>>> {
        let mut answers: Vec<Option<Vec<usize>>> = Vec::with_capacity(questions.len());
        let (mut reads, file): (Vec<Read>, _) = (Vec::new(), self.state().file.clone());
        {
            let state = self.state();
            for (n, question) in questions.iter().enumerate() {
                let part = state.parts.get(&key_of(question.run, question.part));
                answers.push(part.map(|_| Vec::new()));
                let Some(part) = part else { continue };
                reads.extend(question.ids.iter().filter_map(|(at, id)| {
                    let codes = part.frame.codes_of(id)?;
                    Some((n, *at, part.offset + codes.range.start as u64, codes))
                }));
            }
        }
        let Some(file) = file.filter(|_| !reads.is_empty()) else { return Ok(answers) };
        let read = self.repository.exec().blocking(move || {
            let (mut found, mut bytes) = (Vec::new(), Vec::new());
            for (n, at, offset, codes) in reads {
                file.read(offset..offset + codes.range.len() as u64, &mut bytes)?;
                if codes.may_have(&bytes) {
                    found.push((n, at));
                }
            }
            std::io::Result::Ok(found)
        });
        let Ok(found) = read.await? else {
            // the parts are opened again, each time
            *self.state() = State { is_broken: true, ..State::default() };
            return Ok(questions.iter().map(|_| None).collect());
        };
        for (n, at) in found {
            if let Some(Some(ids)) = answers.get_mut(n) {
                ids.push(at);
            }
        }
        Ok(answers)
    }

    /// Keeps parts that were opened, as far as there is room on the disk.
    pub(super) async fn keep(&self, parts: Vec<(PackId, usize, Arc<FilterPart>)>) -> Result<()> {
        let (mut new, mut writes) = (Vec::new(), Vec::new());
        let file = {
            let mut state = self.state();
            if state.is_broken || parts.is_empty() {
                return Ok(());
            }
            for (run, part, opened) in parts {
                let (frame, codes) = opened.split();
                let (offset, codes) = (state.end, codes.to_vec());
                state.end += codes.len() as u64;
                new.push((key_of(run, part), Part { offset, frame }));
                writes.push((offset, codes));
            }
            state.file.clone()
        };
        // only the first time there is none
        let file = match file {
            Some(file) => Ok(file),
            None => Err((self.folder.clone(), self.repository.env().random()?)),
        };
        let written = self.repository.exec().blocking(move || {
            let file = file.or_else(|(folder, key)| MaskedFile::new(&folder, key).map(Arc::new))?;
            for (offset, codes) in writes {
                file.write(offset, codes)?;
            }
            std::io::Result::Ok(file)
        });
        let written = written.await?;
        let mut state = self.state();
        match written {
            // somebody else has made one meanwhile: what went to this one is opened again
            Ok(file) if state.file.as_ref().is_some_and(|other| !Arc::ptr_eq(other, &file)) => {}
            Ok(file) if !state.is_broken => {
                state.file = Some(file);
                state.parts.extend(new);
            }
            Ok(_) => {}
            Err(_) => *state = State { is_broken: true, ..State::default() },
        }
        Ok(())
    }
}
