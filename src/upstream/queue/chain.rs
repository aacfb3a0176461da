//! A table whose entries also stand in a line: found by key, walked in the order they came.

use std::collections::HashMap;

/// Below so many entries' room, none is given back: it would be asked for again.
const SMALL: usize = 32;

/// Entries by key, in a line.
#[derive(Debug)]
pub(super) struct Chain<V> {
    links: HashMap<u64, Link<V>>,
    /// The keys at both ends; `None` when it is empty.
    ends: Option<Ends>,
}

#[derive(Debug, Clone, Copy)]
struct Ends {
    first: u64,
    last: u64,
}

#[derive(Debug)]
struct Link<V> {
    value: V,
    before: Option<u64>,
    after: Option<u64>,
}

impl<V> Default for Chain<V> {
    fn default() -> Self {
        Self { links: HashMap::new(), ends: None }
    }
}

impl<V> Chain<V> {
    /// Adds an entry at the back. Its key is not in it yet.
    pub(super) fn push(&mut self, key: u64, value: V) {
        debug_assert!(!self.links.contains_key(&key), "a key stands in one place");
        let before = self.ends.map(|ends| ends.last);
        if let Some(link) = before.and_then(|last| self.links.get_mut(&last)) {
            link.after = Some(key);
        }
        self.links.insert(key, Link { value, before, after: None });
        let first = self.ends.map_or(key, |ends| ends.first);
        self.ends = Some(Ends { first, last: key });
    }

    /// Takes an entry out, wherever it stands.
    pub(super) fn remove(&mut self, key: u64) -> Option<V> {
        let Link { value, before, after } = self.links.remove(&key)?;
        if let Some(link) = before.and_then(|key| self.links.get_mut(&key)) {
            link.after = after;
        }
        if let Some(link) = after.and_then(|key| self.links.get_mut(&key)) {
            link.before = before;
        }
        self.ends = self.ends.and_then(|Ends { first, last }| {
            // With no neighbour at either side it was the only one.
            let first = if first == key { after? } else { first };
            let last = if last == key { before? } else { last };
            Some(Ends { first, last })
        });
        if self.links.capacity() > SMALL && self.links.len() < self.links.capacity() / 4 {
            self.links.shrink_to(self.links.len() * 2);
        }
        Some(value)
    }

    /// The entry of that key.
    pub(super) fn get_mut(&mut self, key: u64) -> Option<&mut V> {
        self.links.get_mut(&key).map(|link| &mut link.value)
    }

    /// All entries, from the front.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &V)> {
        let mut next = self.ends.map(|ends| ends.first);
        std::iter::from_fn(move || {
            let key = next?;
            let link = self.links.get(&key)?;
            next = link.after;
            Some((key, &link.value))
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.links.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_a_plain_list() {
        let mut chain = Chain::default();
        let mut list: Vec<u64> = Vec::new();
        let mut state = 1_u64;
        for key in 0..5_000 {
            // Knuth's MMIX generator; its high bits are the good ones.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let chance = (state >> 33) as usize;
            chain.push(key, key * 2);
            list.push(key);
            // Grows to a few hundred, then shrinks to nothing, again and again.
            for _ in 0..if key % 1_000 < 600 { chance % 2 } else { 3 } {
                if list.is_empty() {
                    continue;
                }
                let gone = list.remove(chance % list.len());
                assert_eq!(chain.remove(gone), Some(gone * 2));
                assert_eq!(chain.remove(gone), None);
            }
            let walked: Vec<_> = chain.iter().map(|(key, _)| key).collect();
            assert_eq!(walked, list);
            assert_eq!(chain.is_empty(), list.is_empty());
        }
    }

    #[test]
    fn memory_is_given_back() {
        let mut chain = Chain::default();
        for key in 0..100_000 {
            chain.push(key, ());
        }
        for key in 10..100_000 {
            chain.remove(key);
        }
        assert!(chain.links.capacity() <= 4 * SMALL, "room for {}", chain.links.capacity());
    }
}
