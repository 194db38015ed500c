//! A real S3 server for a benchmark: versitygw, by `dev/versitygw.sh`.

use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// Exit code of the script where the program is not built.
const SKIP_CODE: i32 = 75;

/// The server; it ends with this value.
pub struct Server {
    dir: TempDir,
    settings: Vec<(String, String)>,
}

impl Server {
    /// Starts a server with an empty bucket below `dir`; nothing where versitygw is not built.
    pub fn start(dir: &Path) -> Result<Option<Self>> {
        let dir = tempfile::tempdir_in(dir).with_context(|| dir.display().to_string())?;
        let output = script("start", dir.path())?;
        if output.status.code() == Some(SKIP_CODE) {
            return Ok(None);
        }
        ensure!(output.status.success(), "versitygw: {}", String::from_utf8_lossy(&output.stderr));
        let words = String::from_utf8_lossy(&output.stdout);
        let settings = words.split_whitespace().filter_map(|word| word.split_once('='));
        let settings = settings.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        Ok(Some(Server { dir, settings }))
    }

    /// What the script said of `key`.
    pub fn setting(&self, key: &str) -> Result<&str> {
        let found = self.settings.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| value.as_str()).with_context(|| format!("versitygw.sh did not say {key}"))
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> Result<&str> {
        Ok(self.setting("S3_ENDPOINT")?.trim_start_matches("http://"))
    }

    /// Points a program at this server, by way of `endpoint`.
    pub fn configure(&self, command: &mut Command, endpoint: &str) -> Result<()> {
        for key in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"] {
            command.env(key, self.setting(key)?);
        }
        command.env("AWS_ENDPOINT_URL", endpoint).env("AWS_ALLOW_HTTP", "true");
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // the watcher that the script started covers a process that is killed before it gets here
        let _ = script("stop", self.dir.path());
    }
}

fn script(action: &str, dir: &Path) -> Result<Output> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../dev/versitygw.sh"));
    let mut command = Command::new("bash");
    command.arg(path).arg(action).arg(dir).arg(std::process::id().to_string());
    command.env_remove("ORLOP_SKIPS").env_remove("CI").stdin(Stdio::null());
    command.output().context("bash")
}
