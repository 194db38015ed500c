//! Profiles of `~/.aws/config` and `~/.aws/credentials`, as far as they hold plain settings.
//!
//! What needs a program, a browser or a chain of roles to give credentials is named and refused (ADR 26).

use super::cloud::{Settings, find};
use super::driver::DriverError;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Longest file that is read, in bytes.
const FILE_LEN_MAX: u64 = 1 << 20;

/// Keys of a profile that are settings, and how they are called there.
const PLAIN: [(&str, &str); 2] = [("region", "AWS_REGION"), ("endpoint_url", "AWS_ENDPOINT_URL")];
const STATIC: [(&str, &str); 3] = [
    ("aws_access_key_id", "AWS_ACCESS_KEY_ID"),
    ("aws_secret_access_key", "AWS_SECRET_ACCESS_KEY"),
    ("aws_session_token", "AWS_SESSION_TOKEN"),
];
const WEB_IDENTITY: [(&str, &str); 3] = [
    ("role_arn", "AWS_ROLE_ARN"),
    ("web_identity_token_file", "AWS_WEB_IDENTITY_TOKEN_FILE"),
    ("role_session_name", "AWS_ROLE_SESSION_NAME"),
];
/// Keys that say where credentials come from, and that nothing is done with.
const FOREIGN: [&str; 6] = [
    "credential_process",
    "sso_session",
    "sso_start_url",
    "login_session",
    "source_profile",
    "credential_source",
];

type Profile = BTreeMap<String, String>;

/// `settings`, and what the profile that they name (`AWS_PROFILE`, else `default`) adds to them.
pub(super) fn with_files(mut settings: Vec<(String, String)>) -> Result<Vec<(String, String)>, DriverError> {
    let home = std::env::var_os("HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let text = |name: &str, file: &str| {
        let named = find(&settings, &[name]).map(PathBuf::from);
        match named.or_else(|| Some(home.as_ref()?.join(".aws").join(file))) {
            Some(path) => read(&path),
            None => Ok(None),
        }
    };
    let config = text("AWS_CONFIG_FILE", "config")?;
    let credentials = text("AWS_SHARED_CREDENTIALS_FILE", "credentials")?;
    let added = added(&settings, config.as_deref(), credentials.as_deref())?;
    settings.extend(added);
    Ok(settings)
}

fn read(path: &Path) -> Result<Option<String>, DriverError> {
    use std::io::Read;
    let refuse = |what: String| DriverError::Permanent(format!("{}: {what}", path.display()));
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(refuse(error.to_string())),
    };
    let mut bytes = Vec::new();
    file.take(FILE_LEN_MAX + 1).read_to_end(&mut bytes).map_err(|error| refuse(error.to_string()))?;
    if bytes.len() as u64 > FILE_LEN_MAX {
        return Err(refuse(format!("longer than {FILE_LEN_MAX} bytes")));
    }
    String::from_utf8(bytes).map(Some).map_err(|_| refuse("UTF-8 expected".into()))
}

/// What goes on top of `settings`: never anything that they have, and credentials from one place only.
fn added(
    settings: &Settings,
    config: Option<&str>,
    credentials: Option<&str>,
) -> Result<Vec<(String, String)>, DriverError> {
    let named = find(settings, &["AWS_PROFILE", "AWS_DEFAULT_PROFILE"]);
    let name = named.unwrap_or("default");
    let section = |header: &str| match header.split_once(char::is_whitespace) {
        Some(("profile", rest)) => rest.trim() == name,
        _ => header == "default" && name == "default",
    };
    let mut profile = config.and_then(|text| section_of(text, section));
    if let Some(keys) = credentials.and_then(|text| section_of(text, |header| header == name)) {
        profile.get_or_insert_default().extend(keys);
    }
    let Some(profile) = profile else {
        let what = || {
            format!(
                "AWS_PROFILE: no profile {name:?} in the files of AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE"
            )
        };
        return if named.is_some() { Err(DriverError::Permanent(what())) } else { Ok(Vec::new()) };
    };
    let mut added = Vec::new();
    let mut take = |names: &[(&str, &str)]| {
        let pairs = names.iter().filter_map(|(key, setting)| Some((*setting, profile.get(*key)?)));
        added.extend(pairs.map(|(setting, value)| (setting.to_owned(), value.clone())));
    };
    take(&PLAIN);
    // a variable goes before its file, and credentials are not mixed
    let is_given = [
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    ];
    if is_given.iter().all(|name| find(settings, &[name]).is_none()) {
        if profile.contains_key("web_identity_token_file") {
            take(&WEB_IDENTITY);
        } else if profile.contains_key("aws_access_key_id") && !profile.contains_key("role_arn") {
            take(&STATIC);
        } else if let Some(key) = FOREIGN.iter().find(|key| profile.contains_key(**key)) {
            return Err(DriverError::Permanent(format!(
                "profile {name:?}: {key} is not supported; `aws configure export-credentials --profile {name} --format env` \
                 prints variables that are"
            )));
        }
    }
    let aliases = |setting: &str| match setting {
        "AWS_REGION" => ["AWS_REGION", "AWS_DEFAULT_REGION", "AWS_REGION"],
        "AWS_ENDPOINT_URL" => ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"],
        _ => ["", "", ""],
    };
    added.retain(|(setting, _)| find(settings, &aliases(setting)).is_none());
    Ok(added)
}

