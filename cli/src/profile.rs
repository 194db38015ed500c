//! Profiles: options that a file keeps under a name. What the command line or a variable says goes before it.

use crate::args::{Global, Rate};
use crate::exit::Failure;
use crate::secret;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use zeroize::Zeroizing;

/// A file of profiles.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    profile: BTreeMap<String, Profile>,
}

/// One of them.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Profile {
    repository: Option<String>,
    key_file: Option<String>,
    password_file: Option<String>,
    password_command: Option<Zeroized>,
    password: Option<Zeroized>,
    cache_dir: Option<String>,
    no_cache: Option<bool>,
    threads: Option<u16>,
    memory: Option<Word>,
    limit_upload: Option<Word>,
    limit_download: Option<Word>,
}

/// Text that is wiped when it is dropped.
#[derive(Deserialize)]
#[serde(from = "String")]
struct Zeroized(Zeroizing<String>);

impl From<String> for Zeroized {
    fn from(text: String) -> Self {
        Zeroized(Zeroizing::new(text))
    }
}

/// A number, or a text such as an option takes.
#[derive(Deserialize)]
#[serde(untagged)]
enum Word {
    Number(u64),
    Text(String),
}

/// What a profile opens the repository with, beside files that are options, too. Printed nowhere.
#[derive(Clone, Default)]
pub(crate) enum Opener {
    /// Nothing.
    #[default]
    None,
    /// A password.
    Password(Zeroizing<String>),
    /// What a command prints.
    Command(Zeroizing<String>),
}

/// Variables that open the repository, each of which goes before a profile.
const OPENERS: [&str; 3] = ["ORLOP_PASSWORD", "ORLOP_PASSWORD_FILE", "ORLOP_PASSWORD_COMMAND"];

/// Fills in what neither the command line nor a variable says from the profile that `--profile` names, if it does.
pub(crate) fn apply(global: &mut Global) -> Result<(), Failure> {
    let Some(name) = global.profile.clone().filter(|name| !name.is_empty()) else { return Ok(()) };
    let path =
        config_path().ok_or_else(|| Failure::usage("--profile: neither ORLOP_CONFIG nor HOME is set"))?;
    let text = secret::from_file("profiles", &path)?;
    let mode = secret::readable_by_others(&path);
    let is_opened = OPENERS.iter().any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let profile =
        find(&name, &text, mode).map_err(|what| Failure::usage(format!("{}: {what}", path.display())))?;
    let place = Place { folder: path.parent().unwrap_or(Path::new("")), home: home.as_deref() };
    let filled = fill(global, profile, is_opened, &place);
    filled.map_err(|what| Failure::usage(format!("{}: profile {name:?}: {what}", path.display())))
}

fn config_path() -> Option<PathBuf> {
    let of = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let below = |folder: PathBuf| folder.join("orlop/config.toml");
    of("ORLOP_CONFIG")
        .or_else(|| of("XDG_CONFIG_HOME").filter(|path| path.is_absolute()).map(below))
        .or_else(|| of("HOME").map(|home| below(home.join(".config"))))
}

/// The profile `name` of a file with this content, which others can read with `mode`. Errors repeat no value.
fn find(name: &str, text: &[u8], mode: Option<u32>) -> Result<Profile, String> {
    let text = std::str::from_utf8(text).map_err(|_| "UTF-8 expected".to_owned())?;
    let mut file: File = toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let line = text.bytes().take(start).filter(|byte| *byte == b'\n').count() + 1;
        // serde repeats the value
        let repeats = ["invalid type", "invalid value", "data did not match"];
        let is_value = repeats.iter().any(|begin| error.message().starts_with(begin));
        let what = if is_value { "another type of value expected" } else { error.message() };
        format!("line {line}: {what}")
    })?;
    let holds_secret = file.profile.values().any(|profile| profile.password.is_some());
    if let (true, Some(mode)) = (holds_secret, mode) {
        return Err(format!("it holds a password and has mode {mode:04o}: others can read it (chmod 600)"));
    }
    let known: Vec<_> = file.profile.keys().cloned().collect();
    file.profile.remove(name).ok_or_else(|| format!("no profile {name:?}; there are {known:?}"))
}

/// Where paths begin.
struct Place<'a> {
    folder: &'a Path,
    home: Option<&'a Path>,
}

impl Place<'_> {
    fn path(&self, text: &str) -> PathBuf {
        match (text.strip_prefix("~/"), self.home) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => self.folder.join(text),
        }
    }
}

