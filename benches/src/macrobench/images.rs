//! The images: made once from a seed and the files of this machine, kept in a folder.
//!
//! | | |
//! |---|---|
//! | A | ext4: files of /usr/share, /usr/lib and the Rust toolchain, a SQLite database, a log |
//! | E | A with 200 rows updated in place |
//! | C | E with 5,000 rows updated in place |
//! | B | C after a mixed day: updates, inserts, 300 files deleted, 300 rewritten with an insertion, one new of 40 MiB, the log grown |
//! | D | the files of A in another order on another volume |
//! | random | nothing compresses it |
//! | sparse | 1 % data, the rest holes |
//! | small | ext4 with 200,000 small files |

use super::delta::{self, Side};
use super::ext4::Ext4;
use super::stage::{self, Staged};
use super::{Random, database};
use anyhow::{Context, Result, ensure};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const DATABASE: &str = "/shop/orders.db";
const LOG: &str = "/shop/access.log";
const UUID_A: &str = "5eed0000-0000-4000-8000-00000000000a";
const UUID_D: &str = "5eed0000-0000-4000-8000-00000000000d";
const UUID_SMALL: &str = "5eed0000-0000-4000-8000-0000000000e0";
/// A piece of the incompressible and the sparse image.
const PIECE_LEN: usize = 4 << 20;

/// How large images are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Bytes of the images A to D.
    pub image_len: u64,
    /// Bytes of files in A, the database included.
    pub files_len: u64,
    /// Bytes of the incompressible image.
    pub random_len: u64,
    /// Bytes of the sparse image; a hundredth of them is data.
    pub sparse_len: u64,
    /// Files in the image of small files.
    pub small_count: u64,
}

impl Sizes {
    /// For A of so many MiB; the others are smaller where A is.
    pub fn of(image_mib: u64) -> Self {
        let image_len = image_mib << 20;
        Sizes {
            image_len,
            files_len: image_len / 100 * 70,
            random_len: (image_len / 4).min(1 << 30),
            sparse_len: (image_len / 1024 * 12_800).min(100 << 30) >> 20 << 20,
            small_count: (image_mib * 200_000 / 8192).clamp(200, 200_000),
        }
    }

    /// What images take; while they are made it is twice the files more.
    fn images_len(&self) -> u64 {
        // deltas are small beside the rest; small files take two blocks on average
        2 * self.files_len + self.random_len + self.sparse_len / 100 + self.small_count * 12_288
    }

    /// What five repositories and a restored image take, as peers stored it when all five images were measured.
    fn run_len(&self) -> u64 {
        self.image_len + self.files_len / 100 * 65 * 5
    }

    /// What must be free, with or without images that are there already.
    pub fn wanted_len(&self, is_made: bool) -> u64 {
        match is_made {
            true => self.run_len(),
            false => self.images_len() + self.run_len().max(2 * self.files_len),
        }
    }

    /// So many things of a day of changes, fewer where files are few.
    fn scaled(&self, count: u64) -> u64 {
        let whole = 700 << 20;
        (count * self.files_len.min(whole)).div_ceil(whole)
    }
}

/// The states of the first volume, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The base.
    A,
    /// A few rows updated.
    E,
    /// Many rows updated.
    C,
    /// A mixed day.
    B,
}

impl State {
    const CHANGED: [State; 3] = [State::E, State::C, State::B];

    fn delta(self) -> &'static str {
        match self {
            State::A => "none",
            State::E => "e.delta",
            State::C => "c.delta",
            State::B => "b.delta",
        }
    }
}

/// Images that are made.
#[derive(Debug, Clone)]
pub struct Images {
    folder: PathBuf,
    /// What they are, for people: one line each.
    pub description: String,
}

impl Images {
    /// Makes images in `folder` unless they are there.
    pub fn make(folder: &Path, sizes: &Sizes) -> Result<Self> {
        let described = folder.join("description");
        if !described.exists() {
            eprintln!("making images in {}", folder.display());
            super::programs::remove_tree(folder)?;
            let description = Maker::new(folder, *sizes)?.make()?;
            // last: what is there is whole
            fs::write(&described, description)?;
        }
        let images = Images { folder: folder.to_owned(), description: fs::read_to_string(described)? };
        images.bring(State::A)?;
        Ok(images)
    }

    /// The volume that changes.
    pub fn volume(&self) -> PathBuf {
        self.folder.join("a/volume.img")
    }

