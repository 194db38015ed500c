//! The layers are enforced here: a crate may only know what the design allows, inside and outside the workspace.
//!
//! The edges come from `cargo metadata`, so what counts is what cargo resolved, features of the whole workspace included.

mod graph;
mod rules;

use graph::Graph;
use std::process::Command;

#[test]
fn workspace_keeps_its_layers() {
    let graph = Graph::parse(&metadata()).expect("cargo metadata as documented");
    assert!(graph.members().count() >= 6, "found {} crates, expected the workspace", graph.members().count());
    let found = rules::violations(&graph);
    assert!(found.is_empty(), "forbidden edges:\n  {}", found.join("\n  "));
}

/// Only the host's packages: those are downloaded, since the tests were just compiled from them.
fn metadata() -> String {
    let rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .args(["--version", "--verbose"])
        .output()
        .expect("rustc runs");
    let version = String::from_utf8(rustc.stdout).expect("rustc prints UTF-8");
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc names its host");
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", host])
        .args(["--manifest-path", root])
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo prints UTF-8")
}

/// `orlop` as it is shipped has no switch to make a store fail, or to break a rule of the protocol.
#[test]
fn the_shipped_binary_has_no_faults() {
    let metadata: serde_json::Value = serde_json::from_str(&metadata()).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let cli = packages.iter().find(|package| package["name"] == "cli").unwrap();
    let engine =
        cli["dependencies"].as_array().unwrap().iter().find(|dep| dep["name"] == "repository").unwrap();
    assert_eq!(engine["features"], serde_json::json!(["s3", "azure", "gcs"]));
    assert_eq!(cli["features"], serde_json::json!({}), "and none can be switched on");
    let repository = packages.iter().find(|package| package["name"] == "repository").unwrap();
    for feature in ["fault", "mutants"] {
        assert!(repository["features"][feature].is_array(), "{feature}: the feature has this name");
    }
    assert!(repository["features"]["default"].is_null(), "and nothing is on by itself");
}
