//! Runs the binary `orlop` and looks at what it says.

use serde_json::Value;
use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;
pub(crate) use tests::binary::orlop as binary;
use tests::clouds::CloudServer;
use tests::servers::S3Server;

/// Beginnings of names of variables that no run inherits.
const CLEARED: [&str; 7] = ["ORLOP_", "AWS_", "AZURE_", "AZURITE_", "IDENTITY_", "GOOGLE_", "GCE_"];

/// A folder with an owner's key, and a repository somewhere.
pub(crate) struct Lab {
    dir: TempDir,
    url: String,
    env: Vec<(String, String)>,
}

impl Lab {
    /// No repository yet; it will be in the folder `repo`.
    pub(crate) fn bare() -> Lab {
        let dir = tempfile::tempdir().unwrap();
        let url = dir.path().join("repo").to_str().unwrap().to_owned();
        Lab { dir, url, env: Vec::new() }
    }

    /// A new repository in a local folder.
    pub(crate) fn local() -> Lab {
        let lab = Lab::bare();
        lab.init();
        lab
    }

    /// No repository yet; it will be on `server`.
    pub(crate) fn on_server(server: &S3Server) -> Lab {
        let mut lab = Lab::bare();
        lab.url = format!("s3://{}/lab", server.bucket());
        lab.env = server.env().map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        lab
    }

    /// No repository yet; it will be on `server`.
    pub(crate) fn on_cloud(server: &CloudServer) -> Lab {
        let mut lab = Lab::bare().at(format!("{}/lab", server.url()));
        lab.env = server.settings().to_vec();
        lab
    }

    /// Puts the repository elsewhere.
    pub(crate) fn at(mut self, url: impl Into<String>) -> Lab {
        self.url = url.into();
        self
    }

    /// Sets a variable for every run from here on.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.env.retain(|(there, _)| there != name);
        self.env.push((name.to_owned(), value.to_owned()));
    }

    /// `init` with a key file.
    pub(crate) fn init(&self) {
        self.bare_run(["init".as_ref(), "--key-file-out".as_ref(), self.key().as_os_str()]).ok();
    }

    /// A path in the lab's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The owner's key file.
    pub(crate) fn key(&self) -> PathBuf {
        self.path("owner.key")
    }

    /// The folder of a local repository.
    pub(crate) fn repo(&self) -> PathBuf {
        PathBuf::from(&self.url)
    }

    /// Writes a file into the lab's folder.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// A command on this repository, without a key.
    pub(crate) fn command(&self, program: impl Into<OsString>) -> Command {
        let mut command = Command::new(program.into());
        let inherited = std::env::vars_os().map(|(name, _)| name);
        for name in inherited.filter(|n| CLEARED.iter().any(|p| n.to_string_lossy().starts_with(p))) {
            command.env_remove(name);
        }
        command.env("ORLOP_REPOSITORY", &self.url).env("HOME", self.dir.path());
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.current_dir(self.dir.path()).stdin(Stdio::null());
        command
    }

    /// Runs without a key. What hangs is ended, with a code that no test expects.
    pub(crate) fn bare_run<A: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Ran {
        let mut command = self.command("timeout");
        command.arg("100").arg(binary()).args(args);
        Ran::of(&command.output().unwrap())
    }

    /// Runs the words of `line` as the owner.
    pub(crate) fn run(&self, line: &str) -> Ran {
        self.run_from(line, Stdio::null())
    }

    /// Runs the words of `line` as the owner, reading `stdin`.
    pub(crate) fn run_from(&self, line: &str, stdin: impl Into<Stdio>) -> Ran {
        let mut command = self.command("timeout");
        command.arg("100").arg(binary()).arg("--key-file").arg(self.key());
        Ran::of(&command.args(line.split_whitespace()).stdin(stdin).output().unwrap())
    }

    /// A backup that works, and its snapshot id.
    pub(crate) fn backup(&self, line: &str) -> String {
        let summary = self.run(&format!("--json backup {line}")).ok().summary();
        summary["snapshot_id"].as_str().unwrap().to_owned()
    }

    /// Restores a volume of a snapshot and compares it.
    pub(crate) fn assert_restores(&self, snapshot: &str, volume: &str, expected: &[u8]) {
        let target = self.path("restored.img");
        let _ = std::fs::remove_file(&target);
        self.run(&format!("restore {snapshot} --volume {volume}=restored.img --verify")).ok();
        assert!(std::fs::read(&target).unwrap() == expected, "{volume} of {snapshot} differs");
    }

    /// All content is read and nothing is wrong.
    pub(crate) fn assert_intact(&self) {
        self.run("check --read-data").ok();
    }

    /// Ids of all snapshots.
    pub(crate) fn snapshots(&self) -> Vec<String> {
        let ran = self.run("snapshots --json").ok();
        let listed: Value = serde_json::from_str(&ran.out).unwrap();
        let ids =
            listed.as_array().unwrap().iter().map(|entry| entry["snapshot_id"].as_str().unwrap().to_owned());
        ids.collect()
    }
}

