use std::fs;

use proptest::prelude::*;

use super::{Limits, Manifest, ManifestError, merge, parse, parse_within, read_path};

/// An object whose text starts on line 1.
fn object(kind: &str, name: &str) -> String {
    format!("apiVersion: v1\nkind: {kind}\nmetadata: {{name: {name}}}\n")
}

fn paths(manifests: &[Manifest]) -> Vec<&str> {
    manifests.iter().map(|manifest| manifest.path.as_str()).collect()
}

fn json(text: &str) -> String {
    let [manifest] = parse("f", text.as_bytes()).unwrap().try_into().unwrap();
    String::from_utf8(manifest.json).unwrap()
}

fn error(text: impl AsRef<[u8]>) -> String {
    parse("shop.yaml", text.as_ref()).unwrap_err().to_string()
}

#[test]
fn paths_have_group_kind_namespace_and_name() {
    let cases = [
        ("v1", "ConfigMap", "name: settings, namespace: shop", "/ConfigMap/shop/settings"),
        ("apps/v1", "Deployment", "name: web, namespace: shop", "apps/Deployment/shop/web"),
        ("v1", "Namespace", "name: shop", "/Namespace//shop"),
        ("v1", "ConfigMap", "name: a, namespace: null", "/ConfigMap//a"),
        (
            "rbac.authorization.k8s.io/v1",
            "ClusterRole",
            "name: 'system:Node'",
            "rbac.authorization.k8s.io/ClusterRole//system:Node",
        ),
    ];
    for (api_version, kind, metadata, path) in cases {
        let text = format!("apiVersion: {api_version}\nkind: {kind}\nmetadata: {{{metadata}}}\n");
        assert_eq!(paths(&parse("f", text.as_bytes()).unwrap()), [path]);
    }
}

#[test]
fn canonical_json_is_sorted_minimal_and_without_managed_fields() {
    let text = r#"{"kind": "A", "metadata": {"managedFields": [{"x": 1}], "name": "a"}, "apiVersion": "v1",
        "z": {"managedFields": 1}, "a\u0000b": "\u001f\b\f\n\r\t\"\\\/\u007f\u2028\ud83d\ude00é<", "": [ ],
        "B": [1.0, 1E+2, -0, 100000000000000000000000001, 0.10], "b": { } }"#;
    let expected =
        r#"{"":[],"B":[1.0,1E+2,-0,100000000000000000000000001,0.10],"a\u0000b":"\u001f\b\f\n\r\t\"\\/"#
            .to_owned()
            + "\u{7f}\u{2028}😀é<"
            + r#"","apiVersion":"v1","b":{},"kind":"A","metadata":{"name":"a"},"z":{"managedFields":1}}"#;
    assert_eq!(json(text), expected);
}

#[test]
fn sources_name_the_line_where_the_object_starts() {
    let text = "# first\n---\napiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: A\n  metadata: {name: a}\n\
                - kind: B\n  apiVersion: v1\n  metadata: {name: b}\n---\n\n# c\nkind: C\napiVersion: v1\nmetadata: {name: c}\n";
    let found: Vec<_> = parse("dir/f.yaml", text.as_bytes()).unwrap().into_iter().map(|m| m.source).collect();
    assert_eq!(found, ["dir/f.yaml:6", "dir/f.yaml:9", "dir/f.yaml:15"]);
    let text = "{\"kind\": \"List\", \"apiVersion\": \"v1\",\n\"items\": [\n{\"kind\": \"A\", \"apiVersion\": \"v1\",\n\"metadata\": {\"name\": \"a\"}}]}\n---\n{}";
    assert_eq!(
        error(text),
        "shop.yaml:6: found no kind, expected a Kubernetes object with apiVersion, kind and metadata.name"
    );
    let text = text.replace("---\n{}", "");
    assert_eq!(parse("f", text.as_bytes()).unwrap()[0].source, "f:3");
}

