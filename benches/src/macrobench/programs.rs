//! The programs: how each makes a repository, backs up, restores and checks, at its defaults with encryption on.

use crate::process::{Cost, run_alone};
use anyhow::{Context, Result, bail, ensure};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

pub use crate::process::remove_tree;

/// What opens the repositories of the benchmark; there is nothing in them to protect.
const PASSWORD: &str = "macro-bench";

/// Which program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Ours.
    Orlop,
    /// restic.
    Restic,
    /// rustic.
    Rustic,
    /// kopia.
    Kopia,
    /// borg.
    Borg,
}

impl Kind {
    /// The ones that orlop is compared with.
    pub const PEERS: [Kind; 4] = [Kind::Restic, Kind::Rustic, Kind::Kopia, Kind::Borg];

    /// As it is called.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Orlop => "orlop",
            Kind::Restic => "restic",
            Kind::Rustic => "rustic",
            Kind::Kopia => "kopia",
            Kind::Borg => "borg",
        }
    }

    /// The peer of this name.
    pub fn peer(name: &str) -> Result<Self> {
        let found = Self::PEERS.into_iter().find(|kind| kind.name() == name);
        found.with_context(|| format!("{name}: restic, rustic, kopia or borg expected"))
    }
}

/// What one run did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action<'a> {
    /// One more snapshot of this file.
    Backup {
        /// The image.
        source: &'a Path,
        /// Its name in the repository, for those that name volumes.
        volume: &'a str,
        /// The name of the snapshot.
        snapshot: &'a str,
        /// Read it although it looks unchanged.
        forced: bool,
    },
    /// The newest snapshot of this file to an empty folder.
    Restore {
        /// The image.
        source: &'a Path,
        /// Its name in the repository.
        volume: &'a str,
        /// The name of the snapshot.
        snapshot: &'a str,
        /// An empty folder.
        target: &'a Path,
    },
    /// Verify that all is there.
    Check {
        /// Read all content.
        read_data: bool,
    },
}

/// A program, and the folder with its repository, keys and caches.
#[derive(Debug, Clone)]
pub struct Program {
    /// Which.
    pub kind: Kind,
    path: PathBuf,
    folder: PathBuf,
}

impl Program {
    /// A program that keeps all it writes in `folder`, which is removed by [`start`](Self::start).
    pub fn new(kind: Kind, path: &Path, folder: &Path) -> Result<Self> {
        let path = fs::canonicalize(path).with_context(|| path.display().to_string())?;
        Ok(Program { kind, path, folder: std::path::absolute(folder)?.join(kind.name()) })
    }

