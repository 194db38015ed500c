//! Drivers for the test servers.

use crate::servers::S3Server;
use repository::store::{Driver, ObjectDriver};
use std::sync::Arc;

/// The `AWS_*` settings of a server, by way of `endpoint` (its own, or a proxy's).
pub fn settings(endpoint: &str, server: &S3Server) -> Vec<(String, String)> {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    vec![
        pair("AWS_ENDPOINT_URL", endpoint),
        pair("AWS_ACCESS_KEY_ID", server.access_key()),
        pair("AWS_SECRET_ACCESS_KEY", server.secret_key()),
        pair("AWS_REGION", server.region()),
    ]
}

/// A store below `prefix` of a server's bucket.
pub fn driver(server: &S3Server, prefix: &str) -> Arc<dyn Driver> {
    driver_at(server.endpoint(), server, prefix)
}

/// The same by way of another endpoint.
pub fn driver_at(endpoint: &str, server: &S3Server, prefix: &str) -> Arc<dyn Driver> {
    Arc::new(ObjectDriver::s3(server.bucket(), prefix, &settings(endpoint, server)).unwrap())
}
