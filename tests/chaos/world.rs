//! One repository on one server, and how its processes are started, killed and waited for.

use crate::dice::Dice;
use crate::ends::{End, Tally, Verb};
use crate::image::CHUNK_LEN;
use crate::ledger::Ledger;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tests::servers::{Kind, S3Server};

/// A process that has not ended by then never will; every store request gives up earlier.
const HUNG: Duration = Duration::from_secs(400);
/// How often a process is asked whether it has ended.
const POLL: Duration = Duration::from_millis(3);

/// The repository and everything that is known of it.
pub(crate) struct World {
    dir: TempDir,
    url: String,
    env: Vec<(&'static str, String)>,
    pub(crate) seed: u64,
    /// The store ignores put-if-absent: one prune at a time, and what a killed one leaves is taken over by hand.
    pub(crate) is_one: bool,
    pub(crate) ledger: Ledger,
    tally: Mutex<Tally>,
    unexpected: Mutex<Vec<String>>,
    started: AtomicU64,
}

impl World {
    /// A new repository in the server's bucket, opened by a key file.
    pub(crate) fn new(server: &S3Server, seed: u64) -> World {
        let world = World {
            dir: tempfile::tempdir().unwrap(),
            url: format!("s3://{}/chaos", server.bucket()),
            env: server.env().map(|(name, value)| (name, value.to_owned())).to_vec(),
            seed,
            is_one: server.kind() == Kind::S3rver,
            ledger: Ledger::default(),
            tally: Mutex::default(),
            unexpected: Mutex::default(),
            started: AtomicU64::new(0),
        };
        let mut init = world.command();
        init.args(["init", "--chunker", "fixed", "--chunk-size", &CHUNK_LEN.to_string(), "--key-file-out"]);
        let output = init.arg(world.path("owner.key")).output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && err.is_empty(), "{err}");
        world
    }

    /// A path in the folder of this world.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(tests::binary::orlop());
        for (name, _) in std::env::vars_os() {
            if ["ORLOP_", "AWS_"].iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
                command.env_remove(name);
            }
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.env("ORLOP_REPOSITORY", &self.url).env("HOME", self.dir.path());
        command.current_dir(self.dir.path()).stdin(Stdio::null());
        command
    }

    /// Runs the words of `line` as the owner and waits for the end.
    pub(crate) fn run(&self, verb: Verb, line: &str) -> End {
        self.run_until(verb, line, None)
    }

    /// The same in a crowd: one in `one_in` processes is killed, at a moment within the time that such a process takes.
    pub(crate) fn risk(&self, verb: Verb, line: &str, one_in: usize, dice: &mut Dice) -> End {
        let life = dice.below(one_in) == 0;
        let life = life.then(|| self.tally().usual(verb) * u32::try_from(dice.below(1200)).unwrap() / 1000);
        self.run_until(verb, line, life)
    }

    fn run_until(&self, verb: Verb, line: &str, life: Option<Duration>) -> End {
        let n = self.started.fetch_add(1, Ordering::Relaxed);
        let (out, err) = (self.path(&format!("{n}.out")), self.path(&format!("{n}.err")));
        let mut command = self.command();
        command.arg("--key-file").arg(self.path("owner.key")).args(line.split_whitespace());
        command.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
        let began = Instant::now();
        let mut child = command.spawn().unwrap();
        let mut killed = false;
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if !killed && began.elapsed() >= life.unwrap_or(HUNG) {
                child.kill().unwrap();
                killed = true;
            }
            std::thread::sleep(POLL);
        };
        let text = |path: &PathBuf| {
            let bytes = std::fs::read(path).unwrap();
            std::fs::remove_file(path).unwrap();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let end = End { code: status.code(), out: text(&out), err: text(&err), took: began.elapsed() };
        self.tally.lock().unwrap().add(verb, &end);
        let is_hung = killed && life.is_none();
        if !end.is_expected(verb) || is_hung || !killed && end.code.is_none() {
            let what = format!("{line}: {:?} after {:?}: {}", end.code, end.took, end.err.trim_end());
            self.unexpected.lock().unwrap().push(what);
        }
        end
    }

    /// Sums so far.
    pub(crate) fn tally(&self) -> Tally {
        self.tally.lock().unwrap().clone()
    }

    /// Adds to the sums.
    pub(crate) fn count(&self, add: impl FnOnce(&mut Tally)) {
        add(&mut self.tally.lock().unwrap());
    }

    /// Ends that no process may have had.
    pub(crate) fn unexpected(&self) -> Vec<String> {
        self.unexpected.lock().unwrap().clone()
    }
}
