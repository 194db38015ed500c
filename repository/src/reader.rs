//! From an id to plain bytes: index, trailer, ranged reads that serve many records at once.

use crate::cache::Kind;
use crate::error::Named;
use crate::index::{Known, PackInfo};
use crate::{Error, ErrorKind, Exec, Repository, Result};
use bytes::Bytes;
use repo_format::compress::Decompressor;
use repo_format::layout::ObjectName;
use repo_format::pack::{HEADER_LEN, OpenTrailer, PackClass, Row, Trailer, open_trailer};
use repo_format::record::{ALG_STRUCTURE, RecordKey};
use repo_format::{ErrorKind as FormatKind, Id, PackId};
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// Reads less than this apart are one request: cheaper than another round trip.
const GAP_MAX: u64 = 128 << 10;
/// Longest range fetched in one request.
pub(crate) const FETCH_LEN_MAX: u64 = 8 << 20;
/// Bytes of a map pack that are read along with its trailer: its last pages, the root and those next to it among them; and
/// along with an inner page, whose children were written before it.
const MAP_AHEAD_LEN: u64 = 256 << 10;
/// Parts of map packs kept in memory.
const MAP_PARTS_KEPT: usize = 8;
/// Memory for trailers: this part of it all.
const TRAILER_CACHE_SHARE: u64 = 8;

fn trailer_cache_len(exec: &Exec) -> usize {
    usize::try_from(exec.memory_len() / TRAILER_CACHE_SHARE).unwrap_or(usize::MAX)
}

/// Reads records of one domain through its index. Cheap to clone.
#[derive(Clone)]
pub struct Reader {
    repository: Repository,
    index: Known,
    caches: Arc<Mutex<Caches>>,
    /// Bytes read before a range of a map pack, because they will be wanted next.
    behind_len: u64,
}

impl Caches {
    fn keep_part(&mut self, pack_id: PackId, offset: u64, bytes: Bytes) {
        self.map_parts.push_back((pack_id, offset, bytes));
        if self.map_parts.len() > MAP_PARTS_KEPT {
            self.map_parts.pop_front();
        }
    }
}

#[derive(Default)]
struct Caches {
    trailers: HashMap<PackId, (Arc<OpenedTrailer>, u64)>,
    trailers_len: usize,
    uses: u64,
    /// Where parts of map packs begin, and their bytes; the newest last.
    map_parts: VecDeque<(PackId, u64, Bytes)>,
    /// By commitment, which no two keys share.
    keys: HashMap<[u8; 32], RecordKey>,
}

/// A trailer with a way to find its rows by id.
pub struct OpenedTrailer {
    /// The table.
    pub trailer: Trailer,
    by_id: Vec<u32>,
}

impl OpenedTrailer {
    fn new(trailer: Trailer) -> Self {
        let rows = trailer.rows();
        let mut by_id: Vec<u32> = (0..u32::try_from(rows.len()).unwrap_or(0)).collect();
        by_id.sort_unstable_by_key(|n| rows.get(*n as usize).map(|row| row.id));
        OpenedTrailer { trailer, by_id }
    }

    /// Number of the row of an id.
    pub fn find(&self, id: &Id) -> Option<usize> {
        let rows = self.trailer.rows();
        let at = self.by_id.partition_point(|n| rows.get(*n as usize).is_some_and(|row| row.id < *id));
        let n = *self.by_id.get(at)? as usize;
        rows.get(n).filter(|row| row.id == *id).map(|_| n)
    }

    fn memory_len(&self) -> usize {
        self.trailer.memory_len() + 4 * self.by_id.len()
    }
}

/// Where one record lies.
#[derive(Debug, Clone)]
pub struct Location {
    /// The pack.
    pub pack_id: PackId,
    /// What it holds.
    pub class: PackClass,
    /// Bytes within the pack.
    pub range: Range<u64>,
    /// The record's row.
    pub row: Row,
    /// Commitment of its session key.
    pub key_commit: [u8; 32],
}

