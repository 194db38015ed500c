//! Secrets come from files, commands and the environment, never from the command line; they are wiped when dropped.

use crate::exit::Failure;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use zeroize::Zeroizing;

/// Longest password or key file.
const SECRET_LEN_MAX: usize = 64 << 10;

/// Variables that hold or lead to a secret; children do not get them.
pub(crate) const SECRET_VARIABLES: [&str; 6] = [
    "ORLOP_PASSWORD",
    "ORLOP_PASSWORD_FILE",
    "ORLOP_PASSWORD_COMMAND",
    "ORLOP_FROM_PASSWORD",
    "ORLOP_FROM_PASSWORD_FILE",
    "ORLOP_FROM_PASSWORD_COMMAND",
];

/// The whole of a file.
pub(crate) fn from_file(what: &str, path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let failed = |e: std::io::Error| Failure::failed(format!("{what} {}: {e}", path.display()));
    from_reader(File::open(path).map_err(failed)?).map_err(failed)
}

/// What a shell command prints. It can ask on its terminal, but does not get our standard input.
pub(crate) fn from_command(what: &str, command: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command).stdin(Stdio::null()).stdout(Stdio::piped());
    for variable in SECRET_VARIABLES {
        shell.env_remove(variable);
    }
    // the command itself may hold a secret and is not repeated
    let failed = |e: std::io::Error| Failure::failed(format!("{what}: {e}"));
    let mut child = shell.spawn().map_err(failed)?;
    let read = child.stdout.take().map(from_reader);
    let status = child.wait().map_err(failed)?;
    match read {
        _ if !status.success() => Err(Failure::failed(format!("{what}: it left with {status}"))),
        Some(secret) => secret.map_err(failed),
        None => Err(Failure::failed(format!("{what}: no output"))),
    }
}

/// Reads to the end into memory that is never moved, so that no copy is left behind.
fn from_reader(mut from: impl Read) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let mut secret = Zeroizing::new(vec![0; SECRET_LEN_MAX + 1]);
    let mut len = 0;
    while let Some(room) = secret.get_mut(len..).filter(|room| !room.is_empty()) {
        match from.read(room) {
            Ok(0) => break,
            Ok(n) => len += n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    if len > SECRET_LEN_MAX {
        return Err(std::io::Error::other(format!("more than {SECRET_LEN_MAX} bytes")));
    }
    secret.truncate(len);
    Ok(secret)
}

/// The mode of a key file if others than its owner can read it.
pub(crate) fn readable_by_others(path: &Path) -> Option<u32> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o777;
    (mode & 0o044 != 0).then_some(mode)
}

/// A key file that is being made. It is removed again unless it is kept.
pub(crate) struct NewKeyFile<'a> {
    path: &'a Path,
    kept: bool,
}

impl<'a> NewKeyFile<'a> {
    /// Writes `line` to a file that did not exist, which only its owner can read, and syncs it.
    pub(crate) fn create(path: &'a Path, line: &str) -> Result<Self, Failure> {
        let failed = |e: std::io::Error| Failure::failed(format!("key file {}: {e}", path.display()));
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
        let made = NewKeyFile { path, kept: false };
        file.write_all(line.as_bytes()).and_then(|()| file.write_all(b"\n")).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        Ok(made)
    }

    /// The key opens something now.
    pub(crate) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for NewKeyFile<'_> {
    fn drop(&mut self) {
        if !self.kept {
            let _ = std::fs::remove_file(self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_files_and_commands() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        std::fs::write(&path, "geheim\n").unwrap();
        assert_eq!(**from_file("password file", &path).unwrap(), *b"geheim\n");
        assert_eq!(**from_command("command", "printf geheim").unwrap(), *b"geheim");
        let error = from_command("password command", "echo geheim; exit 3").unwrap_err().to_string();
        assert_eq!(error, "password command: it left with exit status: 3");
        std::fs::write(&path, vec![b'x'; SECRET_LEN_MAX + 1]).unwrap();
        assert!(from_file("password file", &path).unwrap_err().to_string().contains("more than"));
    }

    #[test]
    fn a_key_file_is_new_private_and_gone_unless_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        drop(NewKeyFile::create(&path, "line").unwrap());
        assert!(!path.exists());
        NewKeyFile::create(&path, "line").unwrap().keep();
        assert_eq!(readable_by_others(&path), None);
        assert!(NewKeyFile::create(&path, "other").is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"line\n");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(readable_by_others(&path), Some(0o640));
    }
}
