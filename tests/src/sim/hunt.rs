//! Mixtures in which a given rule of the protocol is soon missed when it is left out.

use super::profile::{Act, Chore, HOUR, MINUTE, Profile, SECOND};
use super::rng::Rng;
use repository::env::Mutant;
use repository::prune::Pace;
use std::time::Duration;

/// Prunes that leave nothing alone, beside backups that are stopped at any moment.
pub fn dense(profile: &mut Profile, rng: &mut Rng) {
    *profile = Profile {
        delta_ms: Profile::LAG_MS,
        lag: rng.pick(&[50, 300, 900]),
        crash: 0,
        stop: rng.pick(&[5, 20, 60]),
        stops_ms: vec![SECOND, 3 * SECOND, MINUTE, HOUR],
        stop_least_ms: (0, 0),
        stop_unsent: (250, 250),
        latencies_ms: Profile::LATENCIES_MS,
        fail: 0,
        fail_keepers: true,
        late: 0,
        twice: 0,
        outage: 0,
        page_len: 1000,
        writers: 2,
        keepers: 2,
        jobs: 6,
        pauses_ms: vec![SECOND, 10 * SECOND, MINUTE],
        wide: 0,
        windows_ms: vec![0],
        pace: Pace {
            session_age: Duration::ZERO,
            pending_age: Duration::from_secs(60),
            floor_generations: 0,
            floor_age: Duration::ZERO,
            small_runs: usize::try_from(rng.pick(&[0, 1, 3])).unwrap_or(0),
        },
        chores: vec![(Chore::ForgetLast, 4), (Chore::Prune, 8), (Chore::Backup, 2)],
        letters: 2,
        chunks: 2,
        names: 1,
        full_lag: false,
        stop_at: &[],
        stop_keepers: None,
        script: vec![],
        ranges: false,
        script_tokens: false,
        mutant: None,
        index_len: None,
    };
}

