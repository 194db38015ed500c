//! File names for the manifests of a backup: one per catalogue path, safe on any file system.

use std::path::PathBuf;

use super::ManifestError;
use super::object::{quoted, wrong_part};

/// Bytes of one component at most; file systems allow 255. Longer ones are cut into folders.
const COMPONENT_LEN_MAX: usize = 200;

/// Where a catalogue path goes in a folder: `NAMESPACE/KIND.GROUP/NAME.json`, `_cluster` for the empty namespace,
/// `KIND` alone for the core group; `apps/StatefulSet/shop/postgres` is `shop/stateful-set.apps/postgres.json`.
///
/// Two paths never share a name, not even where case does not count: capitals of a kind become `-` and the small
/// letter (the first one just the letter), all bytes but `a-z 0-9 - .` become `%xx`, and so do leading and trailing
/// dots and the first letter of names that Windows keeps for devices. What is longer than 200 bytes goes on in a
/// folder whose name ends in `+`, under a name that starts with `+`.
///
/// # Errors
/// [`ManifestError::Path`] if the path does not have four parts or has one that no object has, such as `..`.
pub fn file_name(path: &str) -> Result<PathBuf, ManifestError> {
    let wrong = |found: String, expected| ManifestError::Path { path: quoted(path), found, expected };
    let parts: Vec<&str> = path.splitn(5, '/').collect();
    let &[group, kind, namespace, name] = parts.as_slice() else {
        return Err(wrong(format!("{} parts", parts.len()), "group/kind/namespace/name"));
    };
    if kind.is_empty() || name.is_empty() {
        return Err(wrong("an empty kind or name".to_owned(), "both"));
    }
    for part in parts {
        if let Some((found, expected)) = wrong_part(part) {
            return Err(wrong(found, expected));
        }
    }
    let mut file = PathBuf::new();
    match namespace {
        "" => file.push("_cluster"),
        _ => push(&mut file, escaped(namespace), ""),
    }
    match group {
        "" => push(&mut file, kind_name(kind), ""),
        _ => push(&mut file, [kind_name(kind), vec![".".to_owned()], escaped(group)].concat(), ""),
    }
    push(&mut file, escaped(name), ".json");
    Ok(file)
}

/// Letters as they will be written: a byte, or an escape that must not be cut.
fn escaped(part: &str) -> Vec<String> {
    part.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' => char::from(byte).to_string(),
            _ => hex(byte),
        })
        .collect()
}

/// `ConfigMap` is `config-map`; a kind that starts small starts with `_`.
fn kind_name(kind: &str) -> Vec<String> {
    let mut letters = Vec::new();
    for (i, byte) in kind.bytes().enumerate() {
        match byte {
            b'A'..=b'Z' if i == 0 => letters.push(char::from(byte.to_ascii_lowercase()).to_string()),
            b'A'..=b'Z' => letters.push(format!("-{}", char::from(byte.to_ascii_lowercase()))),
            b'a'..=b'z' | b'0'..=b'9' if i == 0 => letters.push(format!("_{}", char::from(byte))),
            b'a'..=b'z' | b'0'..=b'9' => letters.push(char::from(byte).to_string()),
            _ => letters.push(hex(byte)),
        }
    }
    letters
}

fn hex(byte: u8) -> String {
    format!("%{byte:02x}")
}

/// Appends a component, in several where it is too long.
fn push(file: &mut PathBuf, mut letters: Vec<String>, extension: &str) {
    let reserved = is_device(letters.concat().split('.').next().unwrap_or_default());
    if let Some(first) = letters.first_mut() {
        match first.as_bytes() {
            b"." => *first = hex(b'.'),
            &[byte] if reserved => *first = hex(byte),
            _ => {}
        }
    }
    if let Some(last) = letters.last_mut()
        && last == "."
        && extension.is_empty()
    {
        *last = hex(b'.');
    }
    let mut component = String::new();
    for letter in letters {
        if component.len().saturating_add(letter.len()) > COMPONENT_LEN_MAX {
            component.push('+');
            file.push(&component);
            "+".clone_into(&mut component);
        }
        component.push_str(&letter);
    }
    component.push_str(extension);
    file.push(component);
}

