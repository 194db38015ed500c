//! Opening: from a credential to the keys, from the keys to the newest valid config.

use crate::cache::SlotHint;
use crate::error::Named;
use crate::store::Driver;
use crate::{Credential, Env, Error, ErrorKind, Exec, Repository, Result, Store};
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
        let configs = config_numbers(&store).await?;
        if configs.is_empty() {
            return Err(Error::NoRepository { url: store.url().to_owned() });
        }
        let assemble = |slot_id, bundle, config| {
            Repository::assemble(store.clone(), exec.clone(), env.clone(), (slot_id, bundle), config)
        };
        if let Some(hint) = &hint
            && let Some((slot_id, bundle, config)) = by_hint(&store, exec, credential, hint, &configs).await?
        {
            return assemble(slot_id, bundle, config);
        }
        let slots = read_slots(&store, credential).await?;
        let mut failure = None;
        for slot in &slots.candidates {
            match open_slot(exec, slot, credential).await? {
                Ok(bundle) => match newest_config(&store, &configs, &bundle).await {
                    Ok(config) => {
                        if let Some(hint) = hint {
                            let slot_id = slot.slot_id;
                            exec.blocking(move || hint.write(slot_id)).await?;
                        }
                        return assemble(slot.slot_id, bundle, config);
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

    /// Refuses to write where a feature bit says that this build would do harm.
    pub fn require_writable(&self) -> Result<()> {
        match self.config().check_features().named("config")? {
            Access::ReadWrite => Ok(()),
            Access::ReadOnly => Err(Error::StoreUnfit {
                url: self.store().url().to_owned(),
                reason: "the repository has features that this version can read but not write".into(),
            }),
        }
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

/// Opens by the slot that is said to have opened before; nothing unless all of it is as it was.
async fn by_hint(
    store: &Store,
    exec: &Exec,
    credential: &Credential,
    hint: &SlotHint,
    configs: &[u64],
) -> Result<Option<(SlotId, Bundle, Config)>> {
    let reads = hint.clone();
    let Some(slot_id) = exec.blocking(move || reads.read()).await? else { return Ok(None) };
    let Some(object) = store.get(&ObjectName::Slot(slot_id)).await? else { return Ok(None) };
    let slot = match SealedSlot::parse(slot_id, &object) {
        Ok(slot) if slot.kind == credential.borrow().kind() => slot,
        _ => return Ok(None),
    };
    let Ok(bundle) = open_slot(exec, &slot, credential).await? else { return Ok(None) };
    let config = newest_config(store, configs, &bundle).await;
    Ok(config.ok().map(|config| (slot_id, bundle, config)))
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
async fn read_slots(store: &Store, credential: &Credential) -> Result<Slots> {
    let kind = credential.borrow().kind();
    let mut slots = Slots { candidates: Vec::new(), damaged: None };
    for (slot_id, found) in list_slots(store).await? {
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

/// Reads every slot, damaged ones included.
pub(crate) async fn list_slots(store: &Store) -> Result<Vec<(SlotId, repo_format::Result<SealedSlot>)>> {
    let listed = store.list(SLOT_PREFIX).await?;
    let mut slots = Vec::new();
    for (name, _) in listed.into_iter().take(SLOT_COUNT_MAX) {
        let ObjectName::Slot(slot_id) = name else { continue };
        // a slot removed since the listing is no slot
        if let Some(object) = store.get(&name).await? {
            slots.push((slot_id, SealedSlot::parse(slot_id, &object)));
        }
    }
    Ok(slots)
}

/// The highest config that is whole and signed; lower ones count where a higher one does not.
async fn newest_config(store: &Store, numbers: &[u64], bundle: &Bundle) -> Result<Config> {
    let mut failure = None;
    for n in numbers.iter().rev() {
        let name = ObjectName::Config(*n);
        let Some(object) = store.get(&name).await? else { continue };
        match open_config(bundle, *n, &object) {
            Ok(config) => return Ok(config),
            Err(error) => {
                failure.get_or_insert(error);
            }
        }
    }
    Err(failure.unwrap_or_else(|| Error::NoRepository { url: store.url().to_owned() }))
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
    config.check_features().named(&name)?;
    Ok(config)
}