/// The mixture for a mutant; without the mutant nothing fails in it.
#[allow(clippy::too_many_lines, reason = "one arm for each mutant")]
pub fn shape(mutant: Mutant, profile: &mut Profile, rng: &mut Rng) {
    dense(profile, rng);
    let lagging = |profile: &mut Profile| {
        (profile.lag, profile.full_lag, profile.stop) = (500, true, 0);
        (profile.letters, profile.chunks) = (2, 1);
        profile.pace.floor_generations = 30;
        profile.pauses_ms = vec![SECOND, 5 * SECOND];
        profile.writers = 3;
    };
    let stopping = |profile: &mut Profile, at: &'static [(&'static str, &'static str)], stops_ms: &[u64]| {
        profile.delta_ms = 0;
        profile.lag = 0;
        profile.stop = 400;
        profile.stop_at = at;
        profile.stops_ms = stops_ms.to_vec();
        profile.pauses_ms = vec![SECOND, 5 * SECOND];
    };
    match mutant {
        Mutant::SnapshotsBeforePending => {
            // a session stops between c4 and c5, a prune between its two lists
            stopping(profile, &[("list", "snapshots/"), ("list", "gc/"), ("list", "index/")], &[5 * SECOND]);
            profile.pace.floor_generations = 30;
            profile.script = vec![
                (false, vec![(0..1, Act::Backup(&[("u", "a")]))]),
                (true, vec![(30 * SECOND..31 * SECOND, Act::Do(Chore::ForgetLast))]),
                (false, vec![(MINUTE..MINUTE + 10 * SECOND, Act::Backup(&[("v", "a")]))]),
                (true, vec![(MINUTE..MINUTE + 10 * SECOND, Act::Do(Chore::Prune))]),
            ];
        }
        Mutant::NoWaitBetweenListsOfP5 => lagging(profile),
        Mutant::NoWaitAtC3 | Mutant::NoWaitAfterP4 | Mutant::ResumeWithoutWait => {
            lagging(profile);
            // several prunes at once: who loses the race for the plan resumes it; a session reuses what
            // was just forgotten
            let prune = (true, vec![(5 * SECOND..9 * SECOND, Act::Do(Chore::Prune))]);
            profile.script = vec![
                (false, vec![(0..1, Act::Backup(&[("u", "a")]))]),
                (true, vec![(4 * SECOND..5 * SECOND, Act::Do(Chore::ForgetLast))]),
                (false, vec![(5 * SECOND..10 * SECOND, Act::Backup(&[("v", "a")]))]),
            ];
            let prunes = if mutant == Mutant::ResumeWithoutWait { 3 } else { 1 };
            if mutant == Mutant::NoWaitAtC3 {
                // between c4 and c5
                (profile.stop, profile.stop_at) = (400, &[("list", "gc/")]);
                (profile.stop_keepers, profile.stops_ms) = (Some(false), vec![5 * SECOND]);
            }
            profile.script.extend(std::iter::repeat_n(prune, prunes));
        }
        Mutant::DeadLocationInP5 => {
            stopping(profile, &[("list", "index/"), ("list", "forget/")], &[SECOND, 4 * SECOND]);
            profile.stop_keepers = Some(true);
            profile.windows_ms = vec![HOUR];
            profile.pace.floor_generations = 30;
            // "a" lies in a dead pack, and in one that only a running session needs
            profile.script = vec![
                (false, vec![(0..1, Act::Backup(&[("u", "a")]))]),
                (true, vec![(MINUTE..MINUTE + 1, Act::Do(Chore::ForgetLast))]),
                (true, vec![(2 * MINUTE..2 * MINUTE + 1, Act::Do(Chore::Prune))]),
                (false, vec![(3 * MINUTE..3 * MINUTE + 1, Act::Backup(&[("v", "a")]))]),
                (true, vec![(4 * MINUTE..4 * MINUTE + 1, Act::Do(Chore::ForgetLast))]),
                (true, vec![(5 * MINUTE..5 * MINUTE + 10 * SECOND, Act::Do(Chore::Prune))]),
                (false, vec![(5 * MINUTE..5 * MINUTE + 15 * SECOND, Act::Backup(&[("w", "a")]))]),
            ];
        }
        Mutant::DeadLocationInP1 => {
            stopping(profile, &[("list", "index/"), ("list", "forget/")], &[SECOND, 10 * SECOND]);
            profile.stop_keepers = Some(true);
            profile.windows_ms = vec![HOUR];
            profile.pace.floor_generations = 30;
            (profile.letters, profile.chunks) = (1, 2);
            profile.keepers = 3;
            profile.writers = 3;
        }
        Mutant::ForgetDeletes | Mutant::NoParentCheckAtC4 => {
            stopping(profile, &[("get", "snapshots/"), ("put", "pending/")], &[3 * SECOND, MINUTE]);
            profile.stop_keepers = Some(false);
            profile.keepers = 3;
            (profile.letters, profile.chunks) = (3, 1);
            profile.pace.floor_generations = 30;
            profile.chores = vec![(Chore::ForgetLast, 8), (Chore::Prune, 8)];
        }
        Mutant::ForgottenNotCumulative => {
            stopping(profile, &[("get", "snapshots/"), ("put", "pending/")], &[MINUTE, 5 * MINUTE]);
            profile.stop_keepers = Some(false);
            (profile.letters, profile.chunks) = (1, 2);
            profile.pace.floor_generations = 30;
            profile.keepers = 3;
        }
        Mutant::ForgottenByOwnFloor => {
            let calls = &[("put", "packs/"), ("put", "pending/"), ("put", "gc/")];
            stopping(profile, calls, &[5 * SECOND]);
            (profile.stop, profile.latencies_ms) = (900, &[20]);
            profile.stop_least_ms = (70 * SECOND, 10 * SECOND);
            profile.script_tokens = true;
            profile.pace.session_age = Duration::from_secs(3600);
            profile.pace.small_runs = 0;
            // the floor trails, so that it passes the parent's generation only with the third
            profile.pace.floor_generations = 1;
            let at = |seconds: u64| seconds * SECOND..(seconds + 1) * SECOND;
            let (forget, prune) = (Act::Do(Chore::ForgetLast), Act::Do(Chore::Prune));
            // a session sleeps through two generations, one of which takes its parent, and lists a run between the
            // two looks of the next
            profile.script = vec![
                (true, vec![(at(0), Act::Backup(&[("v", "a")])), (at(0), Act::Backup(&[("x", "c")]))]),
                (true, vec![(at(0), Act::Backup(&[("y", "d")]))]),
                (false, vec![(at(200), Act::Backup(&[("v", "a"), ("w", "b")]))]),
                (true, vec![(at(201), forget), (0..1, prune), (0..1, forget), (0..1, prune)]),
                (true, vec![(265 * SECOND..275 * SECOND, forget), (0..1, prune)]),
            ];
        }
        Mutant::FloorNotReadAgainAtP5 => {
            stopping(profile, &[("put", "packs/"), ("list", "index/"), ("list", "forget/")], &[MINUTE]);
            profile.pace.small_runs = 0;
            let at = |seconds: u64| seconds * SECOND..(seconds + 1) * SECOND;
            let (forget, prune) = (Act::Do(Chore::ForgetLast), Act::Do(Chore::Prune));
            // a session sleeps through two generations, and lists its run between the two looks of the next
            profile.script = vec![
                (false, vec![(at(0), Act::Backup(&[("v", "a")]))]),
                (true, vec![(at(0), Act::Backup(&[("x", "c")])), (at(300), Act::Backup(&[("y", "d")]))]),
                (false, vec![(at(600), Act::Backup(&[("w", "b")]))]),
                (true, vec![(at(601), forget), (0..1, prune), (0..1, forget), (0..1, prune)]),
                (true, vec![(650 * SECOND..900 * SECOND, forget), (0..1, prune)]),
            ];
        }
        Mutant::NoFloor => {
            stopping(profile, &[("put", "packs/")], &[5 * SECOND]);
            (profile.stop, profile.latencies_ms) = (900, &[20]);
            (profile.stop_keepers, profile.stop_least_ms) = (Some(false), (60 * SECOND, 0));
            profile.pace.session_age = Duration::from_secs(3600);
            profile.pace.small_runs = 0;
            let at = |seconds: u64| seconds * SECOND..(seconds + 1) * SECOND;
            let backup = |letters| (at(0), Act::Backup(letters));
            let (forget, prune) = (Act::Do(Chore::ForgetLast), Act::Do(Chore::Prune));
            // a session reuses "a", and sleeps until its pack is deleted and no longer among the dead
            profile.script = vec![
                (true, vec![backup(&[("v", "a")]), backup(&[("x", "c")])]),
                (true, vec![backup(&[("y", "d")]), backup(&[("z", "e")])]),
                (false, vec![(at(200), Act::Backup(&[("u", "ab")]))]),
                (true, [(at(201), forget), (0..1, prune)].into_iter().cycle().take(8).collect()),
            ];
        }
        Mutant::MergeWithoutBuilt => {}
        Mutant::MergeWithoutFloorCheck => {
            stopping(
                profile,
                &[("list", "gc/"), ("list", "index/"), ("put", "index/")],
                &[3 * SECOND, MINUTE],
            );
            profile.stop = 250;
            profile.stop_keepers = Some(true);
            profile.keepers = 4;
            profile.pace.small_runs = 0;
            profile.chores.push((Chore::Merge, 6));
        }
        Mutant::OwnPacksWithoutList => {
            stopping(profile, &[("get", "packs/"), ("put", "pending/")], &[MINUTE, 5 * MINUTE]);
            profile.stop_keepers = Some(false);
            profile.pace.small_runs = 0;
            profile.jobs = 12;
            profile.keepers = 3;
            profile.pace.pending_age = Duration::from_secs(5);
        }
        Mutant::DeadLeavesByLateList => {
            profile.pace.small_runs = 0;
            profile.pace.pending_age = Duration::from_secs(3600);
            (profile.lag, profile.stop, profile.latencies_ms) = (600, 900, &[20]);
            profile.stop_at = &[("put", "packs/map"), ("delete", "packs/")];
            (profile.stops_ms, profile.stop_least_ms) = (vec![5 * SECOND], (37 * SECOND, 27 * SECOND));
            profile.stop_unsent = (0, 800);
            let at = |seconds: u64| seconds * SECOND..(seconds + 1) * SECOND;
            let forget = Act::Do(Chore::ForgetLast);
            // a session sleeps while its packs are condemned and two generations follow; one of its packs is deleted,
            // and the last generation lists, just before it looks for it
            profile.script = vec![
                (true, vec![(at(0), Act::Backup(&[("x", "c")])), (at(0), Act::Backup(&[("y", "d")]))]),
                (false, vec![(at(200), Act::Backup(&[("v", "a")]))]),
                (true, vec![(at(203), Act::Prune(0))]),
                (true, vec![(at(212), forget), (at(0), Act::Prune(HOUR))]),
                (true, vec![(232 * SECOND..242 * SECOND, forget), (at(0), Act::Prune(HOUR))]),
            ];
        }
        Mutant::DeleteByOldList => {
            stopping(
                profile,
                &[("list", "index/"), ("get", "index/"), ("list", "pending/")],
                &[SECOND, 10 * SECOND],
            );
            profile.keepers = 4;
            profile.writers = 3;
            profile.pace.floor_generations = 30;
        }
        Mutant::CommitTwice => {
            stopping(profile, &[("put", "snapshots/")], &[10 * MINUTE]);
            profile.stop = 900;
            profile.stop_keepers = Some(false);
            (profile.fail, profile.fail_keepers) = (400, false);
            profile.pace.small_runs = 0;
            let at = |minutes: u64| minutes * MINUTE..minutes * MINUTE + 1;
            let generation = |minutes: u64, letters: &'static [(&'static str, &'static str)]| {
                let forget = Act::Do(Chore::ForgetLast);
                let prune = Act::Do(Chore::Prune);
                (true, vec![(at(minutes), Act::Backup(letters)), (at(minutes), forget), (at(minutes), prune)])
            };
            profile.script = vec![
                (false, vec![(0..1, Act::Backup(&[("v", "a")]))]),
                (true, vec![(at(1), Act::Do(Chore::ForgetLast)), (at(1), Act::Do(Chore::Prune))]),
                generation(2, &[("w", "b")]),
                generation(3, &[("w", "c")]),
                generation(4, &[("w", "d")]),
            ];
        }
        Mutant::ForgetLastOfGroup => profile.chores = vec![(Chore::Forget, 4), (Chore::Prune, 4)],
        Mutant::NoTombstone => profile.chores.push((Chore::Drop, 4)),
        _ => {}
    }
}