/// Keys and values of the sections whose header `is_wanted`. Comments begin with `#` or `;`, at the beginning of a
/// line or after a space; indented lines belong to settings of one service, which are none of ours.
fn section_of(text: &str, is_wanted: impl Fn(&str) -> bool) -> Option<Profile> {
    let mut found = None;
    let mut inside = false;
    for line in text.lines().filter(|line| !line.starts_with(['#', ';', ' ', '\t'])) {
        if let Some(rest) = line.strip_prefix('[') {
            inside = rest.split_once(']').is_some_and(|(header, _)| is_wanted(header.trim()));
            if inside {
                let _ = found.get_or_insert_with(Profile::new);
            }
        } else if let (true, Some((key, value))) = (inside, line.split_once('=')) {
            let end = [" #", " ;", "\t#", "\t;"].iter().filter_map(|mark| value.find(mark)).min();
            let value = end.and_then(|end| value.get(..end)).unwrap_or(value).trim();
            if !value.is_empty() {
                found
                    .get_or_insert_with(Profile::new)
                    .insert(key.trim().to_ascii_lowercase(), value.to_owned());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "\
[default]
region = eu-west-1
# a comment
[profile shop]
region=eu-central-1 ; another
endpoint_url = https://s3.example
s3 =
  addressing_style = path
[profile sso]
sso_session = corp
[profile pod]
role_arn = arn:aws:iam::1:role/x
web_identity_token_file = /token
[profile chain]
role_arn = arn:aws:iam::1:role/x
source_profile = shop
[services local]
region = nowhere
";
    const CREDENTIALS: &str = "\
[default]
aws_access_key_id = AKIDEFAULT
aws_secret_access_key = a/b+c=#d
[shop]
AWS_ACCESS_KEY_ID = AKISHOP
aws_secret_access_key = kein-wort-davon
aws_session_token=token==
";

    fn with(pairs: &[(&str, &str)]) -> Result<BTreeMap<String, String>, String> {
        let settings: Vec<_> =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let added = added(&settings, Some(CONFIG), Some(CREDENTIALS)).map_err(|error| error.to_string())?;
        Ok(added.into_iter().collect())
    }

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn profiles_are_found_in_both_files() {
        let default = [
            ("AWS_REGION", "eu-west-1"),
            ("AWS_ACCESS_KEY_ID", "AKIDEFAULT"),
            ("AWS_SECRET_ACCESS_KEY", "a/b+c=#d"),
        ];
        assert_eq!(with(&[]), Ok(map(&default)));
        let shop = [
            ("AWS_REGION", "eu-central-1"),
            ("AWS_ENDPOINT_URL", "https://s3.example"),
            ("AWS_ACCESS_KEY_ID", "AKISHOP"),
            ("AWS_SECRET_ACCESS_KEY", "kein-wort-davon"),
            ("AWS_SESSION_TOKEN", "token=="),
        ];
        assert_eq!(with(&[("AWS_PROFILE", "shop")]), Ok(map(&shop)));
        let pod = [("AWS_ROLE_ARN", "arn:aws:iam::1:role/x"), ("AWS_WEB_IDENTITY_TOKEN_FILE", "/token")];
        assert_eq!(with(&[("AWS_PROFILE", "pod")]), Ok(map(&pod)));
        assert_eq!(added(&[], None, None).map_err(|e| e.to_string()), Ok(vec![]));
    }

    #[test]
    fn variables_go_first_and_credentials_are_not_mixed() {
        let keys = [("AWS_PROFILE", "shop"), ("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "y")];
        let plain = [("AWS_REGION", "eu-central-1"), ("AWS_ENDPOINT_URL", "https://s3.example")];
        assert_eq!(with(&keys), Ok(map(&plain)), "no token of the profile");
        let role =
            [("AWS_ROLE_ARN", "arn"), ("AWS_WEB_IDENTITY_TOKEN_FILE", "/t"), ("AWS_DEFAULT_REGION", "r")];
        assert_eq!(with(&role), Ok(map(&[])));
        let address = [("AWS_PROFILE", "shop"), ("AWS_ENDPOINT_URL_S3", "https://own"), ("AWS_REGION", "")];
        let found = with(&address).unwrap_or_default();
        assert!(!found.contains_key("AWS_ENDPOINT_URL") && found.contains_key("AWS_REGION"), "{found:?}");
    }

    #[test]
    fn what_cannot_be_done_is_named() {
        for (profile, word) in
            [("sso", "sso_session"), ("chain", "source_profile"), ("gone", "no profile \"gone\"")]
        {
            let error = with(&[("AWS_PROFILE", profile)]).unwrap_err();
            assert!(error.contains(word) && !error.contains("kein-wort"), "{error}");
        }
    }
}