#[test]
fn lists_are_flattened_and_lend_their_type() {
    let text = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMapList, items: [{metadata: {name: a}}, {metadata: {name: b}}]}\n\
                - {apiVersion: apps/v1, kind: Deployment, metadata: {name: c}}\n\
                ---\n{apiVersion: example.org/v1, kind: AllowList, metadata: {name: d}, items: [1]}\n\
                ---\n{apiVersion: example.org/v1, kind: DenyList, metadata: {name: e}}\n\
                ---\n{apiVersion: v1, kind: List, metadata: {}, items: }\n";
    let found = parse("f", text.as_bytes()).unwrap();
    assert_eq!(
        paths(&found),
        [
            "/ConfigMap//a",
            "/ConfigMap//b",
            "apps/Deployment//c",
            "example.org/AllowList//d",
            "example.org/DenyList//e"
        ]
    );
    assert_eq!(found[0].json, br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}"#);
}

#[test]
fn documents_are_split_and_empty_ones_skipped() {
    for text in ["", "\n", "---", "---\n---\n...\n", "# only\n", "null\n", "\u{feff}", "~", "--- # c\n--- \n"]
    {
        assert_eq!(parse("f", text.as_bytes()).unwrap(), [], "{text:?}");
    }
    let (a, b) = (object("A", "a"), object("B", "b"));
    for separator in
        ["---\n", "...\n", "...\n---\n", "--- # b\n", "---\n---\n", "---\r\n", "...\n# c\n---   \n"]
    {
        let found = parse("f", format!("{a}{separator}{b}").as_bytes()).unwrap();
        assert_eq!(paths(&found), ["/A//a", "/B//b"], "{separator:?}");
    }
    let flow = r#"{"apiVersion": "v1", "kind": "A", "metadata": {"name": "a"}, "n": 1.0}"#;
    for text in
        [format!("{flow}{flow}"), format!("{flow}\n---\n{flow}\n---"), format!(" {flow}\r\n--- \r\n{flow}")]
    {
        let found = parse("f", text.as_bytes()).unwrap();
        assert_eq!(paths(&found), ["/A//a", "/A//a"], "{text:?}");
        assert!(String::from_utf8_lossy(&found[1].json).contains("1.0"), "JSON numbers stay as they are");
    }
    assert_eq!(
        json("{apiVersion: v1, kind: A, metadata: {name: a}, x: 1.0}"),
        r#"{"apiVersion":"v1","kind":"A","metadata":{"name":"a"},"x":1}"#
    );
}

