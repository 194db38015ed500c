//! Which password or key opens the repository, and which one a new slot gets.
//!
//! The first of these that is given counts: `--key-file` or `--password-file`, `ORLOP_PASSWORD`,
//! `ORLOP_PASSWORD_FILE`, `ORLOP_PASSWORD_COMMAND`, the profile, the terminal. For the repository that `--from` names
//! there is the same with `from` in each name; without any of it, what opens the other one is tried.

use crate::args::{FromArgs, Global, NewSecretArgs};
use crate::exit::Failure;
use crate::format::{Secret, keyfile};
use crate::output::Output;
use crate::profile::Opener;
use crate::secret::{self, NewKeyFile};
use crate::terminal;
use repository::{Credential, Env};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

const KEY_PREFIX: &str = "orlop-key-";

/// What opens a repository that exists. `url` is for the prompt.
pub(crate) fn existing(global: &Global, output: Output, url: &str) -> Result<Credential, Failure> {
    match given(&OWN.with(global), output)? {
        Some(found) => Ok(found),
        None => typed(url),
    }
}

/// What opens the repository that `--from` names: a replica has the key slots of the one it was made of.
pub(crate) fn other(
    args: &FromArgs,
    global: &Global,
    output: Output,
    url: &str,
) -> Result<Credential, Failure> {
    let from = Given { key_file: args.key_file(), password_file: args.password_file(), ..FROM };
    match given(&from, output)? {
        Some(found) => Ok(found),
        None => existing(global, output, url),
    }
}

fn typed(url: &str) -> Result<Credential, Failure> {
    let typed = prompt(&format!("password or key of {}: ", crate::text::one_line(url)))?;
    if typed.trim_start().starts_with(KEY_PREFIX) {
        return key("the key that was typed", typed.as_bytes());
    }
    password("the password that was typed", Zeroizing::new(typed.as_bytes().to_vec()))
}

/// A credential for a new slot, and the key file that holds it until the slot is there.
pub(crate) struct NewCredential<'a> {
    /// What will open the slot.
    pub(crate) credential: Credential,
    /// The file that was made for it.
    pub(crate) file: Option<NewKeyFile<'a>>,
}

/// What opens a slot that is about to be made. `init` may use what `global` gives.
pub(crate) fn new<'a>(
    args: &'a NewSecretArgs,
    init: Option<(&Global, Output)>,
    env: &Env,
) -> Result<NewCredential<'a>, Failure> {
    let plain = |credential| Ok(NewCredential { credential, file: None });
    if let Some(path) = &args.key_file_out {
        let secret = Secret::new(*Zeroizing::new(env.random()?));
        let file = NewKeyFile::create(path, &keyfile::encode(&secret))?;
        return Ok(NewCredential { credential: Credential::KeyFile(secret), file: Some(file) });
    }
    if let Some(path) = &args.new_password_file {
        return plain(new_password(secret::from_file("new password file", path)?)?);
    }
    if let Some(command) = &args.new_password_command {
        return plain(new_password(secret::from_command("new password command", command)?)?);
    }
    if let Some((global, output)) = init
        && let Some(found) = given(&OWN.with(global), output)?
    {
        return plain(found);
    }
    let typed = prompt("new password: ")?;
    let again = prompt("new password, once more: ")?;
    if typed != again {
        return Err(Failure::usage("the two passwords differ"));
    }
    plain(new_password(Zeroizing::new(typed.as_bytes().to_vec()))?)
}

/// Where a credential may come from, and the names of the variables.
struct Given<'a> {
    key_file: Option<&'a Path>,
    password_file: Option<&'a Path>,
    password_variable: &'static str,
    file_variable: &'static str,
    command_variable: &'static str,
    profile: Option<&'a Opener>,
}

const OWN: Given<'static> = Given {
    key_file: None,
    password_file: None,
    password_variable: "ORLOP_PASSWORD",
    file_variable: "ORLOP_PASSWORD_FILE",
    command_variable: "ORLOP_PASSWORD_COMMAND",
    profile: None,
};

const FROM: Given<'static> = Given {
    key_file: None,
    password_file: None,
    password_variable: "ORLOP_FROM_PASSWORD",
    file_variable: "ORLOP_FROM_PASSWORD_FILE",
    command_variable: "ORLOP_FROM_PASSWORD_COMMAND",
    profile: None,
};

