//! An image of real files: what is measured should look like what is backed up.

use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What an image is made of.
pub struct Recipe {
    /// Size of the image in bytes.
    pub image_len: u64,
    /// Bytes of files in it, the database included.
    pub files_len: u64,
    /// Directories to take files from, each about the same share.
    pub from: Vec<PathBuf>,
}

/// What became of one ingredient.
pub struct Ingredient {
    /// Where it came from.
    pub what: String,
    /// How many files.
    pub count: u64,
    /// Bytes of them.
    pub len: u64,
}

/// Rows of the database, about 260 bytes each on disk.
const ROWS_PER_MIB: u64 = 4000;

/// Where files are taken from unless told otherwise.
pub fn default_sources() -> Vec<PathBuf> {
    let mut sources: Vec<PathBuf> = ["/usr/share", "/usr/lib"].map(PathBuf::from).into();
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output();
    sources.extend(
        sysroot.ok().and_then(|out| String::from_utf8(out.stdout).ok()).map(|path| path.trim().into()),
    );
    sources.retain(|path| path.is_dir());
    sources
}

/// Makes the image, and says what is in it. Files are copied next to `out` first.
pub fn make(out: &Path, recipe: &Recipe) -> Result<Vec<Ingredient>> {
    let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let stage = tempfile::tempdir_in(parent).with_context(|| parent.display().to_string())?;
    let mut used = Vec::new();
    let mut left = recipe.files_len;
    match make_database(&stage.path().join("shop.db"), recipe.files_len / 6)? {
        Some(ingredient) => {
            left = left.saturating_sub(ingredient.len);
            used.push(ingredient);
        }
        None => used.push(Ingredient {
            what: "no database: neither sqlite3 nor python3 here".into(),
            count: 0,
            len: 0,
        }),
    }
    for (number, source) in recipe.from.iter().enumerate() {
        let share = left / (recipe.from.len() - number) as u64;
        let mut copied = Ingredient { what: source.display().to_string(), count: 0, len: 0 };
        copy_tree(source, &stage.path().join(number.to_string()), share, &mut copied)?;
        left -= copied.len;
        used.push(copied);
    }
    ensure!(left < recipe.files_len, "nothing to put into the image");
    let _ = fs::remove_file(out);
    let status = Command::new("mke2fs")
        .args(["-q", "-F", "-t", "ext4", "-b", "4096", "-m", "0", "-E", "root_owner=0:0", "-d"])
        .args([stage.path(), out])
        .arg(format!("{}k", recipe.image_len >> 10))
        .status();
    match status.context("mke2fs (package e2fsprogs)")?.success() {
        true => Ok(used),
        false => bail!("mke2fs failed"),
    }
}

/// Copies regular files in order of name until `budget` bytes are reached.
fn copy_tree(from: &Path, to: &Path, budget: u64, copied: &mut Ingredient) -> Result<()> {
    // what cannot be read is left out
    let Ok(listed) = fs::read_dir(from) else { return Ok(()) };
    let mut listed: Vec<_> = listed.filter_map(Result::ok).collect();
    listed.sort_by_key(fs::DirEntry::file_name);
    fs::create_dir_all(to)?;
    for entry in listed {
        let (Ok(kind), target) = (entry.file_type(), to.join(entry.file_name())) else { continue };
        if kind.is_dir() {
            copy_tree(&entry.path(), &target, budget, copied)?;
        } else if kind.is_file() {
            let Ok(len) = entry.metadata().map(|data| data.len()) else { continue };
            if copied.len + len <= budget && fs::copy(entry.path(), &target).is_ok() {
                copied.len += len;
                copied.count += 1;
            }
        }
    }
    Ok(())
}

/// A database of orders with pages of 8 KiB; nothing where no SQLite is.
fn make_database(path: &Path, len: u64) -> Result<Option<Ingredient>> {
    let rows = (len >> 20) * ROWS_PER_MIB;
    let sql = format!(
        "PRAGMA page_size=8192; PRAGMA journal_mode=OFF;
         CREATE TABLE orders(id INTEGER PRIMARY KEY, customer TEXT, item TEXT, token TEXT, note TEXT);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
         INSERT INTO orders SELECT i, printf('customer-%06d@shop.example', i * 7919 % 90001),
           printf('item %d, size %d, colour %d', i * 31 % 4099, i % 12, i % 7), hex(randomblob(32)),
           printf('ordered at %d, packed by %d, sent with parcel %d; please leave it at the door', i * 13, i % 97, i * 17)
         FROM n;
         CREATE INDEX by_customer ON orders(customer);"
    );
    let python = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).executescript(sys.stdin.read())";
    for (tool, arguments) in [("sqlite3", &[][..]), ("python3", &["-c", python][..])] {
        let command =
            Command::new(tool).args(arguments).arg(path).stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
        let Ok(mut child) = command else { continue };
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(sql.as_bytes())?;
        }
        ensure!(child.wait()?.success(), "{tool} could not make the database");
        let len = fs::metadata(path)?.len();
        return Ok(Some(Ingredient { what: format!("SQLite database by {tool}"), count: 1, len }));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_files_up_to_a_budget() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (name, len) in [("a", 10), ("b", 100), ("c", 20)] {
            fs::write(from.path().join(name), vec![7; len]).unwrap();
        }
        let mut copied = Ingredient { what: String::new(), count: 0, len: 0 };
        copy_tree(from.path(), to.path(), 50, &mut copied).unwrap();
        assert_eq!((copied.count, copied.len), (2, 30));
        assert!(to.path().join("c").exists() && !to.path().join("b").exists());
    }
}