#[test]
fn errors_name_file_line_found_and_expected() {
    let cases: [(&str, &str); 34] = [
        (
            "a: 1\n",
            "shop.yaml:1: found no kind, expected a Kubernetes object with apiVersion, kind and metadata.name",
        ),
        ("---\n\nkind: A\n", "shop.yaml:3: found no apiVersion, expected a Kubernetes object"),
        ("apiVersion: v1\nkind: A\n", "shop.yaml:1: found no metadata.name, expected metadata.name"),
        ("apiVersion: v1\nkind: A\nmetadata: {generateName: a-}\n", "found metadata.generateName only"),
        (
            "apiVersion: v1\nkind: A\nmetadata:\n  name: 5\n",
            "shop.yaml:4: found metadata.name that is a number",
        ),
        (
            "apiVersion: v1\nkind: A\nmetadata:\n  name: n\n",
            "shop.yaml:4: found metadata.name that is a boolean",
        ),
        ("apiVersion: v1\nkind: A\nmetadata:\n- a\n", "shop.yaml:4: found metadata that is a list"),
        ("apiVersion: v1\nkind: [A]\n", "shop.yaml:2: found kind that is a list"),
        ("apiVersion: v1\nkind: ''\n", "found an empty kind"),
        ("apiVersion: 1.0\nkind: A\n", "found apiVersion that is a number"),
        ("- a\n", "shop.yaml:1: found a list, expected a mapping with apiVersion, kind and metadata"),
        ("hello\n", "shop.yaml:1: found text, expected a mapping"),
        ("[1]", "shop.yaml:1: found a list, expected a mapping"),
        ("{{ .Values.all }}\n", "shop.yaml:1: not valid JSON: a key in double quotes is missing"),
        ("a: {{ .Values.x }}\n", "shop.yaml:1: "),
        ("a: 1\nb: 2\na: 3\n", "shop.yaml:3: found key \"a\" for the second time, expected each key once"),
        ("yes: 1\ntrue: 3\n", "shop.yaml:2: found key \"true\" for the second time"),
        ("1: 1\n\"1\": 3\n", "shop.yaml:2: found key \"1\" for the second time"),
        ("<<: {a: 1}\na: 2\na: 3\n", "shop.yaml:3: found key \"a\" for the second time"),
        ("{\"a\": 1,\n\"a\": 2}", "shop.yaml:2: found key \"a\" for the second time"),
        ("a:\n\tb: c\n", "shop.yaml:2: not valid YAML: "),
        ("a: [1\nb: 2\n", "not valid YAML: "),
        ("a: *nowhere\n", "shop.yaml:1: not valid YAML: "),
        ("a: &a [*a]\n", "shop.yaml:1: found an alias inside the value that it names"),
        ("a: .inf\n", "shop.yaml:1: found infinity or NaN, expected a number that JSON can hold"),
        ("a: !!int x\n", "shop.yaml:1: found a value that is no !!int"),
        ("a: !!binary '*'\n", "shop.yaml:1: found a value that is no !!binary"),
        ("? [a]\n: b\n", "shop.yaml:1: found a list as a key"),
        ("~: b\n", "shop.yaml:1: found null as a key"),
        ("a: 1\n<<: 5\n", "shop.yaml:2: found a merge of something else"),
        ("a: \"\\ud83d\"\n", "shop.yaml:1: not valid YAML: "),
        ("{\"a\":\n\"\\ud83d\"}", "shop.yaml:2: not valid JSON: half of a surrogate pair"),
        ("a: 1\nb: \u{1}\n", "shop.yaml:2: not valid YAML: control character U+0001"),
        ("a: 1\0\nb: 2\n", "shop.yaml:1: not valid YAML: control character U+0000"),
    ];
    for (text, expected) in cases {
        let found = error(text);
        assert!(found.contains(expected), "{text:?}: {found}");
        assert!(found.starts_with("shop.yaml:") && !found.contains('\n'), "{found}");
    }
    assert_eq!(error(b"a: 1\nb: \xff\n"), "shop.yaml:2: not valid UTF-8: a byte that is not");
    assert_eq!(error(b"\xff\xfea\0"), "shop.yaml:1: not valid UTF-8: a byte that is not");
}

#[test]
fn json_errors_name_what_is_wrong() {
    let error = |text: &str| parse("f.json", text.as_bytes()).unwrap_err().to_string();
    for number in ["01", "1.", ".5", "+1", "1e", "--1", "0x1", "NaN", "1.e1", "-"] {
        let found = error(&format!("{{\"a\": \"\\/\",\n\"b\": {number}}}\n]"));
        assert!(found.starts_with("f.json:2: not valid JSON: "), "{number}: {found}");
    }
    let open = ["{", "{\"a\"", "{\"a\":", "{\"a\":1", "{\"a\":1,", "[", "[1,", "{\"a", "{\"\\", "{\"\\u00"];
    let wrong =
        ["{\"a\nb\":1}", "{\"\\x\":1}", "{\"a\":1,}", "[tru]", "[1,]", "[1 2]", "{a: 1}", "{\"\\ude00\":1}"];
    for text in open.into_iter().chain(wrong) {
        let found = error(text);
        assert!(found.starts_with("f.json:1: not valid JSON: "), "{text:?}: {found}");
    }
}

#[test]
fn parts_that_no_object_has_are_refused() {
    let long = "x".repeat(254);
    for name in ["a/b", "a%b", "'a b'", "..", ".", "\"a\\nb\"", "\"a\\u0085\"", long.as_str()] {
        let found = error(object("A", name));
        assert!(
            found.starts_with("shop.yaml:1: ") && found.contains("in name")
                || found.contains("\"..\"")
                || found.contains("\".\""),
            "{found}"
        );
    }
    assert!(error(object("A/B", "a")).contains("in kind"));
    for api_version in ["a/b/c", "/v1", "apps/", "/"] {
        assert!(
            error(format!("apiVersion: {api_version}\nkind: A\nmetadata: {{name: a}}\n"))
                .contains("found apiVersion")
        );
    }
    assert!(error("apiVersion: a b/v1\nkind: A\nmetadata: {name: a}\n").contains("in apiVersion"));
    let longest = "x".repeat(253);
    assert_eq!(parse("f", object("A", &longest).as_bytes()).unwrap().len(), 1);
}

