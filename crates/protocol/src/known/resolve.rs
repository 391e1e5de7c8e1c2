//! Judging: walks an update in an order in which yrs can integrate it, and gives every block its place.

use std::collections::HashMap;

use smallvec::SmallVec;

use super::{
    Checked, Fresh, Gap, Known, Verdict,
    client::{Class, Client, ENTRY, GONE, Place, depth, undeleted},
    crowd::{CROWD, Crowd},
    cut::{News, Reach, cut, encode_news},
    late::{Lead, Leads},
};
use crate::{
    limits::Limits,
    update::{Anchor, Block, Content, Delete, Id, Refusal, Scan},
};

/// What one block in yrs' list of a client costs each split before it: bytes moved.
const SLOT_BYTES: u64 = 24;
/// What each level of waiting sections costs a block: yrs searches its stack for every one of them, and misses the cache.
const WAIT_BYTES: u64 = 256;
/// The kind of content, in a block's first byte, that is text.
const STRING: u8 = 4;
/// What one any-value costs yrs: bytes.
const VALUE_BYTES: u64 = 24;

/// Judges a scanned update.
pub(super) fn judge(known: &Known, scan: &mut Scan<'_>, limits: &Limits) -> Result<Verdict, Refusal> {
    let mut walk = Walk::new(known, scan, limits);
    walk.run()?;
    walk.conclude()
}

/// How far a section is.
struct Cursor<'k> {
    client: u64,
    known: Option<&'k Client>,
    /// Index of the first block of the section, of the first that is not wholly known, of the next one, and the end.
    first: u32,
    new: u32,
    next: u32,
    end: u32,
    /// The client's clock once the blocks before `next` are in.
    clock: u32,
    /// How many blocks before `next` continue each other.
    run: u32,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// Waits for another section, or is the one being waited for.
    Waiting,
    /// All integrated.
    Done,
    /// Cannot go on: something is missing.
    Stuck,
}

enum Step {
    Advanced,
    Done,
    Stuck,
    Needs(Id),
}

/// What an id refers to.
#[derive(Clone, Copy)]
struct Target {
    place: Place,
    class: Class,
    /// The clocks around it that may be one block in yrs.
    start: u32,
    end: u32,
}

struct Walk<'k, 's, 'a> {
    known: &'k Known,
    scan: &'s mut Scan<'a>,
    limits: &'s Limits,
    cursors: SmallVec<[Cursor<'k>; 2]>,
    /// Cursors by client, where there are many.
    index: HashMap<u64, u32, super::Spread>,
    /// Blocks that may stay only if all their clocks are deleted.
    long_entries: SmallVec<[(u64, u32, u32); 1]>,
    splits: SmallVec<[(u64, u32); 2]>,
    /// Counted where there are enough blocks to matter.
    crowd: Option<Crowd>,
    work: u64,
    /// Bytes copied to join blocks.
    joined: u64,
    /// Whose late values are, where the document was renewed.
    leads: Option<Leads<'k>>,
    /// A block goes on with what was collected.
    is_split: bool,
}

