//! What of a snapshot is lost, for people and programs.

use crate::format::LostVolume;
use crate::text;
use serde_json::{Value, json};

/// In the place of paths where nobody can say which manifests are lost.
pub(super) const ALL_MANIFESTS: &str = "*";

/// `{volumes: [{name, ranges: [[offset, len]]}], manifests: [path]}`.
pub(super) fn document(volumes: &[LostVolume], manifests: &[String]) -> Value {
    let volume = |lost: &LostVolume| json!({"name": lost.name, "ranges": lost.ranges});
    json!({"volumes": volumes.iter().map(volume).collect::<Vec<_>>(), "manifests": manifests})
}

/// A line for each range and each manifest.
pub(super) fn lines(volumes: &[LostVolume], manifests: &[String]) -> Vec<String> {
    let mut lines = Vec::new();
    for volume in volumes {
        for (offset, len) in &volume.ranges {
            lines.push(format!(
                "lost: volume {}: {len} bytes at offset {offset}",
                text::one_line(&volume.name)
            ));
        }
    }
    for path in manifests {
        lines.push(match path.as_str() {
            ALL_MANIFESTS => "lost: manifests, and which they were".to_owned(),
            path => format!("lost: manifest {}", text::one_line(path)),
        });
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_every_range() {
        let volumes = [LostVolume { name: "shop/da\nta".into(), ranges: vec![(4096, 10), (9000, 1)] }];
        let paths = ["/ConfigMap/shop/a".to_owned(), ALL_MANIFESTS.to_owned()];
        let lines = lines(&volumes, &paths);
        assert_eq!(lines.len(), 4);
        assert!(lines[0].ends_with(": 10 bytes at offset 4096") && !lines[0].contains('\n'));
        assert_eq!(lines[2], "lost: manifest /ConfigMap/shop/a");
        let found = document(&volumes, &paths).to_string();
        assert!(found.contains(r#""ranges":[[4096,10],[9000,1]]"#), "{found}");
    }
}
