//! Many backups at once, and backups that are killed.

use crate::orlop::{Lab, Ran, binary, files};
use std::process::{Child, Command, Stdio};

const KILLS: u64 = 10;

fn backup(lab: &Lab, volume: &str, file: &str) -> Command {
    let mut command = lab.command(binary());
    command.arg("--key-file").arg(lab.key()).args(["--json", "backup", "--force-read", "--volume"]);
    command.arg(format!("shop/{volume}={file}")).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn four_at_once() {
    let lab = Lab::local();
    let shared = tests::data::mixed(20, 1_500_000);
    let images: Vec<Vec<u8>> =
        (0..4).map(|n| [&shared[..], &tests::data::bytes(21 + n, 500_000)].concat()).collect();
    for round in 0..2 {
        let start = |(n, image): (usize, &Vec<u8>)| {
            let file = format!("{n}.img");
            lab.file(&file, image);
            backup(&lab, &format!("v{n}"), &file).spawn().unwrap()
        };
        let children: Vec<Child> = images.iter().enumerate().map(start).collect();
        for (n, child) in children.into_iter().enumerate() {
            let summary = Ran::of(&child.wait_with_output().unwrap()).ok().summary();
            lab.assert_restores(summary["snapshot_id"].as_str().unwrap(), &format!("shop/v{n}"), &images[n]);
        }
        assert_eq!(lab.snapshots().len(), 4 * (round + 1));
    }
    lab.assert_intact();
}

/// The moment is a number of objects in the store, drawn from a seed; what the kernel does in between is its own.
#[test]
fn killed_at_any_moment() {
    let lab = Lab::local();
    let image = |n: u64| [tests::data::mixed(30, 600_000), tests::data::bytes(31 + n, 3_000_000)].concat();
    lab.file("data.img", image(0));
    let before = files(&lab.repo()).len();
    lab.backup("--volume shop/data=data.img");
    let objects = files(&lab.repo()).len() - before;
    let mut expected = vec![image(0)];
    for n in 1..=KILLS {
        lab.file("data.img", image(n));
        let dice = tests::data::bytes(n, 8);
        let spins = u16::from_le_bytes([dice[1], dice[2]]);
        let goal = files(&lab.repo()).len() + usize::from(dice[0]) % (objects + 1);
        let mut child = backup(&lab, "data", "data.img").spawn().unwrap();
        while child.try_wait().unwrap().is_none() && files(&lab.repo()).len() < goal {
            std::thread::yield_now();
        }
        (0..spins).for_each(|_| std::hint::spin_loop());
        child.kill().unwrap();
        child.wait().unwrap();
        let there = lab.snapshots();
        if there.len() > expected.len() {
            expected.push(image(n));
        }
        assert_eq!(there.len(), expected.len(), "kill {n}");
    }
    lab.backup("--volume shop/data=data.img");
    expected.push(image(KILLS));
    lab.assert_intact();
    for (snapshot, image) in lab.snapshots().iter().zip(&expected) {
        lab.assert_restores(snapshot, "shop/data", image);
    }
}

#[test]
fn a_prune_lets_a_backup_go_first() {
    let mut lab = Lab::local();
    lab.file("password", "over the side");
    lab.run("key add --role owner --new-password-file password").ok();
    let image = lab.file("image", [7; 5000]);
    // the child inherits what the thread that starts it has, as others do
    lab.set("ORLOP_PASSWORD_COMMAND", "nice >nice; cat password");
    let nice = |verb: &[&str]| {
        Ran::of(&lab.command(binary()).args(verb).output().unwrap()).ok();
        let text = std::fs::read_to_string(lab.path("nice")).unwrap();
        text.trim().parse::<i32>().unwrap()
    };
    let volume = format!("web/data={}", image.display());
    let backup = nice(&["backup", "--volume", &volume]);
    assert_eq!(nice(&["prune"]), (backup + 10).min(19));
}
