//! `key add|list|remove|passwd`: who may open the repository, and as what.

use crate::args::{KeyCommand, NewSecretArgs, RoleArg};
use crate::context::Context;
use crate::credential;
use crate::exit::{Exit, Failure};
use crate::format::{SlotId, SlotKind};
use crate::text;
use repository::Repository;
use repository::key::{self, SlotInfo};
use serde_json::{Value, json};

const HEAD: [&str; 6] = ["", "SLOT", "ROLE", "KIND", "MADE", "LABEL"];

pub(super) async fn run(context: &Context, command: KeyCommand) -> Result<(), Failure> {
    match command {
        KeyCommand::Add { role, label, secret } => add(context, role, &label, &secret).await,
        KeyCommand::List => list(context).await,
        KeyCommand::Remove { slot } => remove(context, &slot).await,
        KeyCommand::Passwd { secret } => passwd(context, &secret).await,
    }
}

async fn add(context: &Context, role: RoleArg, label: &str, secret: &NewSecretArgs) -> Result<(), Failure> {
    let repository = context.open().await?;
    let new = credential::new(secret, None, &context.env)?;
    let parsed = role.name().parse().map_err(|e| Failure::usage(format!("{e}")))?;
    let slot_id = key::add(&repository, parsed, &new.credential, label).await?;
    if let Some(file) = new.file {
        file.keep();
    }
    if context.output.json() {
        let slot_id = slot_id.to_string();
        return context.output.summary(json!({
            "slot_id": slot_id,
            "role": role.name(),
            "label": label,
            "kind": new.credential.describe(),
        }));
    }
    context.output.line(format!("key slot {slot_id} made for the role {}", role.name()))
}

async fn list(context: &Context) -> Result<(), Failure> {
    let repository = context.open().await?;
    let (slots, damaged) = context.exec.unless_cancelled(key::list(&repository)).await?;
    let output = context.output;
    if output.json() {
        output.value(&Value::Array(slots.iter().map(document).collect()))?;
    } else {
        for line in text::table(&HEAD, &slots.iter().map(row).collect::<Vec<_>>()) {
            output.line(line)?;
        }
    }
    for error in &damaged {
        output.warn(&error.to_string());
    }
    match damaged.len() {
        0 => Ok(()),
        n => Err(Failure::Said(
            Exit::Partial,
            format!("{} could not be read", text::count(n as u64, "key slot")),
        )),
    }
}

/// A slot as JSON; nothing in it is secret.
pub(super) fn document(slot: &SlotInfo) -> Value {
    json!({
        "slot_id": slot.slot_id.to_string(),
        "role": slot.role.to_string(),
        "kind": kind(slot),
        "label": slot.label,
        "created": text::time(slot.created_ms),
        "current": slot.current,
    })
}

fn row(slot: &SlotInfo) -> Vec<String> {
    vec![
        if slot.current { "*" } else { "" }.into(),
        slot.slot_id.to_string(),
        slot.role.to_string(),
        kind(slot).into(),
        text::time(slot.created_ms),
        text::one_line(&slot.label),
    ]
}

fn kind(slot: &SlotInfo) -> &'static str {
    match slot.kind {
        SlotKind::Password => "password",
        SlotKind::KeyFile => "key file",
    }
}

async fn remove(context: &Context, slot: &str) -> Result<(), Failure> {
    let repository = context.open().await?;
    let slot_id = find(&repository, slot).await?;
    key::remove(&repository, slot_id).await?;
    if context.output.json() {
        return context.output.summary(json!({"slot_id": slot_id.to_string()}));
    }
    context.output.line(format!("key slot {slot_id} removed"))
}

/// A full id, which may be that of a damaged slot, or a unique start of one.
pub(super) async fn find(repository: &Repository, spec: &str) -> Result<SlotId, Failure> {
    if let Ok(slot_id) = SlotId::parse(spec) {
        return Ok(slot_id);
    }
    let (slots, _) = key::list(repository).await?;
    let mut found = slots.iter().map(|slot| slot.slot_id).filter(|id| id.to_string().starts_with(spec));
    match (found.next(), found.next()) {
        (Some(slot_id), None) if !spec.is_empty() => Ok(slot_id),
        (Some(_), Some(_)) => Err(Failure::usage(format!("slot {spec:?}: more than one begins so"))),
        _ => {
            Err(Failure::usage(format!("slot {spec:?}: no key slot begins so; `orlop key list` shows them")))
        }
    }
}

async fn passwd(context: &Context, secret: &NewSecretArgs) -> Result<(), Failure> {
    let repository = context.open().await?;
    let new = credential::new(secret, None, &context.env)?;
    let slot_id = key::passwd(&repository, &new.credential).await?;
    if let Some(file) = new.file {
        file.keep();
    }
    if context.output.json() {
        return context.output.summary(json!({"slot_id": slot_id.to_string()}));
    }
    context.output.line(format!("key slot {slot_id} takes the place of the one in use"))
}
