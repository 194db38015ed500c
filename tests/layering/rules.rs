//! Who may know whom. What is not listed is forbidden.

use crate::graph::Graph;

/// Marks a crate that may depend on every other but those in `TOPS`.
const ANYTHING: &[&str] = &["*"];

/// Crates that nothing may depend on.
const TOPS: &[&str] = &["tests", "benches"];

/// The workspace crates that `name` may depend on, of any kind; `None` for a crate without a rule.
pub(crate) fn allowed(name: &str) -> Option<&'static [&'static str]> {
    Some(match name {
        "repo-format" | "chunker" | "policy" | "k8s-source" => &[],
        "repository" => &["repo-format", "chunker", "policy"],
        "mount" => &["repository"],
        // Moves no data and holds no repository key.
        "operator" => &["policy", "k8s-source"],
        "cli" => &["repository", "mount", "policy", "k8s-source"],
        "tests" | "benches" => ANYTHING,
        _ => return None,
    })
}

/// External crates that `name` may not reach by any chain of normal dependencies.
///
/// The pure crates stay free of runtimes, stores and threads; the engine stays free of the cluster and the command line;
/// what talks to the cluster stays free of stores.
pub(crate) fn out_of_reach(name: &str) -> &'static [&'static str] {
    match name {
        "repo-format" | "chunker" | "policy" => &["tokio", "object_store", "rayon", "kube", "clap"],
        "repository" => &["kube", "clap"],
        "k8s-source" => &["object_store", "rayon", "clap"],
        "mount" => &["kube", "clap"],
        "operator" => &["object_store"],
        _ => &[],
    }
}

/// Every edge of the graph that a rule forbids, one line each.
pub(crate) fn violations(graph: &Graph) -> Vec<String> {
    let mut found = Vec::new();
    for name in graph.members() {
        let Some(allowed) = allowed(name) else {
            found.push(format!("{name}: a crate without a rule"));
            continue;
        };
        for dep in graph.workspace_deps(name) {
            let permitted = allowed == ANYTHING || allowed.contains(&dep);
            if !permitted || TOPS.contains(&dep) {
                found.push(format!("{name} -> {dep}"));
            }
        }
        for external in out_of_reach(name) {
            if let Some(path) = graph.path(name, external) {
                found.push(path.join(" -> "));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// `edges` are (from, to, kind); the packages named in `members` make up the workspace.
    fn graph(members: &[&str], edges: &[(&str, &str, Option<&str>)]) -> Graph {
        let mut names: Vec<&str> = members.to_vec();
        for (from, to, _) in edges {
            names.extend([*from, *to]);
        }
        names.sort_unstable();
        names.dedup();
        let id = |name: &str| format!("registry#{name}@1.0.0");
        let nodes: Vec<Value> = names
            .iter()
            .map(|name| {
                let deps: Vec<Value> = edges
                    .iter()
                    .filter(|(from, _, _)| from == name)
                    .map(|(_, to, kind)| {
                        json!({"name": to, "pkg": id(to), "dep_kinds": [{"kind": kind, "target": null}]})
                    })
                    .collect();
                json!({"id": id(name), "deps": deps})
            })
            .collect();
        let packages: Vec<Value> = names.iter().map(|name| json!({"id": id(name), "name": name})).collect();
        let members: Vec<String> = members.iter().map(|name| id(name)).collect();
        let root = json!({
            "packages": packages,
            "workspace_members": members,
            "resolve": {"nodes": nodes},
        });
        Graph::parse(&root.to_string()).unwrap()
    }

    const MEMBERS: &[&str] =
        &["repo-format", "chunker", "repository", "k8s-source", "cli", "tests", "benches"];

    #[test]
    fn permitted_edges_pass() {
        let graph = graph(
            MEMBERS,
            &[
                ("repository", "repo-format", None),
                ("repository", "chunker", None),
                ("repository", "tokio", None),
                ("cli", "repository", None),
                ("cli", "k8s-source", None),
                ("cli", "clap", None),
                ("tests", "cli", None),
                ("benches", "repo-format", Some("dev")),
            ],
        );
        assert_eq!(violations(&graph), Vec::<String>::new());
    }

    #[test]
    fn each_forbidden_workspace_edge_is_found() {
        for (from, to, kind) in [
            ("repo-format", "chunker", None),
            ("chunker", "repo-format", Some("dev")),
            ("k8s-source", "repository", None),
            ("repository", "k8s-source", Some("build")),
            ("repository", "cli", None),
            ("cli", "repo-format", None),
            ("cli", "tests", Some("dev")),
            ("repository", "benches", None),
            ("benches", "tests", None),
        ] {
            let graph = graph(MEMBERS, &[(from, to, kind)]);
            assert_eq!(violations(&graph), [format!("{from} -> {to}")]);
        }
    }

    #[test]
    fn external_crates_are_found_through_others() {
        let graph = graph(
            MEMBERS,
            &[
                ("chunker", "blake3", None),
                ("blake3", "rayon", None),
                ("rayon", "rayon-core", None),
                ("repository", "wrapper", None),
                ("wrapper", "clap", None),
            ],
        );
        assert_eq!(violations(&graph), ["chunker -> blake3 -> rayon", "repository -> wrapper -> clap"]);
    }

    #[test]
    fn dev_and_build_edges_do_not_reach() {
        let graph = graph(
            MEMBERS,
            &[
                ("chunker", "criterion", Some("dev")),
                ("criterion", "rayon", None),
                ("chunker", "cc", Some("build")),
                ("cc", "tokio", None),
            ],
        );
        assert_eq!(violations(&graph), Vec::<String>::new());
    }

    #[test]
    fn every_external_rule_can_fail() {
        for from in ["repo-format", "chunker", "repository", "k8s-source"] {
            for to in out_of_reach(from) {
                let graph = graph(MEMBERS, &[(from, to, None)]);
                assert_eq!(violations(&graph), [format!("{from} -> {to}")]);
            }
        }
    }

    #[test]
    fn a_crate_without_a_rule_is_found() {
        let graph = graph(&["helpers"], &[]);
        assert_eq!(violations(&graph), ["helpers: a crate without a rule"]);
    }

    #[test]
    fn cycles_through_dev_dependencies_end() {
        let graph = graph(MEMBERS, &[("chunker", "a", None), ("a", "b", None), ("b", "a", None)]);
        assert_eq!(violations(&graph), Vec::<String>::new());
    }
}
