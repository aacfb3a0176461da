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
        while self.order.front().is_some_and(|(_, until)| *until <= now) {
            self.forget_oldest();
        }
        // One that still holds is hardly ever given anew, so looking for it may take its time.
        if self.answers.remove(&key).is_some() {
            self.order.retain(|(other, _)| *other != key);
        }
        if self.order.len() >= self.room {
            self.forget_oldest();
        }
        let until = now + self.holds;
        self.order.push_back((key.clone(), until));
        self.answers.insert(key, (answer, until));
    }

    fn forget_oldest(&mut self) {
        if let Some((oldest, _)) = self.order.pop_front() {
            self.answers.remove(&oldest);
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
        memory.put("a", 5, at(13));
        assert_eq!((memory.get(&"a", at(22)), memory.order.len()), (Some(5), 2));
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
