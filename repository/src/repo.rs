//! An open repository: its store, its config and the keys of one domain.

use crate::cache::Copies;
use crate::error::Named;
use crate::{Env, Error, Exec, Result, Store};
use bytes::Bytes;
use chunker::BlockKeys;
use repo_format::config::{Config, StoreMode};
use repo_format::kdf::{Secret, derive, derive_into};
use repo_format::keys::{Bundle, Role};
use repo_format::layout::ObjectName;
use repo_format::limits::EPOCH;
use repo_format::map::PageKey;
use repo_format::pack::{PackClass, PackContext};
use repo_format::sealed::{self, Binding, Class};
use repo_format::{PackId, RepoId, SlotId};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use zeroize::Zeroizing;

/// Level of sealed objects: small, written once, read often.
const OBJECT_LEVEL: i32 = 3;

/// An open repository. Cheap to clone.
#[derive(Clone)]
pub struct Repository {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    exec: Exec,
    env: Env,
    bundle: Bundle,
    slot_id: SlotId,
    config: Config,
    unread_config: Option<u64>,
    domain: String,
    common: Secret,
    structure: Secret,
    page_key: PageKey,
    identity: Option<Identity>,
    copies: OnceLock<Copies>,
}

/// What turns plain bytes into ids and cuts, in one domain.
pub struct Identity {
    /// Keys of block hashes and chunk ids.
    pub block_keys: BlockKeys,
    /// Key material of the stream chunker's table.
    pub gear: Zeroizing<Vec<u8>>,
}

impl Identity {
    fn new(domain_identity: &Secret) -> Self {
        let material = [domain_identity.expose().as_slice()];
        let (block, chunk) = (derive("block", &material), derive("chunk", &material));
        let mut gear = Zeroizing::new(vec![0; chunker::stream::GEAR_LEN]);
        derive_into("gear", &material, &mut gear);
        Identity { block_keys: BlockKeys::new(block.expose(), chunk.expose()), gear }
    }
}

impl Repository {
    /// Joins what `open` has found out.
    pub(crate) fn assemble(
        store: Store,
        exec: Exec,
        env: Env,
        (slot_id, bundle): (SlotId, Bundle),
        (config, unread_config): (Config, Option<u64>),
    ) -> Result<Self> {
        let domain = bundle.domain().unwrap_or(repo_format::keys::MAIN_DOMAIN).to_owned();
        let structure = bundle.structure(&domain).named("key slot")?;
        let page_key = PageKey::new(&structure);
        let identity = bundle.identity(&domain).map(|identity| Identity::new(&identity));
        let common = bundle.common();
        let store = if config.store.mode == StoreMode::One { store.without_conditions() } else { store };
        let inner = Inner {
            store,
            exec,
            env,
            bundle,
            slot_id,
            config,
            unread_config,
            domain,
            common,
            structure,
            page_key,
            identity,
            copies: OnceLock::new(),
        };
        Ok(Repository { inner: Arc::new(inner) })
    }

    /// The repository's id.
    pub fn repo_id(&self) -> RepoId {
        self.inner.bundle.repo_id()
    }

    /// What seals and opens the trailer of a pack of this domain.
    pub(crate) fn pack_context<'a>(&'a self, class: PackClass, pack_id: &'a PackId) -> PackContext<'a> {
        let repo_id = &self.inner.config.repo_id;
        PackContext { s_d: self.structure_key(), epoch: EPOCH, repo_id, class, pack_id }
    }

    /// What the key that opened it may do.
    pub fn role(&self) -> Role {
        self.inner.bundle.role()
    }

    /// The domain worked in.
    pub fn domain(&self) -> &str {
        &self.inner.domain
    }

    /// The newest config that can be read.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// The number of the newest config, if it cannot be read.
    pub(crate) fn unread_config(&self) -> Option<u64> {
        self.inner.unread_config
    }

    /// Its store.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// Where its work runs.
    pub fn exec(&self) -> &Exec {
        &self.inner.exec
    }