impl<'k, 's, 'a> Walk<'k, 's, 'a> {
    fn new(known: &'k Known, scan: &'s mut Scan<'a>, limits: &'s Limits) -> Self {
        let cursors: SmallVec<[Cursor<'k>; 2]> = scan
            .sections
            .iter()
            .map(|section| {
                let client = known.clients.get(&section.client);
                let (first, end) = section.blocks;
                let clock = client.map_or(0, |client| client.clock);
                let state = State::Open;
                Cursor {
                    client: section.client,
                    known: client,
                    first,
                    new: first,
                    next: first,
                    end,
                    clock,
                    run: 0,
                    state,
                }
            })
            .collect();
        let mut index = HashMap::with_hasher(super::Spread { key: known.key });
        if cursors.len() > 4 {
            index.extend(cursors.iter().enumerate().map(|(at, cursor)| (cursor.client, at as u32)));
        }
        let long_entries = SmallVec::new();
        let crowd = (scan.blocks.len() > CROWD).then(|| Crowd::new(known.key));
        Self {
            known,
            scan,
            limits,
            cursors,
            index,
            long_entries,
            splits: SmallVec::new(),
            crowd,
            work: 0,
            joined: 0,
            leads: known.renewed.as_ref().map(Leads::new),
            is_split: false,
        }
    }

    fn cursor(&self, client: u64) -> Option<usize> {
        if self.index.is_empty() {
            self.cursors.iter().position(|cursor| cursor.client == client)
        } else {
            self.index.get(&client).map(|at| *at as usize)
        }
    }

    /// Goes depth first: a section that needs another waits on the stack. What waits for a section on the stack, or for
    /// one that is stuck, done or absent, is stuck itself, and so is everything below it.
    fn run(&mut self) -> Result<(), Refusal> {
        let mut stack: SmallVec<[(usize, u32); 4]> = SmallVec::new();
        // yrs starts with the highest client. The order makes no difference but to what it costs.
        let mut order: SmallVec<[usize; 4]> = (0..self.cursors.len()).collect();
        if !self.cursors.is_sorted_by(|a, b| a.client > b.client) {
            order.sort_unstable_by_key(|at| std::cmp::Reverse(self.cursors[*at].client));
        }
        for start in order {
            if self.cursors[start].state != State::Open {
                continue;
            }
            self.cursors[start].state = State::Waiting;
            // The bottom goes all the way; what it needs only as far as it is needed.
            stack.push((start, u32::MAX));
            while let Some(&(at, until)) = stack.last() {
                let state = match self.step(at)? {
                    Step::Advanced => {
                        self.work += WAIT_BYTES * (stack.len() as u64 - 1);
                        if self.cursors[at].clock <= until {
                            continue;
                        }
                        State::Open
                    }
                    Step::Done => State::Done,
                    Step::Needs(id) => match self.cursor(id.client) {
                        Some(other) if self.cursors[other].state == State::Open => {
                            self.cursors[other].state = State::Waiting;
                            stack.push((other, id.clock));
                            continue;
                        }
                        _ => State::Stuck,
                    },
                    Step::Stuck => State::Stuck,
                };
                if state == State::Stuck {
                    for (at, _) in stack.drain(..) {
                        self.cursors[at].state = State::Stuck;
                    }
                } else {
                    self.cursors[at].state = state;
                    stack.pop();
                }
            }
        }
        Ok(())
    }

    /// Tries one block of a section.
    fn step(&mut self, at: usize) -> Result<Step, Refusal> {
        let cursor = &self.cursors[at];
        if cursor.next == cursor.end {
            return Ok(Step::Done);
        }
        let block = self.scan.blocks[cursor.next as usize];
        if block.end() <= cursor.clock {
            let cursor = &mut self.cursors[at];
            cursor.next += 1;
            cursor.new = cursor.next;
            return Ok(Step::Advanced);
        }
        if block.content == Content::Skip {
            // A hole that nothing follows is none.
            let rest = &self.scan.blocks[cursor.next as usize..cursor.end as usize];
            let trailing = rest.iter().all(|block| block.content == Content::Skip);
            return Ok(if trailing { Step::Done } else { Step::Stuck });
        }
        if block.clock > cursor.clock {
            return Ok(Step::Stuck);
        }
        let (left, right, parent) = self.references(at, &block);
        for id in [left, right, parent].into_iter().flatten() {
            if !self.has(id) {
                return Ok(if id.client == self.cursors[at].client { Step::Stuck } else { Step::Needs(id) });
            }
        }
        let mut place = self.place(&block, left, right)?;
        let from = self.cursors[at].clock;
        if self.goes_on_collected(&block, from, left) {
            place = GONE;
        }
        if !self.lead(at, &block, place) {
            return Ok(Step::Stuck);
        }
        if let Some(crowd) = self.crowd.as_mut()
            && place != GONE
        {
            let id = Id { client: self.cursors[at].client, clock: from };
            self.work += crowd.insert(place, left, right, id);
        }
        self.admissible(at, &block, place, from)?;
        self.join(at, &block, place)?;
        self.scan.blocks[self.cursors[at].next as usize].place = place;
        let cursor = &mut self.cursors[at];
        cursor.next += 1;
        cursor.clock = block.end();
        Ok(Step::Advanced)
    }

    /// Returns left neighbour, right neighbour and parent as yrs will look for them. Of a block whose beginning is known
    /// yrs takes the rest, to the right of that beginning.
    fn references(&self, at: usize, block: &Block<'_>) -> (Option<Id>, Option<Id>, Option<Id>) {
        let cursor = &self.cursors[at];
        let known_left = (block.clock < cursor.clock && !matches!(block.content, Content::Gc))
            .then(|| Id { client: cursor.client, clock: cursor.clock - 1 });
        match block.anchor {
            Anchor::Nowhere => (None, None, None),
            Anchor::Beside { left, right } => (known_left.or(left), right, None),
            Anchor::Root { .. } => (known_left, None, None),
            Anchor::Nested { parent, .. } => (known_left, None, Some(parent)),
        }
    }

    fn has(&self, id: Id) -> bool {
        match self.cursor(id.client) {
            Some(at) => id.clock < self.cursors[at].clock,
            None => id.clock < self.known.clock(id.client),
        }
    }

    /// Finds out where a block goes.
    fn place(&mut self, block: &Block<'_>, left: Option<Id>, right: Option<Id>) -> Result<Place, Refusal> {
        let declared = match block.anchor {
            Anchor::Nowhere => return Ok(GONE),
            Anchor::Beside { .. } => None,
            Anchor::Root { name, key } => Some(self.known.root_place(name, key)),
            Anchor::Nested { parent, key } => {
                let target = self.target(parent);
                match target.class {
                    Class::Type => Some(self.known.nested_place(parent, key, depth(target.place) + 1)),
                    // An honest edit inside something that others deleted meanwhile: yrs makes it GC.
                    Class::Gc | Class::Deleted => return Ok(GONE),
                    Class::Item => return Err(Refusal::BadParent),
                }
            }
        };
        let mut place = declared.unwrap_or(GONE);
        for (id, after) in [(left, true), (right, false)] {
            let Some(id) = id else { continue };
            let target = self.target(id);
            if target.place == GONE {
                continue;
            }
            if place == GONE {
                place = target.place;
            } else if place != target.place {
                return Err(Refusal::Misplaced);
            }
            self.split(id.client, id.clock + u32::from(after), target);
        }
        Ok(place)
    }

    fn target(&self, id: Id) -> Target {
        let (known, cursor) = match self.cursor(id.client) {
            Some(at) => (self.cursors[at].known, Some(&self.cursors[at])),
            None => (self.known.clients.get(&id.client), None),
        };
        if let Some(client) = known
            && id.clock < client.clock
        {
            let (run, end) = client.run(id.clock);
            return Target { place: run.place, class: run.class, start: run.start, end };
        }
        // `has` said so: it is one of the blocks that are in.
        let Some(cursor) = cursor else {
            return Target { place: GONE, class: Class::Gc, start: id.clock, end: id.clock + 1 };
        };
        let blocks = &self.scan.blocks[cursor.first as usize..cursor.next as usize];
        let block = match blocks.last() {
            Some(last) if last.clock <= id.clock => last,
            _ => &blocks[blocks.partition_point(|block| block.end() <= id.clock)],
        };
        Target { place: block.place, class: class(block), start: block.clock, end: block.end() }
    }

    /// Says whether a block goes on with clocks that were collected in a renewal. Beside its beginning yrs would collect it
    /// too; but the block says where it stands, and there yrs would put it. What is new of it is to be cut off.
    fn goes_on_collected(&mut self, block: &Block<'_>, from: u32, left: Option<Id>) -> bool {
        let goes_on = self.leads.is_some()
            && block.clock < from
            && block.content == Content::Deleted
            && left.is_some_and(|left| self.target(left).place == GONE);
        self.is_split |= goes_on;
        goes_on
    }

    /// Finds out whose a value is that comes late to a renewed map. `false` where nobody here can say.
    fn lead(&mut self, at: usize, block: &Block<'_>, place: Place) -> bool {
        let Some(leads) = &mut self.leads else { return true };
        let cursor = &self.cursors[at];
        if block.clock < cursor.clock || !leads.concerns(self.scan, cursor.client, block, place == GONE) {
            return true;
        }
        let sections = |client| {
            let cursor = if self.index.is_empty() {
                self.cursors.iter().find(|cursor| cursor.client == client)
            } else {
                self.index.get(&client).map(|at| &self.cursors[*at as usize])
            };
            cursor.map(|cursor| (cursor.first, cursor.end))
        };
        let id = Id { client: cursor.client, clock: block.clock };
        match leads.follow(self.scan, sections, cursor.next, id, &mut self.work) {
            Lead::Missing => false,
            Lead::Nowhere | Lead::Entry(_) => true,
        }
    }

    /// Counts what it costs yrs to split a block before `clock`.
    fn split(&mut self, client: u64, clock: u32, target: Target) {
        if clock <= target.start || clock >= target.end {
            return;
        }
        self.work += u64::from(target.end - target.start) + SLOT_BYTES * self.fragments(client);
        match self.splits.last_mut() {
            Some(last) if last.0 == client => last.1 += 1,
            _ => self.splits.push((client, 1)),
        }
    }

    /// Returns how many blocks yrs may have in its list of a client.
    fn fragments(&self, client: u64) -> u64 {
        match self.cursor(client) {
            Some(at) => {
                let cursor = &self.cursors[at];
                u64::from(cursor.known.map_or(0, |client| client.fragments))
                    + u64::from(cursor.next - cursor.first)
            }
            None => self.known.clients.get(&client).map_or(0, |client| u64::from(client.fragments)),
        }
    }

    /// Checks what the place asks of the content.
    fn admissible(&mut self, at: usize, block: &Block<'_>, place: Place, from: u32) -> Result<(), Refusal> {
        if place == GONE {
            return Ok(());
        }
        if block.content == Content::Type && depth(place) + 1 > self.limits.type_depth.min(127) {
            return Err(Refusal::TypeTooDeep);
        }
        // yrs deletes and collects the entries of a map by walking from the last one, of which it takes all others to
        // be deleted. A live block of several clocks would leave a live part behind when it is split.
        if place & ENTRY != 0 && block.content == Content::Run && block.end() - from > 1 {
            self.long_entries.push((self.cursors[at].client, from, block.end()));
        }
        Ok(())
    }

    /// Counts what it costs yrs to join a block to the one before it.
    fn join(&mut self, at: usize, block: &Block<'_>, place: Place) -> Result<(), Refusal> {
        let cursor = &mut self.cursors[at];
        let before = cursor.next.checked_sub(1).filter(|before| *before >= cursor.new);
        let continues = before.is_some_and(|before| {
            let before = &self.scan.blocks[before as usize];
            let kind = |block: &Block<'_>| self.scan.bytes[block.bytes.0 as usize] & 0x1f;
            let right = |block: &Block<'_>| match block.anchor {
                Anchor::Beside { right, .. } => right,
                _ => None,
            };
            let last = Id { client: cursor.client, clock: before.end() - 1 };
            block.content == Content::Run
                && before.place == place
                && place & ENTRY == 0
                && kind(block) == kind(before)
                && matches!(block.anchor, Anchor::Beside { left: Some(left), .. } if left == last)
                && right(block) == right(before)
        });
        cursor.run = if continues { cursor.run + 1 } else { 0 };
        let len = u64::from(block.len);
        let bytes = match self.scan.bytes[block.bytes.0 as usize] & 0x1f {
            // A unit of UTF-16 takes three bytes at most.
            STRING => u64::from(block.bytes.1 - block.bytes.0).min(3 * len),
            _ => VALUE_BYTES * len,
        };
        self.joined += u64::from(cursor.run) * bytes;
        if self.joined > self.limits.join_bytes {
            return Err(Refusal::TooMuchWork);
        }
        Ok(())
    }

