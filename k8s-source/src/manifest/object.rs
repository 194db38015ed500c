//! From a document to Kubernetes objects: lists are flattened, names are checked, the catalogue path is made.

use super::canonical;
use super::error::File;
use super::value::{Entries, Kind, Map, Shared, Value};
use super::{Limits, Manifest, ManifestError};

/// Bytes of a group, kind, namespace or name at most: Kubernetes' limit for a DNS subdomain.
pub const PART_LEN_MAX: usize = 253;

// Four parts and three slashes fit the catalogue's limit for a path.
const _: () = assert!(4 * PART_LEN_MAX + 3 <= 1024);

/// Appends the objects of `document`, which is one or a list of them.
pub(super) fn collect(
    file: &File<'_>,
    document: &Shared,
    limits: &Limits,
    out: &mut Vec<Manifest>,
) -> Result<(), ManifestError> {
    let line = document.line;
    let Some(object) = document.as_map() else {
        return Err(file.invalid(line, document.describe(), "a mapping with apiVersion, kind and metadata"));
    };
    let kind = text(file, line, object, "kind")?;
    let api_version = text(file, line, object, "apiVersion")?;
    let metadata = object.get("metadata").filter(|value| !matches!(value.kind, Kind::Null));
    if let Some(items) = list_items(file, line, object, kind, metadata)? {
        let implied = kind.strip_suffix("List").filter(|kind| !kind.is_empty());
        for item in items {
            match item.as_map().zip(implied) {
                Some((map, kind)) if !map.contains_key("kind") && !map.contains_key("apiVersion") => {
                    collect(file, &typed(item.line, map, api_version, kind), limits, out)?;
                }
                _ => collect(file, item, limits, out)?,
            }
        }
        return Ok(());
    }
    let path = path(file, line, kind, api_version, metadata)?;
    let json = canonical::encode(&without_managed_fields(object), limits.object_bytes)
        .map_err(|found| file.limit(line, "bytes of an object as JSON", found, limits.object_bytes))?;
    out.push(Manifest { path, json, source: file.at(line) });
    Ok(())
}

/// The items of `kind: List` or of a typed list such as `ConfigMapList`. An object with a name is no list, whatever
/// its kind is called.
fn list_items<'a>(
    file: &File<'_>,
    line: usize,
    object: &'a Map,
    kind: &str,
    metadata: Option<&Shared>,
) -> Result<Option<&'a [Shared]>, ManifestError> {
    let named =
        metadata.and_then(|value| value.as_map()).is_some_and(|metadata| metadata.contains_key("name"));
    if !kind.ends_with("List") || named {
        return Ok(None);
    }
    match object.get("items").map(|items| (&items.kind, items)) {
        Some((Kind::List(items), _)) => Ok(Some(items)),
        Some((Kind::Null, _)) => Ok(Some(&[])),
        Some((_, items)) => {
            Err(file.invalid(items.line, format!("items that is {}", items.describe()), "a list"))
        }
        None if kind == "List" => {
            Err(file.invalid(line, "a List without items", "a list of objects in items"))
        }
        None => Ok(None),
    }
}

/// The items of a typed list may leave kind and version to the list.
fn typed(line: usize, item: &Map, api_version: &str, kind: &str) -> Shared {
    let mut item = item.to_entries();
    for (key, text) in [("apiVersion", api_version), ("kind", kind)] {
        item.insert(key.to_owned(), Value::new(line, Kind::Text(text.to_owned())));
    }
    Value::new(line, Kind::Map(Map::new(item)))
}

fn without_managed_fields(object: &Map) -> Map {
    let mut object = object.to_entries();
    if let Some(value) = object.get("metadata")
        && let Some(metadata) = value.as_map()
    {
        let (line, mut metadata) = (value.line, metadata.to_entries());
        metadata.remove("managedFields");
        object.insert("metadata".to_owned(), Value::new(line, Kind::Map(Map::new(metadata))));
    }
    Map::new(object)
}

/// A field of the object itself that has to be text.
fn text<'a>(
    file: &File<'_>,
    line: usize,
    object: &'a Map,
    key: &'static str,
) -> Result<&'a str, ManifestError> {
    match object.get(key).map(|value| (&value.kind, value)) {
        Some((Kind::Text(text), _)) if !text.is_empty() => Ok(text),
        Some((Kind::Text(_), value)) => Err(file.invalid(value.line, format!("an empty {key}"), "some text")),
        None | Some((Kind::Null, _)) => Err(file.invalid(
            line,
            format!("no {key}"),
            "a Kubernetes object with apiVersion, kind and metadata.name",
        )),
        Some((_, value)) => {
            Err(file.invalid(value.line, format!("{key} that is {}", value.describe()), "text"))
        }
    }
}

fn path(
    file: &File<'_>,
    line: usize,
    kind: &str,
    api_version: &str,
    metadata: Option<&Shared>,
) -> Result<String, ManifestError> {
    let group = match api_version.split_once('/') {
        Some((group, version)) if !group.is_empty() && !version.is_empty() && !version.contains('/') => group,
        None => "",
        _ => {
            return Err(file.invalid(
                line,
                format!("apiVersion {}", quoted(api_version)),
                "VERSION or GROUP/VERSION",
            ));
        }
    };
    let empty = Map::new(Entries::new());
    let metadata = match metadata {
        None => &empty,
        Some(value) => value.as_map().ok_or_else(|| {
            file.invalid(value.line, format!("metadata that is {}", value.describe()), "a mapping")
        })?,
    };
    let name = field(file, metadata, "name")?;
    if name.is_empty() {
        let found = if metadata.contains_key("generateName") {
            "metadata.generateName only"
        } else {
            "no metadata.name"
        };
        return Err(file.invalid(line, found, "metadata.name"));
    }
    let namespace = field(file, metadata, "namespace")?;
    for (what, part) in [("apiVersion", group), ("kind", kind), ("namespace", namespace), ("name", name)] {
        if let Some((found, expected)) = wrong_part(part) {
            return Err(file.invalid(line, format!("{found} in {what}"), expected));
        }
    }
    Ok(format!("{group}/{kind}/{namespace}/{name}"))
}

/// A field of metadata that is text or not there.
fn field<'a>(file: &File<'_>, metadata: &'a Map, key: &'static str) -> Result<&'a str, ManifestError> {
    match metadata.get(key).map(|value| (&value.kind, value)) {
        Some((Kind::Text(text), _)) => Ok(text),
        None | Some((Kind::Null, _)) => Ok(""),
        Some((_, value)) => {
            let found = format!("metadata.{key} that is {}", value.describe());
            Err(file.invalid(value.line, found, "text (quotes make it that)"))
        }
    }
}

/// What is wrong with a part of a path: found and expected. As permissive as Kubernetes' widest rule (RBAC names may
/// hold `:` and capitals), but for white space.
pub(super) fn wrong_part(part: &str) -> Option<(String, &'static str)> {
    if part.len() > PART_LEN_MAX {
        return Some((format!("{} bytes", part.len()), "at most 253 bytes"));
    }
    if part == "." || part == ".." {
        return Some((quoted(part), "a name that is not a folder's"));
    }
    let bad = part.chars().find(|c| c.is_control() || c.is_whitespace() || matches!(c, '/' | '%'))?;
    Some((
        format!("character {}", quoted(bad.encode_utf8(&mut [0; 4]))),
        "no `/`, `%`, control character or white space",
    ))
}

/// Escaped and shortened, for an error.
pub(super) fn quoted(text: &str) -> String {
    format!("{:?}", text.chars().take(64).collect::<String>())
}
