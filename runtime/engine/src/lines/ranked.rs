//! A sorted set that tells how many of its entries are smaller than one. Hides its blocks: whatever is asked of it looks at a
//! few hundred of them at most, and into one.

/// Entries of a block; a fuller one is halved.
const BLOCK_MAX: usize = 512;

/// See the module.
pub(super) struct Ranked<T> {
    /// Ascending, none of them empty.
    blocks: Vec<Vec<T>>,
    len: usize,
}

impl<T> Default for Ranked<T> {
    fn default() -> Ranked<T> {
        Ranked {
            blocks: Vec::new(),
            len: 0,
        }
    }
}

impl<T: Ord + Copy> Ranked<T> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether it was not there.
    pub(super) fn insert(&mut self, entry: T) -> bool {
        // One behind all others goes to the end of the last block.
        let index = self.block_of(entry);
        let index = index.min(self.blocks.len().saturating_sub(1));
        let Some(block) = self.blocks.get_mut(index) else {
            self.blocks.push(vec![entry]);
            self.len = 1;
            return true;
        };
        let Err(at) = block.binary_search(&entry) else {
            return false;
        };
        block.insert(at, entry);
        self.len += 1;
        if block.len() > BLOCK_MAX {
            let half = block.split_off(BLOCK_MAX / 2);
            self.blocks.insert(index + 1, half);
        }
        true
    }

    /// Whether it was there.
    pub(super) fn remove(&mut self, entry: T) -> bool {
        let index = self.block_of(entry);
        let Some(block) = self.blocks.get_mut(index) else {
            return false;
        };
        let Ok(at) = block.binary_search(&entry) else {
            return false;
        };
        block.remove(at);
        self.len -= 1;
        if block.is_empty() {
            self.blocks.remove(index);
        }
        true
    }

    pub(super) fn first(&self) -> Option<T> {
        self.blocks.first()?.first().copied()
    }

    /// How many are smaller.
    pub(super) fn rank(&self, entry: T) -> usize {
        let index = self.block_of(entry);
        let before: usize = self.blocks[..index].iter().map(Vec::len).sum();
        let within = self.blocks.get(index);
        before + within.map_or(0, |block| block.partition_point(|other| *other < entry))
    }

    /// The block that has the entry, or would have it; behind the last one when it is greater than all.
    fn block_of(&self, entry: T) -> usize {
        let ends_before = |block: &Vec<T>| block.last().is_none_or(|last| *last < entry);
        self.blocks.partition_point(ends_before)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{BLOCK_MAX, Ranked};

    /// Numbers that look drawn, the same at each run.
    fn drawn(seed: &mut u64) -> u64 {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        *seed >> 33
    }

    #[test]
    fn ranks_are_those_of_a_sorted_set() {
        let (mut ranked, mut set) = (Ranked::default(), BTreeSet::new());
        let mut seed = 7;
        for round in 0..20_000_u64 {
            let entry = drawn(&mut seed) % 4_000;
            // It grows, and shrinks again.
            let grows = drawn(&mut seed) % 10 < if round < 10_000 { 8 } else { 2 };
            match grows {
                true => assert_eq!(ranked.insert(entry), set.insert(entry)),
                false => assert_eq!(ranked.remove(entry), set.remove(&entry)),
            }
            assert_eq!(ranked.len(), set.len());
            assert_eq!(ranked.first(), set.first().copied());
            if round % 50 == 0 {
                let asked = drawn(&mut seed) % 4_200;
                assert_eq!(ranked.rank(asked), set.range(..asked).count());
            }
        }
        while let Some(first) = set.pop_first() {
            assert!(ranked.remove(first));
        }
        assert!(ranked.is_empty() && ranked.blocks.is_empty());
    }

    #[test]
    fn blocks_stay_few() {
        let mut ranked = Ranked::default();
        for entry in 0..100_000_u64 {
            ranked.insert(entry);
        }
        assert!(ranked.blocks.len() <= 2 * 100_000 / BLOCK_MAX + 1);
        assert_eq!(ranked.rank(77_777), 77_777);
    }
}
