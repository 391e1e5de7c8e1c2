//! The tree of a conversation, wherever it comes from, and the messages that follow from it.
//!
//! Links may miss, disagree, run in circles or end at several roots; every message that is to be seen comes out, each
//! behind one that came before it.

use std::{cmp::Reverse, collections::BinaryHeap};

use serde_json::Value;

/// A node as its source has it.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// Its id there.
    pub(super) key: String,
    /// The node it follows.
    pub(super) parent: Option<usize>,
    /// Its place among those that follow the same one.
    pub(super) rank: usize,
    /// When it was made: unix milliseconds.
    pub(super) made_ms: Option<u64>,
    pub(super) content: Content,
}

#[derive(Debug, Clone)]
pub(super) enum Content {
    /// The node only holds others together.
    Absent,
    /// Nobody was meant to see it.
    Hidden,
    Said(Turn),
}

/// What somebody said.
#[derive(Debug, Clone, Default)]
pub(super) struct Turn {
    pub(super) role: &'static str,
    pub(super) parts: Vec<Value>,
    pub(super) model: Option<String>,
    /// How many of its parts are of an unknown type.
    pub(super) unknown: usize,
    /// Another node that was taken into this one.
    pub(super) with: Option<String>,
}

/// A turn with its place. The numbers are places in [`Flat::turns`].
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) key: String,
    pub(super) parent: Option<usize>,
    pub(super) alternative_to: Option<usize>,
    pub(super) at_ms: u64,
    pub(super) turn: Turn,
}

/// The turns of a conversation, each after those it follows and stands beside, else by time.
#[derive(Debug, Default)]
pub(super) struct Flat {
    pub(super) turns: Vec<Placed>,
    /// Which turn is shown behind which, where there is a choice.
    pub(super) selected: Vec<(Option<usize>, usize)>,
    pub(super) branches: usize,
    pub(super) hidden: usize,
    pub(super) reparented: usize,
    pub(super) cut: usize,
}

/// Orders the nodes. `current` is where its user stood; `made_ms` is the time of nodes that have none above them.
pub(super) fn flatten(mut nodes: Vec<Node>, current: Option<usize>, made_ms: u64) -> Flat {
    let cut = cut_circles(&mut nodes);
    let seen = seen(&nodes, made_ms);
    let mut flat = Flat { cut, reparented: seen.reparented, ..Flat::default() };
    let places = emit(&mut flat, &mut nodes, &seen);
    flat.hidden = nodes.iter().filter(|node| matches!(node.content, Content::Hidden)).count();
    flat.branches = (0..nodes.len()).filter(|at| seen.is_seen[*at] && seen.children[*at].is_empty()).count();
    let mut at = current.and_then(|at| if seen.is_seen[at] { Some(at) } else { seen.parent[at] });
    while let Some(child) = at {
        let parent = seen.parent[child];
        if parent.map_or(&seen.tops, |parent| &seen.children[parent]).len() > 1
            && let Some(place) = places[child]
        {
            flat.selected.push((parent.and_then(|parent| places[parent]), place));
        }
        at = parent;
    }
    flat.selected.reverse();
    flat
}

/// Makes every walk to a parent end. Of a circle, the earliest node becomes a root.
fn cut_circles(nodes: &mut [Node]) -> usize {
    let mut is_safe = vec![false; nodes.len()];
    let mut walk_of = vec![usize::MAX; nodes.len()];
    let mut cut = 0;
    for start in 0..nodes.len() {
        let mut at = start;
        let mut walked = Vec::new();
        while !is_safe[at] && walk_of[at] != start {
            walk_of[at] = start;
            walked.push(at);
            match nodes[at].parent {
                Some(parent) => at = parent,
                None => break,
            }
        }
        if !is_safe[at] && nodes[at].parent.is_some() {
            let circle = walked.iter().skip_while(|walked| **walked != at).copied();
            let first = circle.min_by(|a, b| by_age(&nodes[*a], &nodes[*b])).unwrap_or(at);
            nodes[first].parent = None;
            cut += 1;
        }
        for walked in walked {
            is_safe[walked] = true;
        }
    }
    cut
}

fn by_age(a: &Node, b: &Node) -> std::cmp::Ordering {
    let time = |node: &Node| node.made_ms.unwrap_or(u64::MAX);
    time(a).cmp(&time(b)).then_with(|| a.key.cmp(&b.key))
}

/// The tree of what is to be seen, by node.
struct Seen {
    is_seen: Vec<bool>,
    /// The nearest one above that is seen.
    parent: Vec<Option<usize>>,
    children: Vec<Vec<usize>>,
    tops: Vec<usize>,
    at_ms: Vec<u64>,
    /// Before whom a node stands in the tree, read from the top, branch by branch.
    place: Vec<usize>,
    reparented: usize,
}

fn seen(nodes: &[Node], made_ms: u64) -> Seen {
    let count = nodes.len();
    let mut below: Vec<Vec<usize>> = vec![Vec::new(); count];
    let mut roots = Vec::new();
    for (at, node) in nodes.iter().enumerate() {
        match node.parent {
            Some(parent) => below[parent].push(at),
            None => roots.push(at),
        }
    }
    roots.sort_by(|a, b| by_age(&nodes[*a], &nodes[*b]));
    for siblings in &mut below {
        siblings.sort_by(|a, b| {
            let (a, b) = (&nodes[*a], &nodes[*b]);
            a.rank.cmp(&b.rank).then_with(|| by_age(a, b))
        });
    }
    let mut seen = Seen {
        is_seen: nodes.iter().map(|node| matches!(node.content, Content::Said(_))).collect(),
        parent: vec![None; count],
        children: vec![Vec::new(); count],
        tops: Vec::new(),
        at_ms: vec![made_ms; count],
        place: vec![0; count],
        reparented: 0,
    };
    let mut stack: Vec<usize> = roots.into_iter().rev().collect();
    let mut place = 0;
    while let Some(at) = stack.pop() {
        place += 1;
        seen.place[at] = place;
        let above = nodes[at].parent;
        seen.parent[at] =
            above.and_then(|above| if seen.is_seen[above] { Some(above) } else { seen.parent[above] });
        seen.at_ms[at] =
            nodes[at].made_ms.unwrap_or_else(|| above.map_or(made_ms, |above| seen.at_ms[above]));
        if seen.is_seen[at] {
            match seen.parent[at] {
                Some(parent) => seen.children[parent].push(at),
                None => seen.tops.push(at),
            }
            seen.reparented +=
                usize::from(above.is_some_and(|above| matches!(nodes[above].content, Content::Hidden)));
        }
        stack.extend(below[at].iter().rev());
    }
    seen
}