    fn inside(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Where the repository is.
    pub fn repository(&self) -> PathBuf {
        self.inside("repository")
    }

    /// The first line it answers with when asked for its version.
    pub fn version(&self) -> Result<String> {
        let argument = if self.kind == Kind::Restic { "version" } else { "--version" };
        let output = Command::new(&self.path).arg(argument).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = text.lines().next().unwrap_or("?");
        let line = line.split(" build:").next().unwrap_or(line).trim();
        Ok(if line.starts_with(self.kind.name()) {
            line.into()
        } else {
            format!("{} {line}", self.kind.name())
        })
    }

    /// Makes a fresh repository.
    pub fn start(&self) -> Result<()> {
        remove_tree(&self.folder)?;
        for name in ["home", "cache", "log"] {
            fs::create_dir_all(self.inside(name))?;
        }
        for arguments in self.init_arguments() {
            run_alone(self.command().args(&arguments), &self.inside("log/init"))?;
        }
        Ok(())
    }

    /// Runs an action, and then has the system write back what it left in memory: programs differ in whether
    /// they do that themselves.
    pub fn run(&self, action: &Action<'_>) -> Result<Cost> {
        let log = self.inside("log/run");
        let disk = File::open(&self.folder)?;
        rustix::fs::syncfs(&disk)?;
        let start = Instant::now();
        let mut cost = run_alone(&mut self.action(action), &log)?;
        rustix::fs::syncfs(&disk)?;
        cost.wall = start.elapsed();
        Ok(cost)
    }

    /// All bytes of the repository's files.
    pub fn stored_len(&self) -> Result<u64> {
        tree_len(&self.repository())
    }

    /// Ends with the repository gone.
    pub fn finish(&self) -> Result<()> {
        remove_tree(&self.folder)
    }

    /// The program with what names and opens its repository.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.env("HOME", self.inside("home")).env("XDG_CACHE_HOME", self.inside("cache"));
        let repository = self.repository();
        match self.kind {
            Kind::Orlop => {
                command.arg("-r").arg(repository).arg("--cache-dir").arg(self.inside("cache"));
            }
            Kind::Restic => {
                command.env("RESTIC_REPOSITORY", repository).env("RESTIC_PASSWORD", PASSWORD);
                command.env("RESTIC_CACHE_DIR", self.inside("cache"));
            }
            Kind::Rustic => {
                command.env("RUSTIC_REPOSITORY", repository).env("RUSTIC_PASSWORD", PASSWORD);
                command.env("RUSTIC_CACHE_DIR", self.inside("cache")).env("RUSTIC_NO_PROGRESS", "true");
            }
            Kind::Kopia => {
                command.env("KOPIA_PASSWORD", PASSWORD).env("KOPIA_CHECK_FOR_UPDATES", "false");
                command.env("KOPIA_CONFIG_PATH", self.inside("config"));
                command.env("KOPIA_LOG_DIR", self.inside("log/kopia")).args(["--no-progress"]);
            }
            Kind::Borg => {
                command.env("BORG_REPO", repository).env("BORG_PASSPHRASE", PASSWORD);
                command.env("BORG_BASE_DIR", self.inside("home"));
            }
        }
        command
    }

    fn init_arguments(&self) -> Vec<Vec<String>> {
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        match self.kind {
            Kind::Orlop => vec![owned(&["init", "--key-file-out", &text(self.inside("key"))])],
            Kind::Restic | Kind::Rustic => vec![owned(&["init"])],
            Kind::Kopia => {
                let (repository, cache) = (text(self.repository()), text(self.inside("cache")));
                let create = [
                    "repository",
                    "create",
                    "filesystem",
                    "--path",
                    &repository,
                    "--cache-directory",
                    &cache,
                ];
                let policy = ["policy", "set", "--global", "--compression=zstd-fastest"];
                vec![owned(&create), owned(&policy)]
            }
            Kind::Borg => vec![owned(&["init", "-e", "repokey-blake2"])],
        }
    }

    fn action(&self, action: &Action<'_>) -> Command {
        let mut command = self.command();
        if self.kind == Kind::Orlop {
            command.arg("--key-file").arg(self.inside("key"));
        }
        match action {
            Action::Backup { .. } => self.backup(&mut command, action),
            Action::Restore { .. } => self.restore(&mut command, action),
            Action::Check { read_data } => self.check(&mut command, *read_data),
        }
        command
    }

    fn backup(&self, command: &mut Command, action: &Action<'_>) {
        let Action::Backup { source, volume, snapshot, forced } = *action else { return };
        match self.kind {
            Kind::Orlop => {
                command.args(["backup", "--name", snapshot, "--volume"]);
                command.arg(named(volume, source)).args(forced.then_some("--force-read"));
            }
            Kind::Restic | Kind::Rustic => {
                command.args(["backup", "--tag", snapshot]).args(forced.then_some("--force")).arg(source);
            }
            Kind::Kopia => {
                command.args(["snapshot", "create"]).args(forced.then_some("--force-hash=100")).arg(source);
            }
            Kind::Borg => {
                command.args(["create", "--compression", "zstd,1"]);
                command
                    .args(forced.then_some("--files-cache=disabled"))
                    .arg(format!("::{snapshot}"))
                    .arg(source);
            }
        }
    }

