//! Does this store keep the two promises on which nothing-is-lost rests?
//!
//! A1: put-if-absent has one winner. A2: what was put is read and listed at once.

use super::{Driver, DriverError};
use crate::{Env, Error, Exec, Result};
use bytes::Bytes;
use futures::future::join_all;
use futures::stream::StreamExt;
use repo_format::layout::{ObjectName, PROBE_PREFIX};
use std::time::Duration;

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeReport {
    /// Put-if-absent had exactly one winner in every round.
    pub put_if_absent: bool,
    /// Every object put was read and listed right after.
    pub read_after_write: bool,
}

const ROUNDS: usize = 4;
const WRITERS: usize = 8;
/// Rounds that may be done again because of an answer that says: later.
const FAILURES_MAX: u32 = 8;
/// Before the first of them; longer by as much before each other.
const PAUSE: Duration = Duration::from_millis(500);
/// Time for one round.
const LIMIT: Duration = Duration::from_secs(60);

/// Races 8 writers for one name, four times, and reads and lists what they wrote.
///
/// Errors are the store's own refusals: no such bucket, no permission, read-only.
pub async fn probe(driver: &dyn Driver, exec: &Exec, env: &Env) -> Result<ProbeReport> {
    let mut report = ProbeReport { put_if_absent: true, read_after_write: true };
    let (mut rounds, mut failures) = (0, 0);
    while rounds < ROUNDS {
        let name = ObjectName::Probe(env.random()?).to_string();
        // the driver's calls have no time limit of their own
        let late = || Err(DriverError::Transient(format!("no answer within {} s", LIMIT.as_secs())));
        let result = exec.timeout(LIMIT, round(driver, &name, &mut report)).await.unwrap_or_else(late);
        let cleaned = exec.timeout(LIMIT, driver.delete(&name)).await.unwrap_or_else(late);
        exec.check_cancelled()?;
        match result.and(cleaned) {
            Ok(()) => rounds += 1,
            // one answer of dozens that is lost says nothing about promises
            Err(DriverError::Transient(_)) if failures < FAILURES_MAX => {
                failures += 1;
                exec.sleep(PAUSE * failures).await;
            }
            Err(cause) => return Err(refused(driver, &name, cause)),
        }
    }
    Ok(report)
}

async fn round(driver: &dyn Driver, name: &str, report: &mut ProbeReport) -> Result<(), DriverError> {
    let bodies: Vec<Bytes> = (0..WRITERS).map(|n| Bytes::from(format!("writer {n}\n"))).collect();
    let mut winners = vec![];
    let mut open = false;
    let race = bodies.iter().map(|body| driver.put_new(name, body.clone().into()));
    for (n, answer) in join_all(race).await.into_iter().enumerate() {
        match answer {
            Ok(()) => winners.push(n),
            Err(DriverError::Exists) => {}
            // such a put may have won, too
            Err(DriverError::Transient(_)) => open = true,
            Err(cause) => return Err(cause),
        }
    }
    if winners.is_empty() {
        // none was answered, or a repeated request has won whose own answer came first: it says nothing
        return Err(DriverError::Transient("none of 8 racing puts was told that it won".into()));
    }
    report.put_if_absent &= winners.len() == 1;
    let read = match driver.get(name, None).await {
        Ok(bytes) if open => bodies.contains(&bytes),
        Ok(bytes) => winners.iter().any(|n| bodies.get(*n) == Some(&bytes)),
        Err(DriverError::NotFound) => false,
        Err(cause) => return Err(cause),
    };
    report.read_after_write &= read;
    let mut listed = false;
    let mut listing = driver.list(PROBE_PREFIX);
    while let Some(meta) = listing.next().await {
        listed |= meta?.name == name;
    }
    report.read_after_write &= listed;
    // one more, late writer: an object that is there is never replaced
    match driver.put_new(name, Bytes::from_static(b"late\n").into()).await {
        Ok(()) => report.put_if_absent = false,
        Err(DriverError::Exists) => {}
        Err(cause) => return Err(cause),
    }
    Ok(())
}

fn refused(driver: &dyn Driver, name: &str, cause: DriverError) -> Error {
    Error::Store(super::StoreError {
        verb: "probe",
        url: driver.url().to_owned(),
        name: name.to_owned(),
        cause,
    })
}
