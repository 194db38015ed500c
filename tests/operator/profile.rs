//! Options that a file keeps under a name.

use crate::orlop::Lab;
use std::os::unix::fs::PermissionsExt;

fn private(lab: &Lab, text: &str, mode: u32) {
    let file = lab.file("config.toml", text);
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_profile_names_a_repository_and_what_opens_it() {
    let mut lab = Lab::local();
    let data = tests::data::bytes(41, 300_000);
    lab.file("data.img", &data);
    let repo = lab.repo();
    lab.set("ORLOP_REPOSITORY", "");
    private(
        &lab,
        &format!("[profile.shop]\nrepository = {repo:?}\nkey-file = 'owner.key'\nlimit-upload = '50M'\n"),
        0o644,
    );
    lab.bare_run(["snapshots"]).refused(2, &["no repository given"]);
    lab.bare_run(["--profile", "shop", "snapshots"]).refused(1, &[".config/orlop/config.toml"]);
    lab.set("ORLOP_CONFIG", lab.path("config.toml").to_str().unwrap());
    lab.bare_run(["--profile", "shop", "backup", "--volume", "shop/data=data.img"]).ok();
    lab.set("ORLOP_PROFILE", "shop");
    lab.bare_run(["restore", "latest", "--volume", "shop/data=out"]).ok();
    assert!(std::fs::read(lab.path("out")).unwrap() == data);
    lab.bare_run(["-r", "nowhere", "snapshots"]).refused(10, &["nowhere"]);
    lab.bare_run(["--profile", "gone", "snapshots"]).refused(2, &["config.toml", "gone", "shop"]);
}

#[test]
fn a_password_in_a_profile_is_for_its_owner_alone() {
    let mut lab = Lab::local();
    let word = "kein-wort-davon";
    lab.file("password", word);
    lab.run("key add --role read --new-password-file password").ok();
    lab.set("ORLOP_CONFIG", lab.path("config.toml").to_str().unwrap());
    let text = format!("[profile.shop]\nrepository = 'repo'\npassword = '{word}'\n");
    private(&lab, &text, 0o640);
    let ran =
        lab.bare_run(["--profile", "shop", "snapshots"]).refused(2, &["config.toml", "0640", "chmod 600"]);
    assert!(!ran.err.contains(word), "{ran:?}");
    private(&lab, &text, 0o600);
    lab.bare_run(["--profile", "shop", "-v", "snapshots"]);
    lab.bare_run(["--profile", "shop", "snapshots"]).ok();
    lab.set("ORLOP_PASSWORD", "another");
    let ran = lab.bare_run(["--profile", "shop", "snapshots"]);
    assert!(ran.code == 12 && !ran.err.contains(word), "variables go first: {ran:?}");
    lab.set("ORLOP_PASSWORD", "");
    private(&lab, "[profile.shop]\nrepository = 'repo'\npassword-command = 'cat password'\n", 0o644);
    lab.bare_run(["--profile", "shop", "snapshots"]).ok();
    private(&lab, &format!("[profile.shop]\npasswort = '{word}'\n"), 0o600);
    let ran = lab.bare_run(["--profile", "shop", "snapshots"]).refused(2, &["line 2", "passwort"]);
    assert!(!ran.err.contains(word), "{ran:?}");
}
