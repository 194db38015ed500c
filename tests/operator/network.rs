//! S3 servers that cannot be reached, refuse, or fail on the way.

use crate::orlop::{Lab, Ran, binary};
use std::net::TcpListener;
use std::process::Stdio;
use tests::proxy::{Fault, FaultyProxy, Request, on};
use tests::servers::{Kind, S3Server};

fn is(method: &'static str) -> impl Fn(&Request) -> bool + Send + Sync {
    move |request| request.method == method && request.path.contains("/packs/")
}

/// A repository on a server, and a volume with it.
fn lab(server: &S3Server) -> (Lab, Vec<u8>) {
    let lab = Lab::on_server(server);
    lab.init();
    let data = tests::data::bytes(11, 2_000_000);
    lab.file("data.img", &data);
    (lab, data)
}

/// Runs `line` through a network that does `plan`, which must be met.
fn through(
    lab: &mut Lab,
    server: &S3Server,
    line: &str,
    plan: impl Fn(&Request) -> Fault + Send + Sync + 'static,
) -> Ran {
    let proxy = FaultyProxy::start(server.address(), plan).unwrap();
    lab.set("AWS_ENDPOINT_URL", &proxy.endpoint());
    let ran = lab.run(line);
    lab.set("AWS_ENDPOINT_URL", server.endpoint());
    assert!(proxy.fault_count() > 0, "the fault was never met: {ran:?}");
    ran
}

#[test]
fn faults_on_the_way_are_outlived() {
    let Ok(server) = S3Server::start(Kind::Versitygw) else { return };
    let (mut lab, data) = lab(&server);
    let backup = "backup --force-read --volume shop/data=data.img";
    let lost = [Fault::SlowDown, Fault::ResetBeforeRequest, Fault::ResetAfterAnswer, Fault::ErrorInBody];
    for (n, fault) in lost.into_iter().enumerate() {
        // new content each time, so that there is something to put
        lab.file("data.img", [&data[..], &tests::data::bytes(100 + n as u64, 300_000)].concat());
        through(&mut lab, &server, backup, on(is("PUT"), 0..2, fault)).ok();
        through(&mut lab, &server, backup, on(|_| true, 3..6, fault)).ok();
    }
    let expected = std::fs::read(lab.path("data.img")).unwrap();
    for fault in [Fault::CutBody(1000), Fault::CutBody(0), Fault::ResetBeforeRequest, Fault::SlowDown] {
        let line = "restore latest --volume shop/data=out --force";
        through(&mut lab, &server, line, on(is("GET"), 0..2, fault)).ok();
        assert!(std::fs::read(lab.path("out")).unwrap() == expected, "after {fault:?}");
    }
    lab.assert_intact();
}

#[test]
fn credentials_that_expire_end_the_backup() {
    let Ok(server) = S3Server::start(Kind::Versitygw) else { return };
    let (mut lab, data) = lab(&server);
    let line = "backup --volume shop/data=data.img";
    lab.run(line).ok();
    lab.file("data.img", tests::data::bytes(12, 2_000_000));
    let expired = on(|request| request.method == "PUT", 1..1000, Fault::ExpiredToken);
    through(&mut lab, &server, line, expired).refused(1, &["put", "ExpiredToken"]);
    let expired = on(|_| true, 5..1000, Fault::ExpiredToken);
    through(&mut lab, &server, "restore latest --volume shop/data=out", expired)
        .refused(1, &["ExpiredToken"]);
    assert!(!lab.path("out").exists());
    assert_eq!(lab.snapshots().len(), 1);
    lab.assert_restores("latest", "shop/data", &data);
    lab.run(line).ok();
    lab.assert_intact();
}

#[test]
fn wrong_keys_and_buckets_are_refused_at_once() {
    for kind in Kind::ALL {
        let Ok(server) = S3Server::start(kind) else { continue };
        let (mut lab, data) = lab(&server);
        lab.backup("--volume shop/data=data.img");
        lab.run("-r s3://no-such-bucket/x init").refused(1, &["no-such-bucket", "NoSuchBucket"]);
        let ran = lab.run("-r s3://no-such-bucket/x snapshots");
        assert!(matches!(ran.code, 1 | 10) && ran.err.contains("no-such-bucket"), "{ran:?}");
        lab.set("AWS_SECRET_ACCESS_KEY", "not-the-secret");
        for line in ["snapshots", "backup --volume shop/data=data.img", "check"] {
            let ran = lab.run(line).refused(1, &["s3://", "SignatureDoesNotMatch"]);
            assert!(!ran.err.contains("not-the-secret"), "{ran:?}");
        }
        lab.set("AWS_ACCESS_KEY_ID", "nobody");
        let code = match kind {
            Kind::Versitygw => "XAdminUserNotFound",
            Kind::Minio | Kind::S3rver => "InvalidAccessKeyId",
        };
        lab.run("snapshots").refused(1, &["s3://", code]);
        lab.set("AWS_ACCESS_KEY_ID", server.access_key());
        lab.set("AWS_SECRET_ACCESS_KEY", server.secret_key());
        lab.assert_restores("latest", "shop/data", &data);
        lab.assert_intact();
    }
}

/// That the tries have an end is held to with the engine's store; here they are ended by a signal.
#[test]
fn a_server_that_hangs_up_is_tried_again_until_a_signal() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let mut lab = Lab::local().at("s3://bucket/x");
    lab.set("AWS_ENDPOINT_URL", &format!("http://{}", listener.local_addr().unwrap()));
    lab.set("AWS_ACCESS_KEY_ID", "key");
    lab.set("AWS_SECRET_ACCESS_KEY", "secret");
    lab.set("AWS_REGION", "us-east-1");
    for signal in ["-INT", "-TERM"] {
        let mut command = lab.command(binary());
        command.arg("--key-file").arg(lab.key()).arg("snapshots");
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        for _ in 0..3 {
            drop(listener.accept().unwrap());
        }
        let pid = child.id().to_string();
        assert!(std::process::Command::new("kill").args([signal, &pid]).status().unwrap().success());
        Ran::of(&child.wait_with_output().unwrap()).refused(130, &["interrupted"]);
    }
}
