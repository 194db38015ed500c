//! Servers that speak other protocols than S3, started and stopped by the scripts of `dev/`.

use crate::servers::{Skipped, script, skip, start};
use repository::store::{Driver, ObjectDriver};
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cloud {
    /// Azurite, Microsoft's own emulator of Azure Blob Storage. It checks signatures.
    Azure,
    /// Google Cloud Storage's protocol, translated for versitygw by a program of our own. It checks the token or the
    /// signature of the service account; conditions and consistency are versitygw's.
    Gcs,
}

impl Cloud {
    /// The name of the script.
    pub fn name(self) -> &'static str {
        match self {
            Cloud::Azure => "azurite",
            Cloud::Gcs => "gcsshim",
        }
    }
}

/// A server on loopback with an empty bucket or container. It ends with this value, or with the test process.
pub struct CloudServer {
    cloud: Cloud,
    dir: TempDir,
    url: String,
    settings: Vec<(String, String)>,
}

impl CloudServer {
    /// Starts a server with a folder, a port and credentials of its own.
    ///
    /// # Errors
    /// `Skipped` where the program is not on this machine (`dev/setup.sh` installs it); it is already reported.
    ///
    /// # Panics
    /// When a program that is there does not start; with `CI=true` also where it is not there.
    pub fn start(cloud: Cloud) -> Result<CloudServer, Skipped> {
        let dir = match tempfile::tempdir() {
            Ok(dir) => dir,
            Err(error) => return Err(skip(cloud.name(), &format!("no temporary folder: {error}"))),
        };
        let answer = start(cloud.name(), dir.path())?;
        let mut settings: Vec<_> = answer
            .split_whitespace()
            .filter_map(|word| word.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let url = settings.iter().position(|(name, _)| name == "URL").map(|at| settings.swap_remove(at).1);
        let server = CloudServer { cloud, dir, url: url.unwrap_or_default(), settings };
        assert!(
            !server.url.is_empty() && !server.settings.is_empty(),
            "{} printed no settings",
            cloud.name()
        );
        Ok(server)
    }

    /// The empty bucket or container, as a repository's URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The server's folder.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The variables that point a child process at this server.
    pub fn settings(&self) -> &[(String, String)] {
        &self.settings
    }

    /// The same with another value for `name`.
    pub fn settings_with(&self, name: &str, value: &str) -> Vec<(String, String)> {
        let mut settings = self.settings.clone();
        settings.retain(|(there, _)| there != name);
        settings.push((name.to_owned(), value.to_owned()));
        settings
    }

    /// A store below `prefix`.
    ///
    /// # Panics
    /// On settings that are refused.
    pub fn driver(&self, prefix: &str) -> Arc<dyn Driver> {
        self.driver_by(prefix, &self.settings)
    }

    /// The same by other settings.
    ///
    /// # Panics
    /// On settings that are refused.
    pub fn driver_by(&self, prefix: &str, settings: &[(String, String)]) -> Arc<dyn Driver> {
        let place = self.url.split("://").last().unwrap_or_default();
        Arc::new(match self.cloud {
            Cloud::Azure => ObjectDriver::azure(place, prefix, settings).unwrap(),
            Cloud::Gcs => ObjectDriver::gcs(place, prefix, settings).unwrap(),
        })
    }
}

impl Drop for CloudServer {
    fn drop(&mut self) {
        let _ = script(self.cloud.name(), "stop", self.dir.path());
    }
}
