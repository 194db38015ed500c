//! Stores without put-if-absent: one pruner by agreement. Records carry the name of their process and
//! are never overwritten; a prune that finds another one at work steps back.
//!
//! Nothing is lost when several run by mistake: each lists after it has written its plan, and withdraws
//! it if anybody else has one (docs/adr/0013). The owner record only lets one step back before it has
//! done the work.

use super::Prune;
use crate::error::Named;
use crate::gc::{GcState, Record, plan_of, sweep_of, wait_delta};
use crate::{Error, Result};
use repo_format::config::StoreMode;
use repo_format::gc_record::{Owner, Plan};
use repo_format::layout::{GC_PREFIX, ObjectName};
use repo_format::sealed::Class;
use std::fmt::Write as _;

/// Listings tried until the highest owner record is there.
const LISTINGS_MAX: usize = 8;

impl Prune<'_> {
    pub(super) fn is_one(&self) -> bool {
        self.repository.config().store.mode == StoreMode::One
    }

    /// The name of this process' plan.
    pub(super) fn plan_name(&self, g: u64) -> ObjectName {
        if self.is_one() { ObjectName::ProcPlan { g, proc: self.process } } else { ObjectName::Plan(g) }
    }

    /// The name of this process' sweep.
    pub(super) fn sweep_name(&self, g: u64) -> ObjectName {
        if self.is_one() { ObjectName::ProcSweep { g, proc: self.process } } else { ObjectName::Sweep(g) }
    }

    /// Says who prunes: the highest owner record counts. Lower ones are removed.
    pub(super) async fn own(&self) -> Result<()> {
        let store = self.repository.store();
        let lower = self.owners().await?;
        let n = lower.iter().max().map_or(0, |n| n.saturating_add(1));
        let name = ObjectName::Owner(n);
        let created_ms = self.repository.env().clock.now_ms();
        let owner = Owner { proc: self.process, label: "orlop prune".into(), created_ms };
        let body = owner.encode().named(name)?;
        let object = self.repository.seal_signed(Class::Owner, &name, &body)?;
        store.put(&name, object.into()).await?;
        wait_delta(self.repository).await?;
        self.still_owns().await?;
        for n in lower {
            store.delete(&ObjectName::Owner(n)).await?;
        }
        Ok(())
    }

    /// An error if another process has begun to prune.
    pub(super) async fn still_owns(&self) -> Result<()> {
        if !self.is_one() {
            return Ok(());
        }
        // whoever takes over removes lower records: list again
        for _ in 0..LISTINGS_MAX {
            let Some(n) = self.owners().await?.into_iter().max() else { break };
            let name = ObjectName::Owner(n);
            let Some(object) = self.repository.store().get(&name).await? else {
                wait_delta(self.repository).await?;
                continue;
            };
            let body = self.repository.open_signed(Class::Owner, &name, &object)?;
            let proc = Owner::parse(&body).named(name)?.proc;
            if proc == self.process {
                return Ok(());
            }
            let what = format!("another prune ({proc}, {name}) has begun; this store allows one at a time");
            return Err(Error::Conflict { what });
        }
        Err(Error::damage(GC_PREFIX, "the owner record that was just written is not there"))
    }

    /// Numbers of the owner records.
    async fn owners(&self) -> Result<Vec<u64>> {
        let listed = self.repository.store().list(GC_PREFIX).await?;
        let number = |(name, _)| if let ObjectName::Owner(n) = name { Some(n) } else { None };
        Ok(listed.into_iter().filter_map(number).collect())
    }

    /// Mode one: an error if a plan is unfinished whose process the operator has not named as dead.
    pub(super) fn stop_unless_dead(&self, state: &GcState) -> Result<()> {
        let unswept: Vec<_> = state.unswept().filter_map(|plan| plan_of(&plan.name)?.1).collect();
        if unswept.iter().all(|proc| self.options.take_over.contains(proc)) {
            return Ok(());
        }
        let names: Vec<String> = state.unswept().map(|plan| plan.name.to_string()).collect();
        let mut what = format!(
            "{}: unfinished: its prune still runs or is dead; once it has been dead for 15 minutes, run \
             `orlop prune",
            names.join(", ")
        );
        for proc in unswept {
            let _ = write!(what, " --take-over {proc}");
        }
        what.push('`');
        Err(Error::Conflict { what })
    }

    /// Mode one: withdraws the unfinished plans of processes that are known to be dead (ADR 13). False
    /// where any process may resume any plan.
    ///
    /// Nothing is resumed here: two that resume could put two sweeps of one generation.
    pub(super) async fn withdraw_dead(&self, state: &GcState) -> Result<bool> {
        if !self.is_one() {
            return Ok(false);
        }
        self.stop_unless_dead(state)?;
        // a sweep that has landed must be seen
        wait_delta(self.repository).await?;
        let named: Vec<&Record<Plan>> = state.unswept().collect();
        let g = named.first().map_or(0, |plan| plan.g);
        let listed = self.repository.store().list(GC_PREFIX).await?;
        let mut later = listed.iter().filter(|(name, _)| generation(name) >= Some(g));
        if later.clone().any(|(name, _)| sweep_of(name).is_some()) {
            return Ok(true);
        }
        if let Some((other, _)) = later.find(|(name, _)| !named.iter().any(|plan| plan.name == *name)) {
            return Err(Error::Conflict { what: format!("{other} has come meanwhile; run it again") });
        }
        for plan in named {
            self.repository.store().delete(&plan.name).await?;
        }
        wait_delta(self.repository).await?;
        Ok(true)
    }

    /// p4 without put-if-absent: an error if anybody else has a record of this generation or a later one.
    pub(super) async fn is_alone(&self, g: u64) -> Result<()> {
        if !self.is_one() {
            return Ok(());
        }
        wait_delta(self.repository).await?;
        let own = self.plan_name(g);
        let listed = self.repository.store().list(GC_PREFIX).await?;
        let mut later = listed.iter().filter(|(name, _)| generation(name) >= Some(g));
        if let Some((other, _)) = later.find(|(name, _)| *name != own) {
            let what = format!("another prune wrote {other}; this store allows one at a time");
            return Err(Error::Conflict { what });
        }
        Ok(())
    }

    /// Takes the plan of this process back, if its sweep was not sent, after an error: nobody has to take it
    /// over then. If that fails, too, the next prune names it.
    pub(super) async fn withdraw(&self, g: u64) {
        if self.is_one() && !self.sweep_sent {
            let _ = self.repository.store().delete(&self.plan_name(g)).await;
        }
    }

    /// p6 without put-if-absent: an error if the plan was withdrawn by somebody who believed this process
    /// dead, or if there is a record that must not be beside it.
    pub(super) async fn still_stands(&self, g: u64) -> Result<()> {
        if !self.is_one() {
            return Ok(());
        }
        let own = self.plan_name(g);
        let listed = self.repository.store().list(GC_PREFIX).await?;
        let later: Vec<&ObjectName> =
            listed.iter().map(|(name, _)| name).filter(|name| generation(name) >= Some(g)).collect();
        // another's plan beside it is on its way to be withdrawn
        if later.contains(&&own) && !later.iter().any(|name| sweep_of(name).is_some()) {
            return Ok(());
        }
        let what = format!("{own} was taken over; nothing is condemned, nothing is lost");
        Err(Error::Conflict { what })
    }

    /// Whether `state` has a sweep for `plan`, written by anybody.
    pub(super) fn is_swept(state: &GcState, plan: &Record<Plan>) -> bool {
        state.sweep.as_ref().is_some_and(|sweep| sweep.g >= plan.g)
    }
}

/// Generation of a plan or sweep.
fn generation(name: &ObjectName) -> Option<u64> {
    plan_of(name).or(sweep_of(name)).map(|(g, _)| g)
}