/// How a run ended and what it said.
#[derive(Debug)]
pub(crate) struct Ran {
    /// Exit code; -1 for a signal.
    pub(crate) code: i32,
    /// Standard output.
    pub(crate) out: String,
    /// Standard error.
    pub(crate) err: String,
}

impl Ran {
    /// From what the operating system gives.
    pub(crate) fn of(output: &Output) -> Ran {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let code = output.status.code().unwrap_or(-1);
        Ran { code, out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// It worked and complained about nothing.
    pub(crate) fn ok(self) -> Ran {
        assert!(self.code == 0 && self.err.is_empty(), "{self:?}");
        self
    }

    /// It ended with `code` and one line on standard error that has all of `words`.
    pub(crate) fn refused(self, code: i32, words: &[&str]) -> Ran {
        let one_line = self.err.starts_with("error: ") && self.err.lines().count() == 1;
        let clear = one_line && self.err.len() < 700 && !self.err.contains("internal error");
        assert!(
            self.code == code && clear && words.iter().all(|w| self.err.contains(w)),
            "{words:?}: {self:?}"
        );
        self
    }

    /// The last JSON line.
    pub(crate) fn summary(&self) -> Value {
        let summary: Value = serde_json::from_str(self.out.lines().last().unwrap()).unwrap();
        assert_eq!(summary["message_type"], "summary");
        summary
    }
}

/// Files below a folder, in order.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        // a folder may be gone, and a file renamed, while others write
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                _ => found.push(entry.path()),
            }
        }
    }
    found.sort();
    found
}

/// Name of the largest file below `dir`.
pub(crate) fn largest(dir: &Path) -> PathBuf {
    files(dir).into_iter().max_by_key(|path| path.metadata().unwrap().len()).unwrap()
}

/// A sparse image: data, a hole, data, a tail that is no whole block.
pub(crate) fn sparse(path: &Path, seed: u64, len: usize) -> Vec<u8> {
    use std::os::unix::fs::FileExt;
    let mut content = vec![0; len];
    let part = len / 4;
    content[..part].copy_from_slice(&tests::data::mixed(seed, part));
    content[len - part..].copy_from_slice(&tests::data::bytes(seed + 1, part));
    let file = File::create(path).unwrap();
    file.set_len(len as u64).unwrap();
    file.write_all_at(&content[..part], 0).unwrap();
    file.write_all_at(&content[len - part..], (len - part) as u64).unwrap();
    content
}

/// Says loudly that this machine does not let a test run. Not a failure in CI: no registry has what is missing.
pub(crate) fn skip(name: &str, reason: &str) {
    let _ = writeln!(std::io::stderr().lock(), "SKIPPED: {name}: {reason}");
    if let Some(list) = std::env::var_os("ORLOP_SKIPS").filter(|list| !list.is_empty()) {
        let mut list = File::options().create(true).append(true).open(list).unwrap();
        writeln!(list, "{name}\t{reason}").unwrap();
    }
}