    /// The volume with the same files.
    pub fn other(&self) -> PathBuf {
        self.folder.join("d/volume.img")
    }

    /// The incompressible image, the sparse one, the one of small files.
    pub fn extra(&self, name: &str) -> PathBuf {
        self.folder.join(name).join("volume.img")
    }

    /// Brings the first volume into a state, whatever state it is in.
    pub fn bring(&self, state: State) -> Result<()> {
        let delta = |state: State| self.folder.join(state.delta());
        for changed in State::CHANGED.into_iter().rev() {
            delta::apply(&delta(changed), &self.volume(), Side::Old)?;
        }
        if let Some(last) = State::CHANGED.into_iter().position(|changed| changed == state) {
            for changed in State::CHANGED.into_iter().take(last + 1) {
                delta::apply(&delta(changed), &self.volume(), Side::New)?;
            }
        }
        Ok(())
    }
}

/// What is needed while images are made.
struct Maker {
    folder: PathBuf,
    sizes: Sizes,
    stage: tempfile::TempDir,
    files: Vec<Staged>,
    rows: u64,
    random: Random,
    said: String,
}

impl Maker {
    fn new(folder: &Path, sizes: Sizes) -> Result<Self> {
        for name in ["a", "d", "random", "sparse", "small"] {
            fs::create_dir_all(folder.join(name))?;
        }
        let stage = tempfile::tempdir_in(folder)?;
        let (files, random) = (vec![], Random::new(5));
        Ok(Maker { folder: folder.to_owned(), sizes, stage, files, rows: 0, random, said: String::new() })
    }