#[test]
fn no_error_and_no_debug_output_shows_a_value() {
    let secret = "hunter2hunter2";
    let texts = [
        format!("{secret}\n"),
        format!("a: !!int {secret}\n"),
        format!("a: '{secret}\n"),
        format!("a: {secret}: x\n"),
        format!("- {secret}\n {secret}: [\n"),
        format!("{{\"a\": \"{secret}\\x\"}}"),
        format!("{{\"a\": {secret}}} x"),
        format!("kind: A\napiVersion: v1\nmetadata: {{name: {{a: {secret}}}}}\n"),
        format!("<<: {secret}\n"),
    ];
    for text in texts {
        assert!(!error(&text).contains(secret), "{}", error(&text));
    }
    let manifest = &parse("f", format!("{}data: {secret}\n", object("Secret", "s")).as_bytes()).unwrap()[0];
    assert!(!format!("{manifest:?}").contains(secret));
}

#[test]
fn limits_hold_and_are_named() {
    let limits =
        Limits { file_bytes: 4096, object_bytes: 200, alias_bytes: 1000, values: 100, depth: 8, files: 2 };
    let found = |text: String| parse_within("f", text.as_bytes(), &limits).map_err(|e| e.to_string());
    assert_eq!(found(" ".repeat(4097)), Err("f:1: bytes of a file: found 4097, at most 4096 allowed".into()));
    assert_eq!(found(" ".repeat(4096)), Ok(vec![]));
    let base = object("A", "a");
    let fixed = r#"{"apiVersion":"v1","d":"","kind":"A","metadata":{"name":"a"}}"#.len();
    let filled = |len: usize| format!("{base}d: {}\n", "x".repeat(len));
    assert_eq!(found(filled(200 - fixed)).unwrap()[0].json.len(), 200);
    assert_eq!(
        found(filled(201 - fixed)),
        Err("f:1: bytes of an object as JSON: found 201, at most 200 allowed".into())
    );
    let nested = |levels: usize| format!("{base}d: {}{}\n", "[".repeat(levels), "]".repeat(levels));
    assert!(found(nested(7)).is_ok());
    assert!(found(nested(8)).unwrap_err().contains("inside each other: found 9, at most 8 allowed"));
    let nested = |levels: usize| format!("{{\"d\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
    assert!(found(nested(7)).unwrap_err().contains("found no kind"));
    assert!(found(nested(8)).unwrap_err().contains("inside each other: found 9, at most 8 allowed"));
    for text in [format!("[{}1]", "1,".repeat(99)), format!("- 1{}\n", "\n- 1".repeat(99))] {
        assert!(found(text).unwrap_err().contains("values of a document: found 101, at most 100 allowed"));
    }
    let documents = [base.as_str(); 50].join("---\n");
    assert_eq!(found(documents).unwrap().len(), 50);
    // Aliases count for the depth of what they name.
    assert!(found(format!("{base}a: &a [[[[1]]]]\nb: [[[*a]]]\n")).is_ok());
    assert!(
        found(format!("{base}a: &a [[[[1]]]]\nb: [[[[*a]]]]\n")).unwrap_err().contains("inside each other")
    );
}

#[test]
fn deep_text_is_refused_without_deep_recursion() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("- ", ""), ("{a: ", "}"), ("? ", "")] {
        let text = format!("{}1{}", open.repeat(20_000), close.repeat(20_000));
        let found = error(text);
        assert!(
            ["inside each other", "not valid", "as a key"].iter().any(|part| found.contains(part)),
            "{found}"
        );
    }
}

