//! Bytes that a peer has not taken yet.

/// A first-in first-out of bytes that owns memory only while there are some.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    /// 0 <= taken <= bytes.len()
    taken: usize,
}

impl Outbox {
    /// Whether everything was taken.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What is still to be taken.
    pub fn rest(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    /// Adds to the end.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Adds to the end what was written for it.
    pub fn push_all(&mut self, bytes: Vec<u8>) {
        match self.is_empty() {
            true => self.bytes = bytes,
            false => self.push(&bytes),
        }
    }

    /// Lets `write` add to the end.
    pub fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
    }

    /// The first `count` bytes of the rest were taken.
    pub fn take(&mut self, count: usize) {
        self.taken += count;
        if self.taken >= self.bytes.len() {
            *self = Self::default();
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_gone_and_memory_with_it() {
        let mut outbox = Outbox::default();
        outbox.push_all(b"he".to_vec());
        outbox.push_all(b"llo".to_vec());
        outbox.take(2);
        outbox.push(b"!");
        assert_eq!(outbox.rest(), b"llo!");
        outbox.take(4);
        assert!(outbox.is_empty());
        assert_eq!(outbox.bytes.capacity(), 0);
    }
}
