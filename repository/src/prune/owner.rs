//! Stores without put-if-absent: one pruner by agreement. Records carry the name of their process and
//! are never overwritten; a prune that finds another one at work steps back.

use super::Prune;
use crate::error::Named;
use crate::gc::{GcState, Record, plan_of, sweep_of, wait_delta};
use crate::{Error, Result};
use repo_format::ProcessId;
use repo_format::config::StoreMode;
use repo_format::gc_record::{Owner, Plan};
use repo_format::layout::{GC_PREFIX, ObjectName};
use repo_format::sealed::Class;

impl Prune<'_> {
    fn is_one(&self) -> bool {
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

    /// Says who prunes: the highest owner record counts.
    pub(super) async fn own(&mut self) -> Result<()> {
        if !self.is_one() {
            return Ok(());
        }
        let n = self.owner().await?.map_or(0, |(n, _)| n.saturating_add(1));
        let name = ObjectName::Owner(n);
        let created_ms = self.repository.env().clock.now_ms();
        let owner = Owner { proc: self.process, label: "orlop prune".into(), created_ms };
        let body = owner.encode().named(name)?;
        let object = self.repository.seal_signed(Class::Owner, &name, &body)?;
        self.repository.store().put(&name, object.into()).await?;
        wait_delta(self.repository).await?;
        self.still_owns().await
    }

    /// An error if another process has begun to prune.
    pub(super) async fn still_owns(&self) -> Result<()> {
        if !self.is_one() {
            return Ok(());
        }
        match self.owner().await? {
            Some((_, proc)) if proc == self.process => Ok(()),
            Some((n, proc)) => {
                let what = format!(
                    "another prune ({proc}, {}) has begun; this store allows one at a time",
                    ObjectName::Owner(n)
                );
                Err(Error::Conflict { what })
            }
            None => Err(Error::damage(GC_PREFIX, "the owner record that was just written is not there")),
        }
    }

    async fn owner(&self) -> Result<Option<(u64, ProcessId)>> {
        let listed = self.repository.store().list(GC_PREFIX).await?;
        let numbers = listed.iter().filter_map(|(name, _)| match name {
            ObjectName::Owner(n) => Some(*n),
            _ => None,
        });
        let Some(n) = numbers.max() else { return Ok(None) };
        let name = ObjectName::Owner(n);
        let object = self.repository.store().get(&name).await?;
        let object = object.ok_or_else(|| Error::damage(name, "listed and not found"))?;
        let body = self.repository.open_signed(Class::Owner, &name, &object)?;
        Ok(Some((n, Owner::parse(&body).named(name)?.proc)))
    }

    /// Mode one: withdraws the unfinished plan of a process that is known to be dead (ADR 13). False
    /// where any process may resume any plan.
    ///
    /// Nothing is resumed here: two that resume could put two sweeps of one generation.
    pub(super) async fn withdraw_dead(&self, plan: &Record<Plan>) -> Result<bool> {
        let Some((g, Some(proc))) = plan_of(&plan.name) else { return Ok(false) };
        if self.options.take_over != Some(proc) {
            let what = format!(
                "{} is unfinished: its prune still runs or is dead; once it has been dead for 15 minutes, \
                 run `orlop prune --take-over {proc}`",
                plan.name
            );
            return Err(Error::Conflict { what });
        }
        // a sweep that has landed must be seen
        wait_delta(self.repository).await?;
        let listed = self.repository.store().list(GC_PREFIX).await?;
        let other = listed.iter().map(|(name, _)| name).find(|name| {
            **name != plan.name && plan_of(name).or(sweep_of(name)).is_some_and(|(other, _)| other >= g)
        });
        if let Some(other) = other {
            return Err(Error::Conflict { what: format!("{other} has come meanwhile; run it again") });
        }
        self.repository.store().delete(&plan.name).await?;
        wait_delta(self.repository).await?;
        Ok(true)
    }

    /// p4 without put-if-absent: withdraws if anybody else has a record of this generation or a later one.
    pub(super) async fn withdraw_if_not_alone(&self, g: u64) -> Result<()> {
        if !self.is_one() {
            return Ok(());
        }
        wait_delta(self.repository).await?;
        let own = self.plan_name(g);
        let listed = self.repository.store().list(GC_PREFIX).await?;
        let is_foreign = |name: &ObjectName| {
            *name != own && plan_of(name).or(sweep_of(name)).is_some_and(|(other, _)| other >= g)
        };
        if let Some((other, _)) = listed.iter().find(|(name, _)| is_foreign(name)) {
            self.repository.store().delete(&own).await?;
            let what = format!("another prune wrote {other}; this store allows one at a time");
            return Err(Error::Conflict { what });
        }
        Ok(())
    }

    /// Whether `state` has a sweep for `plan`, written by anybody.
    pub(super) fn is_swept(state: &GcState, plan: &Record<Plan>) -> bool {
        state.sweep.as_ref().is_some_and(|sweep| sweep.g >= plan.g)
    }
}
