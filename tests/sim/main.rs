//! The deterministic simulator over many seeds.

use tests::sim::{Schedule, profile::Profile, rng::Rng};

/// As the seed draws it.
fn plain(_: &mut Profile, _: &mut Rng) {}

#[test]
fn one_seed_twice_is_one_schedule() {
    for seed in 0..20 {
        let [first, second] = [false, true].map(|lines| Schedule::new(seed, lines, &plain).run());
        assert_eq!((first.hash, first.calls), (second.hash, second.calls), "seed {seed}");
        assert_ne!(first.hash, Schedule::new(seed + 1, false, &plain).run().hash);
    }
}

#[test]
fn many_seeds() {
    let threads = 2;
    let count = std::env::var("N").map_or(300, |n| n.parse::<u64>().unwrap());
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                let mut times = vec![];
                for seed in (0..count).filter(|seed| seed % threads == thread) {
                    let t = std::time::Instant::now();
                    let report = Schedule::new(seed, false, &plain).run();
                    times.push(t.elapsed());
                    if let Some(failure) = &report.failure {
                        let again = Schedule::new(seed, true, &plain).run();
                        again.lines.iter().for_each(|line| println!("{line}"));
                        panic!("seed {seed}: {failure}");
                    }
                }
                times.sort();
                println!("median {:?} max {:?}", times[times.len() / 2], times[times.len() - 1]);
            });
        }
    });
}
