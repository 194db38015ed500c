//! Who works on the repository, and how.

use crate::dice::Dice;
use crate::ends::Verb;
use crate::image::Image;
use crate::ledger::{name, volume};
use crate::world::World;
use std::time::{Duration, Instant};

const WRITERS: usize = 8;
const PRUNERS: usize = 2;
/// Stands for the 15 minutes that an operator waits before a killed prune is taken over: on loopback no request of
/// the dead is under way for longer.
const DEAD_FOR: Duration = Duration::from_secs(3);
/// A writer rests for less than so many times as long as a backup takes.
const REST_MAX: usize = 5;

/// Everybody works until the deadline; what has begun by then is waited for.
pub(crate) fn work(world: &World, epoch: u32, deadline: Instant) {
    let repeat = |role: String, step: &mut dyn FnMut(&mut Dice)| {
        let mut dice = Dice::new(world.seed, &format!("{role} in epoch {epoch}"));
        while Instant::now() < deadline {
            step(&mut dice);
        }
    };
    let repeat = &repeat;
    std::thread::scope(|scope| {
        for n in 0..WRITERS {
            scope.spawn(move || {
                let mut writer = Writer::new(world, n, epoch);
                repeat(format!("writer {n}"), &mut |dice| writer.back_up(dice));
            });
        }
        for n in 0..if world.is_one { 1 } else { PRUNERS } {
            scope.spawn(move || repeat(format!("pruner {n}"), &mut |dice| prune(world, dice)));
        }
        scope.spawn(|| repeat("forgetter".into(), &mut |dice| forget(world, dice)));
        scope.spawn(|| repeat("undeleter".into(), &mut |dice| look_or_undelete(world, dice)));
    });
}

struct Writer<'a> {
    world: &'a World,
    n: usize,
    image: Image,
}

impl<'a> Writer<'a> {
    /// With a volume of its own, a new one in each epoch.
    fn new(world: &'a World, n: usize, epoch: u32) -> Self {
        let image = Image::new(&mut Dice::new(world.seed, &format!("image {n} in epoch {epoch}")));
        Writer { world, n, image }
    }

    fn back_up(&mut self, dice: &mut Dice) {
        let (world, n) = (self.world, self.n);
        self.image.change(dice);
        // eight that never rest would leave no CPU for a prune
        std::thread::sleep(world.tally().usual(Verb::Backup) * u32::try_from(dice.below(REST_MAX)).unwrap());
        std::fs::write(world.path(&format!("w{n}.img")), self.image.bytes()).unwrap();
        let key = {
            let mut known = world.ledger.known();
            let key = (n, known.content.range((n, 0)..(n + 1, 0)).count() as u32);
            known.content.insert(key, blake3::hash(self.image.bytes()));
            key
        };
        let force = if dice.percent(30) { " --force-read" } else { "" };
        let line = format!("--json backup --volume {}=w{n}.img --name {}{force}", volume(n), name(key));
        let end = world.risk(Verb::Backup, &line, 7, dice);
        if end.is_done() {
            let known = end.summary()["bytes_new"].as_u64().unwrap().saturating_sub(self.image.new_len());
            world.count(|tally| tally.bytes_known += known);
            self.image.is_saved();
            world.ledger.known().committed.insert(end.text("snapshot_id"), key);
        } else {
            self.image.may_be_saved();
        }
    }
}

fn prune(world: &World, dice: &mut Dice) {
    let mut line = String::from("--json prune");
    if dice.percent(20) {
        line += " --index-only";
    }
    line += dice
        .pick(&["0", "0", "0", "0", "2s", "24h"])
        .map(|window| format!(" --undelete-window {window}"))
        .unwrap()
        .as_str();
    if dice.percent(20) {
        line += " --max-repack-bytes 200K";
    }
    if dice.percent(20) {
        line += " --max-unused 0%";
    }
    let end = world.risk(Verb::Prune, &line, 5, dice);
    if let Some(options) = end.take_over().filter(|_| world.is_one) {
        std::thread::sleep(DEAD_FOR);
        world.risk(Verb::Prune, &format!("{line}{options}"), 5, dice);
    }
}

fn forget(world: &World, dice: &mut Dice) {
    if dice.percent(50) {
        let keep = 1 + dice.below(3);
        let end = world.risk(Verb::Forget, &format!("--json forget --keep-last {keep}"), 7, dice);
        let mut known = world.ledger.known();
        if !end.is_done() {
            return known.may_have_kept(keep);
        }
        let removed = end.summary()["remove"].as_array().unwrap().clone();
        return known
            .let_go(removed.iter().map(|one| one["snapshot_id"].as_str().unwrap().to_owned()), &end.out);
    }
    let mut chosen = Vec::new();
    {
        let mut known = world.ledger.known();
        let can_go = known.can_go();
        for _ in 0..=dice.below(3) {
            chosen.extend(dice.pick(&can_go).cloned());
        }
        // before it begins: whatever becomes of it, they may be gone
        known.let_go(chosen.iter().cloned(), "chosen");
    }
    if chosen.is_empty() {
        world.run(Verb::Look, "--json snapshots");
    } else {
        world.risk(Verb::Forget, &format!("--json forget {}", chosen.join(" ")), 7, dice);
    }
}

fn look_or_undelete(world: &World, dice: &mut Dice) {
    let chosen = {
        let mut known = world.ledger.known();
        let can_return = known.can_return();
        // the latest are the likeliest to be there still
        let chosen = dice.pick(&can_return).cloned().filter(|_| dice.percent(60));
        chosen.map(|sid| (known.undelete(&sid), sid))
    };
    let Some((key, sid)) = chosen else {
        let line = *dice.pick(&["--json session list", "--json snapshots", "--json stats"]).unwrap();
        world.run(Verb::Look, line);
        return;
    };
    let end = world.risk(Verb::Undelete, &format!("--json undelete {sid}"), 7, dice);
    if end.is_done() {
        world.ledger.known().committed.insert(end.text("snapshot_id"), key);
    }
}