/// Names of devices on Windows, with any extension.
fn is_device(stem: &str) -> bool {
    matches!(stem, "con" | "prn" | "aux" | "nul")
        || stem
            .strip_prefix("com")
            .or_else(|| stem.strip_prefix("lpt"))
            .is_some_and(|n| n.len() == 1 && n.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Component;

    use proptest::prelude::*;

    use super::*;

    fn name(path: &str) -> String {
        file_name(path).unwrap().to_str().unwrap().to_owned()
    }

    #[test]
    fn names_are_readable() {
        let cases = [
            ("/ConfigMap/shop/settings", "shop/config-map/settings.json"),
            ("apps/StatefulSet/shop/postgres", "shop/stateful-set.apps/postgres.json"),
            ("/Namespace//shop", "_cluster/namespace/shop.json"),
            (
                "apiextensions.k8s.io/CustomResourceDefinition//coupons.shop.example.org",
                "_cluster/custom-resource-definition.apiextensions.k8s.io/coupons.shop.example.org.json",
            ),
            (
                "rbac.authorization.k8s.io/ClusterRole//system:Node",
                "_cluster/cluster-role.rbac.authorization.k8s.io/system%3a%4eode.json",
            ),
            ("/A/_cluster/_cluster", "%5fcluster/a/%5fcluster.json"),
            ("/a/con/.hidden", "%63on/_a/%2ehidden.json"),
            ("b./AUX/n./lpt1.x", "n%2e/a-u-x.b%2e/%6cpt1.x.json"),
            ("/Nul/com0/com10", "%63om0/%6eul/com10.json"),
            ("/A-b.C/.../é", "%2e.%2e/a%2db%2e-c/%c3%a9.json"),
        ];
        for (path, expected) in cases {
            assert_eq!(name(path), expected, "{path}");
        }
    }

    #[test]
    fn long_names_go_on_in_a_folder() {
        let long = "x".repeat(199) + "/" + &"é".repeat(126);
        let (namespace, object) = long.split_once('/').unwrap();
        let found = name(&format!("/A/{namespace}/{object}"));
        let components: Vec<_> = found.split('/').collect();
        assert_eq!(components[..2], [namespace, "a"]);
        let (last, first) = components[2..].split_last().unwrap();
        assert!(
            first.iter().all(|part| part.ends_with('+')) && last.starts_with('+') && last.ends_with(".json")
        );
        assert_eq!(components[2..].concat().replace('+', ""), "%c3%a9".repeat(126) + ".json");
    }

    #[test]
    fn paths_that_no_manifest_has_are_refused() {
        let long = format!("/A/a/{}", "x".repeat(254));
        let paths = [
            "", "a", "/A/a", "/A/a/b/c", "//a/b", "/A/a/", "/A/../b", "/A/a/..", "../A//a", "/A/a/b%",
            "/A/a/b\n",
        ];
        for path in paths.into_iter().chain([long.as_str()]) {
            let error = file_name(path).unwrap_err().to_string();
            assert!(error.starts_with("catalogue path \"") && !error.contains('\n'), "{error}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn names_are_safe_and_never_the_same_even_without_case(
            parts in prop::collection::vec("[aAbBcCoOnN0.+:_-]{0,4}|con|CON|é{98,102}|a{198,202}", 40),
        ) {
            let mut seen: BTreeMap<String, String> = BTreeMap::new();
            for (i, group) in parts.iter().enumerate().take(10) {
                for offset in 0..8 {
                    let part = |by: usize| &parts[(i * 7 + offset * by) % parts.len()];
                    let path = format!("{group}/{}/{}/{}", part(1), part(3), part(5));
                    let Ok(file) = file_name(&path) else { continue };
                    for component in file.components() {
                        let Component::Normal(component) = component else { panic!("{path}: {component:?}") };
                        let component = component.to_str().unwrap();
                        prop_assert!(component.len() <= 210 && !component.starts_with('.') && !component.ends_with('.'));
                        prop_assert!(!is_device(component.split('.').next().unwrap()), "{path}: {component}");
                        prop_assert_eq!(component.to_ascii_lowercase(), component);
                    }
                    let other = seen.insert(file.to_str().unwrap().to_owned(), path.clone());
                    prop_assert!(other.is_none_or(|other| other == path));
                }
            }
        }
    }
}