/// A range of a pack and the records in it.
pub struct Fetch {
    /// The object.
    pub name: ObjectName,
    /// What to read.
    pub range: Range<u64>,
    /// Numbers of the wanted records, by the caller's counting, and where they lie.
    pub records: Vec<(usize, Location)>,
}

impl Fetch {
    /// Bytes to read.
    pub fn range_len(&self) -> u64 {
        self.range.end.saturating_sub(self.range.start)
    }
}

impl Reader {
    /// Reads through `index`.
    pub fn new(repository: Repository, index: impl Into<Known>) -> Self {
        Reader { repository, index: index.into(), caches: Arc::default(), behind_len: 0 }
    }

    /// Of inner pages whose children are read next: what was written before a page comes with it.
    pub(crate) fn with_children(&self) -> Self {
        Reader { behind_len: MAP_AHEAD_LEN, ..self.clone() }
    }

    /// The repository.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The index.
    pub fn index(&self) -> &Known {
        &self.index
    }

    fn caches(&self) -> std::sync::MutexGuard<'_, Caches> {
        self.caches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The trailer of a pack, from a bounded cache.
    pub async fn trailer(&self, pack: &PackInfo) -> Result<Arc<OpenedTrailer>> {
        {
            let mut caches = self.caches();
            caches.uses += 1;
            let now = caches.uses;
            if let Some((trailer, used)) = caches.trailers.get_mut(&pack.pack_id) {
                *used = now;
                return Ok(trailer.clone());
            }
        }
        let more_len = if pack.class == PackClass::Map { MAP_AHEAD_LEN } else { 0 };
        let (trailer, end) = read_end(&self.repository, pack, more_len).await?;
        let opened = Arc::new(OpenedTrailer::new(trailer));
        let mut caches = self.caches();
        if let (PackClass::Map, Some((offset, end))) = (pack.class, end) {
            caches.keep_part(pack.pack_id, offset, end);
        }
        let len = opened.memory_len();
        let len_max = trailer_cache_len(self.repository.exec());
        while caches.trailers_len + len > len_max && !caches.trailers.is_empty() {
            let oldest = caches.trailers.iter().min_by_key(|(_, (_, used))| *used).map(|(id, _)| *id);
            let Some((old, _)) = oldest.and_then(|id| caches.trailers.remove(&id)) else { break };
            caches.trailers_len -= old.memory_len();
        }
        let now = caches.uses;
        if caches.trailers.insert(pack.pack_id, (opened.clone(), now)).is_none() {
            caches.trailers_len += len;
        }
        Ok(opened)
    }

    /// All places where `id` is said to lie, as far as their trailers can be read and agree.
    ///
    /// The error of the last one that does not is given where none is left.
    pub async fn locate(&self, id: &Id) -> Result<Vec<Location>> {
        let mut found = Vec::new();
        let mut failure = None;
        for entry in self.index.find_all(&id.short()).await? {
            let Some(pack) = self.index.pack(entry.pack) else { continue };
            match self.locate_in(&pack, id).await {
                Ok(Some(location)) => found.push(location),
                Ok(None) => {}
                Err(error) if matches!(error.kind(), ErrorKind::Cancelled) => return Err(error),
                Err(error) => failure = Some(error),
            }
        }
        match (found.is_empty(), failure) {
            (true, Some(error)) => Err(error),
            (true, None) => Err(self.unknown(id)),
            _ => Ok(found),
        }
    }

    /// Why an id has no location.
    fn unknown(&self, id: &Id) -> Error {
        let unknown = || Error::damage(format!("record {id}"), "no pack of the index holds it");
        self.index.take_problem().unwrap_or_else(unknown)
    }

