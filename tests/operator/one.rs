//! A real server that ignores conditions: repositories of mode one.

use crate::orlop::{Lab, Ran, binary};
use std::process::{Child, Stdio};
use tests::proxy::{Fault, FaultyProxy, on};
use tests::servers::{Kind, S3Server};

const PRUNE: &str = "prune --undelete-window 0 --max-unused 0%";

/// A repository on `server` with two snapshots, and what the second has.
fn lab(server: &S3Server) -> (Lab, Vec<u8>, String) {
    let lab = Lab::on_server(server);
    let init = lab.bare_run(["init", "--json", "--key-file-out", "owner.key"]).ok();
    assert_eq!(init.summary()["store_mode"], "one");
    let (first, second) = (image(1), image(2));
    lab.file("data.img", first);
    let old = lab.backup("--volume shop/data=data.img");
    lab.file("data.img", &second);
    lab.backup("--volume shop/data=data.img");
    (lab, second, old)
}

fn image(n: u64) -> Vec<u8> {
    [tests::data::mixed(40, 700_000), tests::data::bytes(40 + n, 1_500_000)].concat()
}

fn spawn(lab: &Lab, line: &str) -> Child {
    let mut command = lab.command(binary());
    command.arg("--key-file").arg(lab.key()).args(line.split_whitespace());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Of two at once nothing is lost; who steps back says so with exit code 11.
fn two_at_once(lab: &Lab, line: &str) -> usize {
    let both = [spawn(lab, line), spawn(lab, line)];
    let ran = both.map(|child| Ran::of(&child.wait_with_output().unwrap()));
    let mut done = 0;
    for ran in ran {
        if ran.code == 0 {
            done += 1;
        } else {
            let what = &ran.err;
            let clear = ["another prune", "take-over", "taken over", "has come meanwhile"];
            assert!(clear.iter().any(|words| what.contains(words)), "{ran:?}");
            ran.refused(11, &["gc/"]);
        }
    }
    done
}

/// A prune that is gone before its sweep was stored: its plan stays. The command that its successor names.
fn dies_before_its_sweep(lab: &mut Lab, server: &S3Server) -> String {
    let sweep =
        on(|request| request.method == "PUT" && request.path.contains(".sweep"), 0..1, Fault::ExpiredToken);
    let proxy = FaultyProxy::start(server.address(), sweep).unwrap();
    lab.set("AWS_ENDPOINT_URL", &proxy.endpoint());
    lab.run(PRUNE).refused(1, &[".sweep", "ExpiredToken"]);
    lab.set("AWS_ENDPOINT_URL", server.endpoint());
    let stopped = lab.run(PRUNE);
    let text = stopped.refused(11, &["gc/", ".plan", "dead for 15 minutes"]).err;
    text.split("orlop prune").nth(1).unwrap().trim().trim_end_matches('`').to_owned()
}

#[test]
fn a_life() {
    let Ok(server) = S3Server::start(Kind::S3rver) else { return };
    let (lab, second, old) = lab(&server);
    assert!(lab.run("cat config").ok().out.contains("\"mode\": \"one\""));
    lab.run("init --key-file-out other.key").refused(11, &["exists already"]);
    lab.run(&format!("forget {old}")).ok();
    // within the window it comes back
    lab.run("prune --max-unused 0%").ok();
    lab.run(&format!("undelete {old}")).ok();
    lab.assert_restores("latest", "shop/data", &second);
    lab.assert_intact();
    let freed = lab.run(&format!("--json {PRUNE}")).ok().summary();
    assert!(freed["bytes_freed"].as_u64() > Some(0), "{freed}");
    let back = lab.snapshots();
    assert_eq!(back.len(), 2, "{back:?}");
    lab.run(&format!("forget {}", back[0])).ok();
    lab.run(PRUNE).ok();
    lab.assert_restores("latest", "shop/data", &second);
    lab.assert_intact();
    assert!(lab.run("session list --json").ok().out.trim() == "[]");
}

#[test]
fn two_prunes_at_once() {
    let Ok(server) = S3Server::start(Kind::S3rver) else { return };
    let (lab, mut newest, old) = lab(&server);
    let (mut done, mut forgotten) = (0, old);
    for n in 3..7 {
        lab.run(&format!("forget {forgotten}")).ok();
        done += two_at_once(&lab, PRUNE);
        lab.assert_restores("latest", "shop/data", &newest);
        // whoever stepped back has left nothing that somebody must take over
        lab.run(PRUNE).ok();
        lab.assert_intact();
        forgotten = lab.snapshots().pop().unwrap();
        newest = image(n);
        lab.file("data.img", &newest);
        lab.backup("--volume shop/data=data.img");
    }
    assert!(done >= 1, "each time both stepped back");
}

#[test]
fn the_plan_of_the_dead_is_taken_over() {
    let Ok(server) = S3Server::start(Kind::S3rver) else { return };
    let (mut lab, second, old) = lab(&server);
    lab.run(&format!("forget {old}")).ok();
    let take_over = dies_before_its_sweep(&mut lab, &server);
    // backups go on meanwhile, and use nothing that the plan condemns
    lab.file("data.img", image(1));
    lab.backup("--volume shop/data=data.img");
    let stranger = "--take-over 00000000000000000000000000000000";
    lab.run(&format!("prune {stranger}")).refused(11, &["take-over"]);
    let line = format!("prune {take_over} --undelete-window 0 --max-unused 0%");
    two_at_once(&lab, &line);
    lab.run(&line).ok();
    lab.assert_restores("latest", "shop/data", &image(1));
    lab.assert_restores(&lab.snapshots()[0], "shop/data", &second);
    lab.assert_intact();
}

#[test]
fn a_dead_session_is_dropped_and_damage_repaired() {
    let Ok(server) = S3Server::start(Kind::S3rver) else { return };
    let (mut lab, second, _) = lab(&server);
    lab.file("data.img", image(3));
    let commit =
        |request: &tests::proxy::Request| request.method == "PUT" && request.path.contains("/snapshots/");
    let proxy = FaultyProxy::start(server.address(), on(commit, 0..1, Fault::ExpiredToken)).unwrap();
    lab.set("AWS_ENDPOINT_URL", &proxy.endpoint());
    lab.run("backup --volume shop/data=data.img").refused(1, &["ExpiredToken"]);
    lab.set("AWS_ENDPOINT_URL", server.endpoint());
    lab.run(PRUNE).ok();
    let sessions: serde_json::Value = serde_json::from_str(&lab.run("session list --json").ok().out).unwrap();
    let session = sessions[0]["session_id"].as_str().unwrap();
    lab.run(&format!("session drop {session}")).ok();
    assert_eq!(lab.snapshots().len(), 2, "no tombstone, nothing else");
    lab.run(PRUNE).ok();
    // a damaged index run is made anew, and marks are signed, never replaced
    let index = server.dir().join("data").join(server.bucket()).join("lab/index");
    let mut runs = crate::orlop::files(&index);
    runs.retain(|path| path.to_string_lossy().ends_with("_object"));
    std::fs::write(&runs[0], b"not a run").unwrap();
    let _ = std::fs::remove_file(format!("{}.md5", runs[0].display()));
    assert_eq!(lab.run("check").code, 13);
    lab.run("repair").ok();
    lab.assert_intact();
    lab.assert_restores("latest", "shop/data", &second);
    lab.run(PRUNE).ok();
}
