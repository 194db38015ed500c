//! How many answers a command waits for one after the other: what a store far away costs, however fast the line.

use bytes::Bytes;
use futures::future::{BoxFuture, poll_fn};
use futures::stream::{BoxStream, StreamExt, once};
use repository::Repository;
use repository::backup::{BackupRequest, ManifestInput, backup};
use repository::check::{CheckOptions, ReadData, check};
use repository::progress::Progress;
use repository::restore::{RestoreRequest, RestoreVolume, restore_with};
use repository::store::{Driver, DriverError, ObjectMeta, PutPayload};
use repository::vfs::{self, Catalogue};
use std::future::Future;
use std::ops::Range;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use tests::data::bytes;
use tests::engine::{Bench, volume};

/// Which round it is, and who waits for the next one.
#[derive(Default)]
struct Rounds {
    now: u64,
    waiting: Vec<Waker>,
    /// What was asked in each round.
    asked: Vec<Vec<String>>,
}

/// A store whose answers all come a round after the question.
struct FarDriver {
    inner: Arc<dyn Driver>,
    rounds: Arc<Mutex<Rounds>>,
}

impl FarDriver {
    async fn round(&self, question: String) {
        let end = {
            let mut rounds = self.rounds.lock().unwrap();
            let now = rounds.now as usize;
            rounds.asked.resize(now + 1, Vec::new());
            rounds.asked[now].push(question);
            rounds.now + 1
        };
        poll_fn(|cx| {
            let mut rounds = self.rounds.lock().unwrap();
            if rounds.now >= end {
                return Poll::Ready(());
            }
            rounds.waiting.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl Driver for FarDriver {
    fn put_new<'a>(&'a self, name: &'a str, payload: PutPayload) -> BoxFuture<'a, Result<(), DriverError>> {
        Box::pin(async move {
            self.round(format!("put {name}")).await;
            self.inner.put_new(name, payload).await
        })
    }

    fn get<'a>(
        &'a self,
        name: &'a str,
        range: Option<Range<u64>>,
    ) -> BoxFuture<'a, Result<Bytes, DriverError>> {
        Box::pin(async move {
            self.round(format!("get {name}")).await;
            self.inner.get(name, range).await
        })
    }

    fn head<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<ObjectMeta, DriverError>> {
        Box::pin(async move {
            self.round(format!("head {name}")).await;
            self.inner.head(name).await
        })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxStream<'a, Result<ObjectMeta, DriverError>> {
        let answered = async move {
            self.round(format!("list {prefix}")).await;
            self.inner.list(prefix)
        };
        once(answered).flatten().boxed()
    }

    fn delete<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), DriverError>> {
        Box::pin(async move {
            self.round(format!("delete {name}")).await;
            self.inner.delete(name).await
        })
    }

    fn url(&self) -> &str {
        self.inner.url()
    }
}

/// Runs `work` on a store far away; what it gives, and what it asked in each round.
fn far<T, F: Future<Output = T>>(
    bench: &Bench,
    work: impl FnOnce(Arc<dyn Driver>) -> F,
) -> (T, Vec<Vec<String>>) {
    let rounds = Arc::new(Mutex::new(Rounds::default()));
    let driver = FarDriver { inner: Arc::new(bench.store.clone()), rounds: rounds.clone() };
    let mut work = pin!(work(Arc::new(driver)));
    loop {
        // whoever is woken by the end of a round has asked all that it can before the next one ends
        if let Poll::Ready(done) = work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            let asked = std::mem::take(&mut rounds.lock().unwrap().asked);
            return (done, asked);
        }
        let waiting = {
            let mut rounds = rounds.lock().unwrap();
            assert!(!rounds.waiting.is_empty(), "waits for nothing");
            rounds.now += 1;
            std::mem::take(&mut rounds.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }
}

async fn open(bench: &Bench, driver: Arc<dyn Driver>) -> Repository {
    Repository::open(driver, &bench.exec, &bench.env, &bench.owner).await.unwrap()
}

fn backed_up(bench: &Bench, content: &[u8]) -> Vec<Vec<String>> {
    let progress = Arc::new(Progress::default());
    let request = || BackupRequest { volumes: vec![volume("shop/data", content)], ..Default::default() };
    let work = |driver| async move { backup(&open(bench, driver).await, request(), &progress).await };
    let (report, asked) = far(bench, work);
    report.unwrap();
    asked
}

fn restored(bench: &Bench, content: &[u8]) -> Vec<Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("data");
    let (progress, path) = (Arc::new(Progress::default()), target.clone());
    let work = |driver| async move {
        let contents = vfs::contents(&open(bench, driver).await).await?;
        let request = RestoreRequest {
            snapshot: contents.entries.last().unwrap().snapshot.clone(),
            volumes: vec![RestoreVolume { name: "shop/data".into(), target: path }],
            force: false,
            verify: false,
            allow_damaged: false,
            in_place: false,
        };
        restore_with(&contents.reader, request, &progress).await
    };
    let (report, asked) = far(bench, work);
    report.unwrap();
    assert!(std::fs::read(target).unwrap() == content);
    asked
}

#[test]
fn a_command_waits_for_few_answers() {
    let bench = Bench::new(960);
    let content = bytes(960, 50_000);
    let first = backed_up(&bench, &content);
    // lists, slot and config; deletion; index and snapshots; packs, run, pending record, deletion, snapshot, clean
    assert!(first.len() == 10, "{first:#?}");
    let second = backed_up(&bench, &[content.clone(), bytes(961, 50_000)].concat());
    // and run and parent
    assert!(second.len() == 11, "{second:#?}");
    let restored = restored(&bench, &[content, bytes(961, 50_000)].concat());
    // lists, slot and config, deletion, index and snapshots, run and snapshot, map, trailers, chunks
    assert!(restored.len() == 8, "{restored:#?}");
}

#[test]
fn many_manifests_are_read_together() {
    let bench = Bench::new(962);
    let json =
        |n: usize| format!("{{\"kind\":\"ConfigMap\",\"n\":{n},\"text\":\"{}\"}}", "ab".repeat(n % 900));
    let path = |n: usize| format!("/ConfigMap/shop/{n:05}");
    let input = |n| ManifestInput { path: path(n), json: json(n).into_bytes().into() };
    let manifests = (0..3000).map(input).collect();
    bench.backup(BackupRequest { manifests, ..Default::default() }).unwrap();
    let work = |driver| async {
        let contents = vfs::contents(&open(&bench, driver).await).await?;
        let catalogue = Catalogue::open(&contents.reader, &contents.entries[0].snapshot).await?;
        let mut all = Vec::new();
        while let found = catalogue.manifests_from(all.len(), 1 << 20).await?
            && !found.is_empty()
        {
            all.extend(found);
        }
        let mut small = catalogue.manifests_from(7, 1).await?;
        small.extend(catalogue.manifests_from(2999, 1 << 20).await?);
        assert!(catalogue.manifests_from(3000, 1 << 20).await?.is_empty());
        repository::Result::<_>::Ok((all, small))
    };
    let (read, asked) = far(&bench, work);
    let (all, small) = read.unwrap();
    assert!(all.iter().enumerate().all(|(n, found)| *found == json(n).into_bytes()));
    assert_eq!(all.len(), 3000);
    assert_eq!(small, [json(7).into_bytes(), json(2999).into_bytes()]);
    // a round or two for each MiB of them
    assert!(asked.len() <= 20, "{} rounds", asked.len());
}

#[test]
fn packs_are_checked_together() {
    let bench = Bench::new(963);
    for n in 0..12 {
        let volumes = vec![volume("shop/data", &bytes(970 + n, 50_000))];
        bench.backup(BackupRequest { volumes, ..Default::default() }).unwrap();
    }
    let packs = bench.store.names().iter().filter(|name| name.starts_with("packs/")).count();
    assert!(packs >= 24, "{packs} packs");
    let rounds = |read_data| {
        let (options, progress) =
            (CheckOptions { read_data, snapshots: Vec::new() }, Arc::new(Progress::default()));
        let work = |driver| async { check(&open(&bench, driver).await, options, &progress).await };
        let (report, asked) = far(&bench, work);
        assert_eq!(report.unwrap().errors, vec![]);
        asked.len()
    };
    // lists, keys, runs and pages one by one; snapshots and trailers eight at a time, two packs for each thread
    let (trailers, whole) = (rounds(ReadData::None), rounds(ReadData::All));
    assert!(trailers <= 48 && whole <= trailers + packs.div_ceil(2), "{packs}: {trailers}, {whole}");
}