/// Takes the turns out of their nodes, oldest first, but no turn before the one it follows or an older sibling.
/// Returns where each node went.
fn emit(flat: &mut Flat, nodes: &mut [Node], seen: &Seen) -> Vec<Option<usize>> {
    let mut places = vec![None; nodes.len()];
    let mut next = BinaryHeap::new();
    let offer = |next: &mut BinaryHeap<_>, siblings: &[usize], nth: usize| {
        if let Some(at) = siblings.get(nth) {
            next.push(Reverse((seen.at_ms[*at], seen.place[*at], *at, nth)));
        }
    };
    offer(&mut next, &seen.tops, 0);
    while let Some(Reverse((at_ms, _, at, nth))) = next.pop() {
        let parent = seen.parent[at];
        let siblings = parent.map_or(&seen.tops, |parent| &seen.children[parent]);
        offer(&mut next, siblings, nth + 1);
        offer(&mut next, &seen.children[at], 0);
        let node = &mut nodes[at];
        let Content::Said(turn) = std::mem::replace(&mut node.content, Content::Absent) else { continue };
        places[at] = Some(flat.turns.len());
        flat.turns.push(Placed {
            key: std::mem::take(&mut node.key),
            parent: parent.and_then(|parent| places[parent]),
            alternative_to: siblings.first().filter(|first| **first != at).and_then(|first| places[*first]),
            at_ms,
            turn,
        });
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nodes of `(key, parent, time, content)`: `s` for said, `h` for hidden, anything else for none.
    fn nodes(list: &[(&str, Option<usize>, u64, char)]) -> Vec<Node> {
        let nodes = list.iter().enumerate().map(|(rank, (key, parent, at, content))| Node {
            key: (*key).to_owned(),
            parent: *parent,
            rank,
            made_ms: (*at > 0).then_some(*at),
            content: match content {
                's' => Content::Said(Turn { role: "user", ..Turn::default() }),
                'h' => Content::Hidden,
                _ => Content::Absent,
            },
        });
        nodes.collect()
    }

    /// `key<parent` or `key<parent~first sibling`.
    fn shape(flat: &Flat) -> Vec<String> {
        let key = |at: usize| flat.turns[at].key.clone();
        let shape = flat.turns.iter().map(|turn| {
            let beside = turn.alternative_to.map(|first| format!("~{}", key(first)));
            format!("{}<{}{}", turn.key, turn.parent.map(key).unwrap_or_default(), beside.unwrap_or_default())
        });
        shape.collect()
    }

    #[test]
    fn what_is_hidden_goes_and_what_followed_it_stays_in_its_place() {
        let list = [
            ("root", None, 0, '-'),
            ("sys", Some(0), 1, 'h'),
            ("q", Some(1), 2, 's'),
            ("h", Some(2), 3, 'h'),
            ("b", Some(2), 4, 's'),
            ("a1", Some(3), 9, 's'),
            ("a2", Some(3), 5, 's'),
        ];
        let flat = flatten(nodes(&list), Some(3), 1);
        assert_eq!(shape(&flat), ["q<", "a1<q", "a2<q~a1", "b<q~a1"]);
        assert_eq!((flat.hidden, flat.reparented, flat.branches, flat.cut), (2, 3, 3, 0));
        assert!(flat.selected.is_empty(), "a hidden current node stands for the turn above it");
        let flat = flatten(nodes(&list), Some(6), 1);
        assert_eq!(flat.selected, [(Some(0), 2)]);
    }

    #[test]
    fn circles_and_several_roots_come_out_whole() {
        let list = [
            ("a", Some(2), 3, 's'),
            ("b", Some(0), 2, 's'),
            ("c", Some(1), 4, 's'),
            ("x", Some(0), 5, 's'),
            ("r", None, 1, 's'),
        ];
        let flat = flatten(nodes(&list), Some(3), 1);
        assert_eq!(shape(&flat), ["r<", "b<~r", "c<b", "a<c", "x<a"]);
        assert_eq!((flat.cut, flat.branches), (1, 2));
        assert_eq!(flat.selected, [(None, 1)]);
        let own = flatten(nodes(&[("s", Some(0), 0, 's')]), None, 7);
        assert_eq!((shape(&own), own.turns[0].at_ms), (vec!["s<".to_owned()], 7));
    }

    #[test]
    fn a_chain_as_long_as_it_may_be_costs_no_stack() {
        let count = 50_000;
        let list: Vec<Node> = (0..count)
            .map(|at| Node {
                key: at.to_string(),
                parent: (at + 1 < count).then_some(at + 1),
                rank: 0,
                made_ms: None,
                content: Content::Said(Turn::default()),
            })
            .collect();
        let flat = flatten(list, Some(0), 1);
        assert_eq!((flat.turns.len(), flat.branches, flat.turns[1].parent), (count, 1, Some(0)));
    }
}
