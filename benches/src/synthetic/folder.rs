//! The repository's folder: where objects go, and the keys of its domain.

use super::content::Source;
use anyhow::{Context, Result};
use chunker::BlockKeys;
use repo_format::config::Chunking;
use repo_format::kdf::{Secret, derive};
use repo_format::keys::slot::{self, SealedSlot};
use repo_format::keys::{Bundle, MAIN_DOMAIN, keyfile};
use repo_format::layout::ObjectName;
use repo_format::map::PageKey;
use repo_format::pack::PackClass;
use repo_format::record::{KeyRow, SessionKey};
use repo_format::sealed::{self, Binding, Class};
use repo_format::{KeyId, PackId, RepoId, SlotId, SnapshotId};
use repository::env::Random;
use repository::init::{InitOptions, init};
use repository::store::{StoreUrl, connect};
use repository::{Env, Exec};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use zeroize::Zeroizing;

/// Level of zstd that backups use by default.
pub(super) const LEVEL: i32 = 3;

/// The folder of a new repository, and all that is needed to seal what goes into it.
pub(super) struct Folder {
    root: PathBuf,
    bundle: Bundle,
    pub(super) structure: Secret,
    pub(super) block_keys: BlockKeys,
    pub(super) page_key: PageKey,
    /// Seals chunks.
    pub(super) data_key: SessionKey,
    /// Seals map pages and records of runs.
    pub(super) structure_key: SessionKey,
    pub(super) source: Source,
    /// The text of the key that opens the repository.
    pub(super) key: Zeroizing<String>,
}

/// Randomness of a seed: the same repository each time, keys included.
struct Seeded {
    source: Source,
    next: AtomicU64,
}

impl Random for Seeded {
    fn fill(&self, out: &mut [u8]) -> std::io::Result<()> {
        self.source.fill(self.next.fetch_add(1, Ordering::Relaxed), out);
        Ok(())
    }
}

impl Folder {
    /// Makes a repository in `root` with the engine's own `init`.
    pub(super) fn init(root: &Path, seed: u64) -> Result<Self> {
        let source = Source::new(seed);
        let random = Arc::new(Seeded { source: Source::new(!seed), next: AtomicU64::new(0) });
        let env = Env { random, ..Env::system() };
        let exec = Exec::threads(1)?;
        let driver = connect(&StoreUrl::Local(root.to_owned()), true)?;
        let options = InitOptions { credential: None, label: String::new(), chunking: Chunking::blocks() };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let made = runtime.block_on(init(driver, &exec, &env, options))?;
        let bundle = open_slot(root, &keyfile::parse(&made.recovery_key)?)?;
        let structure = bundle.structure(MAIN_DOMAIN)?;
        let identity = bundle.identity(MAIN_DOMAIN).context("the owner's key has the identity secret")?;
        let (block, chunk) = (derive("block", &[identity.expose()]), derive("chunk", &[identity.expose()]));
        let public = bundle.content_public().context("the owner's key has the content key")?;
        let repo_id = made.repo_id;
        let (k, ikm) = (Secret::new(env.random()?), Secret::new(env.random()?));
        Ok(Folder {
            root: root.to_owned(),
            block_keys: BlockKeys::new(block.expose(), chunk.expose()),
            page_key: PageKey::new(&structure),
            data_key: SessionKey::data(&repo_id, 0, &public, KeyId(env.random()?), &k, &ikm)?,
            structure_key: SessionKey::structure(&repo_id, 0, &structure, KeyId(env.random()?))?,
            structure,
            bundle,
            source,
            key: made.recovery_key,
        })
    }

    pub(super) fn repo_id(&self) -> RepoId {
        self.bundle.repo_id()
    }

    /// The name of pack number `n` of its class.
    pub(super) fn pack_id(&self, class: PackClass, n: u64) -> PackId {
        PackId(self.source.name(16 * u64::from(class as u8), n))
    }

    /// The snapshot of volume `n`, made so many hours ago: a UUIDv7.
    pub(super) fn sid(&self, time_ms: u64, n: u64) -> SnapshotId {
        let mut raw = self.source.name(8, n);
        raw[..6].copy_from_slice(&time_ms.to_be_bytes()[2..]);
        raw[6] = 0x70 | raw[6] & 0x0f;
        raw[8] = 0x80 | raw[8] & 0x3f;
        SnapshotId(raw)
    }

    /// The key row of packs of this class.
    pub(super) fn key_row(&self, class: PackClass) -> &KeyRow {
        if class == PackClass::Data { self.data_key.row() } else { self.structure_key.row() }
    }

    /// Writes an object; it must not be there.
    pub(super) fn put(&self, name: &ObjectName, parts: &[&[u8]]) -> Result<()> {
        use std::io::Write;
        let path = self.root.join(name.to_string());
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let shown = || path.display().to_string();
        let mut file = fs::File::create_new(&path).with_context(shown)?;
        parts.iter().try_for_each(|part| file.write_all(part)).with_context(shown)
    }

    /// Seals a body of the domain, signed if its class is, and writes it.
    pub(super) fn put_sealed(&self, class: Class, name: &ObjectName, salt_n: u64, body: &[u8]) -> Result<()> {
        let text = name.to_string();
        let binding = Binding { repo_id: self.repo_id(), class, name: &text };
        let mut salt = [0; 22];
        self.source.fill(u64::MAX - salt_n, &mut salt);
        let key = &self.structure;
        let object = match self.bundle.deletion_secret() {
            Some(signer) if class.is_signed() => {
                sealed::seal_signed(key, signer, &binding, 0, salt, LEVEL, body)?
            }
            _ => sealed::seal(key, &binding, 0, salt, LEVEL, body)?,
        };
        self.put(name, &[&object])
    }
}

fn open_slot(root: &Path, secret: &Secret) -> Result<Bundle> {
    let slot = fs::read_dir(root.join("keys"))?.next().context("init wrote no key slot")??;
    let name = slot.file_name().into_string().ok().context("a key slot's name is no text")?;
    let sealed = SealedSlot::parse(SlotId::parse(&name)?, &fs::read(slot.path())?)?;
    Ok(sealed.open(slot::Credential::KeyFile(secret))?)
}
