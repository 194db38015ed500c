//! Settings for Azure Blob Storage, by the names of `az`, of Microsoft's libraries and of `object_store`.

use super::cloud::{Settings, find};
use super::driver::DriverError;

/// Account and key of every emulator, published by Microsoft.
const EMULATOR: (&str, &str) = (
    "devstoreaccount1",
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",
);
const EMULATOR_URL: &str = "http://127.0.0.1:10000";

/// Names of `az` and of managed identities, and how `object_store` calls the same.
const ALIASES: [(&str, &str); 3] = [
    ("AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_ACCOUNT_NAME"),
    ("AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCOUNT_KEY"),
    ("IDENTITY_ENDPOINT", "AZURE_IDENTITY_ENDPOINT"),
];

/// What stands in a connection string, and how `object_store` calls it.
const PARTS: [(&str, &str); 4] = [
    ("AccountName", "AZURE_STORAGE_ACCOUNT_NAME"),
    ("AccountKey", "AZURE_STORAGE_ACCOUNT_KEY"),
    ("SharedAccessSignature", "AZURE_STORAGE_SAS_TOKEN"),
    ("BlobEndpoint", "AZURE_STORAGE_ENDPOINT"),
];

/// Settings that `object_store` needs to be told, weakest first: connection string, names of `az`, its own names.
pub(super) fn settings(given: &Settings) -> Result<Vec<(String, String)>, DriverError> {
    let is_emulator = find(given, &["AZURE_STORAGE_USE_EMULATOR", "AZURE_USE_EMULATOR"]).is_some_and(is_true);
    let mut all = Vec::new();
    if is_emulator {
        emulator(given, &mut all);
    }
    if let Some(text) = find(given, &["AZURE_STORAGE_CONNECTION_STRING"]) {
        connection_string(text, &mut all)?;
    }
    for (alias, name) in ALIASES {
        if let Some(value) = find(given, &[alias]) {
            put(&mut all, name, value);
        }
    }
    let mut own: Vec<_> = given
        .iter()
        .filter(|(name, value)| {
            name.starts_with("AZURE_") && !name.ends_with("USE_EMULATOR") && !value.is_empty()
        })
        .collect();
    own.sort();
    for (name, value) in own {
        // workload identity gives it with a slash, and `object_store` adds one
        let value = if name.ends_with("AUTHORITY_HOST") { value.trim_end_matches('/') } else { value };
        put(&mut all, name, value);
    }
    let accounts = ["AZURE_STORAGE_ACCOUNT_NAME", "AZURE_ACCOUNT_NAME"];
    if find(&all, &accounts).is_none() {
        let what =
            "no storage account: AZURE_STORAGE_ACCOUNT_NAME or AZURE_STORAGE_CONNECTION_STRING expected";
        return Err(DriverError::Permanent(what.into()));
    }
    Ok(all)
}

/// The later value counts.
fn put(all: &mut Vec<(String, String)>, name: &str, value: &str) {
    all.retain(|(there, _)| there != name);
    all.push((name.to_owned(), value.to_owned()));
}

fn emulator(given: &Settings, all: &mut Vec<(String, String)>) {
    let account = find(given, &["AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT"]).unwrap_or(EMULATOR.0);
    let url = find(given, &["AZURITE_BLOB_STORAGE_URL"]).unwrap_or(EMULATOR_URL).trim_end_matches('/');
    put(all, "AZURE_STORAGE_ACCOUNT_NAME", account);
    put(all, "AZURE_STORAGE_ENDPOINT", &format!("{url}/{account}"));
    let others = [
        "AZURE_STORAGE_SAS_KEY",
        "AZURE_STORAGE_SAS_TOKEN",
        "AZURE_STORAGE_TOKEN",
        "AZURE_FEDERATED_TOKEN_FILE",
    ];
    if find(given, &others).is_none() {
        put(all, "AZURE_STORAGE_ACCOUNT_KEY", EMULATOR.1);
    }
}

