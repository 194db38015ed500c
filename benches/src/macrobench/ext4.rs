//! ext4 images without root: mke2fs makes them, debugfs changes them.

use super::delta::BLOCK_LEN;
use anyhow::{Context, Result, bail, ensure};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Time stamps that tools put into images, so that two images of one seed are alike.
const FAKE_TIME: &str = "1700000000";

/// A tool of e2fsprogs: mke2fs, debugfs and e2fsck live where only root's PATH looks.
fn tool(name: &str) -> Command {
    let mut command = Command::new(name);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin")).env("E2FSPROGS_FAKE_TIME", FAKE_TIME);
    command
}

/// An image file with an ext4 file system.
#[derive(Debug, Clone)]
pub struct Ext4 {
    /// Where it is.
    pub path: PathBuf,
}

impl Ext4 {
    /// Makes a file system of `len` bytes with room for so many files and folders; `from` is copied into it.
    pub fn make(path: &Path, len: u64, entries: u64, uuid: &str, from: Option<&Path>) -> Result<Self> {
        let mut command = tool("mke2fs");
        command.args(["-q", "-F", "-t", "ext4", "-b", "4096", "-m", "0", "-U", uuid]);
        command.args([
            "-E",
            &format!("root_owner=0:0,hash_seed={uuid}"),
            "-N",
            &(entries + 4096).to_string(),
        ]);
        if let Some(from) = from {
            command.arg("-d").arg(from);
        }
        command.arg(path).arg(format!("{}k", len >> 10));
        let output = command.output().context("mke2fs (Debian package e2fsprogs)")?;
        ensure!(output.status.success(), "mke2fs: {}", String::from_utf8_lossy(&output.stderr));
        Ok(Ext4 { path: path.to_owned() })
    }

    /// Runs commands of debugfs, and gives what it printed; it reports errors on stderr and leaves with 0.
    pub fn debugfs(&self, write: bool, commands: &[String]) -> Result<String> {
        let script = tempfile::NamedTempFile::new()?;
        fs::write(script.path(), commands.join("\n") + "\n")?;
        let mut command = tool("debugfs");
        command.args(write.then_some("-w")).arg("-f").arg(script.path()).arg(&self.path);
        let output = command.output().context("debugfs (Debian package e2fsprogs)")?;
        let said = String::from_utf8_lossy(&output.stderr);
        let mut errors = said.lines().filter(|line| !line.starts_with("debugfs 1."));
        if let Some(error) = errors.next() {
            bail!("debugfs: {error}");
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Takes a file out of the image.
    pub fn dump(&self, file: &str, to: &Path) -> Result<()> {
        self.debugfs(false, &[format!("dump {file} {}", to.display())]).map(drop)
    }

    /// Changes a file in place, as a program that has it open does: where `is` differs from `was`, which is what
    /// the image has, whole blocks are written to where the file system has them. Gives the number of blocks.
    pub fn write_in_place(&self, file: &str, was: &Path, is: &Path) -> Result<usize> {
        let (was, is) = (fs::read(was)?, fs::read(is)?);
        ensure!(was.len() == is.len(), "{file} changed its length from {} to {}", was.len(), is.len());
        let blocks = was.chunks(BLOCK_LEN).zip(is.chunks(BLOCK_LEN)).enumerate();
        let changed: Vec<(usize, &[u8])> =
            blocks.filter(|(_, (was, is))| was != is).map(|(at, (_, is))| (at, is)).collect();
        let commands: Vec<String> = changed.iter().map(|(at, _)| format!("bmap {file} {at}")).collect();
        let numbers = block_numbers(&self.debugfs(false, &commands)?);
        ensure!(numbers.len() == changed.len(), "debugfs: {} of {} blocks", numbers.len(), changed.len());
        let image = File::options().write(true).open(&self.path)?;
        for ((at, content), number) in changed.iter().zip(numbers) {
            ensure!(number > 0, "block {at} of {file} is a hole");
            image.write_all_at(content, number * BLOCK_LEN as u64)?;
        }
        let read_back = tempfile::NamedTempFile::new()?;
        self.dump(file, read_back.path())?;
        ensure!(fs::read(read_back.path())? == is, "{file}: blocks did not land where they belong");
        Ok(changed.len())
    }

    /// Fails if the file system is not whole.
    pub fn check(&self) -> Result<()> {
        let output = tool("e2fsck").arg("-fn").arg(&self.path).output().context("e2fsck")?;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "e2fsck of {}: {said}", self.path.display());
        Ok(())
    }
}

/// The numbers in debugfs' answers to `bmap`; it repeats each command.
fn block_numbers(answer: &str) -> Vec<u64> {
    answer.lines().filter_map(|line| line.trim().parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_from_commands() {
        let answer = "debugfs: bmap /x 0\n5130\ndebugfs: bmap /x 7\n0\n";
        assert_eq!(block_numbers(answer), [5130, 0]);
    }

    #[test]
    fn files_change_in_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let (was, mut is) = (vec![7; 100_000], vec![7; 100_000]);
        is[50_000] = 8;
        is[99_999] = 8;
        fs::create_dir(path("stage")).unwrap();
        for (name, content) in [("stage/file", &was), ("was", &was), ("is", &is)] {
            fs::write(path(name), content).unwrap();
        }
        let uuid = "00000000-0000-4000-8000-000000000001";
        let image = match Ext4::make(&path("image"), 8 << 20, 10, uuid, Some(&path("stage"))) {
            Ok(image) => image,
            Err(error) => return eprintln!("SKIPPED: {error:#}"),
        };
        assert_eq!(image.write_in_place("/file", &path("was"), &path("is")).unwrap(), 2);
        image.check().unwrap();
        let failed = image.debugfs(true, &["rm /nothing".into()]).unwrap_err();
        assert!(failed.to_string().contains("File not found"), "{failed}");
    }
}
