//! The conformance suite.

use bytes::Bytes;
use futures::StreamExt;
use futures::future::join_all;
use repository::store::{Driver, DriverError, probe};
use repository::{Env, Exec};
use std::sync::Arc;

/// Runs asynchronous work as the command line does.
pub(crate) fn in_runtime<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(work)
}

/// Every promise of [`Driver`].
pub(crate) fn conformance(driver: Arc<dyn Driver>) {
    in_runtime(async {
        reads_what_was_put(&*driver).await;
        never_overwrites(&*driver).await;
        has_one_winner(&*driver).await;
        lists_by_prefix(&*driver).await;
        deletes_more_than_once(&*driver).await;
        let exec = Exec::threads(1).unwrap();
        let report = probe(&*driver, &exec, &Env::system()).await.unwrap();
        assert!(report.put_if_absent && report.read_after_write, "{report:?}");
        assert_eq!(names(&*driver, "probe/").await, Vec::<String>::new(), "the probe cleans up");
    });
}

/// Every promise but those of conditions, which the probe has to see.
pub(crate) fn conformance_without_conditions(driver: Arc<dyn Driver>) {
    in_runtime(async {
        reads_what_was_put(&*driver).await;
        lists_by_prefix(&*driver).await;
        deletes_more_than_once(&*driver).await;
        put(&*driver, "config/0", "first").await.unwrap();
        put(&*driver, "config/0", "second").await.unwrap();
        assert_eq!(driver.get("config/0", None).await.unwrap(), "second", "read after it was overwritten");
        let exec = Exec::threads(1).unwrap();
        let report = probe(&*driver, &exec, &Env::system()).await.unwrap();
        assert!(!report.put_if_absent && report.read_after_write, "{report:?}");
        assert_eq!(names(&*driver, "probe/").await, Vec::<String>::new(), "the probe cleans up");
    });
}

async fn put(driver: &dyn Driver, name: &str, bytes: impl Into<Bytes>) -> Result<(), DriverError> {
    driver.put_new(name, bytes.into().into()).await
}

pub(crate) async fn names(driver: &dyn Driver, prefix: &str) -> Vec<String> {
    let listed = driver.list(prefix).map(|meta| meta.unwrap().name).collect::<Vec<_>>().await;
    let mut listed = listed;
    listed.sort();
    listed
}

async fn reads_what_was_put(driver: &dyn Driver) {
    for (n, len) in [0usize, 1, 4096, 1_000_003, 9_000_000].into_iter().enumerate() {
        let name = format!("packs/data/a{n}/x");
        let body = Bytes::from(tests::data::bytes(n as u64, len));
        // in several parts, as packs are put
        let parts = [body.slice(..len / 3), body.slice(len / 3..len / 2), body.slice(len / 2..)];
        driver.put_new(&name, parts.into_iter().collect()).await.unwrap();
        assert_eq!(driver.get(&name, None).await.unwrap(), body);
        assert_eq!(driver.get(&name, Some(0..1 << 40)).await.unwrap(), body, "an empty one, too");
        let meta = driver.head(&name).await.unwrap();
        assert_eq!((meta.name.as_str(), meta.len), (name.as_str(), len as u64));
        assert!(meta.modified_ms > 1_700_000_000_000, "{meta:?}");
        let end = len as u64;
        assert!(driver.get(&name, Some(end..end + 9)).await.unwrap().is_empty(), "nothing after {end} bytes");
        assert!(
            driver.get(&name, Some(end + 5..end + 9)).await.unwrap().is_empty(),
            "nothing after {end} bytes"
        );
        if len > 10 {
            assert_eq!(driver.get(&name, Some(3..7)).await.unwrap(), body.slice(3..7));
            assert_eq!(driver.get(&name, Some(end - 2..end)).await.unwrap(), body.slice(len - 2..));
            assert_eq!(
                driver.get(&name, Some(end - 2..end + 9)).await.unwrap(),
                body.slice(len - 2..),
                "clipped"
            );
        }
        let end = len as u64;
        assert_eq!(driver.get(&name, Some(0..1 << 30)).await.unwrap(), body, "clipped, an empty one too");
        assert_eq!(driver.get(&name, Some(end..end + 9)).await.unwrap(), "", "behind the end of {len} bytes");
    }
    for missing in
        [driver.get("packs/data/a0/y", None).await, driver.get("packs/data/a0/y", Some(0..4)).await]
    {
        assert!(matches!(missing, Err(DriverError::NotFound)), "{missing:?}");
    }
    assert!(matches!(driver.head("packs/data/a0/y").await, Err(DriverError::NotFound)));
}

async fn never_overwrites(driver: &dyn Driver) {
    put(driver, "config/0", "first").await.unwrap();
    let again = put(driver, "config/0", "second").await;
    assert!(matches!(again, Err(DriverError::Exists)), "{again:?}");
    assert_eq!(driver.get("config/0", None).await.unwrap(), "first");
}

async fn has_one_winner(driver: &dyn Driver) {
    for round in 0..10 {
        let name = format!("gc/{round}.plan");
        let answers = join_all((0..8).map(|n| put(driver, &name, format!("writer {n}")))).await;
        let winners: Vec<_> =
            (0..8).zip(&answers).filter(|(_, answer)| answer.is_ok()).map(|(n, _)| n).collect();
        assert_eq!(winners.len(), 1, "{answers:?}");
        assert_eq!(driver.get(&name, None).await.unwrap(), format!("writer {}", winners[0]));
    }
}

async fn lists_by_prefix(driver: &dyn Driver) {
    for name in ["index/1", "index/2", "index2/1", "indexes"] {
        put(driver, name, "x").await.unwrap();
    }
    assert_eq!(names(driver, "index/").await, ["index/1", "index/2"]);
    assert_eq!(names(driver, "nothing/").await, Vec::<String>::new());
    // more than one page of an S3 listing, which is 1000 names
    let many: Vec<String> = (0..1100).map(|n| format!("snapshots/{n:04}")).collect();
    for batch in many.chunks(50) {
        for answer in join_all(batch.iter().map(|name| put(driver, name, "x"))).await {
            answer.unwrap();
        }
    }
    assert_eq!(names(driver, "snapshots/").await, many);
}

async fn deletes_more_than_once(driver: &dyn Driver) {
    put(driver, "pending/1", "x").await.unwrap();
    driver.delete("pending/1").await.unwrap();
    driver.delete("pending/1").await.unwrap();
    assert!(matches!(driver.get("pending/1", None).await, Err(DriverError::NotFound)));
    assert_eq!(names(driver, "pending/").await, Vec::<String>::new());
}
