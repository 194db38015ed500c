//! A real server behind a network that fails: retried within a bound, or one clear error; never a
//! wrong or lost byte.

use crate::suite::in_runtime;
use bytes::Bytes;
use repo_format::PackId;
use repo_format::layout::ObjectName;
use repository::store::{Put, PutOnce, RetryPolicy};
use repository::{Env, Exec, Store};
use std::time::Duration;
use tests::proxy::{Fault, FaultyProxy, Request, on};
use tests::servers::{Kind, S3Server};

/// Short pauses, so that the tests are quick; a bound that no slow machine meets.
const PATIENT: RetryPolicy = RetryPolicy {
    first_pause: Duration::from_millis(5),
    longest_pause: Duration::from_millis(40),
    give_up_after: Duration::from_secs(60),
};

fn name(n: u8) -> ObjectName {
    ObjectName::DataPack(PackId([n; 16]))
}

fn is_put(request: &Request) -> bool {
    request.method == "PUT"
}

fn is_get(request: &Request) -> bool {
    request.method == "GET"
}

/// Runs `work` on a store whose connection to a real server goes through `plan`.
fn through<F, W>(plan: impl Fn(&Request) -> Fault + Send + Sync + 'static, work: W)
where
    W: FnOnce(Store) -> F,
    F: Future<Output = ()>,
{
    let Ok(server) = S3Server::start(Kind::Versitygw) else { return };
    let proxy = FaultyProxy::start(server.address(), plan).unwrap();
    let driver = tests::s3::driver_at(&proxy.endpoint(), &server, "net");
    let store = Store::new(driver, Exec::threads(1).unwrap(), Env::system()).with_retry(PATIENT);
    in_runtime(work(store));
    assert!(proxy.fault_count() > 0, "the fault was never met");
}

async fn put_and_read(store: &Store, n: u8) {
    let body = Bytes::from(tests::data::bytes(u64::from(n), 3_000_000));
    assert_eq!(store.put(&name(n), body.clone().into()).await.unwrap(), Put::Created);
    assert_eq!(store.get(&name(n)).await.unwrap(), Some(body));
}

#[test]
fn resets_and_503s_are_tried_again() {
    for fault in [Fault::ResetBeforeRequest, Fault::SlowDown] {
        through(on(|_| true, 0..3, fault), |store| async move { put_and_read(&store, 1).await });
    }
}

#[test]
fn a_put_whose_answer_is_lost_has_won() {
    through(on(is_put, 0..2, Fault::ResetAfterAnswer), |store| async move { put_and_read(&store, 2).await });
}

#[test]
fn an_error_in_the_body_of_a_200_is_no_success() {
    through(on(is_put, 0..1, Fault::ErrorInBody), |store| async move { put_and_read(&store, 3).await });
}

#[test]
fn a_body_that_is_cut_short_is_read_again() {
    through(on(is_get, 0..2, Fault::CutBody(100_000)), |store| async move { put_and_read(&store, 4).await });
}

#[test]
fn a_slow_body_is_only_slow() {
    let slow = Fault::SlowBody { step_len: 64 << 10, pause: Duration::from_millis(2), pause_count: 20 };
    through(on(is_get, 0..1, slow), |store| async move { put_and_read(&store, 5).await });
}

#[test]
fn expired_credentials_are_one_clear_error() {
    through(on(is_put, 1..9, Fault::ExpiredToken), |store| async move {
        put_and_read(&store, 6).await;
        let error = store.put(&name(7), Bytes::from_static(b"x").into()).await.unwrap_err().to_string();
        assert!(error.contains("ExpiredToken") && error.contains("put"), "{error}");
    });
}

#[test]
fn a_network_that_stays_broken_ends_within_the_bound() {
    // without a bound this would never end
    through(on(|_| true, 0..usize::MAX, Fault::ResetBeforeRequest), |store| async move {
        let store = store.with_retry(RetryPolicy { give_up_after: Duration::from_millis(300), ..PATIENT });
        let error = store.get(&name(8)).await.unwrap_err().to_string();
        assert!(error.contains("get") && error.contains("packs/data/08/"), "{error}");
    });
}

#[test]
fn a_commit_is_sent_once() {
    through(on(is_put, 0..1, Fault::ResetAfterAnswer), |store| async move {
        let body = Bytes::from_static(b"snapshot");
        let answer = store.put_once(&name(9), body.clone().into()).await.unwrap();
        assert!(matches!(answer, PutOnce::Ambiguous(_)), "{answer:?}");
        assert_eq!(store.get(&name(9)).await.unwrap(), Some(body), "the caller looks and finds its bytes");
    });
}