    fn restore(&self, command: &mut Command, action: &Action<'_>) {
        let Action::Restore { source, volume, snapshot, target } = *action else { return };
        match self.kind {
            Kind::Orlop => {
                command.args(["restore", "latest", "--name", snapshot, "--volume"]);
                command.arg(named(volume, &target.join("volume.img")));
            }
            Kind::Restic => {
                command.args(["restore", "latest", "--tag", snapshot, "--target"]).arg(target);
            }
            Kind::Rustic => {
                command.args(["restore", "latest"]).arg(target).args(["--filter-tags", snapshot]);
            }
            Kind::Kopia => {
                command.args(["snapshot", "restore"]).arg(source).arg(target.join("volume.img"));
                command.arg("--snapshot-time=latest");
            }
            Kind::Borg => {
                command.current_dir(target).arg("extract").arg(format!("::{snapshot}"));
            }
        }
    }

    fn check(&self, command: &mut Command, read_data: bool) {
        match self.kind {
            Kind::Orlop | Kind::Restic | Kind::Rustic => {
                command.arg("check").args(read_data.then_some("--read-data"));
            }
            Kind::Kopia => {
                command.args(["snapshot", "verify"]).args(read_data.then_some("--verify-files-percent=100"));
            }
            Kind::Borg => {
                command.arg("check").args(read_data.then_some("--verify-data"));
            }
        }
    }
}

fn named(volume: &str, path: &Path) -> std::ffi::OsString {
    let mut text = std::ffi::OsString::from(format!("{volume}="));
    text.push(path);
    text
}

/// Lengths of all files in and below a folder.
pub fn tree_len(folder: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        sum += if entry.file_type()?.is_dir() { tree_len(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(sum)
}

/// The only regular file in and below a folder: programs restore to different depths.
pub fn only_file(folder: &Path) -> Result<PathBuf> {
    let mut found = None;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else if found.replace(entry.path()).is_some() {
                bail!("{}: more than one file restored", folder.display());
            }
        }
    }
    found.with_context(|| format!("{}: nothing restored", folder.display()))
}

/// Fails at the first byte in which two files differ.
pub fn compare(expected: &Path, found: &Path) -> Result<()> {
    let output = Command::new("cmp").args([expected, found]).output().context("cmp")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout).trim());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(kind: Kind, action: &Action<'_>) -> String {
        let program = Program { kind, path: kind.name().into(), folder: "/b".into() };
        let command = program.action(action);
        let words = command.get_args().map(|word| word.to_string_lossy().into_owned());
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn each_program_is_told_to_read_again() {
        let source = Path::new("/i/volume.img");
        let action = |forced| Action::Backup { source, volume: "n/a", snapshot: "s", forced };
        let flags = ["--force-read", "--force", "--force", "--force-hash=100", "--files-cache=disabled"];
        for (kind, flag) in [Kind::Orlop].into_iter().chain(Kind::PEERS).zip(flags) {
            assert!(line(kind, &action(true)).split(' ').any(|word| word == flag), "{kind:?}");
            assert!(!line(kind, &action(false)).split(' ').any(|word| word == flag), "{kind:?}");
        }
    }

    #[test]
    fn no_password_is_on_a_command_line() {
        let (source, target) = (Path::new("/i/volume.img"), Path::new("/t"));
        for kind in [Kind::Orlop].into_iter().chain(Kind::PEERS) {
            let restore = line(kind, &Action::Restore { source, volume: "n/a", snapshot: "s", target });
            assert!(!restore.contains(PASSWORD), "{restore}");
        }
        assert!(Kind::peer("tar").is_err());
        assert_eq!(Kind::peer("borg").unwrap(), Kind::Borg);
    }

    #[test]
    fn the_restored_file_is_found_and_compared() {
        let folder = tempfile::tempdir().unwrap();
        assert!(only_file(folder.path()).is_err());
        fs::create_dir_all(folder.path().join("x/y")).unwrap();
        fs::write(folder.path().join("x/y/z"), "abc").unwrap();
        let found = only_file(folder.path()).unwrap();
        compare(&found, &found).unwrap();
        let other = folder.path().join("x/other");
        fs::write(&other, "abd").unwrap();
        assert!(compare(&other, &found).unwrap_err().to_string().contains("byte 3"));
        assert!(only_file(folder.path()).is_err());
        assert_eq!(tree_len(folder.path()).unwrap(), 6);
    }
}