impl Given<'static> {
    fn with(self, global: &Global) -> Given<'_> {
        let (key_file, password_file) = (global.key_file.as_deref(), global.password_file.as_deref());
        Given { key_file, password_file, profile: Some(&global.opener), ..self }
    }
}

/// What options, the environment or a profile give.
fn given(from: &Given<'_>, output: Output) -> Result<Option<Credential>, Failure> {
    if let Some(path) = from.key_file {
        if let Some(mode) = secret::readable_by_others(path) {
            let path = path.display();
            output.warn(&format!("key file {path} has mode {mode:04o}: others can read it (chmod 600)"));
        }
        let line = secret::from_file("key file", path)?;
        return key(&format!("key file {}", path.display()), &line).map(Some);
    }
    if let Some(path) = from.password_file {
        return password_file("password file", path).map(Some);
    }
    if let Some(text) = variable(from.password_variable) {
        return password(from.password_variable, Zeroizing::new(text.into_vec())).map(Some);
    }
    if let Some(path) = variable(from.file_variable) {
        return password_file(from.file_variable, &PathBuf::from(path)).map(Some);
    }
    let name = from.command_variable;
    if let Some(command) = variable(name) {
        let command = command.into_string().map_err(|_| Failure::usage(format!("{name} is not UTF-8")))?;
        let text = secret::from_command(name, &Zeroizing::new(command))?;
        return password(name, text).map(Some);
    }
    match from.profile {
        Some(Opener::Password(text)) => {
            password("the profile's password", Zeroizing::new(text.as_bytes().to_vec())).map(Some)
        }
        Some(Opener::Command(command)) => {
            let name = "password-command of the profile";
            password(name, secret::from_command(name, command)?).map(Some)
        }
        Some(Opener::None) | None => Ok(None),
    }
}

/// An empty variable is one that is not set.
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

fn password_file(what: &str, path: &Path) -> Result<Credential, Failure> {
    password(&format!("{what} {}", path.display()), secret::from_file(what, path)?)
}

/// A password, of which the engine cuts one line end off.
fn password(what: &str, text: Zeroizing<Vec<u8>>) -> Result<Credential, Failure> {
    if text.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
        return Err(Failure::usage(format!("{what}: the password is empty")));
    }
    if std::str::from_utf8(&text).is_err() {
        return Err(Failure::usage(format!("{what}: the password is not UTF-8")));
    }
    Ok(Credential::Password(text))
}

/// A new password must not look like a key, which `--key-file` and the prompt would take it for.
fn new_password(text: Zeroizing<Vec<u8>>) -> Result<Credential, Failure> {
    if text.trim_ascii_start().starts_with(KEY_PREFIX.as_bytes()) {
        return Err(Failure::usage(format!("a new password cannot begin with {KEY_PREFIX}")));
    }
    password("new password", text)
}

/// The line of a key file. Errors never repeat it.
fn key(what: &str, line: &[u8]) -> Result<Credential, Failure> {
    let text = std::str::from_utf8(line).map_err(|_| Failure::failed(format!("{what}: not UTF-8")))?;
    let secret = keyfile::parse(text).map_err(|reason| {
        let reason = reason.to_string();
        Failure::failed(format!("{what}: {}", reason.trim_start_matches("key file: ")))
    })?;
    Ok(Credential::KeyFile(secret))
}

fn prompt(text: &str) -> Result<Zeroizing<String>, Failure> {
    let failed = |e| Failure::failed(format!("asking at the terminal: {e}"));
    let none = || {
        Failure::usage(
            "no password or key given, and no terminal to ask at: use --key-file, --password-file, \
             ORLOP_PASSWORD, ORLOP_PASSWORD_FILE or ORLOP_PASSWORD_COMMAND",
        )
    };
    terminal::ask(text).map_err(failed)?.ok_or_else(none)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_line_that_is_wrong_is_not_repeated() {
        let error = key("key file k", b"orlop-key-1-geheim").unwrap_err().to_string();
        assert!(error.starts_with("key file k: ") && !error.contains("geheim"), "{error}");
    }

    #[test]
    fn passwords_are_text_and_not_empty() {
        let password = |bytes: &[u8]| password("x", Zeroizing::new(bytes.to_vec())).is_ok();
        assert!(password(b"a\n") && !password(b"\n") && !password(b"") && !password(b"\xff"));
        assert!(new_password(Zeroizing::new(b"orlop-key-1-x".to_vec())).is_err());
    }
}
