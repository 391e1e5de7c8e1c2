//! What is known of one client's clocks: where each went, what of them is deleted.

use smallvec::SmallVec;

/// A place: one list, or one entry of a map. The low byte holds the depth of its container and whether it is an entry;
/// the rest is a keyed hash of container and key. Only equality matters, so no name is kept.
pub(super) type Place = u64;

/// No place: collected by the sender, or inside something collected. yrs turns what goes there into GC.
pub(super) const GONE: Place = 0;

/// Set in a [`Place`] that is an entry of a map.
pub(super) const ENTRY: Place = 0x80;

/// Returns how deep the container of a place lies: 0 for a root.
pub(super) fn depth(place: Place) -> usize {
    (place & 0x7f) as usize
}

/// What a clock holds, as far as a later block may refer to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Nothing that is left; may have been a type.
    Gc,
    /// Deleted content in its place; may have been a type.
    Deleted,
    /// A shared type.
    Type,
    /// Anything else; never a parent.
    Item,
}

/// Neighbouring clocks of one class in one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) place: Place,
    pub(super) start: u32,
    pub(super) class: Class,
}

/// One client.
#[derive(Debug, Clone, Default)]
pub(super) struct Client {
    /// Next clock: everything below is known.
    pub(super) clock: u32,
    /// At most this many blocks are in yrs' list of this client: a split moves those behind it.
    pub(super) fragments: u32,
    /// From clock 0 without holes; each ends where the next begins.
    runs: Vec<Run>,
    /// Deleted clocks as far as delete sets and GC said so; sorted, neither overlapping nor touching.
    deleted: Vec<(u32, u32)>,
}

impl Client {
    /// Returns the run that holds a known clock, and its end.
    pub(super) fn run(&self, clock: u32) -> (Run, u32) {
        debug_assert!(clock < self.clock);
        match self.runs.last() {
            Some(last) if last.start <= clock => (*last, self.clock),
            _ => {
                let next = self.runs.partition_point(|run| run.start <= clock);
                (self.runs[next - 1], self.runs[next].start)
            }
        }
    }

    /// Says whether any of its clocks was collected.
    pub(super) fn is_collected(&self) -> bool {
        self.runs.iter().any(|run| run.class == Class::Gc)
    }

    /// Appends clocks at the end.
    pub(super) fn push(&mut self, len: u32, class: Class, place: Place) {
        match self.runs.last() {
            Some(last) if last.class == class && last.place == place => {}
            _ => self.runs.push(Run { place, start: self.clock, class }),
        }
        self.clock += len;
    }

    /// Returns the first deleted range that ends after `clock`.
    pub(super) fn deleted_from(&self, clock: u32) -> Option<(u32, u32)> {
        match self.deleted.last() {
            None => None,
            Some(last) if last.1 <= clock => None,
            Some(_) => self.deleted.get(self.deleted.partition_point(|range| range.1 <= clock)).copied(),
        }
    }

    /// Marks ranges as deleted: ascending, not overlapping.
    pub(super) fn delete(&mut self, ranges: &[(u32, u32)]) {
        if ranges.len() > 8 {
            self.merge(ranges);
        } else {
            for range in ranges {
                self.delete_one(*range);
            }
        }
    }

    fn delete_one(&mut self, (mut start, mut end): (u32, u32)) {
        if let Some(last) = self.deleted.last_mut()
            && start >= last.0
        {
            if start > last.1 {
                self.deleted.push((start, end));
            } else {
                last.1 = last.1.max(end);
            }
            return;
        }
        let first = self.deleted.partition_point(|range| range.1 < start);
        let last = self.deleted.partition_point(|range| range.0 <= end);
        if first < last {
            start = start.min(self.deleted[first].0);
            end = end.max(self.deleted[last - 1].1);
            self.deleted[first] = (start, end);
            self.deleted.drain(first + 1..last);
        } else {
            self.deleted.insert(first, (start, end));
        }
    }

    fn merge(&mut self, ranges: &[(u32, u32)]) {
        let old = std::mem::take(&mut self.deleted);
        let mut merged: Vec<(u32, u32)> = Vec::with_capacity(old.len() + ranges.len());
        let (mut a, mut b) = (old.iter().peekable(), ranges.iter().peekable());
        loop {
            let next = match (a.peek(), b.peek()) {
                (Some(x), Some(y)) if x.0 <= y.0 => a.next(),
                (_, Some(_)) => b.next(),
                (_, None) => a.next(),
            };
            let Some(&(start, end)) = next else { break };
            match merged.last_mut() {
                Some(last) if start <= last.1 => last.1 = last.1.max(end),
                _ => merged.push((start, end)),
            }
        }
        self.deleted = merged;
    }
}

/// Returns the parts of `start..end` that are not deleted yet, each with the start of the next deleted range.
pub(super) fn undeleted(client: Option<&Client>, start: u32, end: u32) -> SmallVec<[(u32, u32, u32); 2]> {
    let mut parts = SmallVec::new();
    let mut at = start;
    while at < end {
        match client.and_then(|client| client.deleted_from(at)) {
            Some((from, to)) if from <= at => at = to,
            Some((from, _)) => {
                parts.push((at, end.min(from), from));
                at = from;
            }
            None => {
                parts.push((at, end, u32::MAX));
                at = end;
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_found_by_clock() {
        let mut client = Client::default();
        client.push(3, Class::Item, 0x100);
        client.push(2, Class::Item, 0x100);
        client.push(1, Class::Type, 0x100);
        client.push(4, Class::Item, 0x200);
        assert_eq!(client.clock, 10);
        assert_eq!(client.run(4), (Run { place: 0x100, start: 0, class: Class::Item }, 5));
        assert_eq!(client.run(5), (Run { place: 0x100, start: 5, class: Class::Type }, 6));
        assert_eq!(client.run(9), (Run { place: 0x200, start: 6, class: Class::Item }, 10));
    }

    #[test]
    fn deleted_ranges_join_whatever_the_order() {
        let mut seed = fastrand::Rng::with_seed(7);
        for _ in 0..200 {
            let mut one = Client::default();
            let mut many = Client::default();
            let mut bits = [false; 64];
            for _ in 0..6 {
                let mut ranges = Vec::new();
                let mut at = 0;
                for _ in 0..seed.u32(1..12) {
                    let start = at + seed.u32(0..5);
                    let end = start + seed.u32(1..4);
                    if end > 64 {
                        break;
                    }
                    bits[start as usize..end as usize].fill(true);
                    ranges.push((start, end));
                    at = end;
                }
                ranges.iter().for_each(|range| one.delete_one(*range));
                many.merge(&ranges);
            }
            assert_eq!(one.deleted, many.deleted);
            let missing: Vec<_> =
                undeleted(Some(&one), 0, 64).iter().flat_map(|part| part.0..part.1).collect();
            let expected: Vec<_> = (0..64).filter(|clock| !bits[*clock as usize]).collect();
            assert_eq!(missing, expected);
        }
    }
}