/// `AccountName=...;AccountKey=...;EndpointSuffix=core.windows.net`, or `BlobEndpoint=` instead of the suffix.
fn connection_string(text: &str, all: &mut Vec<(String, String)>) -> Result<(), DriverError> {
    let malformed = || {
        let what = "AZURE_STORAGE_CONNECTION_STRING: NAME=VALUE;NAME=VALUE expected";
        DriverError::Permanent(what.into())
    };
    let parts = text.split(';').map(str::trim).filter(|part| !part.is_empty());
    let parts: Vec<(&str, &str)> =
        parts.map(|part| part.split_once('=').ok_or_else(malformed)).collect::<Result<_, _>>()?;
    let part = |wanted: &str| {
        parts.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim())
    };
    if part("UseDevelopmentStorage").is_some_and(is_true) {
        emulator(&[], all);
    }
    for (name, setting) in PARTS {
        if let Some(value) = part(name) {
            put(all, setting, value);
        }
    }
    if let (Some(account), Some(suffix), None) =
        (part("AccountName"), part("EndpointSuffix"), part("BlobEndpoint"))
    {
        let scheme = part("DefaultEndpointsProtocol").unwrap_or("https");
        put(all, "AZURE_STORAGE_ENDPOINT", &format!("{scheme}://{account}.blob.{suffix}"));
    }
    Ok(())
}

fn is_true(text: &str) -> bool {
    ["1", "true", "on", "yes", "y"].iter().any(|word| text.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Vec<(String, String)>, DriverError> {
        let given: Vec<_> =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        settings(&given)
    }

    fn has(all: &Settings, name: &str, value: &str) -> bool {
        find(all, &[name]) == Some(value)
    }

    #[test]
    fn connection_strings_are_read_and_own_names_go_first() {
        let text = "DefaultEndpointsProtocol=https;AccountName=shop;AccountKey=a2V5PT0=;EndpointSuffix=core.windows.net";
        let all = read(&[("AZURE_STORAGE_CONNECTION_STRING", text)]).unwrap();
        assert!(has(&all, "AZURE_STORAGE_ACCOUNT_NAME", "shop"), "{all:?}");
        assert!(has(&all, "AZURE_STORAGE_ACCOUNT_KEY", "a2V5PT0="), "{all:?}");
        assert!(has(&all, "AZURE_STORAGE_ENDPOINT", "https://shop.blob.core.windows.net"), "{all:?}");
        let text = "BlobEndpoint=https://x/;SharedAccessSignature=sv=1&sig=a%3D;AccountName=shop";
        let all = read(&[
            ("AZURE_STORAGE_SAS_TOKEN", "other"),
            ("AZURE_STORAGE_CONNECTION_STRING", text),
            ("AZURE_STORAGE_ACCOUNT", "az"),
        ])
        .unwrap();
        assert!(has(&all, "AZURE_STORAGE_ENDPOINT", "https://x/"), "{all:?}");
        assert!(
            has(&all, "AZURE_STORAGE_SAS_TOKEN", "other") && has(&all, "AZURE_STORAGE_ACCOUNT_NAME", "az")
        );
        let error = read(&[("AZURE_STORAGE_CONNECTION_STRING", "secret")]).unwrap_err().to_string();
        assert!(error.contains("CONNECTION_STRING") && !error.contains("secret"), "{error}");
    }

    #[test]
    fn the_emulator_has_an_address_and_an_account() {
        for pairs in [
            ("AZURE_STORAGE_USE_EMULATOR", "true"),
            ("AZURE_STORAGE_CONNECTION_STRING", "UseDevelopmentStorage=true"),
        ] {
            let all = read(&[pairs]).unwrap();
            assert!(
                has(&all, "AZURE_STORAGE_ENDPOINT", "http://127.0.0.1:10000/devstoreaccount1"),
                "{all:?}"
            );
            assert!(has(&all, "AZURE_STORAGE_ACCOUNT_KEY", EMULATOR.1));
        }
        let all = read(&[
            ("AZURE_STORAGE_USE_EMULATOR", "1"),
            ("AZURITE_BLOB_STORAGE_URL", "http://azurite:1/"),
            ("AZURE_STORAGE_ACCOUNT_NAME", "mine"),
            ("AZURE_STORAGE_ACCOUNT_KEY", "a2V5"),
        ])
        .unwrap();
        assert!(has(&all, "AZURE_STORAGE_ENDPOINT", "http://azurite:1/mine"), "{all:?}");
        assert!(has(&all, "AZURE_STORAGE_ACCOUNT_KEY", "a2V5"));
    }

    #[test]
    fn without_an_account_the_settings_are_named() {
        let error = read(&[("AZURE_STORAGE_ACCOUNT_KEY", "a2V5")]).unwrap_err().to_string();
        assert!(error.contains("AZURE_STORAGE_ACCOUNT_NAME") && !error.contains("a2V5"), "{error}");
        let host =
            [("AZURE_STORAGE_ACCOUNT", "a"), ("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.com/")];
        assert!(has(&read(&host).unwrap(), "AZURE_AUTHORITY_HOST", "https://login.microsoftonline.com"));
    }
}
