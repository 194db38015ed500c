//! Opening: from a credential to the keys, from the keys to the newest valid config.

use crate::cache::SlotHint;
use crate::error::Named;
use crate::store::Driver;
use crate::{Credential, Env, Error, ErrorKind, Exec, Repository, Result, Store};
use bytes::Bytes;
use futures::future::{try_join, try_join3};
use futures::stream::{StreamExt, TryStreamExt, iter};
use repo_format::config::{Access, Config};
use repo_format::keys::Bundle;
use repo_format::keys::slot::SealedSlot;
use repo_format::layout::{CONFIG_PREFIX, ObjectName, SLOT_PREFIX};
use repo_format::limits::PASSWORD_SLOT_COUNT_MAX;
use repo_format::sealed::{self, Binding, Class};
use repo_format::{ErrorKind as FormatKind, SlotId};
use std::path::Path;
use std::sync::Arc;

/// Slots looked at: planted ones cost a request each, no more.
const SLOT_COUNT_MAX: usize = 256;
/// Slots fetched at the same time.
const SLOTS_IN_FLIGHT: usize = 8;

impl Repository {
    /// Opens the repository on `driver` with a password or a key file.
    ///
    /// # Errors
    /// [`Error::NoRepository`] without a config; [`Error::WrongKey`] if no slot opens; damage of
    /// slots or configs where that is why.
    pub async fn open(
        driver: Arc<dyn Driver>,
        exec: &Exec,
        env: &Env,
        credential: &Credential,
    ) -> Result<Self> {
        Self::open_near(driver, exec, env, credential, None).await
    }

    /// As [`open`](Self::open), with a folder that remembers which slot a key file has opened: fewer requests.
    pub async fn open_near(
        driver: Arc<dyn Driver>,
        exec: &Exec,
        env: &Env,
        credential: &Credential,
        folder: Option<&Path>,
    ) -> Result<Self> {
        let store = Store::new(driver, exec.clone(), env.clone());
        let hint = match (folder, credential) {
            (Some(folder), Credential::KeyFile(secret)) => Some(SlotHint::of(folder, store.url(), secret)),
            _ => None,
        };
        let known = match hint.clone() {
            Some(hint) => exec.blocking(move || hint.read()).await?,
            None => None,
        };
        // what needs no other answer is asked for together: each may be 100 ms away
        let hinted = async {
            match known {
                Some(slot_id) => hinted_slot(&store, credential, slot_id).await,
                None => Ok(None),
            }
        };
        let names = async { if known.is_some() { Ok(None) } else { slot_names(&store).await.map(Some) } };
        let (numbers, hinted, names) = try_join3(config_numbers(&store), hinted, names).await?;
        if numbers.is_empty() {
            return Err(Error::NoRepository { url: store.url().to_owned() });
        }
        let mut configs = Configs { numbers, newest: None };
        let assemble = |slot: &SealedSlot, bundle, config| {
            let keys = (slot.slot_id, bundle);
            Repository::assemble(store.clone(), exec.clone(), env.clone(), keys, config)
        };
        if let Some(slot) = hinted {
            let (opened, ()) = try_join(open_slot(exec, &slot, credential), configs.fetch(&store)).await?;
            if let Ok(bundle) = opened
                && let Ok(config) = configs.open(&store, &bundle).await
            {
                return assemble(&slot, bundle, config);
            }
        }
        let names = match names {
            Some(names) => names,
            None => slot_names(&store).await?,
        };
        let (slots, ()) = try_join(read_slots(&store, credential, names), configs.fetch(&store)).await?;
        let mut failure = None;
        for slot in &slots.candidates {
            match open_slot(exec, slot, credential).await? {
                Ok(bundle) => match configs.open(&store, &bundle).await {
                    Ok(config) => {
                        if let Some(hint) = hint {
                            let slot_id = slot.slot_id;
                            exec.blocking(move || hint.write(slot_id)).await?;
                        }
                        return assemble(slot, bundle, config);
                    }
                    // a slot of another repository, planted or left over from an init that failed
                    Err(error) if error.kind() == ErrorKind::WrongKey => drop(failure.get_or_insert(error)),
                    Err(error) => return Err(error),
                },
                Err(error) if error.kind() == FormatKind::WrongKey => {}
                Err(error) => {
                    failure = Some(Error::Format { object: slot_name(slot.slot_id), source: error })
                }
            }
        }
        Err(failure
            .or(slots.damaged)
            .unwrap_or_else(|| wrong_key(&store, credential, slots.candidates.len())))
    }