    /// One place where `id` lies: in the pack of this number, if its trailer agrees, or in any other.
    pub async fn locate_first(&self, id: &Id, pack: Option<u32>) -> Result<Location> {
        if let Some(pack) = pack.and_then(|number| self.index.pack(number))
            && let Ok(Some(location)) = self.locate_in(&pack, id).await
        {
            return Ok(location);
        }
        self.repository.exec().check_cancelled()?;
        self.locate(id).await?.into_iter().next().ok_or_else(|| self.unknown(id))
    }

    async fn locate_in(&self, pack: &PackInfo, id: &Id) -> Result<Option<Location>> {
        let opened = self.trailer(pack).await?;
        opened.find(id).map_or(Ok(None), |n| self.location(pack, &opened.trailer, n))
    }

    /// # Errors
    /// A session key of a newer version; one that the role does not open is an error when it is [used](Self::record_key).
    fn location(&self, pack: &PackInfo, trailer: &Trailer, n: usize) -> Result<Option<Location>> {
        let Some(row) = trailer.rows().get(n).copied() else { return Ok(None) };
        let Some((key, range)) = trailer.key_of(&row).zip(trailer.range(n)) else { return Ok(None) };
        if !self.caches().keys.contains_key(&key.commit) {
            let repo_id = self.repository.repo_id();
            let opened = if key.alg == ALG_STRUCTURE {
                Some(key.open_structure(&repo_id, self.repository.structure_key()))
            } else {
                let secret = self.repository.bundle().content_secret();
                secret.map(|secret| key.open_data(&repo_id, secret))
            };
            match opened {
                Some(Ok(opened)) => drop(self.caches().keys.insert(key.commit, opened)),
                Some(Err(error)) if error.kind() == FormatKind::Unsupported => {
                    return Err(error).named(ObjectName::pack(pack.class, pack.pack_id));
                }
                _ => {}
            }
        }
        Ok(Some(Location { pack_id: pack.pack_id, class: pack.class, range, row, key_commit: key.commit }))
    }

    /// The key of a located record; an error that names the role which would hold it.
    pub fn record_key(&self, location: &Location) -> Result<RecordKey> {
        if let Some(key) = self.caches().keys.get(&location.key_commit) {
            return Ok(key.clone());
        }
        let name = ObjectName::pack(location.class, location.pack_id);
        if location.class == PackClass::Data {
            self.repository.content_secret("reading content")?;
        }
        Err(Error::damage(name, "the session key of a record does not open"))
    }

    /// Opens one record whose sealed bytes were fetched, and checks a page's or chunk's id. An error leaves `out` empty.
    pub fn open(
        &self,
        location: &Location,
        sealed: &[u8],
        tools: &mut Decompressor,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        out.clear();
        self.open_append(location, sealed, tools, out)
    }

    /// As [`open`](Self::open), but appends to `out`, which an error leaves as it was.
    pub fn open_append(
        &self,
        location: &Location,
        sealed: &[u8],
        tools: &mut Decompressor,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let name = || ObjectName::pack(location.class, location.pack_id);
        let key = self.record_key(location)?;
        let start = out.len();
        key.open_append(&location.row, sealed, tools, out).named(name())?;
        let plain = out.get(start..).unwrap_or_default();
        let id = match location.class {
            PackClass::Data => {
                let identity = self.repository.identity("checking content");
                identity.map(|identity| Id(chunker::chunk_id(&identity.block_keys, plain)))
            }
            _ => Ok(self.repository.page_key().page_id(plain)),
        };
        let checked = id.and_then(|id| {
            let detail = || format!("record {} holds content whose id is {id}", location.row.id);
            if id == location.row.id { Ok(()) } else { Err(Error::damage(name(), detail())) }
        });
        if checked.is_err() {
            out.truncate(start);
        }
        checked
    }

    /// Plain contents of structure records (map pages), in the order asked for.
    pub async fn pages(&self, ids: &[Id]) -> Result<Vec<Vec<u8>>> {
        let (found, failures) = self.read(ids).await?;
        match failures.into_iter().next() {
            Some((_, error)) => Err(error),
            None => Ok(found.into_iter().map(Option::unwrap_or_default).collect()),
        }
    }

