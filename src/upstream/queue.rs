//! Who waits for a place, and who is next. Pure, and bounded by its user.
//!
//! Each waiter belongs to a principal (whoever the queue is to be fair between). A principal's
//! waiters are served first come, first served; principals take turns. So somebody with a thousand
//! requests delays another one's first by one place, not by a thousand, and has himself the whole
//! queue when nobody else is in it. With one waiter per principal it is a plain queue.
//!
//! A principal enters at the back of the turn with its first waiter and leaves with its last.
//! There is no credit: leaving and coming again gains nothing over staying.
//!
//! Adding, removing and taking the first cost the same however many wait (amortized: tables grow
//! and shrink). Taking one far behind costs a look at each before it.

use chain::Chain;

mod chain;

/// Those who wait.
#[derive(Debug)]
pub struct Queue<T> {
    /// By principal, in the order of the turn. No chain in it is empty.
    turn: Chain<Chain<T>>,
    /// How many wait in all chains.
    length: usize,
    /// The number of the next waiter.
    next: u64,
}

/// A waiter's place, for [`Queue::remove`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    principal: u64,
    /// Unique in the queue, for ever.
    number: u64,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { turn: Chain::default(), length: 0, next: 0 }
    }
}

impl<T> Queue<T> {
    /// Nobody waits. Takes no memory.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets `waiter` wait, behind its principal's others.
    pub fn push(&mut self, principal: u64, waiter: T) -> Ticket {
        let number = self.next;
        self.next += 1;
        self.length += 1;
        if let Some(line) = self.turn.get_mut(principal) {
            line.push(number, waiter);
        } else {
            let mut line = Chain::default();
            line.push(number, waiter);
            self.turn.push(principal, line);
        }
        Ticket { principal, number }
    }

    /// Lets a waiter leave; `None` if it was taken or has left before.
    pub fn remove(&mut self, ticket: Ticket) -> Option<T> {
        let line = self.turn.get_mut(ticket.principal)?;
        let waiter = line.remove(ticket.number)?;
        if line.is_empty() {
            self.turn.remove(ticket.principal);
        }
        self.length -= 1;
        Some(waiter)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Takes the first that `accepts`: of the first principal in turn that has one, its first. This
    /// principal goes to the back of the turn. Those that do not accept keep their places.
    pub fn take(&mut self, mut accepts: impl FnMut(&T) -> bool) -> Option<T> {
        let mut found = None;
        for (principal, line) in self.turn.iter() {
            let first = line.iter().find(|(_, waiter)| accepts(waiter));
            if let Some((number, _)) = first {
                found = Some((principal, number));
                break;
            }
        }
        let (principal, number) = found?;
        let mut line = self.turn.remove(principal)?;
        let waiter = line.remove(number)?;
        if !line.is_empty() {
            self.turn.push(principal, line);
        }
        self.length -= 1;
        Some(waiter)
    }
}

#[cfg(test)]
mod tests;
