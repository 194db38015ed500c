//! Other programs, timed: wall and CPU time, and the most memory they held.

use anyhow::{Context, Result, ensure};
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How often a program is looked at: what it takes in its last moments is missed.
const LOOK: Duration = Duration::from_millis(2);

/// What a program took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cost {
    /// From its start until it had ended.
    pub wall: Duration,
    /// Processor time of all its threads, to 10 ms.
    pub cpu: Duration,
    /// The most memory it held (VmHWM), in bytes.
    pub memory_len: u64,
}

/// A program that runs.
pub struct Running {
    child: std::process::Child,
    start: Instant,
    cost: Cost,
    log: std::path::PathBuf,
    shown: String,
}

impl Running {
    /// Starts a program whose output goes to the file `log`.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let shown = format!("{command:?}");
        let out = File::create(log).with_context(|| log.display().to_string())?;
        let start = Instant::now();
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .with_context(|| shown.clone())?;
        Ok(Running { child, start, cost: Cost::default(), log: log.to_owned(), shown })
    }

    /// Waits for its end; anything but success is an error with what it said.
    pub fn finish(mut self) -> Result<Cost> {
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            self.look();
            std::thread::sleep(LOOK);
        };
        self.cost.wall = self.start.elapsed();
        let said = || fs::read_to_string(&self.log).unwrap_or_default();
        ensure!(status.success(), "{}: {status}\n{}", self.shown, said());
        Ok(self.cost)
    }

    /// Neither memory nor processor time ever sinks; once the program has ended, /proc says nothing of it.
    fn look(&mut self) {
        let read = |what: &str| fs::read_to_string(format!("/proc/{}/{what}", self.child.id()));
        let memory_len = read("status").map_or(0, |status| crate::report::peak_in(&status));
        let cpu = read("stat").map_or(Duration::ZERO, |stat| crate::cpu::own_time(&stat));
        self.cost.memory_len = self.cost.memory_len.max(memory_len);
        self.cost.cpu = self.cost.cpu.max(cpu);
    }
}

/// Runs a program to its end.
pub fn run(command: &mut Command, log: &Path) -> Result<Cost> {
    Running::start(command, log)?.finish()
}

/// Runs a program while this process runs no other: its processor time is then what the kernel adds up for ended
/// children, up to the last moment and with children of its own.
pub fn run_alone(command: &mut Command, log: &Path) -> Result<Cost> {
    let of_children = || fs::read_to_string("/proc/self/stat").map(|stat| crate::cpu::children_time(&stat));
    let before = of_children()?;
    let mut cost = run(command, log)?;
    cost.cpu = of_children()?.saturating_sub(before);
    Ok(cost)
}

/// Copies a folder by hard links: for programs that never change a file in place.
pub fn link_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to).with_context(|| to.display().to_string())?;
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            link_tree(&entry.path(), &target)?;
        } else {
            fs::hard_link(entry.path(), &target).with_context(|| target.display().to_string())?;
        }
    }
    Ok(())
}

/// Removes a folder that may not be there.
pub fn remove_tree(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| folder.display().to_string())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_a_child_and_reports_its_failure() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let busy = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; echo done";
        let cost = run(Command::new("sh").args(["-c", busy]), &log).unwrap();
        assert!(cost.wall >= cost.cpu / 2 && cost.cpu > Duration::ZERO && cost.memory_len > 0, "{cost:?}");
        assert_eq!(fs::read_to_string(&log).unwrap(), "done\n");
        let failed = run(Command::new("sh").args(["-c", "echo why; exit 3"]), &log).unwrap_err();
        assert!(failed.to_string().contains("why"), "{failed}");
    }

    #[test]
    fn grandchildren_count_when_a_program_runs_alone() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        // the loop runs in a shell of its own, which the outer one waits for
        let busy = "sh -c 'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done'; true";
        let cost = run_alone(Command::new("sh").args(["-c", busy]), &log).unwrap();
        assert!(cost.cpu >= Duration::from_millis(20), "{cost:?}");
    }

    #[test]
    fn links_whole_trees() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::create_dir_all(from.join("a/b")).unwrap();
        fs::write(from.join("a/b/c"), "x").unwrap();
        link_tree(&from, &to).unwrap();
        remove_tree(&from).unwrap();
        assert_eq!(fs::read_to_string(to.join("a/b/c")).unwrap(), "x");
        remove_tree(&from).unwrap();
    }
}