    fn conclude(mut self) -> Result<Verdict, Refusal> {
        let whole = self.cursors.iter().all(|cursor| cursor.state == State::Done)
            && self.scan.deletes.iter().all(|delete| delete.end <= self.have(delete.client));
        if !whole {
            return Ok(Verdict::Gap(self.cut()));
        }
        self.check_long_entries()?;
        let late = self.leads.take().map(|leads| leads.late).unwrap_or_default();
        let repeats = self.cursors.iter().any(|cursor| cursor.new > cursor.first);
        let news = (self.is_split || (repeats && !late.is_empty())).then(|| self.news());
        let deletes = self.deletions();
        if self.work > self.limits.work {
            return Err(Refusal::TooMuchWork);
        }
        let runs = self.fresh();
        Ok(Verdict::Whole(Checked {
            blocks: self.scan.blocks.len() as u64,
            delete_ranges: self.scan.deletes.len() as u64,
            work: self.work,
            advances: !runs.is_empty(),
            new_deletes: !deletes.is_empty(),
            is_empty: self.scan.sections.is_empty() && self.scan.deletes.is_empty(),
            late,
            news,
            runs,
            deletes,
            splits: self.splits,
        }))
    }

    /// Cuts off what could not be integrated, and what is known.
    fn cut(&self) -> Gap {
        let reaches: SmallVec<[Reach; 4]> =
            self.cursors.iter().map(|cursor| Reach { new: cursor.new, next: cursor.next }).collect();
        cut(self.scan, &reaches, |client| self.have(client), |delete| self.deletes_anything(delete))
    }

