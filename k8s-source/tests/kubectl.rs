//! The fixtures' YAML gives the JSON that `kubectl`'s own library gives; `fixtures/golden.go` made the JSON.

#![allow(clippy::unwrap_used)] // tests may, their helpers too

use std::path::Path;

use k8s_source::manifest::parse;

fn compare(name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/kubectl");
    let yaml = std::fs::read(folder.join(name).with_extension("yaml")).unwrap();
    let json = std::fs::read_to_string(folder.join(name).with_extension("json")).unwrap();
    let found: Vec<String> = parse(name, &yaml)
        .unwrap()
        .into_iter()
        .map(|manifest| String::from_utf8(manifest.json).unwrap())
        .collect();
    assert_eq!(found, json.lines().collect::<Vec<_>>());
    assert!(!found.is_empty());
    // JSON is read by another parser: it has to give the same bytes again.
    let again: Vec<_> = parse(name, json.as_bytes()).unwrap().into_iter().map(|m| m.json).collect();
    assert_eq!(again, json.lines().map(|line| line.as_bytes().to_vec()).collect::<Vec<_>>());
}

macro_rules! fixtures {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            compare(stringify!($name));
        })*

        #[test]
        fn every_fixture_is_compared() {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/kubectl");
            let mut found: Vec<String> = std::fs::read_dir(folder)
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
                .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
                .collect();
            found.sort();
            let mut known = vec![$(stringify!($name)),*];
            known.sort_unstable();
            assert_eq!(found, known);
        }
    };
}

fixtures!(anchors, crd, helm, keys, scalars, strings, structure, windows);