    fn say(&mut self, line: &str) {
        eprintln!("  {line}");
        self.said.push_str(line);
        self.said.push('\n');
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn staged(&self, inside: &str) -> PathBuf {
        self.stage.path().join(inside.trim_start_matches('/'))
    }

    fn make(mut self) -> Result<String> {
        self.fill_stage()?;
        let Sizes { image_len, random_len, sparse_len, small_count, .. } = self.sizes;
        let (volume, entries) = (self.path("a/volume.img"), stage::entry_count(self.stage.path())?);
        let base = Ext4::make(&volume, image_len, entries, UUID_A, Some(self.stage.path()))?;
        base.check()?;
        let used = used_len(&volume)?;
        self.say(&format!("A: ext4, {} MiB, {} MiB of them used", image_len >> 20, used >> 20));
        self.make_other()?;
        self.make_states(&volume)?;
        self.make_random(random_len)?;
        self.make_sparse(sparse_len, &volume)?;
        let small = tempfile::tempdir_in(&self.folder)?;
        stage::make_small_files(small.path(), small_count, &mut self.random)?;
        let len = (small_count * 12_288 + (64 << 20)) >> 20 << 20;
        Ext4::make(&self.path("small/volume.img"), len, small_count, UUID_SMALL, Some(small.path()))?;
        self.say(&format!("small: ext4, {} MiB, {small_count} files of 100 bytes to 8 KiB", len >> 20));
        Ok(self.said)
    }

    fn fill_stage(&mut self) -> Result<()> {
        let mut left = self.sizes.files_len;
        fs::create_dir(self.staged("shop"))?;
        let database = self.staged(DATABASE);
        self.rows = database::make(&database, left / 6)?;
        stage::date(&database)?;
        let database_len = fs::metadata(&database)?.len();
        let (log_len, room) = (left / 40, self.sizes.scaled(8 << 20));
        stage::make_log(&self.staged(LOG), log_len as usize, room as usize, &mut self.random)?;
        left = left.saturating_sub(database_len + log_len + room);
        let mut sources = crate::make::default_sources();
        // the largest last: it takes what the others leave
        if sources.len() == 3 {
            sources.swap(1, 2);
        }
        let mut said = format!(
            "files: {} MiB database of {} rows, {} MiB log",
            database_len >> 20,
            self.rows,
            log_len >> 20
        );
        for (number, source) in sources.iter().enumerate() {
            let (share, before) = (left / (sources.len() - number) as u64, self.files.len());
            let to = PathBuf::from(format!("files{number}"));
            let taken = stage::copy_tree(source, self.stage.path(), &to, share, &mut self.files)?;
            left -= taken;
            let count = self.files.len() - before;
            said.push_str(&format!(", {count} files ({} MiB) of {}", taken >> 20, source.display()));
        }
        ensure!(self.files.len() > 10, "hardly any files to put into an image");
        self.say(&said);
        Ok(())
    }

    /// The same files, one after the other, in another order.
    fn make_other(&mut self) -> Result<()> {
        let shop = [DATABASE, LOG].map(|path| PathBuf::from(path.trim_start_matches('/')));
        let mut paths: Vec<PathBuf> = self.files.iter().map(|file| file.path.clone()).chain(shop).collect();
        let mut folders: Vec<PathBuf> =
            paths.iter().flat_map(|path| path.ancestors().skip(1).map(Path::to_owned)).collect();
        folders.sort();
        folders.dedup();
        folders.retain(|folder| !folder.as_os_str().is_empty());
        self.random.shuffle(&mut paths);
        let mut commands: Vec<String> =
            folders.iter().map(|path| format!("mkdir /{}", path.display())).collect();
        for path in &paths {
            commands.extend(write_file(path, &self.stage.path().join(path)));
        }
        let target = self.path("d/volume.img");
        let entries = (paths.len() + folders.len()) as u64;
        let image = Ext4::make(&target, self.sizes.image_len, entries, UUID_D, None)?;
        image.debugfs(true, &commands)?;
        image.check()?;
        let used = used_len(&target)?;
        self.say(&format!("D: the files of A in another order on another volume, {} MiB used", used >> 20));
        Ok(())
    }

    fn make_states(&mut self, volume: &Path) -> Result<()> {
        let changed = self.path("changed.img");
        let status =
            Command::new("cp").args(["--reflink=auto", "--sparse=always"]).args([volume, &changed]).status();
        ensure!(status?.success(), "cp failed");
        let image = Ext4 { path: changed.clone() };
        for state in State::CHANGED {
            let what = match state {
                State::B => self.mixed_day(&image)?,
                State::C => self.update_rows(&image, 5000, 0)?,
                _ => self.update_rows(&image, 200, 0)?,
            };
            image.check()?;
            let delta = self.path(state.delta());
            let blocks = delta::diff(volume, &changed, &delta)?;
            delta::apply(&delta, volume, Side::New)?;
            self.say(&format!("{state:?}: {what}; {blocks} blocks of 4 KiB differ from the state before"));
        }
        Ok(fs::remove_file(changed)?)
    }

    fn update_rows(&mut self, image: &Ext4, updates: u64, inserts: u64) -> Result<String> {
        let (database, next) = (self.staged(DATABASE), self.path("next.db"));
        fs::copy(&database, &next)?;
        database::change(&next, self.rows, updates, inserts, &mut self.random)?;
        let blocks = image.write_in_place(DATABASE, &database, &next)?;
        fs::rename(next, database)?;
        self.rows += inserts;
        let inserted = if inserts > 0 { format!(", {inserts} inserted") } else { String::new() };
        Ok(format!("{updates} rows updated{inserted} ({blocks} blocks written in place)"))
    }

    fn mixed_day(&mut self, image: &Ext4) -> Result<String> {
        let count = self.sizes.scaled(300) as usize;
        let mut said = self.update_rows(image, self.sizes.scaled(1000), self.sizes.scaled(2000))?;
        let (log, next, grown) = (self.staged(LOG), self.path("next.log"), self.sizes.scaled(4 << 20));
        fs::copy(&log, &next)?;
        stage::append_to_log(&next, grown as usize, &mut self.random)?;
        image.write_in_place(LOG, &log, &next)?;
        fs::rename(next, log)?;
        let mut chosen: Vec<Staged> =
            self.files.iter().filter(|file| (4096..1 << 20).contains(&file.len)).cloned().collect();
        ensure!(chosen.len() >= 2 * count, "{} files to change, {} wanted", chosen.len(), 2 * count);
        self.random.shuffle(&mut chosen);
        let (deleted, rewritten) = chosen.split_at(count);
        let mut commands: Vec<String> =
            deleted.iter().map(|file| format!("rm /{}", file.path.display())).collect();
        let line = stage::log_lines(97, &mut self.random);
        for file in rewritten.iter().take(count) {
            let source = self.stage.path().join(&file.path);
            let mut content = fs::read(&source)?;
            let at = self.random.below(file.len) as usize;
            content.splice(at..at, line.iter().copied());
            fs::write(&source, content)?;
            commands.push(format!("rm /{}", file.path.display()));
            commands.extend(write_file(&file.path, &source));
        }
        let new_len = self.sizes.scaled(40 << 20) as usize;
        let mut content = vec![0; new_len];
        self.random.fill(&mut content);
        fs::write(self.staged("shop/film.mp4"), content)?;
        commands.extend(write_file(Path::new("shop/film.mp4"), &self.staged("shop/film.mp4")));
        image.debugfs(true, &commands)?;
        said.push_str(&format!(
            ", {count} files deleted, {count} rewritten with 97 bytes inserted, one new of {} KiB, log grown by {} KiB in place",
            new_len >> 10,
            grown >> 10
        ));
        Ok(said)
    }

    fn make_random(&mut self, len: u64) -> Result<()> {
        let mut file = File::create(self.path("random/volume.img"))?;
        let mut piece = vec![0; PIECE_LEN];
        for _ in 0..len / PIECE_LEN as u64 {
            self.random.fill(&mut piece);
            file.write_all(&piece)?;
        }
        self.say(&format!("random: {} MiB", file.metadata()?.len() >> 20));
        Ok(())
    }

    /// Pieces of A, each somewhere in its own hundredth.
    fn make_sparse(&mut self, len: u64, volume: &Path) -> Result<()> {
        let (from, to) = (File::open(volume)?, File::create(self.path("sparse/volume.img"))?);
        to.set_len(len)?;
        let mut piece = vec![0; PIECE_LEN];
        let count = len / 100 / PIECE_LEN as u64;
        let pieces_in_a = self.sizes.files_len / PIECE_LEN as u64;
        let mut data_len = 0;
        for number in 0..count {
            from.read_exact_at(&mut piece, number % pieces_in_a.max(1) * PIECE_LEN as u64)?;
            let slot = len / count;
            let at = number * slot + self.random.below((slot - PIECE_LEN as u64) >> 12 << 12);
            to.write_all_at(&piece, at >> 12 << 12)?;
            data_len += PIECE_LEN as u64;
        }
        self.say(&format!(
            "sparse: {} MiB with {} MiB of data in pieces of 4 MiB",
            len >> 20,
            data_len >> 20
        ));
        Ok(())
    }
}

/// debugfs writes to the current folder only.
fn write_file(path: &Path, source: &Path) -> Vec<String> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    vec![format!("cd /{}", folder.display()), format!("write {} {name}", source.display())]
}