fn fill(global: &mut Global, profile: Profile, is_opened: bool, place: &Place<'_>) -> Result<(), String> {
    if global.repo.as_deref().is_none_or(str::is_empty) {
        let local = |text: &str| place.path(text).to_string_lossy().into_owned();
        global.repo = profile.repository.map(|url| if url.contains("://") { url } else { local(&url) });
    }
    let openers = [
        profile.key_file.is_some(),
        profile.password_file.is_some(),
        profile.password_command.is_some(),
        profile.password.is_some(),
    ];
    if openers.iter().filter(|is_there| **is_there).count() > 1 {
        return Err("one of key-file, password-file, password-command and password expected".into());
    }
    if !is_opened && global.key_file.is_none() && global.password_file.is_none() {
        global.key_file = profile.key_file.map(|text| place.path(&text));
        global.password_file = profile.password_file.map(|text| place.path(&text));
        global.opener = match (profile.password, profile.password_command) {
            (Some(Zeroized(text)), _) => Opener::Password(text),
            (None, Some(Zeroized(text))) => Opener::Command(text),
            (None, None) => Opener::None,
        };
    }
    if !global.no_cache && global.cache_dir.is_none() {
        global.no_cache = profile.no_cache.unwrap_or(false);
        global.cache_dir = profile.cache_dir.map(|text| place.path(&text));
    }
    if let (None, Some(threads)) = (global.threads, profile.threads) {
        let valid = (1..=1024).contains(&threads);
        global.threads = Some(valid.then_some(threads).ok_or("threads: 1 to 1024 expected")?);
    }
    read(&mut global.memory, "memory", profile.memory)?;
    read::<Rate>(&mut global.limit_upload, "limit-upload", profile.limit_upload)?;
    read::<Rate>(&mut global.limit_download, "limit-download", profile.limit_download)
}

fn read<T: FromStr<Err = String>>(
    option: &mut Option<T>,
    name: &str,
    word: Option<Word>,
) -> Result<(), String> {
    if let (None, Some(word)) = (&option, word) {
        let text = match word {
            Word::Number(number) => number.to_string(),
            Word::Text(text) => text,
        };
        *option = Some(text.parse().map_err(|error| format!("{name}: {error}"))?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Size};
    use clap::Parser;

    const TEXT: &str = "\
[profile.shop]
repository = 's3://bucket/shop'
key-file = '~/shop.key'
cache-dir = 'cache'
threads = 3
memory = '96MiB'
limit-upload = 500
limit-download = '4M'

[profile.home]
repository = 'repo'
password = 'kein-wort-davon'
";

    fn global(line: &[&str]) -> Global {
        Cli::try_parse_from([&["orlop", "stats"], line].concat()).unwrap().global
    }

    fn filled(line: &[&str], name: &str, is_opened: bool) -> Result<Global, String> {
        let mut global = global(line);
        let place = Place { folder: Path::new("/etc/orlop"), home: Some(Path::new("/home/me")) };
        fill(&mut global, find(name, TEXT.as_bytes(), None)?, is_opened, &place).map(|()| global)
    }

    #[test]
    fn a_profile_fills_in_what_is_not_said() {
        let shop = filled(&[], "shop", false).unwrap();
        assert_eq!(shop.repo.as_deref(), Some("s3://bucket/shop"));
        assert_eq!(shop.key_file.as_deref(), Some(Path::new("/home/me/shop.key")));
        assert_eq!(shop.cache_dir.as_deref(), Some(Path::new("/etc/orlop/cache")));
        assert_eq!((shop.threads, shop.memory), (Some(3), Some(Size(96 << 20))));
        assert_eq!(shop.limit_upload, Some(Rate(Some(500 << 10))));
        assert_eq!(shop.limit_download, Some(Rate(Some(4 << 20))));
        let home = filled(&[], "home", false).unwrap();
        assert_eq!(home.repo.as_deref(), Some("/etc/orlop/repo"));
        assert!(matches!(home.opener, Opener::Password(text) if *text == "kein-wort-davon"));
    }

    #[test]
    fn options_and_variables_go_first() {
        let line =
            ["-r", "/x", "--password-file", "p", "--no-cache", "--limit-upload", "0", "--threads", "1"];
        let shop = filled(&line, "shop", false).unwrap();
        assert_eq!((shop.repo.as_deref(), shop.threads), (Some("/x"), Some(1)));
        assert!(shop.key_file.is_none() && shop.cache_dir.is_none() && shop.no_cache);
        assert_eq!(shop.limit_upload, Some(Rate(None)));
        let home = filled(&[], "home", true).unwrap();
        assert!(matches!(home.opener, Opener::None));
    }

    #[test]
    fn what_is_wrong_is_named_and_no_value_repeated() {
        let cases = [
            ("[profile.x]\nrepo = 'kein-wort'", "line 2: unknown field `repo`"),
            ("[profile.x]\n\npassword = 12345", "line 3: another type of value expected"),
            ("[profile.x]\nmemory = ['kein-wort']", "line 2: another type of value expected"),
            ("[profile.x\n", "line 1: "),
            ("[profile.y]", "no profile \"x\"; there are [\"y\"]"),
        ];
        for (text, expected) in cases {
            let error = find("x", text.as_bytes(), None).err().unwrap();
            assert!(error.contains(expected), "{text}: {error}");
            assert!(!error.contains("kein-wort") && !error.contains("12345"), "{error}");
        }
        assert!(find("home", TEXT.as_bytes(), Some(0o644)).err().unwrap().contains("mode 0644"));
        assert!(find("x", b"[profile.x]\nkey-file = 'k'", Some(0o644)).is_ok());
        let two = find("x", b"[profile.x]\nkey-file = 'k'\npassword = 'p'", None).unwrap();
        let place = Place { folder: Path::new("/"), home: None };
        assert!(fill(&mut global(&[]), two, false, &place).unwrap_err().contains("one of key-file"));
    }
}