    fn deletes_anything(&self, delete: &Delete) -> bool {
        let known = self.known.clients.get(&delete.client);
        !undeleted(known, delete.start, delete.end).is_empty()
    }

    /// Returns what is new in an update that is whole.
    fn news(&self) -> Vec<u8> {
        let sections = self.cursors.iter().filter(|cursor| cursor.new < cursor.next);
        let sections: Vec<News<'_, '_>> = sections
            .map(|cursor| News {
                client: cursor.client,
                known: cursor.known.map_or(0, |client| client.clock),
                blocks: &self.scan.blocks[cursor.new as usize..cursor.next as usize],
            })
            .collect();
        let deletes = self.scan.deletes.iter().filter(|delete| self.deletes_anything(delete));
        let deletes: Vec<Delete> = deletes.copied().collect();
        encode_news(self.scan.bytes, &sections, &deletes)
    }

    fn have(&self, client: u64) -> u32 {
        self.cursor(client).map_or_else(|| self.known.clock(client), |at| self.cursors[at].clock)
    }

    fn check_long_entries(&self) -> Result<(), Refusal> {
        if self.long_entries.is_empty() {
            return Ok(());
        }
        let deletions = self.scan.deletions();
        for (client, from, to) in &self.long_entries {
            let deletes = deletions.of(self.scan, *client);
            let mut at = *from;
            for delete in &deletes[deletes.partition_point(|delete| delete.end <= at)..] {
                if delete.start > at || at >= *to {
                    break;
                }
                at = delete.end;
            }
            if at < *to {
                return Err(Refusal::LongEntry);
            }
        }
        Ok(())
    }

