//! Tokens that are exchanged for credentials: a server on loopback plays Microsoft's login.

use crate::suite::in_runtime;
use repository::store::{Driver, DriverError, ObjectDriver};
use tests::played;

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn token_file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

/// Workload identity of AKS. The store's part is played, too: Azurite takes bearer tokens only with TLS.
#[test]
fn a_federated_token_becomes_a_bearer_token_of_azure() {
    let (endpoint, seen) = played::serve(|request| {
        let is_login = request.starts_with("POST /tenant/oauth2/v2.0/token ");
        if is_login
            && request.contains("client_assertion=kein-wort-davon")
            && request.contains("client_id=me")
        {
            (200, r#"{"access_token":"from-login","expires_in":3600}"#.to_owned())
        } else if request.to_ascii_lowercase().contains("authorization: bearer from-login\r") {
            (404, "<Error><Code>BlobNotFound</Code></Error>".to_owned())
        } else {
            (403, "<Error><Code>AuthenticationFailed</Code></Error>".to_owned())
        }
    });
    let by = |token: &str| {
        // with a slash, as the webhook of workload identity sets it
        let login = format!("{endpoint}/");
        let settings = pairs(&[
            ("AZURE_STORAGE_ENDPOINT", &endpoint),
            ("AZURE_STORAGE_ACCOUNT", "shop"),
            ("AZURE_AUTHORITY_HOST", &login),
            ("AZURE_TENANT_ID", "tenant"),
            ("AZURE_CLIENT_ID", "me"),
            ("AZURE_FEDERATED_TOKEN_FILE", token),
        ]);
        ObjectDriver::azure("container", "x", &settings)
    };
    let good = token_file("kein-wort-davon");
    let driver = by(good.path().to_str().unwrap()).unwrap();
    let answer = in_runtime(async { driver.get("config/0", None).await });
    assert!(matches!(answer, Err(DriverError::NotFound)), "{answer:?}: {:?}", seen.lock().unwrap());
    let bad = token_file("anderes-wort");
    let driver = by(bad.path().to_str().unwrap()).unwrap();
    let error = in_runtime(async { driver.get("config/0", None).await }).unwrap_err();
    assert!(matches!(error, DriverError::Permanent(_)), "{error:?}");
    assert!(!error.to_string().contains("anderes-wort"), "{error}");
    assert!(by("/no/such/token").err().unwrap().to_string().contains("AZURE_FEDERATED_TOKEN_FILE"));
}
