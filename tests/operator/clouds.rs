//! Azure and Google Cloud Storage as an operator meets them: by other settings than the plain ones, and refused.

use crate::orlop::Lab;
use tests::clouds::{Cloud, CloudServer};
use tests::played::{self, Tls};
use tests::servers::{Kind, S3Server};

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

#[test]
fn s3_is_reached_by_a_profile_of_aws() {
    let Ok(server) = S3Server::start(Kind::Versitygw) else { return };
    let mut lab = Lab::on_server(&server);
    lab.init();
    let data = tests::data::bytes(33, 500_000);
    lab.file("data.img", &data);
    lab.backup("--volume shop/data=data.img");
    for name in ["AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"] {
        lab.set(name, "");
    }
    std::fs::create_dir(lab.path(".aws")).unwrap();
    let config =
        format!("[profile shop]\nregion = {}\nendpoint_url = {}\n", server.region(), server.endpoint());
    lab.file(".aws/config", config + "[profile sso]\nsso_session = corp\n");
    let keys = |secret: &str| {
        format!("[shop]\naws_access_key_id = {}\naws_secret_access_key = {secret}\n", server.access_key())
    };
    lab.file(".aws/credentials", keys(server.secret_key()));
    lab.set("AWS_PROFILE", "shop");
    lab.assert_restores("latest", "shop/data", &data);
    lab.file(".aws/credentials", keys("not-the-secret"));
    let ran = lab.run("-v snapshots").refused(1, &["s3://", "SignatureDoesNotMatch"]);
    assert!(!ran.err.contains("not-the-secret"), "{ran:?}");
    lab.set("AWS_PROFILE", "sso");
    lab.run("snapshots").refused(1, &["s3://", "sso_session", "aws configure export-credentials"]);
    lab.set("AWS_PROFILE", "gone");
    lab.run("snapshots").refused(1, &["s3://", "gone"]);
}

/// That the bounds hold is shown with the engine's clock; here, that they are options and change nothing else.
#[test]
fn a_bounded_line_carries_the_same_bytes() {
    let lab = Lab::local();
    let data = tests::data::bytes(34, 300_000);
    lab.file("data.img", &data);
    lab.backup("--limit-upload 20M --limit-download 20480 --volume shop/data=data.img");
    lab.run("--limit-download 20MiB restore latest --volume shop/data=out").ok();
    assert!(std::fs::read(lab.path("out")).unwrap() == data);
    let ran = lab.run("--limit-upload fast snapshots");
    assert!(ran.code == 2 && ran.err.contains("--limit-upload"), "{ran:?}");
}

/// IRSA, as EKS sets it in pods. The keys that the played STS gives are those of a real server, so a signature with any
/// others is refused. It has no session tokens, so the one that is given is empty.
#[test]
fn s3_is_reached_by_a_web_identity() {
    let Ok(server) = S3Server::start(Kind::Versitygw) else { return };
    let credentials = format!(
        "<AccessKeyId>{}</AccessKeyId><SecretAccessKey>{}</SecretAccessKey><SessionToken></SessionToken>",
        server.access_key(),
        server.secret_key()
    );
    let (sts, seen) = played::serve(move |request| {
        if request.contains("WebIdentityToken=kein-wort-davon") && request.contains("orlop-role") {
            let xml = format!(
                "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>{credentials}\
                 <Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult>\
                 </AssumeRoleWithWebIdentityResponse>"
            );
            (200, xml)
        } else {
            (
                400,
                "<ErrorResponse><Error><Code>InvalidIdentityToken</Code></Error></ErrorResponse>".to_owned(),
            )
        }
    });
    let mut lab = Lab::on_server(&server);
    let Ok(front) = Tls::start(&sts, &lab.path("authority.pem")) else { return };
    lab.set("AWS_ACCESS_KEY_ID", "");
    lab.set("AWS_SECRET_ACCESS_KEY", "");
    lab.set("AWS_ENDPOINT_URL_STS", front.address());
    lab.set("AWS_ROLE_ARN", "arn:aws:iam::1:role/orlop-role");
    let token = lab.file("token", "kein-wort-davon");
    lab.set("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap());
    let authority = lab.path("authority.pem");
    lab.set("SSL_CERT_FILE", authority.to_str().unwrap());
    lab.init();
    assert_eq!(seen.lock().unwrap().len(), 1, "credentials are kept until they expire");
    let data = tests::data::bytes(35, 300_000);
    lab.file("data.img", &data);
    lab.backup("--volume shop/data=data.img");
    lab.assert_restores("latest", "shop/data", &data);
    lab.file("token", "anderes-wort");
    let ran = lab.run("-v snapshots").refused(1, &["s3://", "InvalidIdentityToken"]);
    assert!(!ran.err.contains("anderes-wort"), "{ran:?}");
    lab.set("AWS_WEB_IDENTITY_TOKEN_FILE", "/no/such/token");
    lab.run("snapshots").refused(1, &["AWS_WEB_IDENTITY_TOKEN_FILE"]);
}
