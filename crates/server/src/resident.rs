//! The memory that open documents share. It is counted by what they are at rest: what the document engine makes of that
//! cannot be asked, but is at most some 12 times as much.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts the bytes of open documents against their bound.
#[derive(Debug)]
pub(crate) struct Resident {
    limit: usize,
    held: AtomicUsize,
}

impl Resident {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, held: AtomicUsize::new(0) }
    }

    /// A document that took `before` bytes takes `after` from now on.
    pub(crate) fn change(&self, before: usize, after: usize) {
        // Added first: the sum never falls below what is held.
        self.held.fetch_add(after, Ordering::Relaxed);
        self.held.fetch_sub(before, Ordering::Relaxed);
    }

    /// Returns the bytes that are held.
    pub(crate) fn bytes(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Says whether documents that are not used just now are to leave.
    pub(crate) fn is_short(&self) -> bool {
        self.bytes() >= self.limit / 4 * 3
    }

    /// Says whether nothing more is to be loaded.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes() >= self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_comes_back_with_what_left() {
        let resident = Resident::new(1_000);
        resident.change(0, 700);
        assert!(!resident.is_short());
        resident.change(700, 800);
        assert!(resident.is_short() && !resident.is_full());
        resident.change(0, 200);
        assert!(resident.is_full());
        resident.change(800, 0);
        assert_eq!(resident.bytes(), 200);
        assert!(!resident.is_short());
    }
}
