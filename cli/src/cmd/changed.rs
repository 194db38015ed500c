//! `backup --changed-ranges`: what somebody who tracks changes says of volumes.

use super::select;
use crate::args::VolumeArg;
use crate::context::Context;
use crate::exit::Failure;
use crate::input;
use repository::Repository;
use repository::backup::ChangedRanges;
use repository::repo_format::SnapshotId;
use repository::snapshots::Filter;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::Path;

/// A million ranges take about 20 MB.
const FILE_LEN_MAX: u64 = 64 << 20;

/// The file.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangedFile {
    base: String,
    volumes: Volumes,
}

/// Ranges of each volume. One that is named twice is refused: half of its changes would be lost.
struct Volumes(BTreeMap<String, Vec<[u64; 2]>>);

impl<'de> Deserialize<'de> for Volumes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Named;

        impl<'de> Visitor<'de> for Named {
            type Value = Volumes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("volumes by name, each a list of [offset, length]")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Volumes, A::Error> {
                let mut volumes = BTreeMap::new();
                while let Some((name, ranges)) = map.next_entry::<String, _>()? {
                    if volumes.contains_key(&name) {
                        return Err(A::Error::custom(format!("volume {name:?} is there twice")));
                    }
                    volumes.insert(name, ranges);
                }
                Ok(Volumes(volumes))
            }
        }
        deserializer.deserialize_map(Named)
    }
}

impl ChangedFile {
    /// Reads it, and checks that it speaks of volumes of this backup. Blocks.
    pub(super) fn read(path: &Path, volumes: &[VolumeArg]) -> Result<Self, Failure> {
        let named = |what: String| Failure::usage(format!("changed ranges {}: {what}", path.display()));
        let bytes = input::read(path, FILE_LEN_MAX).map_err(named)?;
        let file: ChangedFile = serde_json::from_slice(&bytes).map_err(|error| {
            let expected = r#"{"base": SNAPSHOT, "volumes": {NAME: [[offset, length], ...]}} expected"#;
            named(format!("{error}; {expected}"))
        })?;
        for name in file.volumes.0.keys() {
            match volumes.iter().find(|volume| volume.name == *name) {
                None => return Err(named(format!("volume {name:?} is not backed up: no --volume names it"))),
                Some(volume) if volume.is_stdin() => {
                    return Err(named(format!(
                        "volume {name:?} is standard input, which is read as a whole"
                    )));
                }
                Some(_) => {}
            }
        }
        Ok(file)
    }

    /// For the engine; a whole id is not looked up here, since a base that is gone costs a full read and no more.
    pub(super) async fn resolve(
        self,
        context: &Context,
        repository: &Repository,
        audit_blocks: u32,
    ) -> Result<ChangedRanges, Failure> {
        let base = match SnapshotId::parse(&self.base) {
            Ok(sid) => sid,
            Err(_) => select::one(context, repository, &self.base, Filter::default()).await?.id,
        };
        let range = |[offset, len]: &[u64; 2]| -> Range<u64> { *offset..offset.saturating_add(*len) };
        let volumes = self.volumes.0.iter();
        let volumes =
            volumes.map(|(name, ranges)| (name.clone(), ranges.iter().map(range).collect())).collect();
        Ok(ChangedRanges { base: Some(base), volumes, audit_blocks })
    }
}
