//! One suite for every store: the five verbs keep the promises that the engine builds on.

mod clouds;
mod credentials;
mod network;
mod suite;

use repository::Env;
use repository::store::{Driver, MemoryDriver, ObjectDriver};
use std::sync::Arc;
use tests::servers::{Kind, S3Server};

#[test]
fn memory() {
    suite::conformance(Arc::new(MemoryDriver::new(Env::system().clock)));
}

#[test]
fn local() {
    let root = tempfile::tempdir().unwrap();
    let driver = ObjectDriver::local(root.path().join("deep/er"), true).unwrap();
    suite::conformance(Arc::new(driver));
}

#[test]
fn versitygw() {
    let Ok(server) = S3Server::start(Kind::Versitygw) else { return };
    suite::conformance(tests::s3::driver(&server, "suite"));
}

#[test]
fn minio() {
    let Ok(server) = S3Server::start(Kind::Minio) else { return };
    suite::conformance(tests::s3::driver(&server, "suite"));
}

/// The same suite, but for what rests on conditions.
#[test]
fn s3rver() {
    let Ok(server) = S3Server::start(Kind::S3rver) else { return };
    suite::conformance_without_conditions(tests::s3::driver(&server, "suite"));
}

/// A store on `endpoint` as seen by wrong credentials says so at once, and names no secret.
#[test]
fn wrong_credentials_are_refused_at_once() {
    let Ok(server) = S3Server::start(Kind::Versitygw) else { return };
    let mut settings = tests::s3::settings(server.endpoint(), &server);
    for (name, value) in &mut settings {
        if name == "AWS_SECRET_ACCESS_KEY" {
            *value = "not-the-secret".into();
        }
    }
    let driver: Arc<dyn Driver> = Arc::new(ObjectDriver::s3(server.bucket(), "x", &settings).unwrap());
    let error = suite::in_runtime(async { driver.get("config/0", None).await }).unwrap_err();
    assert!(matches!(error, repository::store::DriverError::Permanent(_)), "{error}");
    assert!(error.to_string().contains("SignatureDoesNotMatch"), "{error}");
    assert!(!error.to_string().contains("not-the-secret"), "{error}");
}
