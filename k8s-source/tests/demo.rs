//! The demo's manifests stay readable, each in its place.

use std::collections::BTreeSet;
use std::path::Path;

use k8s_source::manifest::{Limits, file_name, merge, read_path};

#[test]
fn the_demo_shop_is_read_whole() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dev/demo/manifests");
    let shop = merge(read_path(&folder, &Limits::default()).unwrap()).unwrap();
    assert_eq!(shop.len(), 28);
    let paths: BTreeSet<&str> = shop.iter().map(|manifest| manifest.path.as_str()).collect();
    for path in [
        "/Namespace//shop",
        "/PersistentVolumeClaim/shop/data",
        "apps/StatefulSet/shop/postgres",
        "apiextensions.k8s.io/CustomResourceDefinition//coupons.shop.example.org",
        "rbac.authorization.k8s.io/Role/shop/shop:settings",
        "shop.example.org/Coupon/shop/welcome",
    ] {
        assert!(paths.contains(path), "{path}");
    }
    let files: BTreeSet<_> = paths.iter().map(|path| file_name(path).unwrap()).collect();
    assert_eq!(files.len(), paths.len());
}
