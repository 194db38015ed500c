//! Runs the real binary on a repository in a folder of its own.
#![allow(dead_code, reason = "each test program uses a part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests may fail")]

use serde_json::Value;
use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// A folder with a repository, a key file that owns it, and room for sources and targets.
pub(crate) struct Place {
    dir: TempDir,
}

/// What a run left.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Place {
    /// An empty folder.
    pub(crate) fn empty() -> Self {
        Place { dir: tempfile::tempdir().unwrap() }
    }

    /// With a repository that `owner.key` opens.
    pub(crate) fn with_repository() -> Self {
        let place = Place::empty();
        let key = place.path("owner.key");
        place.bare().args(["init", "--key-file-out"]).arg(key).ran().expect(0);
        place
    }

    /// A path in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file.
    pub(crate) fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    /// The binary on the repository, without a credential and without a cache.
    pub(crate) fn bare(&self) -> Command {
        let mut command = binary();
        command.env("ORLOP_REPOSITORY", self.path("repository")).arg("--no-cache");
        command
    }

    /// As the owner, in JSON.
    pub(crate) fn json(&self) -> Command {
        let mut command = self.owner();
        command.arg("--json");
        command
    }

    /// As the owner.
    pub(crate) fn owner(&self) -> Command {
        let mut command = self.bare();
        command.arg("--key-file").arg(self.path("owner.key"));
        command
    }

    /// How many objects the repository has.
    pub(crate) fn objects(&self) -> usize {
        files(&self.path("repository")).len()
    }

    /// A pack of content.
    pub(crate) fn first_pack(&self) -> PathBuf {
        files(&self.path("repository/packs/data")).remove(0)
    }

    /// Backs up one volume and gives the snapshot's id.
    pub(crate) fn backup(&self, name: &str, path: &Path) -> String {
        let ran = self.json().args(["backup", "--volume"]).arg(assigned(name, path)).ran();
        text(&ran.expect(0).summary(), "snapshot_id")
    }
}

/// Files in a folder and below it.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// The binary without any variable that steers it.
pub(crate) fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orlop"));
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"ORLOP_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// `NAME=PATH`.
pub(crate) fn assigned(name: &str, path: impl AsRef<OsStr>) -> std::ffi::OsString {
    let mut argument = std::ffi::OsString::from(name);
    argument.push("=");
    argument.push(path);
    argument
}

/// Runs to the end.
pub(crate) trait Runs {
    fn ran(&mut self) -> Ran;
}

impl Runs for Command {
    fn ran(&mut self) -> Ran {
        self.output().unwrap().into()
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Ran {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Ran {
    /// Left with this code.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// The last line of standard output, which is a summary; all before it are states.
    #[track_caller]
    pub(crate) fn summary(&self) -> Value {
        let lines = self.lines();
        let (last, before) = lines.split_last().expect("no output");
        assert!(before.iter().all(|line| line["message_type"] == "status"), "{}", self.stdout);
        assert_eq!(last["message_type"], "summary", "{}", self.stdout);
        last.clone()
    }

    /// Every line of standard output.
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Standard output is one array.
    #[track_caller]
    pub(crate) fn array(&self) -> Vec<Value> {
        let Value::Array(items) = serde_json::from_str(&self.stdout).unwrap() else {
            panic!("{}", self.stdout)
        };
        items
    }

    /// Standard error is one line of an error with this exit code, which is also the process's.
    #[track_caller]
    pub(crate) fn error(&self) -> String {
        let line = self.stderr.trim_end();
        assert_eq!(line.lines().count(), 1, "{line}");
        let error: Value = serde_json::from_str(line).unwrap();
        assert_eq!(error["message_type"], "error");
        assert_eq!(error["exit_code"].as_i64(), self.code.map(i64::from));
        text(&error, "error")
    }
}

/// A field that is a string.
#[track_caller]
pub(crate) fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_else(|| panic!("{field} of {value}")).to_owned()
}

/// A field that is a number.
#[track_caller]
pub(crate) fn number(value: &Value, field: &str) -> u64 {
    value[field].as_u64().unwrap_or_else(|| panic!("{field} of {value}"))
}

/// The names of an object's fields, sorted.
#[track_caller]
pub(crate) fn fields(value: &Value) -> Vec<&str> {
    let mut names: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

/// Bytes that do not compress and do not repeat, the same for each seed.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// Reports a part that this machine does not have: a line on standard error and one in the file that
/// `ORLOP_SKIPS` names. With `CI=true` nothing may be skipped.
pub(crate) fn skip(name: &str, reason: &str) {
    let ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    assert!(!ci, "{name}: {reason} (CI=true allows no skips)");
    // not `eprintln!`, which the test harness captures
    writeln!(std::io::stderr().lock(), "SKIPPED: {name}: {reason}").unwrap();
    if let Some(list) = std::env::var_os("ORLOP_SKIPS").filter(|list| !list.is_empty()) {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(list).unwrap();
        file.write_all(format!("{name}\t{}\n", reason.replace('\n', " ")).as_bytes()).unwrap();
    }
}