#[test]
fn alias_bombs_are_refused() {
    let mut laughs = object("A", "a") + "a0: &a0 [x, x, x, x, x, x, x, x, x]\n";
    let mut merges = object("A", "a") + "a0: &a0 {x: 1}\n";
    for i in 1..30 {
        let alias = format!("*a{}", i - 1);
        laughs += &format!("a{i}: &a{i} [{}]\n", [alias.as_str(); 9].join(","));
        merges += &format!(
            "a{i}: &a{i} {{<<: [{}], l{i}: {alias}, m{i}: {alias}}}\n",
            [alias.as_str(); 9].join(",")
        );
    }
    let expected = "bytes that aliases add to a document: found ";
    assert!(error(laughs).contains(expected));
    assert!(error(merges).contains(expected));
    // Each document has its own allowance.
    let some = object("A", "a") + "a: &a " + &"x".repeat(100_000) + "\nb: [" + &["*a"; 20].join(",") + "]\n";
    assert_eq!(parse("f", [some.as_str(); 3].join("---\n").as_bytes()).unwrap().len(), 3);
}

#[test]
fn merge_sorts_by_bytes_and_refuses_the_same_object_twice() {
    let text = |names: &[&str]| names.iter().map(|n| object("A", n)).collect::<Vec<_>>().join("---\n");
    let found = merge(parse("f", text(&["b", "a-b", "ab", "a", "a.b", "B"]).as_bytes()).unwrap()).unwrap();
    assert_eq!(paths(&found), ["/A//B", "/A//a", "/A//a-b", "/A//a.b", "/A//ab", "/A//b"]);
    let mut twice = parse("one", b"apiVersion: apps/v1\nkind: A\nmetadata: {name: a}\n").unwrap();
    twice.extend(parse("two", b"\napiVersion: apps/v1beta1\nkind: A\nmetadata: {name: a}\n").unwrap());
    assert_eq!(merge(twice).unwrap_err().to_string(), "two:2: object apps/A//a was already given at one:1");
}

#[test]
fn a_folder_gives_its_manifests_sorted_by_file_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    put("b.yaml", &object("A", "b"));
    put("a/z.yml", &object("A", "z"));
    put("a/y.JSON", "{\"apiVersion\":\"v1\",\"kind\":\"A\",\"metadata\":{\"name\":\"y\"}}");
    put(".hidden.yaml", &object("A", "hidden"));
    put("README.md", "# not a manifest: [");
    put("values.txt", "a: 1");
    put("yaml", "[");
    put("..2026/a.yaml", &object("A", "version"));
    let limits = Limits::default();
    let found = read_path(dir.path(), &limits).unwrap();
    assert_eq!(paths(&found), ["/A//hidden", "/A//y", "/A//z", "/A//b"]);
    assert_eq!(found[3].source, format!("{}:1", dir.path().join("b.yaml").display()));
    put("named", &object("A", "named"));
    assert_eq!(paths(&read_path(&dir.path().join("named"), &limits).unwrap()), ["/A//named"]);
    let few = read_path(dir.path(), &Limits { files: 3, ..Limits::default() }).unwrap_err().to_string();
    assert!(few.ends_with("manifest files in a folder: found 4, at most 3 allowed"), "{few}");
    let small =
        read_path(dir.path(), &Limits { file_bytes: 20, ..Limits::default() }).unwrap_err().to_string();
    assert!(small.contains(".hidden.yaml:1: bytes of a file: found 21, at most 20 allowed"), "{small}");
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_loops_end() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    let (folder, other) = (dir.path().join("folder"), dir.path().join("other"));
    fs::create_dir_all(folder.join("sub")).unwrap();
    fs::create_dir(&other).unwrap();
    fs::write(folder.join("sub/a.yaml"), object("A", "a")).unwrap();
    fs::write(other.join("b.yaml"), object("A", "b")).unwrap();
    fs::write(other.join("c"), object("A", "c")).unwrap();
    symlink(&folder, folder.join("sub/loop")).unwrap();
    symlink("again", folder.join("again")).unwrap();
    symlink(&other, folder.join("linked")).unwrap();
    symlink(&other, folder.join("linked-twice")).unwrap();
    symlink(other.join("c"), folder.join("c.yaml")).unwrap();
    let found = read_path(&folder, &Limits::default()).unwrap();
    assert_eq!(paths(&found), ["/A//c", "/A//b", "/A//a"]);
    symlink("nowhere", folder.join("gone.yaml")).unwrap();
    let gone = read_path(&folder, &Limits::default()).unwrap_err();
    assert!(matches!(&gone, ManifestError::Read { path, .. } if path.ends_with("gone.yaml")), "{gone}");
}