    /// Refuses to write where a feature bit says that this build would do harm, or where the newest config cannot be
    /// read: what it says of features, domains and the store must hold for all that is written.
    pub fn require_writable(&self) -> Result<()> {
        if let Some(n) = self.unread_config() {
            let name = ObjectName::Config(n);
            return Err(Error::damage(
                name,
                "the newest config cannot be read, and nothing is written by an older one; bring it back from a replica",
            ));
        }
        match self.config().features.access() {
            Access::ReadWrite | Access::AddOnly => Ok(()),
            Access::ReadOnly => Err(self.unfit("that this version can read but not write")),
        }
    }

    /// As [`require_writable`](Self::require_writable), for what deletes.
    pub fn require_deletable(&self) -> Result<()> {
        self.require_writable()?;
        match self.config().features.access() {
            Access::ReadWrite => Ok(()),
            Access::AddOnly | Access::ReadOnly => Err(self.unfit("with which this version must not delete")),
        }
    }

    fn unfit(&self, features: &str) -> Error {
        let url = self.store().url().to_owned();
        Error::StoreUnfit { url, reason: format!("the repository has features {features}") }
    }
}

async fn open_slot(
    exec: &Exec,
    slot: &SealedSlot,
    credential: &Credential,
) -> Result<repo_format::Result<Bundle>> {
    let (slot, credential) = (slot.clone(), credential.clone());
    exec.cpu(move || slot.open(credential.borrow())).await
}

/// The slot that is said to have opened before, if it is there and as it was.
async fn hinted_slot(store: &Store, credential: &Credential, slot_id: SlotId) -> Result<Option<SealedSlot>> {
    let Some(object) = store.get(&ObjectName::Slot(slot_id)).await? else { return Ok(None) };
    let slot = SealedSlot::parse(slot_id, &object);
    Ok(slot.ok().filter(|slot| slot.kind == credential.borrow().kind()))
}

fn wrong_key(store: &Store, credential: &Credential, tried: usize) -> Error {
    let what = credential.describe();
    let reason = match tried {
        0 => format!("no key slot takes a {what}"),
        1 => format!("wrong {what}: it opens no key slot (1 tried)"),
        n => format!("wrong {what}: it opens no key slot ({n} tried)"),
    };
    Error::WrongKey { url: store.url().to_owned(), reason }
}

fn slot_name(slot_id: SlotId) -> String {
    ObjectName::Slot(slot_id).to_string()
}

/// Numbers of all configs, rising.
pub(crate) async fn config_numbers(store: &Store) -> Result<Vec<u64>> {
    let listed = store.list(CONFIG_PREFIX).await?;
    Ok(listed
        .iter()
        .filter_map(|(name, _)| if let ObjectName::Config(n) = name { Some(*n) } else { None })
        .collect())
}

struct Slots {
    candidates: Vec<SealedSlot>,
    damaged: Option<Error>,
}

/// All slots that this kind of credential may open, newest first; at most 8 for a password.
async fn read_slots(store: &Store, credential: &Credential, names: Vec<SlotId>) -> Result<Slots> {
    let kind = credential.borrow().kind();
    let mut slots = Slots { candidates: Vec::new(), damaged: None };
    for (slot_id, found) in fetch_slots(store, names).await? {
        match found {
            Ok(slot) if slot.kind == kind => slots.candidates.push(slot),
            Ok(_) => {}
            Err(source) => slots.damaged = Some(Error::Format { object: slot_name(slot_id), source }),
        }
    }
    slots.candidates.sort_by_key(|slot| (std::cmp::Reverse(slot.created_ms), slot.slot_id));
    if matches!(credential, Credential::Password(_)) {
        slots.candidates.truncate(PASSWORD_SLOT_COUNT_MAX);
    }
    Ok(slots)
}