/// What a file takes on disk: without its holes.
pub fn used_len(path: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    Ok(fs::metadata(path).with_context(|| path.display().to_string())?.blocks() * 512)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_issue_and_shrink_together() {
        let full = Sizes::of(8192);
        assert_eq!((full.image_len >> 30, full.small_count, full.sparse_len >> 30), (8, 200_000, 100));
        assert!(full.files_len > 5 << 30);
        assert_eq!((full.scaled(300), full.scaled(8 << 20)), (300, 8 << 20));
        let quick = Sizes::of(1024);
        assert_eq!((quick.files_len >> 20, quick.small_count), (716, 25_000));
        assert!(quick.wanted_len(false) < full.wanted_len(false) / 4);
        assert!(full.wanted_len(true) < full.wanted_len(false));
        let tiny = Sizes::of(64);
        assert_eq!((tiny.scaled(300), tiny.small_count), (20, 1562));
    }

    #[test]
    fn one_volume_goes_through_all_states_and_back() {
        let folder = tempfile::tempdir().unwrap();
        let sizes = Sizes {
            image_len: 48 << 20,
            files_len: 24 << 20,
            random_len: 4 << 20,
            sparse_len: 400 << 20,
            small_count: 30,
        };
        let images = match Images::make(&folder.path().join("images"), &sizes) {
            Ok(images) => images,
            Err(error) => return eprintln!("SKIPPED: {error:#}"),
        };
        let volume = Ext4 { path: images.volume() };
        let base = fs::read(images.volume()).unwrap();
        // the first delta begins with the base: its old side changes nothing
        delta::apply(&folder.path().join("images/e.delta"), &images.volume(), Side::Old).unwrap();
        assert!(fs::read(images.volume()).unwrap() == base, "not the base");
        let mut seen = vec![base.clone()];
        for state in [State::B, State::E, State::C] {
            images.bring(state).unwrap();
            volume.check().unwrap();
            let content = fs::read(images.volume()).unwrap();
            assert!(!seen.contains(&content), "{state:?} is like another state");
            seen.push(content);
        }
        // made once: a second call finds them, and brings the base
        let again = Images::make(&folder.path().join("images"), &sizes).unwrap();
        assert_eq!(again.description, images.description);
        assert!(fs::read(again.volume()).unwrap() == base);
    }
}
