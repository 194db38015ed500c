//! Folders that images are made of: real files of this machine, a log, many small files.

use super::Random;
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Files above are left out, lest a few of them fill the image.
const FILE_LEN_MAX: u64 = 128 << 20;
/// What files and folders take is counted in blocks.
const BLOCK_LEN: u64 = super::delta::BLOCK_LEN as u64;
/// All files have this time, so that two stages are alike.
const MODIFIED: Duration = Duration::from_secs(1_700_000_000);
/// What a log is filled with beyond its end, as one that is allocated ahead.
const LOG_FILLER: u8 = b' ';

/// A file of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staged {
    /// Below the stage.
    pub path: PathBuf,
    /// Its length.
    pub len: u64,
}

/// Copies regular files with plain names in the order of their names until `budget` bytes are reached.
/// What cannot be read is left out.
pub fn copy_tree(from: &Path, stage: &Path, to: &Path, budget: u64, copied: &mut Vec<Staged>) -> Result<u64> {
    // a folder takes a block, too
    let mut taken = BLOCK_LEN;
    if taken > budget {
        return Ok(0);
    }
    let Ok(listed) = fs::read_dir(from) else { return Ok(0) };
    let mut listed: Vec<_> = listed.filter_map(Result::ok).collect();
    listed.sort_by_key(fs::DirEntry::file_name);
    fs::create_dir_all(stage.join(to))?;
    for entry in listed {
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| is_plain(name)) else { continue };
        let Ok(kind) = entry.file_type() else { continue };
        let target = to.join(name);
        if kind.is_dir() {
            taken += copy_tree(&entry.path(), stage, &target, budget - taken, copied)?;
        } else if kind.is_file() {
            let Ok(len) = entry.metadata().map(|data| data.len()) else { continue };
            let room = len.next_multiple_of(BLOCK_LEN);
            let fits = len <= FILE_LEN_MAX && taken + room <= budget;
            if fits && fs::copy(entry.path(), stage.join(&target)).is_ok() {
                date(&stage.join(&target))?;
                taken += room;
                copied.push(Staged { path: target, len });
            }
        }
    }
    Ok(taken)
}

/// Files and folders below a folder.
pub fn entry_count(folder: &Path) -> Result<u64> {
    let mut count = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        count += 1 + if entry.file_type()?.is_dir() { entry_count(&entry.path())? } else { 0 };
    }
    Ok(count)
}

/// Names that debugfs takes without quotes.
fn is_plain(name: &str) -> bool {
    !name.starts_with(['-', '.']) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+-".contains(&b))
}

/// Gives a file the time that all of them have.
pub fn date(path: &Path) -> Result<()> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    // a file of another owner's may refuse it: then images differ in some inodes
    let _ = file.set_modified(SystemTime::UNIX_EPOCH + MODIFIED);
    Ok(())
}

/// Lines as a web server writes them, `len` bytes.
pub fn log_lines(len: usize, random: &mut Random) -> Vec<u8> {
    let mut text = Vec::with_capacity(len + 200);
    let mut at = 0;
    while text.len() < len {
        let (a, b) = (random.word(), random.word());
        at += a % 3000;
        let line = format!(
            "10.{}.{}.{} [2026-11-{:02}T{:02}:{:02}:{:02}.{:03}Z] \"GET /shop/item/{} HTTP/2\" {} {} {:016x}\n",
            a >> 8 & 3,
            a >> 16 & 255,
            a >> 24 & 255,
            1 + at / 86_400_000 % 28,
            at / 3_600_000 % 24,
            at / 60_000 % 60,
            at / 1000 % 60,
            at % 1000,
            b % 5000,
            if b >> 20 & 31 == 0 { 404 } else { 200 },
            b >> 32 & 0xffff,
            random.word(),
        );
        text.extend_from_slice(line.as_bytes());
    }
    text.truncate(len);
    text
}

/// A log of `len` bytes with room for `room` more.
pub fn make_log(path: &Path, len: usize, room: usize, random: &mut Random) -> Result<()> {
    let mut text = log_lines(len, random);
    text.resize(len + room, LOG_FILLER);
    fs::write(path, text)?;
    date(path)
}

/// Appends `len` bytes to a log that [`make_log`] made.
pub fn append_to_log(path: &Path, len: usize, random: &mut Random) -> Result<()> {
    let mut text = fs::read(path)?;
    let end = text.iter().rposition(|byte| *byte != LOG_FILLER).map_or(0, |last| last + 1);
    let room = text.get_mut(end..end + len).context("no room in the log")?;
    room.copy_from_slice(&log_lines(len, random));
    Ok(fs::write(path, text)?)
}

/// So many files of 100 bytes to 8 KiB in folders of 1000.
pub fn make_small_files(stage: &Path, count: u64, random: &mut Random) -> Result<()> {
    for number in 0..count {
        let folder = stage.join(format!("{:04}", number / 1000));
        if number % 1000 == 0 {
            fs::create_dir_all(&folder)?;
        }
        let len = 100 + random.below(8000) as usize;
        let mut file = BufWriter::new(File::create(folder.join(format!("{number:06}.log")))?);
        file.write_all(&log_lines(len, random))?;
        file.flush()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_plain_files_up_to_a_budget() {
        let (from, stage) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (name, len) in [("a", 10), ("b", 9000), ("g", 5), ("c d", 1), (".e", 1), ("f", 5000)] {
            fs::write(from.path().join(name), vec![7; len]).unwrap();
        }
        let mut copied = vec![];
        let taken = copy_tree(from.path(), stage.path(), Path::new("x"), 16384, &mut copied).unwrap();
        assert_eq!(taken, 16384);
        let names: Vec<&str> = copied.iter().map(|file| file.path.to_str().unwrap()).collect();
        assert_eq!(names, ["x/a", "x/f"]);
    }

    #[test]
    fn a_log_grows_within_its_room() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        make_log(&path, 1000, 500, &mut Random::new(1)).unwrap();
        let before = fs::read(&path).unwrap();
        append_to_log(&path, 300, &mut Random::new(2)).unwrap();
        let after = fs::read(&path).unwrap();
        assert_eq!((before.len(), after.len()), (1500, 1500));
        assert_eq!(before[..1000], after[..1000]);
        assert!(before[1000..1300] != after[1000..1300] && before[1300..] == after[1300..]);
        assert!(append_to_log(&path, 300, &mut Random::new(3)).is_err());
    }
}
