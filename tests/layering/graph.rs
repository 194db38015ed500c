//! The resolved dependency graph, read from `cargo metadata --format-version 1`.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Which tables of a manifest an edge comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kinds {
    /// `[dependencies]`: what ends up in a binary.
    Normal,
    /// All three tables.
    Any,
}

/// Packages with their resolved edges, keyed by cargo's package id.
pub(crate) struct Graph {
    names: BTreeMap<String, String>,
    members: BTreeSet<String>,
    /// From, to, and whether the edge is a normal one.
    edges: BTreeMap<String, Vec<(String, bool)>>,
}

impl Graph {
    /// Reads cargo's answer; fails with the name of the part that is not as documented.
    pub(crate) fn parse(json: &str) -> Result<Graph, String> {
        let root: Value = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let mut names = BTreeMap::new();
        for package in array(&root["packages"], "packages")? {
            names.insert(text(&package["id"], "package id")?, text(&package["name"], "package name")?);
        }
        let members = array(&root["workspace_members"], "workspace_members")?
            .iter()
            .map(|id| text(id, "member id"))
            .collect::<Result<_, _>>()?;
        let mut edges = BTreeMap::new();
        for node in array(&root["resolve"]["nodes"], "resolve.nodes")? {
            let mut to = Vec::new();
            for dep in array(&node["deps"], "deps")? {
                let normal = array(&dep["dep_kinds"], "dep_kinds")?.iter().any(|kind| kind["kind"].is_null());
                to.push((text(&dep["pkg"], "dep id")?, normal));
            }
            edges.insert(text(&node["id"], "node id")?, to);
        }
        Ok(Graph { names, members, edges })
    }

    /// Names of the workspace's own crates.
    pub(crate) fn members(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|id| self.name(id))
    }

    /// Workspace crates that `name` depends on directly.
    pub(crate) fn workspace_deps(&self, name: &str) -> Vec<&str> {
        let Some(id) = self.member(name) else {
            return Vec::new();
        };
        self.targets(id, Kinds::Any).filter(|to| self.members.contains(*to)).map(|to| self.name(to)).collect()
    }

    /// The shortest way from crate `from` to any package called `to` by normal edges, both ends included.
    pub(crate) fn path(&self, from: &str, to: &str) -> Option<Vec<&str>> {
        let start = self.member(from)?;
        let mut came_from: BTreeMap<&str, &str> = BTreeMap::new();
        let mut queue = VecDeque::from([start]);
        while let Some(at) = queue.pop_front() {
            if self.name(at) == to && at != start {
                let mut way = vec![self.name(at)];
                let mut step = at;
                while let Some(before) = came_from.get(step) {
                    way.push(self.name(before));
                    step = before;
                }
                way.reverse();
                return Some(way);
            }
            for next in self.targets(at, Kinds::Normal) {
                if next != start && !came_from.contains_key(next) {
                    came_from.insert(next, at);
                    queue.push_back(next);
                }
            }
        }
        None
    }

    fn targets(&self, id: &str, kinds: Kinds) -> impl Iterator<Item = &str> {
        self.edges
            .get(id)
            .into_iter()
            .flatten()
            .filter(move |(_, normal)| kinds == Kinds::Any || *normal)
            .map(|(to, _)| to.as_str())
    }

    fn member(&self, name: &str) -> Option<&str> {
        self.members.iter().find(|id| self.name(id) == name).map(String::as_str)
    }

    fn name<'a>(&'a self, id: &'a str) -> &'a str {
        self.names.get(id).map_or(id, String::as_str)
    }
}

fn array<'a>(value: &'a Value, what: &str) -> Result<&'a Vec<Value>, String> {
    value.as_array().ok_or(format!("{what} is not a list"))
}

fn text(value: &Value, what: &str) -> Result<String, String> {
    value.as_str().map(str::to_owned).ok_or(format!("{what} is not a string"))
}
