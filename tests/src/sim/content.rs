//! What is backed up: volumes of a few chunks out of a small alphabet, so that deduplication,
//! parents and mending happen all the time.

use super::profile::Profile;
use super::rng::Rng;
use repo_format::SnapshotId;
use repository::backup::{BackupRequest, ChangedRanges, CompressionLevel, ManifestInput, VolumeInput};
use repository::source::{BlockSource, ChangeToken, VolumeSource};
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// Blocks of a chunk.
pub(super) const CHUNK_BLOCKS: u32 = 2;
/// Bytes of a chunk.
pub(super) const CHUNK_LEN: u64 = CHUNK_BLOCKS as u64 * 4096;
/// Chunks of a segment.
const SEGMENT_CHUNKS: u64 = 128;
/// The label by which a snapshot names its source.
pub(super) const LABEL: &str = "sim";

/// A volume: letters in some of its chunks, holes elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Content {
    chunks: u64,
    letters: BTreeMap<u64, u8>,
}

impl Content {
    fn draw(rng: &mut Rng, profile: &Profile) -> Self {
        let letter = |rng: &mut Rng| b'a' + u8::try_from(rng.below(profile.letters)).unwrap_or(0);
        let mut letters = BTreeMap::new();
        let mut chunks = 1 + rng.below(profile.chunks);
        for n in 0..chunks {
            letters.insert(n, letter(rng));
        }
        if rng.chance(profile.wide) {
            // a second segment, so that one page may be inherited and the other not
            letters.insert(SEGMENT_CHUNKS, letter(rng));
            chunks = SEGMENT_CHUNKS + 1;
        }
        Content { chunks, letters }
    }

    /// Bytes of the volume.
    pub(super) fn byte_len(&self) -> u64 {
        self.chunks * CHUNK_LEN
    }

    /// The letter of the chunk at `offset`; 0 in a hole.
    pub(super) fn letter_at(&self, offset: u64) -> u8 {
        self.letters.get(&(offset / CHUNK_LEN)).copied().unwrap_or(0)
    }

    /// True if `bytes` is what lies at `offset`.
    pub(super) fn matches(&self, offset: u64, bytes: &[u8]) -> bool {
        let mut at = offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            let len = usize::try_from(CHUNK_LEN - at % CHUNK_LEN).unwrap_or(1).min(rest.len());
            let (part, after) = rest.split_at(len);
            let letter = self.letter_at(at);
            if part.iter().any(|byte| *byte != letter) {
                return false;
            }
            at += len as u64;
            rest = after;
        }
        at <= self.byte_len()
    }

    /// Where it differs from `base`, chunk by chunk.
    fn changed_since(&self, base: &Content) -> Vec<Range<u64>> {
        let mut chunks: Vec<u64> = self.letters.keys().chain(base.letters.keys()).copied().collect();
        chunks.sort_unstable();
        chunks.dedup();
        chunks.retain(|n| self.letters.get(n) != base.letters.get(n));
        chunks.into_iter().map(|n| n * CHUNK_LEN..(n + 1) * CHUNK_LEN).collect()
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        self.letters.iter().map(|(n, letter)| format!("{}{n}", char::from(*letter))).collect()
    }
}

/// The volume as a source; some know whether they changed.
struct SimVolume {
    content: Content,
    token: bool,
}

impl BlockSource for SimVolume {
    fn byte_len(&self) -> u64 {
        self.content.byte_len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        if offset + buf.len() as u64 > self.byte_len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (n, block) in buf.chunks_mut(4096).enumerate() {
            block.fill(self.content.letter_at(offset + n as u64 * 4096));
        }
        Ok(())
    }

    fn next_data(&self, offset: u64) -> io::Result<u64> {
        let next = self.content.letters.range(offset / CHUNK_LEN..).next();
        Ok(next.map_or(self.byte_len(), |(n, _)| offset.max(n * CHUNK_LEN)))
    }

    fn finish(&self, _: u64) -> io::Result<Option<ChangeToken>> {
        Ok(self.change_token())
    }

    fn change_token(&self) -> Option<ChangeToken> {
        let (driver, handle) = ("sim".to_owned(), String::new());
        self.token.then(|| ChangeToken { driver, handle, id: self.content.text() })
    }
}

/// One backup: what its snapshot must restore to.
#[derive(Debug, Clone)]
pub(super) struct Spec {
    /// Its number in the schedule: the snapshot's label.
    pub(super) no: usize,
    /// Volumes by name.
    pub(super) volumes: Vec<(String, Content)>,
    /// A stream beside them.
    pub(super) stream: Option<Vec<u8>>,
    /// A manifest beside them.
    pub(super) manifest: Option<String>,
    /// The retention group.
    pub(super) group: String,
    tokens: bool,
    compressed: bool,
}

