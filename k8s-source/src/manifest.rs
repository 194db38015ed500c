//! Manifests from files: YAML or JSON text in, catalogue paths and canonical JSON out.
//!
//! The text is read as `kubectl` reads it (YAML 1.1 scalars, `---` and `...`, lists flattened), with these
//! differences, all in favour of saying so: a key that occurs twice is an error, so is an object that occurs twice,
//! documents after `...` are read, and what `kubectl` would ignore after the end of a value is an error.
//! JSON numbers are kept as they are written; YAML numbers are normalised as `kubectl` does.
//!
//! No cluster is asked: the namespace is what the file says. A namespaced object without `metadata.namespace`
//! therefore has an empty namespace, as a cluster-scoped one has.

mod canonical;
mod error;
mod file_name;
mod files;
mod json;
mod object;
mod scalar;
mod value;
mod yaml;

#[cfg(test)]
mod tests;

use std::fmt;

pub use error::ManifestError;
pub use file_name::file_name;
pub use files::{read_path, read_path_into};
pub use object::PART_LEN_MAX;

/// What a manifest file may cost. Each is checked before the memory it bounds is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one file.
    pub file_bytes: u64,
    /// Bytes of one object's canonical JSON. etcd refuses objects above 1.5 MiB by default.
    pub object_bytes: u64,
    /// What the aliases of one YAML document may add, in bytes of text plus 16 per value: bounds "billion laughs".
    pub alias_bytes: u64,
    /// Values of one YAML or JSON document, aliases not expanded: bounds the memory, some 100 bytes each.
    pub values: u64,
    /// Lists and mappings inside each other; more than 200 counts as 200.
    pub depth: usize,
    /// Manifest files in a folder, its subfolders included.
    pub files: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            file_bytes: 64 << 20,
            object_bytes: 4 << 20,
            alias_bytes: 4 << 20,
            values: 1 << 21,
            depth: 128,
            files: 1 << 20,
        }
    }
}

/// One Kubernetes object of a file, ready for the catalogue.
///
/// `Debug` leaves the JSON out: it may be a Secret. `J` is the JSON, or whatever says where it is.
#[derive(Clone, PartialEq, Eq)]
pub struct Manifest<J = Vec<u8>> {
    /// `group/kind/namespace/name`; the core group and a missing namespace are empty. The version is left out, so
    /// an object has one path whichever version it was written in.
    pub path: String,
    /// Canonical JSON: the object less `metadata.managedFields`, keys sorted by bytes, no white space, minimal escapes.
    pub json: J,
    /// `file:line` where the object starts; the line counts from 1.
    pub source: String,
}

impl<J> fmt::Debug for Manifest<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manifest")
            .field("path", &self.path)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

/// Reads the objects of one file's bytes, in the order of the file, under the default limits.
///
/// `name` is what errors and `source` call the file. Text that starts with `{` or `[` is JSON, unless it is YAML in
/// flow style and `name` does not end in `.json`; all else is YAML. Empty documents are skipped, lists are flattened.
///
/// # Errors
/// The first line that is not valid, a document that is no Kubernetes object (no `kind`, `apiVersion` or
/// `metadata.name`), a key that occurs twice, or a limit: each with file and line, none with a value of the file.
pub fn parse(name: &str, text: &[u8]) -> Result<Vec<Manifest>, ManifestError> {
    parse_within(name, text, &Limits::default())
}

/// [`parse`] under given limits.
///
/// # Errors
/// As [`parse`].
pub fn parse_within(name: &str, text: &[u8], limits: &Limits) -> Result<Vec<Manifest>, ManifestError> {
    let file = error::File::new(name);
    let mut manifests = Vec::new();
    documents(&file, text, limits, &mut manifests, &mut |document, manifests| {
        object::collect(&file, document, limits, manifests)
    })?;
    Ok(manifests)
}

/// Reads the one document of a file, which needs no name, as canonical JSON: for settings that are written like manifests.
///
/// # Errors
/// As [`parse`], but for names; none or more than one document, or one that is no mapping.
pub fn parse_document(name: &str, text: &[u8]) -> Result<Vec<u8>, ManifestError> {
    let (file, limits) = (error::File::new(name), Limits::default());
    let mut found = Vec::new();
    documents(&file, text, &limits, &mut found, &mut |document, found| {
        let Some(map) = document.as_map() else {
            return Err(file.invalid(document.line, document.describe(), "a mapping"));
        };
        if !found.is_empty() {
            return Err(file.invalid(document.line, "another document", "one document"));
        }
        let json = canonical::encode(map, limits.object_bytes);
        found.push(json.map_err(|len| {
            file.limit(document.line, "bytes of an object as JSON", len, limits.object_bytes)
        })?);
        Ok(())
    })?;
    found.pop().ok_or_else(|| file.invalid(1, "no document", "one document"))
}

/// Makes something of a document and adds it.
type Take<'a, T> = dyn FnMut(&value::Shared, &mut Vec<T>) -> Result<(), ManifestError> + 'a;

/// Hands each document of the text to `take`.
fn documents<T>(
    file: &error::File<'_>,
    text: &[u8],
    limits: &Limits,
    out: &mut Vec<T>,
    take: &mut Take<'_, T>,
) -> Result<(), ManifestError> {
    let found = text.len() as u64;
    if found > limits.file_bytes {
        return Err(file.limit(1, "bytes of a file", found, limits.file_bytes));
    }
    let text = std::str::from_utf8(text).map_err(|e| {
        let valid = text.get(..e.valid_up_to()).unwrap_or_default();
        file.syntax(error::line_of(valid), "UTF-8", "a byte that is not".to_owned())
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if !text.trim_start().starts_with(['{', '[']) {
        return yaml::documents(file, text, limits, &mut |document| take(document, out));
    }
    match json::documents(file, text, limits, &mut |document| take(document, out)) {
        // YAML's flow style begins as JSON does: what is not JSON may be that, unless the file is called JSON. If it is
        // neither, the JSON error is the one to show, since a file that starts with a brace is mostly meant as JSON.
        Err(json @ ManifestError::Syntax { .. }) if !file.is_json() => {
            out.clear();
            match yaml::documents(file, text, limits, &mut |document| take(document, out)) {
                Err(ManifestError::Syntax { .. } | ManifestError::Invalid { .. }) => Err(json),
                other => other,
            }
        }
        other => other,
    }
}

/// Sorts the manifests of all files by the bytes of their paths, the order of the catalogue.
///
/// # Errors
/// [`ManifestError::Duplicate`] if two have one path, be it in different versions: both places are named.
pub fn merge<J>(mut manifests: Vec<Manifest<J>>) -> Result<Vec<Manifest<J>>, ManifestError> {
    manifests.sort_by(|a, b| a.path.cmp(&b.path));
    let twice = manifests.windows(2).find_map(|pair| match pair {
        [first, second] if first.path == second.path => Some((first, second)),
        _ => None,
    });
    match twice {
        Some((first, second)) => Err(ManifestError::Duplicate {
            path: first.path.clone(),
            first: first.source.clone(),
            second: second.source.clone(),
        }),
        None => Ok(manifests),
    }
}
