//! Buckets and containers: what `object_store` is told, and by which settings.
//!
//! Settings are environment variables, as names and values; empty ones count as absent. Requests are not retried
//! by `object_store` (the engine does it, knowing which may be repeated) and have no total time limit (the engine
//! sets one by length). Errors name settings, never their values.

use super::driver::DriverError;
use super::object::ObjectDriver;
use object_store::{ClientOptions, RetryConfig};
use std::sync::Arc;
use std::time::Duration;

/// Names and values of environment variables.
pub(super) type Settings = [(String, String)];

impl ObjectDriver {
    /// An S3 bucket; `settings` are the usual `AWS_*` variables.
    #[cfg(feature = "s3")]
    pub fn s3(bucket: &str, prefix: &str, settings: &Settings) -> Result<Self, DriverError> {
        use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
        let endpoint = address(settings, &["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"])?;
        token_file(settings, "AWS_WEB_IDENTITY_TOKEN_FILE")?;
        let mut builder = AmazonS3Builder::new();
        for (name, value) in settings.iter().filter(|(_, value)| !value.is_empty()) {
            if let Ok(key) = name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>() {
                builder = builder.with_config(key, value);
            }
        }
        builder = builder
            .with_bucket_name(bucket)
            .with_client_options(client(endpoint))
            .with_retry(no_retries())
            .with_conditional_put(S3ConditionalPut::ETagMatch);
        if let Some(endpoint) = endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        let inner = builder.build().map_err(unfit)?;
        ObjectDriver::remote(Arc::new(inner), &format!("s3://{bucket}"), prefix)
    }

    /// A container of Azure Blob Storage; `settings` are the usual `AZURE_*` variables.
    ///
    /// Names of the command `az` and connection strings are understood, too; the names of `object_store`
    /// go first. The emulator's address and account are ordinary settings here.
    #[cfg(feature = "azure")]
    pub fn azure(container: &str, prefix: &str, settings: &Settings) -> Result<Self, DriverError> {
        use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
        let settings = super::azure::settings(settings)?;
        let endpoint = address(&settings, &["AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"])?;
        token_file(&settings, "AZURE_FEDERATED_TOKEN_FILE")?;
        let mut builder = MicrosoftAzureBuilder::new();
        for (name, value) in &settings {
            if let Ok(key) = name.to_ascii_lowercase().parse::<AzureConfigKey>() {
                builder = builder.with_config(key, value);
            }
        }
        builder = builder
            .with_container_name(container)
            .with_client_options(client(endpoint))
            .with_retry(no_retries());
        if let Some(endpoint) = endpoint {
            builder = builder.with_endpoint(endpoint.to_owned());
        }
        let inner = builder.build().map_err(unfit)?;
        ObjectDriver::remote(Arc::new(inner), &format!("azure://{container}"), prefix)
    }

    /// A bucket of Google Cloud Storage; `settings` are the usual `GOOGLE_*` variables.
    ///
    /// Without a service account or a token among them, Google's default credentials are looked for: a file below
    /// `HOME`, then the metadata server.
    #[cfg(feature = "gcs")]
    pub fn gcs(bucket: &str, prefix: &str, settings: &Settings) -> Result<Self, DriverError> {
        use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
        let endpoint = address(settings, &["GOOGLE_BASE_URL"])?.map(|url| url.trim_end_matches('/'));
        let mut builder = GoogleCloudStorageBuilder::new();
        for (name, value) in settings.iter().filter(|(_, value)| !value.is_empty()) {
            if let Ok(key) = name.to_ascii_lowercase().parse::<GoogleConfigKey>() {
                builder = builder.with_config(key, value);
            }
        }
        builder =
            builder.with_bucket_name(bucket).with_client_options(client(endpoint)).with_retry(no_retries());
        if let Some(endpoint) = endpoint {
            builder = builder.with_base_url(endpoint);
        }
        let inner = builder.build().map_err(unfit)?;
        ObjectDriver::remote(Arc::new(inner), &format!("gs://{bucket}"), prefix)
    }
}

/// The value of the first of `names` that is set.
pub(super) fn find<'a>(settings: &'a Settings, names: &[&str]) -> Option<&'a str> {
    let set = |name: &&str| settings.iter().find(|(key, value)| key == *name && !value.is_empty());
    names.iter().find_map(set).map(|(_, value)| value.as_str())
}

/// A file that holds a token is looked at once before it is needed: `object_store` takes a missing one for something
/// that may be there later.
fn token_file(settings: &Settings, name: &str) -> Result<(), DriverError> {
    match find(settings, &[name]).map(std::fs::File::open) {
        Some(Err(error)) => Err(DriverError::Permanent(format!("{name}: {error}"))),
        _ => Ok(()),
    }
}

/// The value of the first of `names` that is set, an address, which `object_store` takes on trust.
pub(super) fn address<'a>(settings: &'a Settings, names: &[&str]) -> Result<Option<&'a str>, DriverError> {
    let Some(url) = find(settings, names) else { return Ok(None) };
    let host = ["http://", "https://"].iter().find_map(|scheme| url.strip_prefix(scheme));
    // user information would be a secret in every error
    match host.and_then(|rest| rest.split('/').next()) {
        Some(host) if !host.is_empty() && !host.contains('@') => Ok(Some(url)),
        _ => {
            Err(DriverError::Permanent(format!("{}: http://HOST or https://HOST expected", names.join(", "))))
        }
    }
}

/// Plain HTTP only where the address says so.
fn client(endpoint: Option<&str>) -> ClientOptions {
    ClientOptions::new()
        .with_timeout_disabled()
        .with_connect_timeout(Duration::from_secs(10))
        .with_allow_http(endpoint.is_some_and(|url| url.starts_with("http://")))
}

fn no_retries() -> RetryConfig {
    RetryConfig { max_retries: 0, ..RetryConfig::default() }
}

/// Settings that `object_store` refuses, in its words.
fn unfit(error: object_store::Error) -> DriverError {
    let text = match &error {
        object_store::Error::Generic { source, .. } => source.to_string(),
        other => other.to_string(),
    };
    DriverError::Permanent(text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(400).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn addresses_are_looked_at_before_they_are_used() {
        let found = |url: &str| {
            address(&settings(&[("A", ""), ("B", url)]), &["A", "B"]).map(|found| found.map(str::to_owned))
        };
        assert_eq!(found("https://host:1/x").unwrap().as_deref(), Some("https://host:1/x"));
        assert_eq!(found("").unwrap(), None);
        for bad in ["host", "http://", "http:///x", "data:x", "https://key:secret@host", "ftp://host"] {
            let error = found(bad).unwrap_err().to_string();
            assert!(error.contains("A, B") && !error.contains("secret"), "{bad}: {error}");
        }
    }
}