    /// Plain contents of records, few at a time. What has no good copy is reported by number.
    #[allow(clippy::type_complexity, reason = "two plain lists")]
    pub async fn read(&self, ids: &[Id]) -> Result<(Vec<Option<Vec<u8>>>, Vec<(usize, Error)>)> {
        let mut out: Vec<Option<Vec<u8>>> = vec![None; ids.len()];
        let mut failures = Vec::new();
        let mut wanted = Vec::new();
        let mut others: HashMap<usize, Vec<Location>> = HashMap::new();
        let shorts: Vec<[u8; 16]> = ids.iter().map(Id::short).collect();
        for ((n, id), pack) in ids.iter().enumerate().zip(self.index.find(&shorts).await?) {
            match self.locate_first(id, pack).await {
                Ok(location) => wanted.push((n, location)),
                Err(error) => failures.push((n, error)),
            }
        }
        // to make one costs more than to open a page with it
        let mut tools = Decompressor::new();
        while !wanted.is_empty() {
            let mut retry = Vec::new();
            for fetch in coalesce(std::mem::take(&mut wanted)) {
                self.exec_check()?;
                let opened = self.open_all(&fetch, &mut tools).await?;
                for ((n, location), opened) in fetch.records.into_iter().zip(opened) {
                    let error = match opened {
                        Ok(plain) => {
                            if let Some(slot) = out.get_mut(n) {
                                *slot = Some(plain);
                            }
                            continue;
                        }
                        Err(error) => error,
                    };
                    match self.next_location(ids.get(n), &location, others.entry(n)).await? {
                        Some(next) => retry.push((n, next)),
                        None => failures.push((n, error)),
                    }
                }
            }
            wanted = retry;
        }
        Ok((out, failures))
    }

    /// Opens the records that a range is read for, in their order; of map packs from a copy, if that has them all.
    async fn open_all(&self, fetch: &Fetch, tools: &mut Decompressor) -> Result<Vec<Result<Vec<u8>>>> {
        let mut open_all = |bytes: &Bytes, range: &Range<u64>| -> Vec<Result<Vec<u8>>> {
            let open = |(_, location): &(usize, Location)| {
                let mut plain = Vec::new();
                self.open(location, slice(bytes, range, location)?, tools, &mut plain)?;
                Ok(plain)
            };
            fetch.records.iter().map(open).collect()
        };
        if let Some((bytes, range)) = self.at_hand(fetch) {
            let opened = open_all(&bytes, &range);
            if opened.iter().all(Result::is_ok) {
                return Ok(opened);
            }
        }
        let exec = self.repository.exec();
        let copies = Some(self.repository.copies()).filter(|copies| copies.is_kept());
        let copy = fetch.records.first().filter(|(_, location)| location.class == PackClass::Map);
        let map_pack = copy.map(|(_, location)| location.pack_id);
        let copy = map_pack.and_then(|pack_id| Some(copies?.of(Kind::Pack, pack_id)));
        if let Some(copy) = copy.clone() {
            let range = fetch.range.clone();
            if let Some(bytes) = exec.blocking(move || copy.read(range)).await? {
                let opened = open_all(&bytes.into(), &fetch.range);
                if opened.iter().all(Result::is_ok) {
                    return Ok(opened);
                }
            }
        }
        let behind_len = if map_pack.is_some() { self.behind_len } else { 0 };
        let start =
            fetch.range.start.saturating_sub(behind_len).max(HEADER_LEN as u64).min(fetch.range.start);
        let range = start..fetch.range.end;
        let bytes = match self.fetch(&fetch.name, range.clone()).await {
            Err(error) if error.kind() == ErrorKind::Damage => {
                return Ok(fetch.records.iter().map(|_| Err(clone_damage(&error))).collect());
            }
            other => other?,
        };
        if let Some(copy) = copy {
            let kept = bytes.clone();
            exec.blocking(move || copy.write(start, &kept)).await?;
        }
        if let Some(pack_id) = map_pack.filter(|_| behind_len > 0) {
            self.caches().keep_part(pack_id, start, bytes.clone());
        }
        Ok(open_all(&bytes, &range))
    }