/// A slot as it was read: it may be damaged.
type FoundSlot = (SlotId, repo_format::Result<SealedSlot>);

/// Reads every slot, damaged ones included.
pub(crate) async fn list_slots(store: &Store) -> Result<Vec<FoundSlot>> {
    fetch_slots(store, slot_names(store).await?).await
}

async fn slot_names(store: &Store) -> Result<Vec<SlotId>> {
    let listed = store.list(SLOT_PREFIX).await?.into_iter().take(SLOT_COUNT_MAX);
    let names = listed.filter_map(|(name, _)| if let ObjectName::Slot(id) = name { Some(id) } else { None });
    Ok(names.collect())
}

async fn fetch_slots(store: &Store, names: Vec<SlotId>) -> Result<Vec<FoundSlot>> {
    let fetch = |slot_id| async move {
        // a slot removed since the listing is no slot
        let object = store.get(&ObjectName::Slot(slot_id)).await?;
        Ok(object.map(|object| (slot_id, SealedSlot::parse(slot_id, &object))))
    };
    iter(names)
        .map(fetch)
        .buffered(SLOTS_IN_FLIGHT)
        .try_filter_map(|slot| async { Ok(slot) })
        .try_collect()
        .await
}

/// The configs of a store.
struct Configs {
    /// Rising.
    numbers: Vec<u64>,
    /// The highest, once it was asked for; nothing in it if it was gone.
    newest: Option<Option<Bytes>>,
}

impl Configs {
    /// Reads the highest one, unless that is done.
    async fn fetch(&mut self, store: &Store) -> Result<()> {
        if let (None, Some(n)) = (&self.newest, self.numbers.last()) {
            self.newest = Some(store.get(&ObjectName::Config(*n)).await?);
        }
        Ok(())
    }

    /// The highest that is whole and signed. Lower ones count where a higher one is damaged, for reading; none does where it
    /// is newer. With it, the number of the highest if that is another.
    async fn open(&mut self, store: &Store, bundle: &Bundle) -> Result<(Config, Option<u64>)> {
        self.fetch(store).await?;
        let mut failure = None;
        for (at, n) in self.numbers.iter().rev().enumerate() {
            let object = match &self.newest {
                Some(newest) if at == 0 => newest.clone(),
                _ => store.get(&ObjectName::Config(*n)).await?,
            };
            let Some(object) = object else { continue };
            match open_config(bundle, *n, &object) {
                Ok(config) => return Ok((config, self.numbers.last().copied().filter(|last| last != n))),
                Err(error) if error.is_newer() => return Err(error),
                Err(error) => drop(failure.get_or_insert(error)),
            }
        }
        Err(failure.unwrap_or_else(|| Error::NoRepository { url: store.url().to_owned() }))
    }
}

/// Opens config `n`, which must be signed with the key that the bundle names.
pub(crate) fn open_config(bundle: &Bundle, n: u64, object: &[u8]) -> Result<Config> {
    let name = ObjectName::Config(n).to_string();
    let binding = Binding { repo_id: bundle.repo_id(), class: Class::Config, name: &name };
    let payload =
        sealed::open_signed(&bundle.common(), &bundle.deletion_public(), &binding, object).named(&name)?;
    let config = Config::parse(&payload).named(&name)?;
    if config.n != n || config.repo_id != bundle.repo_id() {
        return Err(Error::damage(
            name,
            format!("says that it is config {} of {}", config.n, config.repo_id),
        ));
    }
    if bundle.content_public().is_some_and(|key| key != config.content_public)
        || bundle.deletion_public() != config.deletion_public
    {
        return Err(Error::damage(name, "its public keys are not those of the key slot"));
    }
    if bundle.domain().is_some_and(|domain| !config.domains.iter().any(|known| known == domain)) {
        return Err(Error::damage(name, "it does not list the domain of the key slot"));
    }
    Ok(config)
}
