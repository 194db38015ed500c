//! `NAME=PATH`, where NAME is `namespace/claim` as Kubernetes spells them.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// A volume and the file it is read from or written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VolumeArg {
    /// `namespace/claim`.
    pub(crate) name: String,
    /// A path; `-` is standard input where that is allowed.
    pub(crate) path: PathBuf,
}

impl VolumeArg {
    /// Reads an argument, whose path need not be UTF-8.
    pub(crate) fn parse(argument: OsString) -> Result<Self, String> {
        let raw = argument.as_bytes();
        let Some(at) = raw.iter().position(|byte| *byte == b'=') else {
            return Err("NAME=PATH expected, such as shop/data=/srv/data.img".into());
        };
        let (name, path) = (&raw[..at], &raw[at + 1..]);
        let name = std::str::from_utf8(name).map_err(|_| "the name is not UTF-8".to_owned())?;
        check_name(name)?;
        if path.is_empty() {
            return Err("the path after = is empty".into());
        }
        Ok(VolumeArg { name: name.to_owned(), path: PathBuf::from(OsStr::from_bytes(path)) })
    }

    /// True for standard input.
    pub(crate) fn is_stdin(&self) -> bool {
        self.path.as_os_str() == "-"
    }
}

/// A namespace (RFC 1123 label) and a claim (RFC 1123 subdomain).
fn check_name(name: &str) -> Result<(), String> {
    let expected = || format!("volume name {name:?}: NAMESPACE/CLAIM expected, such as shop/data");
    let (namespace, claim) = name.split_once('/').ok_or_else(expected)?;
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let part = |part: &str, len_max: usize, others: &str| {
        (1..=len_max).contains(&part.len())
            && part.chars().all(|c| alphanumeric(c) || others.contains(c))
            && part.starts_with(alphanumeric)
            && part.ends_with(alphanumeric)
    };
    if !part(namespace, 63, "-") || !part(claim, 253, "-.") {
        return Err(format!(
            "{}; both of a-z, 0-9, dash (and dot in CLAIM), as Kubernetes has it",
            expected()
        ));
    }
    Ok(())
}

/// The first value that occurs twice.
pub(crate) fn twice<T: Ord>(values: impl IntoIterator<Item = T>) -> Option<T> {
    let mut seen = std::collections::BTreeSet::new();
    let mut twice = None;
    for value in values {
        if let Some(old) = seen.replace(value) {
            twice.get_or_insert(old);
        }
    }
    twice
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_and_paths() {
        let read = |text: &str| VolumeArg::parse(text.into());
        let volume = read("shop/data.0=/a=b").unwrap();
        assert_eq!((volume.name.as_str(), volume.path.to_str()), ("shop/data.0", Some("/a=b")));
        assert!(read("shop/data=-").unwrap().is_stdin());
        let long = format!("{}/d=x", "n".repeat(64));
        let bad =
            ["shop/data", "=x", "data=x", "shop/=x", "/data=x", "a/b/c=x", "Shop/d=x", "s.h/d=x", "s/-d=x"];
        for bad in bad.into_iter().chain(["s/d.=x", "s/d=", "s/d\n=x", &long]) {
            let error = read(bad).unwrap_err();
            assert!(!error.contains('\n'), "{error:?}");
        }
        let not_utf8 = OsStr::from_bytes(b"s/d=/\xff").to_owned();
        assert_eq!(VolumeArg::parse(not_utf8).unwrap().path.as_os_str().as_bytes(), b"/\xff");
    }

    #[test]
    fn finds_what_occurs_twice() {
        assert_eq!(twice(["a", "b", "a"]), Some("a"));
        assert_eq!(twice([1, 2]), None);
    }
}
