//! What prune is measured on: a repository of ours and one of restic with the same number of chunks.

use crate::process::{Cost, link_tree, remove_tree, run};
use crate::synthetic::{Layout, Source, Spec, make};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Snapshots, of which one may be forgotten: a fifth of all chunks is its alone.
const SNAPSHOTS: u64 = 5;
/// Files in one folder of restic's source.
const FILES_PER_FOLDER: u64 = 1000;
/// Their length: one chunk each.
const FILE_LEN: usize = 4096;

/// What is to be pruned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Case {
    /// All snapshots are kept.
    Nothing,
    /// One of five is forgotten; what it alone needs is a fifth, unless a [`Shape`] says otherwise.
    Dead,
}

impl Case {
    /// Both.
    pub const ALL: [Case; 2] = [Case::Nothing, Case::Dead];

    /// For people.
    pub fn text(self) -> &'static str {
        match self {
            Case::Nothing => "nothing to do",
            Case::Dead => "one snapshot forgotten",
        }
    }
}

/// A program and its repository, never changed: each run gets a copy of hard links.
pub trait Subject {
    /// For people.
    fn name(&self) -> &'static str;

    /// Puts a copy with the case's markers where [`prune`](Self::prune) finds it.
    fn prepare(&self, case: Case) -> Result<()>;

    /// Prunes the copy as a process of its own.
    fn prune(&self) -> Result<Cost>;

    /// Packs of the copy, and their bytes.
    fn packs(&self) -> Result<(u64, u64)>;
}

/// What of orlop's repository may differ.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Chunks.
    pub chunks: u64,
    /// Plain bytes of each.
    pub chunk_len: u32,
    /// How chunks that die lie in packs.
    pub layout: Layout,
    /// Their share, in percent.
    pub dead_percent: u64,
    /// Packs that an index run names at most; 0: as many as fit.
    pub packs_per_run: usize,
}

impl Shape {
    /// As restic's: chunks of 8 KiB, each snapshot in packs of its own, runs as backups leave them.
    pub fn beside_restic(chunks: u64) -> Self {
        let dead_percent = 100 / SNAPSHOTS;
        Shape { chunks, chunk_len: 8192, layout: Layout::Clustered, dead_percent, packs_per_run: 32 }
    }
}

/// What prunes.
#[derive(Debug, Clone)]
pub struct Program {
    /// The command line.
    pub path: PathBuf,
    /// Prune by the engine alone instead, as a process of this program.
    pub is_engine: bool,
}

/// orlop on a synthetic repository.
pub struct Orlop {
    program: Program,
    folder: PathBuf,
}

impl Orlop {
    /// Makes the repository in `folder` unless it is there.
    pub fn new(program: &Program, folder: &Path, shape: Shape) -> Result<Self> {
        let Shape { chunks, chunk_len, layout, dead_percent, packs_per_run } = shape;
        let name =
            format!("orlop-{chunks}-{chunk_len}-{layout:?}-{dead_percent}-{packs_per_run}").to_lowercase();
        let orlop = Orlop { program: program.clone(), folder: folder.join(name) };
        if !orlop.folder.exists() {
            let made = unfinished(&orlop.folder)?;
            let spec = Spec {
                chunks,
                chunk_len,
                snapshots: SNAPSHOTS,
                forgotten: 1,
                dead_percent,
                layout,
                packs_per_run,
                marked: true,
                seed: 1,
            };
            let repository = made.join("repository");
            let key = make(&repository, &spec, std::thread::available_parallelism()?.get())?.key;
            fs::rename(repository.join("forget"), made.join("forget"))?;
            write_secret(&made.join("key"), &key)?;
            finish(&made, &orlop.folder)?;
        }
        Ok(orlop)
    }

    /// orlop on the copy, with these arguments.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program.path);
        command.arg("--repo").arg(self.copy()).arg("--key-file").arg(self.folder.join("key")).args(arguments);
        command
    }

    /// Prune of the copy. Its window is none: restic deletes at once, too.
    pub fn prune_command(&self) -> Result<Command> {
        if !self.program.is_engine {
            return Ok(self.command(&["prune", "--undelete-window", "0"]));
        }
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("once").arg(self.copy()).arg(self.folder.join("key"));
        Ok(command)
    }

    /// Where outputs go.
    pub fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    fn copy(&self) -> PathBuf {
        self.folder.join("copy")
    }

    /// Removes everything.
    pub fn remove(&self) -> Result<()> {
        remove_tree(&self.folder)
    }
}

impl Subject for Orlop {
    fn name(&self) -> &'static str {
        "orlop"
    }

    fn prepare(&self, case: Case) -> Result<()> {
        remove_tree(&self.copy())?;
        link_tree(&self.folder.join("repository"), &self.copy())?;
        if case == Case::Dead {
            link_tree(&self.folder.join("forget"), &self.copy().join("forget"))?;
        }
        sync()
    }

    fn prune(&self) -> Result<Cost> {
        run(&mut self.prune_command()?, &self.log())
    }

    fn packs(&self) -> Result<(u64, u64)> {
        count(&self.copy().join("packs"))
    }
}

/// restic on files of one chunk each.
pub struct Restic {
    program: PathBuf,
    folder: PathBuf,
}

