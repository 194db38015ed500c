//! What else is in packs that were hit lately: records that were written together are asked for together.

use std::collections::VecDeque;

/// Short ids of some packs, those used last first.
pub(super) struct Near {
    packs: VecDeque<(u32, Vec<[u8; 16]>)>,
    count: usize,
    count_max: usize,
}

impl Near {
    /// Of up to `memory_len` bytes, but always one pack.
    pub(super) fn new(memory_len: usize) -> Self {
        Near { packs: VecDeque::new(), count: 0, count_max: memory_len / 16 }
    }

    /// Adds the ids of a pack.
    pub(super) fn add(&mut self, pack: u32, mut ids: Vec<[u8; 16]>) {
        if self.has(pack) {
            return;
        }
        ids.sort_unstable();
        ids.dedup();
        ids.shrink_to_fit();
        self.count += ids.len();
        self.packs.push_front((pack, ids));
        while self.count > self.count_max
            && self.packs.len() > 1
            && let Some((_, ids)) = self.packs.pop_back()
        {
            self.count -= ids.len();
        }
    }

    pub(super) fn has(&self, pack: u32) -> bool {
        self.packs.iter().any(|(other, _)| *other == pack)
    }

    /// A pack with this id, but for those that are `hidden`.
    pub(super) fn find(&mut self, id: &[u8; 16], hidden: impl Fn(u32) -> bool) -> Option<u32> {
        let has = |(pack, ids): &(u32, Vec<[u8; 16]>)| ids.binary_search(id).is_ok() && !hidden(*pack);
        let at = self.packs.iter().position(has)?;
        let found = self.packs.remove(at)?;
        let pack = found.0;
        self.packs.push_front(found);
        Some(pack)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_the_last_packs_hold() {
        let id = |n: u8| [n; 16];
        let mut near = Near::new(4 * 16);
        near.add(1, vec![id(5), id(3)]);
        near.add(2, vec![id(4), id(5)]);
        assert_eq!(near.find(&id(3), |_| false), Some(1));
        assert_eq!(near.find(&id(4), |_| false), Some(2));
        assert_eq!(near.find(&id(5), |pack| pack == 2), Some(1), "hidden packs do not count");
        assert_eq!(near.find(&id(6), |_| false), None);
        // 2 was used before 1
        near.add(3, vec![id(7)]);
        assert_eq!((near.find(&id(4), |_| false), near.find(&id(3), |_| false)), (None, Some(1)));
        near.add(4, (10..30).map(id).collect());
        assert_eq!((near.find(&id(3), |_| false), near.find(&id(29), |_| false)), (None, Some(4)));
    }
}
