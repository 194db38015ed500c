//! Azure and Google Cloud Storage as an operator meets them: by other settings than the plain ones, and refused.

use crate::orlop::Lab;
use tests::clouds::{Cloud, CloudServer};

fn setting(server: &CloudServer, name: &str) -> String {
    server.settings().iter().find(|(there, _)| there == name).unwrap().1.clone()
}

#[test]
fn azure_is_reached_by_each_kind_of_setting() {
    let Ok(server) = CloudServer::start(Cloud::Azure) else { return };
    let mut lab = Lab::on_cloud(&server);
    lab.init();
    let data = tests::data::bytes(31, 500_000);
    lab.file("data.img", &data);
    lab.backup("--volume shop/data=data.img");
    let [endpoint, account, key] = ["ENDPOINT", "ACCOUNT_NAME", "ACCOUNT_KEY"]
        .map(|name| setting(&server, &format!("AZURE_STORAGE_{name}")));
    let names = ["AZURE_STORAGE_ENDPOINT", "AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT_KEY"];
    let base = endpoint.trim_end_matches(&account).trim_end_matches('/');
    let kinds = [
        vec![(
            "AZURE_STORAGE_CONNECTION_STRING",
            format!("AccountName={account};AccountKey={key};BlobEndpoint={endpoint};"),
        )],
        vec![
            ("AZURE_STORAGE_USE_EMULATOR", "true".to_owned()),
            ("AZURITE_BLOB_STORAGE_URL", base.to_owned()),
            ("AZURE_STORAGE_ACCOUNT", account.clone()),
            ("AZURE_STORAGE_KEY", key.clone()),
        ],
    ];
    for kind in kinds {
        for name in names {
            lab.set(name, "");
        }
        for (name, value) in &kind {
            lab.set(name, value);
        }
        lab.assert_restores("latest", "shop/data", &data);
        for (name, _) in &kind {
            lab.set(name, "");
        }
    }
    lab.run("snapshots").refused(1, &["azure://", "AZURE_STORAGE_ACCOUNT_NAME"]);
}

#[test]
fn azure_refuses_at_once_and_no_secret_is_said() {
    let Ok(server) = CloudServer::start(Cloud::Azure) else { return };
    let mut lab = Lab::on_cloud(&server);
    lab.init();
    lab.run("-r azure://no-such-container/x init").refused(1, &["no-such-container"]);
    // base64 of "not-the-secret"
    let wrong = "bm90LXRoZS1zZWNyZXQ=";
    lab.set("AZURE_STORAGE_ACCOUNT_KEY", wrong);
    let ran = lab.run("-v snapshots").refused(1, &["azure://", "403"]);
    assert!(!ran.err.contains(wrong), "{ran:?}");
    lab.set("AZURE_STORAGE_ACCOUNT_KEY", "");
    lab.set("AZURE_STORAGE_SAS_TOKEN", "sv=2021-12-02&sp=rl&se=2000-01-01&sig=c2VjcmV0");
    let ran = lab.run("-v snapshots").refused(1, &["azure://", "403"]);
    assert!(!ran.err.contains("c2VjcmV0"), "{ran:?}");
}

#[test]
fn gcs_is_reached_by_each_kind_of_setting() {
    let Ok(server) = CloudServer::start(Cloud::Gcs) else { return };
    let mut lab = Lab::on_cloud(&server);
    lab.init();
    let data = tests::data::bytes(32, 500_000);
    lab.file("data.img", &data);
    lab.backup("--volume shop/data=data.img");
    let file = server.dir().join("account.json");
    let text = std::fs::read_to_string(&file).unwrap();
    let base = setting(&server, "GOOGLE_BASE_URL");
    let kinds = [
        ("GOOGLE_APPLICATION_CREDENTIALS", file.to_str().unwrap()),
        ("GOOGLE_SERVICE_ACCOUNT_KEY", &text),
        // workload identity, or a machine's account
        ("GCE_METADATA_HOST", base.trim_start_matches("http://")),
    ];
    lab.set("GOOGLE_SERVICE_ACCOUNT", "");
    for (name, value) in kinds {
        lab.set(name, value);
        lab.assert_restores("latest", "shop/data", &data);
        lab.set(name, "");
    }
    lab.set("GOOGLE_SERVICE_ACCOUNT", "gone.json");
    lab.run("snapshots").refused(1, &["gs://", "gone.json"]);
    lab.file("broken.json", "{\"private_key\": \"kein-wort-davon\"}");
    lab.set("GOOGLE_SERVICE_ACCOUNT", "broken.json");
    let ran = lab.run("-v snapshots").refused(1, &["gs://"]);
    assert!(!ran.err.contains("kein-wort-davon"), "{ran:?}");
    lab.set("GOOGLE_SERVICE_ACCOUNT", file.to_str().unwrap());
    lab.run("-r gs://no-such-bucket/x init").refused(1, &["no-such-bucket"]);
}
