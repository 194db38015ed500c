//! A SQLite database whose rows are updated: what in-place changes look like.

use super::Random;
use anyhow::{Context, Result, bail, ensure};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// About 260 bytes each on disk, the index included.
const ROWS_PER_MIB: u64 = 4000;
/// 64 hexadecimal digits of a row that look random and are the same each time.
const TOKEN: &str = "printf('%08x%08x%08x%08x%08x%08x%08x%08x', \
    (x*2654435761%4294967291)*(x%65521+7)%4294967291, (x*1597334677%4294967291)*(x%65519+3)%4294967291, \
    (x*3266489917%4294967291)*(x%65497+9)%4294967291, (x*2246822519%4294967291)*(x%65479+5)%4294967291, \
    (x*374761393%4294967291)*(x%65449+1)%4294967291, (x*668265263%4294967291)*(x%65447+2)%4294967291, \
    (x*2147483647%4294967291)*(x%65437+4)%4294967291, (x*1103515245%4294967291)*(x%65423+6)%4294967291)";

/// Runs statements with whatever SQLite there is.
pub fn sql(database: &Path, statements: &str) -> Result<()> {
    let python = "import sqlite3, sys; sqlite3.connect(sys.argv[1], isolation_level=None).executescript(sys.stdin.read())";
    for (tool, arguments) in [("sqlite3", &["-batch", "-bail"][..]), ("python3", &["-c", python][..])] {
        let mut command = Command::new(tool);
        command.args(arguments).arg(database).stdin(Stdio::piped()).stdout(Stdio::null());
        let Ok(mut child) = command.spawn() else { continue };
        child.stdin.take().context("no pipe")?.write_all(statements.as_bytes())?;
        ensure!(child.wait()?.success(), "{tool} failed");
        return Ok(());
    }
    bail!("neither sqlite3 nor python3 is here")
}

fn token(of: &str) -> String {
    format!("(SELECT {TOKEN} FROM (SELECT {of} AS x))")
}

fn values(first: &str, after: u64) -> String {
    format!(
        "WITH RECURSIVE n(i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM n WHERE i < {after})
         INSERT INTO orders SELECT i, printf('customer-%06d@shop.example', i * 7919 % 90001),
           printf('item %d, size %d, colour %d', i * 31 % 4099, i % 12, i % 7), {},
           printf('ordered at %d, packed by %d, sent with parcel %d; please leave it at the door', i * 13, i % 97, i * 17)
         FROM n;",
        token("i")
    )
}

/// A database of orders of about `len` bytes with pages of 8 KiB. Gives the number of rows.
///
/// It has free pages, as any that was ever deleted from, so that inserts do not make the file longer. They are
/// not zero: mke2fs would make holes of them.
pub fn make(database: &Path, len: u64) -> Result<u64> {
    let rows = ((len * ROWS_PER_MIB) >> 20).max(1000);
    sql(
        database,
        &format!(
            "PRAGMA page_size=8192; PRAGMA journal_mode=OFF; PRAGMA secure_delete=OFF;
             CREATE TABLE orders(id INTEGER PRIMARY KEY, customer TEXT, item TEXT, token TEXT, note TEXT);
             {}
             CREATE INDEX by_customer ON orders(customer);
             CREATE TABLE gone(x TEXT);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {})
             INSERT INTO gone SELECT printf('%.*c', 7000, 'x') FROM n;
             DROP TABLE gone;",
            values("1", rows),
            rows / 200 + 100,
        ),
    )?;
    Ok(rows)
}

/// Gives so many random rows of `rows` another token, and adds some rows.
pub fn change(database: &Path, rows: u64, updates: u64, inserts: u64, random: &mut Random) -> Result<()> {
    let mut statements = String::from("PRAGMA journal_mode=OFF; PRAGMA secure_delete=OFF; BEGIN;\n");
    for _ in 0..updates {
        let (row, salt) = (1 + random.below(rows), random.below(1 << 30));
        writeln!(statements, "UPDATE orders SET token = {} WHERE id = {row};", token(&salt.to_string()))?;
    }
    if inserts > 0 {
        statements.push_str(&values(&(rows + 1).to_string(), rows + inserts));
    }
    statements.push_str("COMMIT;\n");
    sql(database, &statements)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn databases_are_the_same_each_time_and_keep_their_length() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let rows = match make(&path("a"), 2 << 20) {
            Ok(rows) => rows,
            Err(error) => return eprintln!("SKIPPED: {error:#}"),
        };
        make(&path("b"), 2 << 20).unwrap();
        let before = fs::read(path("a")).unwrap();
        assert_eq!(before, fs::read(path("b")).unwrap());
        assert!(before.chunks(4096).all(|block| block.iter().any(|byte| *byte != 0)), "a block of zeros");
        change(&path("a"), rows, 20, 500, &mut Random::new(1)).unwrap();
        let after = fs::read(path("a")).unwrap();
        assert_eq!(before.len(), after.len());
        assert!(before != after);
    }
}
