//! How often somebody may ask: a token bucket for each caller, all of one kind of request in one bounded table.
//!
//! A bucket is one number, the time at which it is whole again (the "generic cell rate algorithm"): one that is whole
//! needs no entry. A full table forgets the buckets that are whole, then those that lack least, so that memory is
//! bounded and whoever asks most is remembered longest. Time is passed in.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, RandomState},
};

use parking_lot::Mutex;

/// So many requests in so much time, with all of them at once if they were saved up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quota {
    /// Requests; 0 for no limit.
    pub(crate) requests: u64,
    /// The time in which that many come back.
    pub(crate) window_ms: u64,
}

/// How a caller stands after a request was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Requests that would go through at once.
    pub(crate) left: u64,
    /// When the whole quota is there again.
    pub(crate) whole_in_ms: u64,
    /// Of a request that does not go through: when it would.
    pub(crate) refused_for_ms: Option<u64>,
}

/// The buckets of one kind of request.
#[derive(Debug)]
pub(crate) struct Rates {
    quota: Quota,
    callers: usize,
    hasher: RandomState,
    /// By the hash of a caller: when its bucket is whole, in microseconds.
    whole_at: Mutex<HashMap<u64, u64>>,
}

impl Rates {
    /// Makes a table that remembers at most so many callers.
    pub(crate) fn new(quota: Quota, callers: usize) -> Self {
        Self { quota, callers, hasher: RandomState::new(), whole_at: Mutex::default() }
    }

    /// Returns the quota; `None` where nothing is limited.
    pub(crate) fn quota(&self) -> Option<Quota> {
        (self.quota.requests > 0).then_some(self.quota)
    }

    /// Counts a request at `now_us`; one that is refused costs nothing.
    pub(crate) fn take(&self, caller: &(impl Hash + ?Sized), now_us: u64) -> Option<Standing> {
        let quota = self.quota()?;
        let window = quota.window_ms.saturating_mul(1_000);
        let interval = (window / quota.requests).max(1);
        let caller = self.hasher.hash_one(caller);
        let mut whole_at = self.whole_at.lock();
        let before = whole_at.get(&caller).map_or(now_us, |at| (*at).max(now_us));
        let after = before + interval;
        let lacking = after - now_us;
        if lacking > window.max(interval) {
            let wait = lacking - window;
            let whole_in_ms = (before - now_us).div_ceil(1_000);
            return Some(Standing { left: 0, whole_in_ms, refused_for_ms: Some(wait.div_ceil(1_000)) });
        }
        if whole_at.len() >= self.callers && !whole_at.contains_key(&caller) {
            forget(&mut whole_at, now_us);
        }
        whole_at.insert(caller, after);
        let left = (window.saturating_sub(lacking) / interval).min(quota.requests);
        Some(Standing { left, whole_in_ms: lacking.div_ceil(1_000), refused_for_ms: None })
    }
}

/// Makes room: what is whole goes, and at least a quarter of all, those that lack least. So a newcomer costs a constant
/// time in the mean.
fn forget(whole_at: &mut HashMap<u64, u64>, now_us: u64) {
    let enough = whole_at.len() - whole_at.len() / 4;
    whole_at.retain(|_, at| *at > now_us);
    if whole_at.len() <= enough {
        return;
    }
    let mut ends: Vec<u64> = whole_at.values().copied().collect();
    let few = (ends.len() / 4).max(1);
    let (_, bound, _) = ends.select_nth_unstable(few - 1);
    let bound = *bound;
    whole_at.retain(|_, at| *at > bound);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn rates(requests: u64, callers: usize) -> Rates {
        Rates::new(Quota { requests, window_ms: 1_000 }, callers)
    }

    #[test]
    fn a_quota_may_be_spent_at_once_and_comes_back_one_by_one() {
        let rates = rates(4, 100);
        let left = |now| rates.take("ada", now).and_then(|s| s.refused_for_ms.is_none().then_some(s.left));
        assert_eq!([left(0), left(0), left(0), left(0)], [Some(3), Some(2), Some(1), Some(0)]);
        let refused = rates.take("ada", 0).expect("limited");
        assert_eq!((refused.refused_for_ms, refused.whole_in_ms), (Some(250), 1_000));
        assert_eq!(left(249_999), None);
        assert_eq!([left(250_000), left(250_000)], [Some(0), None], "one came back");
        assert_eq!(left(5 * SECOND), Some(3), "no more than the quota is saved up");
        assert_eq!(rates.take("eve", 0).map(|standing| standing.left), Some(3), "everyone has one's own");
    }

    #[test]
    fn who_waits_as_long_as_told_is_let_through() {
        let rates = rates(3, 100);
        let mut now = 0;
        for _ in 0..1_000 {
            match rates.take("ada", now).and_then(|standing| standing.refused_for_ms) {
                None => continue,
                Some(wait_ms) => now += wait_ms * 1_000,
            }
            assert_eq!(rates.take("ada", now).expect("limited").refused_for_ms, None);
        }
        // One at a time, a third of a second each; rounding up to milliseconds loses a little.
        assert!((332 * SECOND..334 * SECOND).contains(&now), "{now}");
    }

    #[test]
    fn nothing_is_limited_by_a_quota_of_none() {
        assert_eq!(rates(0, 100).take("ada", 0), None);
    }

    #[test]
    fn a_quota_beyond_the_clock_lets_everything_through_that_it_can_count() {
        let rates = Rates::new(Quota { requests: 1 << 50, window_ms: 1 }, 10);
        assert!((0..900).all(|_| rates.take("ada", 0).is_some_and(|s| s.refused_for_ms.is_none())));
    }

    #[test]
    fn a_full_table_forgets_who_asks_least_and_stays_bounded() {
        let rates = rates(10, 64);
        for _ in 0..10 {
            rates.take("greedy", 0);
        }
        for stranger in 0..10_000_u64 {
            rates.take(&stranger, stranger / 1_000);
        }
        assert!(rates.whole_at.lock().len() <= 64);
        assert!(rates.take("greedy", 10).is_some_and(|standing| standing.refused_for_ms.is_some()));
    }
}
