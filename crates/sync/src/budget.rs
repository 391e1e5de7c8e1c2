//! The memory that all documents together may use for what waits, so that many documents, each within its own bounds, do
//! not take more than the process has.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// A bound that many share. Each takes its part with a [`Share`].
#[derive(Debug)]
pub struct Budget {
    /// What all hold together before each may hold only a little.
    limit: usize,
    /// What each may hold whatever the others do.
    little: usize,
    held: AtomicUsize,
}

impl Budget {
    /// Makes a budget of `limit` bytes, beyond which each share may be `little`.
    pub fn new(limit: usize, little: usize) -> Self {
        Self { limit, little, held: AtomicUsize::new(0) }
    }

    /// Returns the bytes that are held.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }
}

/// A part of a [`Budget`], given back when it is dropped. One that belongs to none is without bound.
#[derive(Debug, Default)]
pub(crate) struct Share {
    budget: Option<Arc<Budget>>,
    bytes: usize,
}

impl Share {
    /// Makes an empty share.
    pub(crate) fn of(budget: &Arc<Budget>) -> Self {
        Self { budget: Some(budget.clone()), bytes: 0 }
    }

    /// Returns how much it is.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Says whether there is room for more.
    pub(crate) fn admits(&self, more: usize) -> bool {
        self.budget.as_ref().is_none_or(|budget| {
            self.bytes + more <= budget.little || budget.held().saturating_add(more) <= budget.limit
        })
    }

    /// Takes more, room or not: what has no room is to be turned away before.
    pub(crate) fn add(&mut self, bytes: usize) {
        self.set(self.bytes + bytes);
    }

    /// Gives back.
    pub(crate) fn give_back(&mut self, bytes: usize) {
        self.set(self.bytes.saturating_sub(bytes));
    }

    /// Makes it that much.
    pub(crate) fn set(&mut self, bytes: usize) {
        if let Some(budget) = &self.budget {
            // Taken first: the sum never falls below what is held.
            budget.held.fetch_add(bytes, Ordering::Relaxed);
            budget.held.fetch_sub(self.bytes, Ordering::Relaxed);
        }
        self.bytes = bytes;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_the_budget_is_spent_each_holds_only_a_little() {
        let budget = Arc::new(Budget::new(100, 10));
        let mut first = Share::of(&budget);
        assert!(first.admits(100) && !first.admits(101));
        first.add(95);
        let mut second = Share::of(&budget);
        assert!(second.admits(10) && !second.admits(11));
        second.add(10);
        assert_eq!(budget.held(), 105);
        assert!(!second.admits(1));
        first.give_back(50);
        assert!(second.admits(45));
        drop(first);
        assert_eq!(budget.held(), 10);
        second.set(0);
        assert_eq!(budget.held(), 0);
    }
}
