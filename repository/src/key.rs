//! Key slots: who may open the repository, and as what.

use crate::error::Named;
use crate::init::put_slot;
use crate::open::list_slots;
use crate::{Credential, Error, Repository, Result};
use repo_format::SlotId;
use repo_format::keys::Role;
use repo_format::keys::slot::SlotKind;
use repo_format::layout::ObjectName;

/// A key slot as its clear part describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotInfo {
    /// Its id.
    pub slot_id: SlotId,
    /// Password or key file.
    pub kind: SlotKind,
    /// What its holder may do.
    pub role: Role,
    /// For people.
    pub label: String,
    /// Unix milliseconds.
    pub created_ms: u64,
    /// The slot that opened this repository.
    pub current: bool,
}

/// The slots of this repository, oldest first, and those that cannot be read.
///
/// What is listed is not authenticated until a slot is opened: somebody who can write to the store
/// can plant one.
pub async fn list(repository: &Repository) -> Result<(Vec<SlotInfo>, Vec<Error>)> {
    let (mut slots, mut damaged) = (Vec::new(), Vec::new());
    for (slot_id, found) in list_slots(repository.store()).await? {
        match found.named(ObjectName::Slot(slot_id)) {
            Ok(slot) if slot.repo_id == repository.repo_id() => slots.push(SlotInfo {
                slot_id,
                kind: slot.kind,
                role: slot.role,
                label: slot.label,
                created_ms: slot.created_ms,
                current: slot_id == repository.slot_id(),
            }),
            Ok(_) => {}
            Err(error) => damaged.push(error),
        }
    }
    slots.sort_by_key(|slot| (slot.created_ms, slot.slot_id));
    Ok((slots, damaged))
}

/// Makes a slot of `role` that `credential` opens. Only the owner can.
pub async fn add(
    repository: &Repository,
    role: Role,
    credential: &Credential,
    label: &str,
) -> Result<SlotId> {
    repository.require_writable()?;
    let secrets = repository.bundle().repository_secrets();
    let secrets = secrets.ok_or_else(|| repository.role_error("key add", "owner"))?;
    let bundle = secrets.bundle_for(role, repository.domain(), repository.repo_id()).named("new key slot")?;
    put_slot(repository.store(), repository.exec(), repository.env(), credential, label, bundle).await
}

/// Removes a slot. The one in use and the last one of an owner stay.
///
/// Removing a slot revokes nothing that its holder has already read or copied.
pub async fn remove(repository: &Repository, slot_id: SlotId) -> Result<()> {
    repository.require_writable()?;
    let (slots, damaged) = list(repository).await?;
    let name = ObjectName::Slot(slot_id);
    if slot_id == repository.slot_id() {
        return Err(Error::Usage {
            what: format!("{name}: it is the slot in use; open the repository with another"),
        });
    }
    let known = slots.iter().any(|slot| slot.slot_id == slot_id);
    let broken = damaged
        .iter()
        .any(|error| matches!(error, Error::Format { object, .. } if *object == name.to_string()));
    if !known && !broken {
        return Err(Error::Usage { what: format!("{name}: no such key slot") });
    }
    let owner_left = slots.iter().any(|slot| slot.role == Role::Owner && slot.slot_id != slot_id);
    if !owner_left {
        return Err(Error::Usage {
            what: format!("{name}: it is the last slot of an owner; add another first"),
        });
    }
    repository.store().delete(&name).await
}

/// Puts the keys of the slot in use under another credential: a new slot, then the old one goes.
pub async fn passwd(repository: &Repository, credential: &Credential) -> Result<SlotId> {
    repository.require_writable()?;
    let (slots, _) = list(repository).await?;
    let label = slots.iter().find(|slot| slot.current).map_or("", |slot| slot.label.as_str());
    let bundle = repository.bundle().clone();
    let slot_id =
        put_slot(repository.store(), repository.exec(), repository.env(), credential, label, bundle).await?;
    repository.store().delete(&ObjectName::Slot(repository.slot_id())).await?;
    Ok(slot_id)
}
