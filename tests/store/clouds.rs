//! The suite on Azure's and Google's protocols, and what their servers refuse.

use crate::suite;
use bytes::Bytes;
use repository::store::{DriverError, ObjectDriver};
use std::io::Write;
use tests::clouds::{Cloud, CloudServer};

#[test]
fn azurite() {
    let Ok(server) = CloudServer::start(Cloud::Azure) else { return };
    suite::conformance(server.driver("suite"));
    // the whole container, and a prefix that is the beginning of another
    let names = |prefix: &str| {
        let driver = server.driver(prefix);
        suite::in_runtime(async move { suite::names(&*driver, "").await.len() })
    };
    assert_eq!((names("suit"), names("suite") > 1000, names("") > 1000), (0, true, true));
}

/// Google's protocol by way of a translator: conditions, listings and consistency seen here are those of versitygw.
#[test]
fn gcs_by_a_translator() {
    let Ok(server) = CloudServer::start(Cloud::Gcs) else { return };
    // not `eprintln!`, which is shown only where a test fails
    let note = "NOTE: gcsshim translates: conditions and consistency are versitygw's, Google's own limits are not there";
    let _ = writeln!(std::io::stderr().lock(), "{note}");
    suite::conformance(server.driver("suite"));
}

#[test]
fn wrong_tokens_accounts_and_buckets_of_gcs_are_refused_at_once() {
    let Ok(server) = CloudServer::start(Cloud::Gcs) else { return };
    let refused = |settings: &[(String, String)]| {
        let driver = server.driver_by("x", settings);
        let error = suite::in_runtime(async move { driver.get("config/0", None).await }).unwrap_err();
        assert!(matches!(error, DriverError::Permanent(_)), "{error:?}");
        error.to_string()
    };
    let mut token = server.settings_with("GOOGLE_SERVICE_ACCOUNT", "");
    token.push(("GOOGLE_BEARER_TOKEN".into(), "not-the-token".into()));
    let error = refused(&token);
    assert!(error.contains("401: ") || error.contains("401 Unauthorized"), "{error}");
    assert!(!error.contains("not-the-token"), "{error}");
    // an account of another server: the same name, another key
    let Ok(other) = CloudServer::start(Cloud::Gcs) else { return };
    let account = other.dir().join("account.json");
    let error = refused(&server.settings_with("GOOGLE_SERVICE_ACCOUNT", account.to_str().unwrap()));
    assert!(error.contains("not signed by the account"), "{error}");
    let driver = ObjectDriver::gcs("no-such-bucket", "x", server.settings()).unwrap();
    let error = suite::in_runtime(async { driver_put(&driver, Bytes::from_static(b"x")).await }).unwrap_err();
    assert!(matches!(error, DriverError::NotFound | DriverError::Permanent(_)), "{error:?}");
}

/// A put that has lost is told by Azure with the status that S3 has for: try again.
#[test]
fn a_lost_put_on_azure_is_no_conflict() {
    let Ok(server) = CloudServer::start(Cloud::Azure) else { return };
    let driver = server.driver("lost");
    suite::in_runtime(async {
        let put = |body: &'static [u8]| driver.put_new("config/0", Bytes::from_static(body).into());
        put(b"first").await.unwrap();
        let again = put(b"second").await;
        assert!(matches!(again, Err(DriverError::Exists)), "{again:?}");
    });
}

#[test]
fn wrong_keys_and_containers_of_azure_are_refused_at_once() {
    let Ok(server) = CloudServer::start(Cloud::Azure) else { return };
    // base64 of "not-the-secret"
    let wrong = "bm90LXRoZS1zZWNyZXQ=";
    let driver = server.driver_by("x", &server.settings_with("AZURE_STORAGE_ACCOUNT_KEY", wrong));
    let error = suite::in_runtime(async { driver.get("config/0", None).await }).unwrap_err();
    assert!(matches!(error, DriverError::Permanent(_)), "{error:?}");
    assert!(error.to_string().contains("403"), "{error}");
    assert!(!error.to_string().contains(wrong), "{error}");
    let driver = ObjectDriver::azure("no-such-container", "x", server.settings()).unwrap();
    let body = Bytes::from_static(b"x");
    let error = suite::in_runtime(async { driver_put(&driver, body).await }).unwrap_err();
    assert!(matches!(error, DriverError::NotFound | DriverError::Permanent(_)), "{error:?}");
}

async fn driver_put(driver: &ObjectDriver, body: Bytes) -> Result<(), DriverError> {
    use repository::store::Driver as _;
    driver.put_new("config/0", body.into()).await
}