    /// A part of a map pack that came with its trailer or with another page, and where it lies.
    fn at_hand(&self, fetch: &Fetch) -> Option<(Bytes, Range<u64>)> {
        let (_, location) = fetch.records.first()?;
        let caches = self.caches();
        caches.map_parts.iter().find_map(|(pack_id, start, bytes)| {
            let range = *start..start.saturating_add(bytes.len() as u64);
            let holds = range.start <= fetch.range.start && fetch.range.end <= range.end;
            (*pack_id == location.pack_id && holds).then(|| (bytes.clone(), range))
        })
    }

    /// Where else a record may be read, of which the copy at `tried` is bad.
    async fn next_location(
        &self,
        id: Option<&Id>,
        tried: &Location,
        others: Entry<'_, usize, Vec<Location>>,
    ) -> Result<Option<Location>> {
        let rest = match (others, id) {
            (Entry::Occupied(rest), _) => rest.into_mut(),
            (Entry::Vacant(_), None) => return Ok(None),
            (Entry::Vacant(none), Some(id)) => {
                let mut rest = match self.locate(id).await {
                    Ok(rest) => rest,
                    Err(error) if error.is_bad_copy() => Vec::new(),
                    Err(error) => return Err(error),
                };
                rest.retain(|other| (other.pack_id, other.range.start) != (tried.pack_id, tried.range.start));
                none.insert(rest)
            }
        };
        Ok((!rest.is_empty()).then(|| rest.remove(0)))
    }

    fn exec_check(&self) -> Result<()> {
        self.repository.exec().check_cancelled()
    }

    /// A range of a pack; a missing or shorter object is damage.
    pub async fn fetch(&self, name: &ObjectName, range: Range<u64>) -> Result<Bytes> {
        let expected = range.end - range.start;
        match self.repository.store().get_range(name, range).await? {
            Some(bytes) if bytes.len() as u64 == expected => Ok(bytes),
            Some(bytes) => {
                Err(Error::damage(name, format!("{} bytes read, {expected} expected", bytes.len())))
            }
            None => Err(Error::damage(name, "object is missing")),
        }
    }
}

/// The same finding once more, for each record that a failed read would have served.
fn clone_damage(error: &Error) -> Error {
    match error {
        Error::Damage { object, detail } => Error::Damage { object: object.clone(), detail: detail.clone() },
        other => Error::Internal { what: other.to_string() },
    }
}

/// The sealed bytes of a record within a fetched range.
pub fn slice<'a>(bytes: &'a Bytes, fetched: &Range<u64>, location: &Location) -> Result<&'a [u8]> {
    let start = location.range.start.checked_sub(fetched.start).and_then(|n| usize::try_from(n).ok());
    let found = start.and_then(|start| bytes.get(start..start + location.row.clen as usize));
    found.ok_or_else(|| Error::internal("a record outside the range that was fetched for it"))
}

/// Sorts records by pack and place, and joins neighbours into ranges of at most 8 MiB.
pub fn coalesce(mut records: Vec<(usize, Location)>) -> Vec<Fetch> {
    records.sort_unstable_by_key(|(n, l)| (l.pack_id, l.range.start, *n));
    let mut fetches: Vec<Fetch> = Vec::new();
    for (n, location) in records {
        let name = ObjectName::pack(location.class, location.pack_id);
        if let Some(last) = fetches.last_mut()
            && last.name == name
            && location.range.start <= last.range.end.saturating_add(GAP_MAX)
            && location.range.end.saturating_sub(last.range.start) <= FETCH_LEN_MAX
        {
            last.range.end = last.range.end.max(location.range.end);
            last.records.push((n, location));
        } else {
            fetches.push(Fetch { name, range: location.range.clone(), records: vec![(n, location)] });
        }
    }
    fetches
}

