//! Where a repository is: a path, `file://`, `s3://bucket/prefix`, `azure://container/prefix`, `gs://bucket/prefix`.

use super::{Driver, DriverError, ObjectDriver};
use crate::{Error, Result};
use std::path::PathBuf;
use std::sync::Arc;

/// A parsed repository URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// A directory.
    Local(PathBuf),
    /// A bucket and the prefix below which the repository lies (may be empty).
    S3 {
        /// The bucket.
        bucket: String,
        /// Without slashes at its ends.
        prefix: String,
    },
    /// A container of Azure Blob Storage and the prefix below which the repository lies (may be empty).
    Azure {
        /// The container; the account is a setting.
        container: String,
        /// Without slashes at its ends.
        prefix: String,
    },
    /// A bucket of Google Cloud Storage and the prefix below which the repository lies (may be empty).
    Gcs {
        /// The bucket.
        bucket: String,
        /// Without slashes at its ends.
        prefix: String,
    },
}

impl StoreUrl {
    /// Reads a URL as the command line takes it. Errors name what is allowed; they never repeat
    /// user information, where somebody may have put a password.
    pub fn parse(text: &str) -> Result<Self> {
        let usage = |what: String| Error::Usage { what };
        let Some((scheme, rest)) = text.split_once("://") else {
            return if text.is_empty() {
                Err(usage("the repository URL is empty".into()))
            } else {
                Ok(StoreUrl::Local(PathBuf::from(text)))
            };
        };
        match scheme {
            "file" if rest.starts_with('/') => Ok(StoreUrl::Local(PathBuf::from(rest))),
            "file" => Err(usage("a file:// URL needs an absolute path: file:///backups/orlop".into())),
            "s3" => {
                let help = "s3://BUCKET/PREFIX needs a bucket name of 3 to 63 characters a-z, 0-9, dot, dash; \
                            the server's address goes into AWS_ENDPOINT_URL";
                let (bucket, prefix) = place(rest, "-._", help)?;
                Ok(StoreUrl::S3 { bucket, prefix })
            }
            "azure" | "az" => {
                let help = "azure://CONTAINER/PREFIX needs a container name of 3 to 63 characters a-z, 0-9, dash; \
                            the account goes into AZURE_STORAGE_ACCOUNT_NAME";
                let (container, prefix) = place(rest, "-", help)?;
                Ok(StoreUrl::Azure { container, prefix })
            }
            "gs" => {
                let help = "gs://BUCKET/PREFIX needs a bucket name of 3 to 63 characters a-z, 0-9, dot, dash, \
                            underscore";
                let (bucket, prefix) = place(rest, "-._", help)?;
                Ok(StoreUrl::Gcs { bucket, prefix })
            }
            _ => Err(usage(format!(
                "repository scheme {scheme:?}: a path, file://, s3://, azure:// or gs:// expected"
            ))),
        }
    }
}

/// `NAME/PREFIX`, where the name has 3 to 63 lower-case letters, digits and `others`.
fn place(text: &str, others: &str, help: &str) -> Result<(String, String)> {
    let (name, prefix) = text.split_once('/').unwrap_or((text, ""));
    let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || others.contains(c);
    if !(3..=63).contains(&name.len()) || !name.chars().all(valid) {
        return Err(Error::Usage { what: help.to_owned() });
    }
    Ok((name.to_owned(), prefix.trim_matches('/').to_owned()))
}

/// The driver of a URL. `create` makes a local directory that is missing.
pub fn connect(url: &StoreUrl, create: bool) -> Result<Arc<dyn Driver>> {
    let shown = match url {
        StoreUrl::Local(path) => path.display().to_string(),
        StoreUrl::S3 { bucket, prefix } => format!("s3://{bucket}/{prefix}"),
        StoreUrl::Azure { container, prefix } => format!("azure://{container}/{prefix}"),
        StoreUrl::Gcs { bucket, prefix } => format!("gs://{bucket}/{prefix}"),
    };
    let opened = match url {
        StoreUrl::Local(path) => ObjectDriver::local(path.clone(), create),
        #[cfg(feature = "s3")]
        StoreUrl::S3 { bucket, prefix } => super::aws_profile::with_files(settings(&["AWS_"]))
            .and_then(|settings| ObjectDriver::s3(bucket, prefix, &settings)),
        #[cfg(not(feature = "s3"))]
        StoreUrl::S3 { .. } => Err(DriverError::Permanent("this build has no S3".into())),
        #[cfg(feature = "azure")]
        StoreUrl::Azure { container, prefix } => {
            let names = ["AZURE_", "AZURITE_BLOB_STORAGE_URL", "IDENTITY_ENDPOINT"];
            ObjectDriver::azure(container, prefix, &settings(&names))
        }
        #[cfg(not(feature = "azure"))]
        StoreUrl::Azure { .. } => Err(DriverError::Permanent("this build has no Azure".into())),
        #[cfg(feature = "gcs")]
        StoreUrl::Gcs { bucket, prefix } => ObjectDriver::gcs(bucket, prefix, &settings(&["GOOGLE_"])),
        #[cfg(not(feature = "gcs"))]
        StoreUrl::Gcs { .. } => Err(DriverError::Permanent("this build has no Google Cloud Storage".into())),
    };
    match opened {
        Ok(driver) => Ok(Arc::new(driver)),
        Err(DriverError::NotFound) => Err(Error::NoRepository { url: shown }),
        Err(cause) => Err(Error::StoreUnfit { url: shown, reason: cause.to_string() }),
    }
}

/// The variables whose names begin with one of `names`.
#[cfg(any(feature = "s3", feature = "azure", feature = "gcs"))]
fn settings(names: &[&str]) -> Vec<(String, String)> {
    // a variable that is no text is none of ours
    let variables =
        std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
    variables.filter(|(name, _)| names.iter().any(|begin| name.starts_with(begin))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_help_promises() {
        let local = |path: &str| StoreUrl::Local(PathBuf::from(path));
        assert_eq!(StoreUrl::parse("backups/x").ok(), Some(local("backups/x")));
        assert_eq!(StoreUrl::parse("file:///backups").ok(), Some(local("/backups")));
        let s3 = StoreUrl::S3 { bucket: "my-bucket".into(), prefix: "a/b".into() };
        assert_eq!(StoreUrl::parse("s3://my-bucket/a/b/").ok(), Some(s3));
        for text in ["azure://shop/a/b", "az://shop/a/b/"] {
            let azure = StoreUrl::Azure { container: "shop".into(), prefix: "a/b".into() };
            assert_eq!(StoreUrl::parse(text).ok(), Some(azure));
        }
        let gcs = StoreUrl::Gcs { bucket: "my_bucket".into(), prefix: String::new() };
        assert_eq!(StoreUrl::parse("gs://my_bucket").ok(), Some(gcs));
        for bad in ["azure://key:secret@host/x", "azure://a.b/x", "azure://ab"] {
            let error = StoreUrl::parse(bad).unwrap_err().to_string();
            assert!(error.contains("CONTAINER") && !error.contains("secret"), "{error}");
        }
        for bad in ["", "file://relative", "s3://", "s3://key:secret@host/x", "ftp://x/y", "s3://UPPER/x"] {
            let error = StoreUrl::parse(bad).unwrap_err();
            assert!(matches!(error, Error::Usage { .. }), "{bad}");
            assert!(!error.to_string().contains("secret"));
        }
    }
}
