//! SIGINT and SIGTERM end a backup that waits for its source, and the next run goes on.

mod common;

use common::{Place, Runs, noise, number};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

#[test]
fn a_signal_ends_a_backup_that_waits() {
    for signal in ["-INT", "-TERM"] {
        let place = Place::with_repository();
        let content = noise(9, 400_000);
        let mut backup = place.json();
        backup.args(["backup", "--volume", "shop/dump=-"]).stdin(Stdio::piped());
        let mut child = backup.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut source = child.stdin.take().unwrap();
        source.write_all(&content).unwrap();
        // the first status says that the run is under way; the source stays open and says nothing more
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.next().unwrap().unwrap();
        assert!(first.contains("\"status\""), "{first}");
        let sent = Command::new("kill").arg(signal).arg(child.id().to_string()).status().unwrap();
        assert!(sent.success());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
        drop(source);

        assert_eq!(place.json().arg("snapshots").ran().expect(0).array().len(), 0);
        let whole = place.file("dump", &content);
        let mut again = place.json();
        again.args(["backup", "--volume", "shop/dump=-"]).stdin(std::fs::File::open(whole).unwrap());
        assert_eq!(number(&again.ran().expect(0).summary(), "bytes_read"), content.len() as u64);
        place.owner().args(["check", "--read-data"]).ran().expect(0);
    }
}