impl Restic {
    /// Makes files and backs them up into `folder` unless that was done before.
    pub fn new(program: &Path, folder: &Path, chunks: u64) -> Result<Self> {
        let restic = Restic { program: program.to_owned(), folder: folder.join(format!("restic-{chunks}")) };
        if !restic.folder.exists() {
            let made = unfinished(&restic.folder)?;
            restic.fill(&made, chunks)?;
            finish(&made, &restic.folder)?;
        }
        Ok(restic)
    }

    fn fill(&self, made: &Path, chunks: u64) -> Result<()> {
        let (repository, cache) = (made.join("repository"), made.join("cache"));
        let run =
            |arguments: &[&str]| run(self.command(&repository, &cache).args(arguments), &made.join("log"));
        run(&["init"])?;
        let source = Source::new(1);
        for snapshot in 0..SNAPSHOTS {
            let files = made.join("files");
            let mut content = [0; FILE_LEN];
            for n in chunks * snapshot / SNAPSHOTS..chunks * (snapshot + 1) / SNAPSHOTS {
                let folder = files.join(format!("{}", n / FILES_PER_FOLDER));
                if n.is_multiple_of(FILES_PER_FOLDER) || !folder.exists() {
                    fs::create_dir_all(&folder)?;
                }
                source.fill(n, &mut content);
                fs::write(folder.join(format!("{n}")), content)?;
            }
            let files_text = files.to_str().context("a path that is no text")?;
            run(&["backup", "--no-scan", "--host", "bench", "--tag", &format!("s{snapshot}"), files_text])?;
            remove_tree(&files)?;
        }
        // the same again, with the mark of the case
        link_tree(&repository, &made.join("forgotten"))?;
        link_tree(&cache, &made.join("forgotten-cache"))?;
        let mut forget = self.command(&made.join("forgotten"), &made.join("forgotten-cache"));
        let arguments = ["forget", "--tag", "s0", "--unsafe-allow-remove-all"];
        crate::process::run(forget.args(arguments), &made.join("log"))?;
        Ok(())
    }

    fn command(&self, repository: &Path, cache: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--repo").arg(repository).arg("--cache-dir").arg(cache).env("RESTIC_PASSWORD", "bench");
        command
    }
}

impl Subject for Restic {
    fn name(&self) -> &'static str {
        "restic"
    }

    fn prepare(&self, case: Case) -> Result<()> {
        let (repository, cache) = match case {
            Case::Nothing => ("repository", "cache"),
            Case::Dead => ("forgotten", "forgotten-cache"),
        };
        for (from, to) in [(repository, "copy"), (cache, "copy-cache")] {
            remove_tree(&self.folder.join(to))?;
            link_tree(&self.folder.join(from), &self.folder.join(to))?;
        }
        sync()
    }

    fn prune(&self) -> Result<Cost> {
        let mut command = self.command(&self.folder.join("copy"), &self.folder.join("copy-cache"));
        run(command.arg("prune"), &self.folder.join("log"))
    }

    fn packs(&self) -> Result<(u64, u64)> {
        count(&self.folder.join("copy/data"))
    }
}

/// An empty folder for what will be `folder` once it is whole.
fn unfinished(folder: &Path) -> Result<PathBuf> {
    let made = folder.with_extension("unfinished");
    remove_tree(&made)?;
    fs::create_dir_all(&made).with_context(|| made.display().to_string())?;
    Ok(made)
}

fn finish(made: &Path, folder: &Path) -> Result<()> {
    sync()?;
    fs::rename(made, folder).with_context(|| folder.display().to_string())
}

fn write_secret(path: &Path, text: &str) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{text}")?;
    Ok(())
}

/// What was written before must not be on its way to the disk while something is measured.
fn sync() -> Result<()> {
    ensure!(Command::new("sync").status()?.success(), "sync failed");
    Ok(())
}

/// Files below a folder, and their bytes.
fn count(folder: &Path) -> Result<(u64, u64)> {
    let mut sum = (0, 0);
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        let (files, len) =
            if entry.file_type()?.is_dir() { count(&entry.path())? } else { (1, entry.metadata()?.len()) };
        sum = (sum.0 + files, sum.1 + len);
    }
    Ok(sum)
}

/// Prunes by the engine alone, with what the command line would give it; another bound on memory if one is given.
pub fn once(
    repository: &Path,
    key: &Path,
    memory_len: Option<u64>,
) -> Result<repository::prune::PruneReport> {
    use repo_format::keys::keyfile;
    use repository::prune::{PruneOptions, prune};
    use repository::store::{StoreUrl, connect};
    use repository::{Credential, Env, Exec, Repository};
    let threads = std::thread::available_parallelism()?.get();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(threads.min(4)).enable_all().build()?;
    let credential = Credential::KeyFile(keyfile::parse(fs::read_to_string(key)?.trim())?);
    let driver = connect(&StoreUrl::Local(repository.to_owned()), false)?;
    let exec = Exec::threads(threads)?;
    let exec = memory_len.map_or(exec.clone(), |len| exec.clone().with_memory(len));
    let options = PruneOptions { undelete_window: std::time::Duration::ZERO, ..PruneOptions::default() };
    runtime.block_on(async {
        let repository = Repository::open(driver, &exec, &Env::system(), &credential).await?;
        Ok(prune(&repository, options, &std::sync::Arc::default()).await?)
    })
}