    /// Collects what is newly deleted, and counts what the splits cost.
    fn deletions(&mut self) -> SmallVec<[Delete; 2]> {
        let mut fresh = SmallVec::new();
        for at in 0..self.scan.deletes.len() {
            let Delete { client, start, end } = self.scan.deletes[at];
            let known = match self.cursor(client) {
                Some(at) => self.cursors[at].known,
                None => self.known.clients.get(&client),
            };
            for (start, end, next) in undeleted(known, start, end) {
                fresh.push(Delete { client, start, end });
                for clock in [start, end] {
                    let target = self.target(Id { client, clock: clock.min(end - 1) });
                    if clock > target.start && clock < target.end {
                        let tail = target.end.min(next) - clock;
                        self.work += u64::from(tail) + SLOT_BYTES * self.fragments(client);
                    }
                }
            }
        }
        fresh
    }

    fn fresh(&self) -> SmallVec<[Fresh; 2]> {
        let mut runs: SmallVec<[Fresh; 2]> = SmallVec::new();
        for cursor in &self.cursors {
            let mut clock = cursor.known.map_or(0, |client| client.clock);
            for block in &self.scan.blocks[cursor.new as usize..cursor.next as usize] {
                let (class, place, len) = (class(block), block.place, block.end() - clock);
                let chained = matches!(block.anchor, Anchor::Beside { left: Some(left), .. }
                    if left.client == cursor.client && left.clock + 1 == clock);
                match runs.last_mut() {
                    Some(last)
                        if last.client == cursor.client && last.class == class && last.place == place =>
                    {
                        last.len += len;
                        last.fragments += u32::from(!chained);
                    }
                    _ => {
                        let fragments = u32::from(!chained);
                        runs.push(Fresh { client: cursor.client, clock, len, class, place, fragments });
                    }
                }
                clock = block.end();
            }
        }
        runs
    }
}

fn class(block: &Block<'_>) -> Class {
    match block.content {
        _ if block.place == GONE => Class::Gc,
        Content::Skip | Content::Gc => Class::Gc,
        Content::Deleted => Class::Deleted,
        Content::Type => Class::Type,
        Content::Run | Content::Single => Class::Item,
    }
}