#[test]
fn what_cannot_be_read_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let missing = read_path(&dir.path().join("missing"), &Limits::default()).unwrap_err().to_string();
    assert!(missing.contains("missing: cannot be read: "), "{missing}");
    fs::write(dir.path().join("bad\nname.yaml"), "a: 1\n").unwrap();
    let bad = read_path(dir.path(), &Limits::default()).unwrap_err().to_string();
    assert!(bad.contains("bad\\nname.yaml:1: found no kind"), "{bad}");
}

/// JSON values of all kinds, as text.
fn any_json() -> impl Strategy<Value = String> {
    let quoted = any::<String>().prop_map(|text| {
        let escape = |c: char| match c {
            '\0'..='\u{1f}' | '"' | '\\' | 'a'..='c' | '\u{1_0000}'.. => {
                c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04X}")).collect()
            }
            other => other.to_string(),
        };
        format!("\"{}\"", text.chars().map(escape).collect::<String>())
    });
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        any::<i64>().prop_map(|value| value.to_string()),
        "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,9})?([eE][-+]?[0-9]{1,3})?",
        quoted.clone(),
    ];
    leaf.prop_recursive(6, 40, 6, move |inner| {
        let entries = prop::collection::btree_map(quoted.clone(), inner.clone(), 0..6);
        prop_oneof![
            prop::collection::vec(inner, 0..6).prop_map(|items| format!("[ {} ]", items.join(" ,\n"))),
            entries.prop_map(|map| {
                let entries: Vec<_> =
                    map.iter().rev().map(|(key, value)| format!("{key}:\t{value}")).collect();
                format!("{{{}}}", entries.join(", "))
            }),
        ]
    })
}

/// Text that looks enough like YAML and JSON to get deep into the readers.
fn yaml_like() -> impl Strategy<Value = String> {
    let token = prop::sample::select(vec![
        "a",
        "kind: A",
        "apiVersion: v1",
        "metadata:",
        " name: a",
        "- ",
        ": ",
        "? ",
        "\n",
        "\n  ",
        "\n    ",
        "---\n",
        "...\n",
        "[",
        "]",
        "{",
        "}",
        ",",
        "\"",
        "'",
        "|\n",
        ">-\n",
        "|2+\n",
        "#",
        "&a ",
        "*a",
        "<<: ",
        "!!int ",
        "!",
        "%YAML 1.2\n",
        "%TAG ! x\n",
        "\t",
        "\r\n",
        "\\u",
        "d83d",
        "1",
        "-",
        "~",
        "é",
        "\u{feff}",
        "\u{85}",
        "\u{2028}",
        "@",
        "`",
        "items:",
        "kind: List",
        "true",
        "0x",
    ]);
    prop::collection::vec(token, 0..60).prop_map(|tokens| tokens.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn canonical_json_is_stable(value in any_json()) {
        let text = format!("{{\"spec\": {value}, \"kind\": \"A\", \"apiVersion\": \"v1\", \"metadata\": {{\"name\": \"a\"}}}}");
        let once = json(&text);
        prop_assert_eq!(json(&once), once);
    }

    #[test]
    fn any_bytes_give_manifests_or_an_error(text in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse("f", &text);
    }

    #[test]
    fn yaml_like_text_gives_stable_manifests_or_an_error(text in yaml_like()) {
        for text in [text.clone(), format!("apiVersion: v1\nkind: A\nmetadata: {{name: a}}\nspec: {text}")] {
            for manifest in parse("f", text.as_bytes()).unwrap_or_default() {
                prop_assert_eq!(&parse("f", &manifest.json).unwrap()[0].json, &manifest.json);
            }
        }
    }
}
