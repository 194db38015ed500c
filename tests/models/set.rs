//! Small sets of small numbers: packs, runs, chunks, sids.

use std::fmt;
use std::ops::{BitAnd, BitOr, BitOrAssign, Sub, SubAssign};

/// A set of numbers below eight, in one byte.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Set(pub(crate) u8);

impl Set {
    pub(crate) const EMPTY: Set = Set(0);
    pub(crate) const ALL: Set = Set(0xff);

    pub(crate) fn one(n: u8) -> Set {
        Set(1 << n)
    }

    pub(crate) fn has(self, n: u8) -> bool {
        self.0 >> n & 1 == 1
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn meets(self, other: Set) -> bool {
        self.0 & other.0 != 0
    }

    pub(crate) fn insert(&mut self, n: u8) {
        self.0 |= 1 << n;
    }

    pub(crate) fn remove(&mut self, n: u8) {
        self.0 &= !(1 << n);
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = u8> {
        (0..8).filter(move |&n| self.has(n))
    }

    /// Those for which `keep` holds.
    pub(crate) fn filter(self, keep: impl Fn(u8) -> bool) -> Set {
        self.iter().filter(|&n| keep(n)).collect()
    }

    /// Every subset, the whole first and the empty one last.
    pub(crate) fn subsets(self) -> impl Iterator<Item = Set> {
        let mut next = Some(self);
        std::iter::from_fn(move || {
            let subset = next?;
            next = (subset.0 != 0).then(|| Set((subset.0 - 1) & self.0));
            Some(subset)
        })
    }
}

impl FromIterator<u8> for Set {
    fn from_iter<I: IntoIterator<Item = u8>>(numbers: I) -> Set {
        numbers.into_iter().fold(Set::EMPTY, |set, n| set | Set::one(n))
    }
}

impl BitOr for Set {
    type Output = Set;
    fn bitor(self, other: Set) -> Set {
        Set(self.0 | other.0)
    }
}

impl BitAnd for Set {
    type Output = Set;
    fn bitand(self, other: Set) -> Set {
        Set(self.0 & other.0)
    }
}

impl Sub for Set {
    type Output = Set;
    fn sub(self, other: Set) -> Set {
        Set(self.0 & !other.0)
    }
}

impl BitOrAssign for Set {
    fn bitor_assign(&mut self, other: Set) {
        self.0 |= other.0;
    }
}

impl SubAssign for Set {
    fn sub_assign(&mut self, other: Set) {
        self.0 &= !other.0;
    }
}

impl fmt::Debug for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}
