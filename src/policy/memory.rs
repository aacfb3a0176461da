//! Answers that hold for a while.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::{Duration, Instant};

/// A bounded memory of answers that all hold equally long; so the oldest is the first to go,
/// whether its time or the room is over.
#[derive(Debug)]
pub struct Memory<K, V> {
    room: usize,
    holds: Duration,
    answers: HashMap<K, (V, Instant)>,
    /// The keys of `answers` with the same times, oldest first.
    order: VecDeque<(K, Instant)>,
}

impl<K: Hash + Eq + Clone, V: Clone> Memory<K, V> {
    /// With room for that many answers, each of which holds for so long.
    pub fn new(room: usize, holds: Duration) -> Self {
        Self { room, holds, answers: HashMap::new(), order: VecDeque::new() }
    }

    /// The answer, if there is one that holds.
    pub fn get(&self, key: &K, now: Instant) -> Option<V> {
        let (answer, until) = self.answers.get(key)?;
        (now < *until).then(|| answer.clone())
    }

    /// Keeps an answer.
    pub fn put(&mut self, key: K, answer: V, now: Instant) {
        self.remove(&key);
        while self.order.front().is_some_and(|(_, until)| *until <= now)
            || self.order.len() >= self.room.max(1)
        {
            let Some((oldest, _)) = self.order.pop_front() else { break };
            self.answers.remove(&oldest);
        }
        let until = now + self.holds;
        self.order.push_back((key.clone(), until));
        self.answers.insert(key, (answer, until));
    }

    /// An answer that is given anew has long been the oldest, so it is found at the front.
    fn remove(&mut self, key: &K) {
        if self.answers.remove(key).is_some() {
            self.order.retain(|(other, _)| other != key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_hold_for_a_while() {
        let start = crate::clock::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut memory = Memory::new(10, Duration::from_secs(10));
        memory.put("a", 1, at(0));
        memory.put("b", 2, at(5));
        assert_eq!((memory.get(&"a", at(9)), memory.get(&"b", at(9))), (Some(1), Some(2)));
        assert_eq!((memory.get(&"a", at(10)), memory.get(&"b", at(10))), (None, Some(2)));
        memory.put("a", 3, at(12));
        assert_eq!(memory.get(&"a", at(21)), Some(3), "its first time is over");
        assert_eq!(memory.get(&"b", at(15)), None);
        memory.put("c", 4, at(30));
        assert_eq!((memory.answers.len(), memory.order.len()), (1, 1), "the others were dropped");
    }

    #[test]
    fn the_oldest_makes_room() {
        let now = crate::clock::now();
        let mut memory = Memory::new(3, Duration::from_secs(10));
        for number in 0..1000 {
            memory.put(number, number, now);
            assert!(memory.answers.len() <= 3 && memory.order.len() == memory.answers.len());
        }
        assert_eq!((0..1000).filter(|n| memory.get(n, now).is_some()).count(), 3);
        assert_eq!(memory.get(&999, now), Some(999));
    }
}