    /// Keeps sealed copies of index and trailers in `folder`, below the repository's id, of `len_max` bytes in all.
    /// False, and nothing is kept, if that cannot be. To be said before anything else is done.
    pub fn keep_copies(&self, folder: &Path, len_max: u64) -> bool {
        let folder = folder.join(self.repo_id().to_string());
        Copies::folder(&folder, len_max).is_ok_and(|copies| self.inner.copies.set(copies).is_ok())
    }

    /// Copies of what the store holds. Unless some are kept, with threads there are some until this process ends.
    pub(crate) fn copies(&self) -> &Copies {
        self.inner.copies.get_or_init(|| match self.exec().is_inline() {
            true => Copies::none(),
            false => Copies::scratch(std::env::temp_dir()),
        })
    }

    /// Its clock and randomness.
    pub fn env(&self) -> &Env {
        &self.inner.env
    }

    pub(crate) fn bundle(&self) -> &Bundle {
        &self.inner.bundle
    }

    pub(crate) fn slot_id(&self) -> SlotId {
        self.inner.slot_id
    }

    /// S_d: seals the structure of the domain.
    pub(crate) fn structure_key(&self) -> &Secret {
        &self.inner.structure
    }

    /// K_page: ids of map pages.
    pub(crate) fn page_key(&self) -> &PageKey {
        &self.inner.page_key
    }

    /// What computes ids, or an error that names the roles which can.
    pub(crate) fn identity(&self, action: &'static str) -> Result<&Identity> {
        self.inner.identity.as_ref().ok_or_else(|| self.role_error(action, "backup, read or owner"))
    }

    /// C_sec, or an error that names the roles which hold it.
    pub(crate) fn content_secret(&self, action: &'static str) -> Result<&Secret> {
        self.bundle().content_secret().ok_or_else(|| self.role_error(action, "read or owner"))
    }

    /// An error, before anything is done, for a role that cannot read content.
    pub fn require_content(&self, action: &'static str) -> Result<()> {
        self.content_secret(action).map(|_| ())
    }

    pub(crate) fn role_error(&self, action: &'static str, needed: &'static str) -> Error {
        Error::Role { action, needed, role: self.role().to_string() }
    }

    fn object_key(&self, class: Class) -> &Secret {
        if class.is_common() { &self.inner.common } else { &self.inner.structure }
    }

    /// Seals an unsigned body under `name`.
    pub(crate) fn seal_object(&self, class: Class, name: &ObjectName, body: &[u8]) -> Result<Bytes> {
        let text = name.to_string();
        let binding = Binding { repo_id: self.repo_id(), class, name: &text };
        let salt = self.env().random()?;
        sealed::seal(self.object_key(class), &binding, EPOCH, salt, OBJECT_LEVEL, body)
            .map(Bytes::from)
            .named(&text)
    }

    /// Opens an unsigned object that was read under `name`.
    pub(crate) fn open_object(&self, class: Class, name: &ObjectName, object: &[u8]) -> Result<Vec<u8>> {
        let text = name.to_string();
        let binding = Binding { repo_id: self.repo_id(), class, name: &text };
        sealed::open(self.object_key(class), &binding, object).named(&text)
    }

    /// Seals and signs a payload under `name`; only the prune and owner roles can.
    pub fn seal_signed(&self, class: Class, name: &ObjectName, payload: &[u8]) -> Result<Bytes> {
        let text = name.to_string();
        let binding = Binding { repo_id: self.repo_id(), class, name: &text };
        let signer = self.bundle().deletion_secret();
        let signer = signer.ok_or_else(|| self.role_error("signing a deletion record", "prune or owner"))?;
        let salt = self.env().random()?;
        sealed::seal_signed(self.object_key(class), signer, &binding, EPOCH, salt, OBJECT_LEVEL, payload)
            .map(Bytes::from)
            .named(&text)
    }

    /// Opens a signed object that was read under `name`, and checks the signature.
    pub(crate) fn open_signed(&self, class: Class, name: &ObjectName, object: &[u8]) -> Result<Vec<u8>> {
        let text = name.to_string();
        let binding = Binding { repo_id: self.repo_id(), class, name: &text };
        let verifier = self.config().deletion_public;
        sealed::open_signed(self.object_key(class), &verifier, &binding, object).named(&text)
    }
}