/// Trailer and footer of a pack, as the index knows it.
fn tail_len(pack: &PackInfo) -> u64 {
    (u64::from(pack.trailer_len) + repo_format::pack::FOOTER_LEN as u64).min(pack.len)
}

/// Reads and opens the trailer of a pack whose length the index knows, from the store.
pub(crate) async fn read_trailer(repository: &Repository, pack: &PackInfo) -> Result<Trailer> {
    let name = ObjectName::pack(pack.class, pack.pack_id);
    open_tail(repository, &name, pack.pack_id, pack.class, pack.len, tail_len(pack)).await
}

/// As [`read_trailer`], from the copy of it if there is one that is good.
pub(crate) async fn read_trailer_near(repository: &Repository, pack: &PackInfo) -> Result<Trailer> {
    read_end(repository, pack, 0).await.map(|(trailer, _)| trailer)
}

/// The end of a pack that was read from the store, and where it begins.
type End = Option<(u64, Bytes)>;

/// The trailer of a pack, from the copy of it if there is one that is good; else it is read with `more_len` bytes before it.
async fn read_end(repository: &Repository, pack: &PackInfo, more_len: u64) -> Result<(Trailer, End)> {
    let copy = repository.copies().of(Kind::Pack, pack.pack_id);
    let (exec, tail_len) = (repository.exec(), tail_len(pack));
    if !copy.is_none() {
        let (read, range) = (copy.clone(), pack.len - tail_len..pack.len);
        let context = repository.pack_context(pack.class, &pack.pack_id);
        if let Some(tail) = exec.blocking(move || read.read(range)).await?
            && let Ok(OpenTrailer::Done(trailer, _)) = open_trailer(&context, &tail, pack.len)
        {
            return Ok((trailer, None));
        }
    }
    let name = ObjectName::pack(pack.class, pack.pack_id);
    let guess = tail_len.saturating_add(more_len);
    let (trailer, tail) = fetch_tail(repository, &name, pack.pack_id, pack.class, pack.len, guess).await?;
    let offset = pack.len - tail.len() as u64;
    if !copy.is_none() {
        let kept = tail.clone();
        exec.blocking(move || copy.write(offset, &kept)).await?;
    }
    Ok((trailer, Some((offset, tail))))
}

/// Reads the last `guess` bytes of a pack, or as many as its footer asks for, and opens the trailer.
pub(crate) async fn open_tail(
    repository: &Repository,
    name: &ObjectName,
    pack_id: PackId,
    class: PackClass,
    len: u64,
    guess: u64,
) -> Result<Trailer> {
    fetch_tail(repository, name, pack_id, class, len, guess).await.map(|(trailer, _)| trailer)
}

async fn fetch_tail(
    repository: &Repository,
    name: &ObjectName,
    pack_id: PackId,
    class: PackClass,
    len: u64,
    guess: u64,
) -> Result<(Trailer, Bytes)> {
    let context = repository.pack_context(class, &pack_id);
    let mut tail_len = guess.min(len);
    for _ in 0..3 {
        let range = len - tail_len..len;
        let Some(tail) = repository.store().get_range(name, range).await? else {
            return Err(Error::damage(name, "object is missing"));
        };
        if tail.len() as u64 != tail_len {
            return Err(Error::damage(name, format!("ends before {len} bytes")));
        }
        match open_trailer(&context, &tail, len).named(name)? {
            OpenTrailer::Done(trailer, _) => return Ok((trailer, tail)),
            OpenTrailer::NeedTail(need) => tail_len = need.min(len),
        }
    }
    Err(Error::damage(name, "its footer asks for more than the object holds"))
}