impl Spec {
    /// A backup of the schedule.
    pub(super) fn draw(rng: &mut Rng, profile: &Profile, no: usize) -> Self {
        let mut volumes = vec![(format!("v{}", rng.below(profile.names)), Content::draw(rng, profile))];
        if rng.chance(200) {
            volumes.push(("w".to_owned(), Content::draw(rng, profile)));
        }
        let letter = |rng: &mut Rng| b'a' + u8::try_from(rng.below(3)).unwrap_or(0);
        Spec {
            no,
            volumes,
            stream: rng.chance(100).then(|| vec![letter(rng); 700]),
            manifest: rng.chance(150).then(|| format!(r#"{{"kind":"ConfigMap","n":{}}}"#, rng.below(3))),
            group: format!("g{}", rng.below(2)),
            tokens: rng.chance(500),
            compressed: rng.chance(200),
        }
    }

    /// A backup of a script, without anything drawn; with `tokens` its volumes say whether they have changed.
    pub(super) fn of(volumes: &[(&str, &str)], tokens: bool, no: usize) -> Self {
        let content = |letters: &str| {
            let letters: BTreeMap<u64, u8> = (0..).zip(letters.bytes()).collect();
            Content { chunks: letters.len() as u64, letters }
        };
        let volumes = volumes.iter().map(|(name, letters)| ((*name).to_owned(), content(letters))).collect();
        let (stream, manifest, group) = (None, None, "g".to_owned());
        Spec { no, volumes, stream, manifest, group, tokens, compressed: false }
    }

    /// The request of this backup.
    pub(super) fn request(&self) -> BackupRequest {
        let mut volumes = Vec::new();
        for (name, content) in &self.volumes {
            let volume = SimVolume { content: content.clone(), token: self.tokens };
            volumes.push(VolumeInput { name: name.clone(), source: VolumeSource::Blocks(Arc::new(volume)) });
        }
        if let Some(stream) = &self.stream {
            let reader = Box::new(io::Cursor::new(stream.clone()));
            volumes.push(VolumeInput { name: "s".into(), source: VolumeSource::Stream(reader) });
        }
        let manifest = |json: &String| ManifestInput {
            path: "/ConfigMap/shop/a".into(),
            json: json.clone().into_bytes().into(),
        };
        BackupRequest {
            volumes,
            manifests: self.manifest.iter().map(manifest).collect(),
            group: self.group.clone(),
            labels: BTreeMap::from([(LABEL.to_owned(), self.no.to_string())]),
            compression: if self.compressed { CompressionLevel::Level(1) } else { CompressionLevel::Off },
            ..BackupRequest::default()
        }
    }

    /// True if a volume of it can be backed up by what changed since `base`.
    pub(super) fn can_build_on(&self, base: &Spec) -> bool {
        self.shared_with(base).next().is_some()
    }

    /// Volumes of the same name and size, here and there.
    fn shared_with<'a>(
        &'a self,
        base: &'a Spec,
    ) -> impl Iterator<Item = (&'a str, &'a Content, &'a Content)> {
        self.volumes.iter().flat_map(|(name, content)| {
            let there =
                base.volumes.iter().filter(move |(other, was)| other == name && was.chunks == content.chunks);
            there.map(move |(_, was)| (name.as_str(), content, was))
        })
    }

    /// What changed since `base`, whose snapshot is `sid`.
    pub(super) fn changed_since(&self, sid: SnapshotId, base: &Spec) -> ChangedRanges {
        let volumes =
            self.shared_with(base).map(|(name, now, was)| (name.to_owned(), now.changed_since(was)));
        ChangedRanges { base: Some(sid), volumes: volumes.collect(), audit_blocks: 4 }
    }

    /// Bytes of packs that its snapshot may take alone: its chunks with their trailers, and its maps. Each
    /// record may come in a pack of its own, from wherever it was copied or deduplicated.
    pub(super) fn stored_len(&self) -> u64 {
        let chunks: usize = self.volumes.iter().map(|(_, content)| content.letters.len()).sum();
        let others = self.volumes.len() as u64 * 4 + 8;
        chunks as u64 * (CHUNK_LEN + 700) + others * 1000
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let volumes: Vec<_> = self.volumes.iter().map(|(name, c)| format!("{name}={}", c.text())).collect();
        format!("#{} {} {}", self.no, self.group, volumes.join(" "))
    }
}
