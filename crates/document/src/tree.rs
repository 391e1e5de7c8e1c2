//! A conversation as people see it: the shown branch or all messages, with what stands beside each, and what is not
//! accepted yet at the end.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use yrs::{Any, Map as _, MapRef, Out, ReadTxn};

use crate::{
    json,
    order::{Choices, Node, Order},
    pen::plain,
    register::{self, Field, Ranking},
    schema::{
        conversation::{Branch, Text},
        message::{Alternatives, Head, Message, State},
        parts::{self, Parts},
    },
};

/// The root map of messages.
pub(crate) const MESSAGES: &str = "messages";
/// The root map of states.
pub(crate) const STATE: &str = "state";
/// The root map of facts.
pub(crate) const FACTS: &str = "facts";
/// The root map of feedback.
pub(crate) const FEEDBACK: &str = "feedback";
/// The root map of what is kept out of sight.
pub(crate) const HIDDEN: &str = "hidden";

/// Returns the container of a message.
pub(crate) fn container<T: ReadTxn>(txn: &T, id: &str) -> Option<MapRef> {
    match txn.get_map(MESSAGES)?.get(txn, id) {
        Some(Out::YMap(container)) => Some(container),
        _ => None,
    }
}

/// Reads the head that stands in a container.
pub(crate) fn head_in<T: ReadTxn>(txn: &T, container: &MapRef) -> Option<Any> {
    plain(container.get(txn, "head"))
}

/// Lists the messages of a conversation.
pub(crate) fn list<T: ReadTxn>(txn: &T, branch: Branch) -> Vec<Message> {
    let view = View::new(txn);
    let placed: Vec<usize> = match branch {
        Branch::All => (0..view.order.nodes().len()).collect(),
        Branch::Selected => view.order.branch(None, &Choices::read(txn)),
    };
    let placed = placed.into_iter().filter_map(|at| view.placed(at));
    let shown = placed.filter(|message| branch == Branch::All || !message.hidden);
    shown.chain(view.pending()).collect()
}

/// Returns one message.
pub(crate) fn one<T: ReadTxn>(txn: &T, id: &str) -> Option<Message> {
    let view = View::new(txn);
    match view.order.find(id) {
        Some(at) => view.placed(at),
        None => view.pending_one(id),
    }
}

/// Returns the texts of messages with a place.
pub(crate) fn texts<T: ReadTxn>(txn: &T, wanted: Option<&BTreeSet<String>>, most: usize) -> Vec<Text> {
    let order = Order::read(txn);
    let text_of = |(at, node): (usize, &Node)| {
        let container = container(txn, &node.id)?;
        let head = Head::parse(&head_in(txn, &container)?).ok()?;
        let frozen = Parts::of(txn, &container)?.freeze(txn);
        Some(Text {
            message: node.id.to_string(),
            role: head.role,
            at_ms: head.at.ms(),
            alternative: order.children(node.after).first() != Some(&at),
            text: parts::text(&frozen, most),
        })
    };
    let nodes = order.nodes().iter().enumerate();
    let chosen = nodes.filter(|(_, node)| wanted.is_none_or(|wanted| wanted.contains(&*node.id)));
    chosen.filter_map(text_of).collect()
}

/// Alternatives of a message that are named: those around it. Naming all of them to each would be quadratic.
const ALTERNATIVES: usize = 16;

struct View<'a, T> {
    txn: &'a T,
    order: Order,
    hidden: BTreeMap<String, Field>,
    feedback: BTreeMap<String, Field>,
}

impl<'a, T: ReadTxn> View<'a, T> {
    fn new(txn: &'a T) -> Self {
        Self {
            order: Order::read(txn),
            hidden: register::read(txn, HIDDEN, Ranking::Time),
            feedback: register::read(txn, FEEDBACK, Ranking::Time),
            txn,
        }
    }

    /// Returns a message with a place; none where its container was deleted and is not healed yet.
    fn placed(&self, at: usize) -> Option<Message> {
        let node = self.order.node(at);
        // In the order of their numbers, as the nodes are.
        let siblings = self.order.children(node.after);
        let index = siblings.binary_search(&at).unwrap_or_default();
        let first = index.saturating_sub(ALTERNATIVES / 2).min(siblings.len().saturating_sub(ALTERNATIVES));
        let shown = &siblings[first..siblings.len().min(first + ALTERNATIVES)];
        let mut message = self.message(&node.id)?;
        message.parent = node.after.map(|after| self.order.node(after).id.to_string());
        message.seq = Some(node.seq);
        message.alternatives = Alternatives {
            index: index + 1,
            count: siblings.len(),
            ids: shown.iter().map(|sibling| self.order.node(*sibling).id.to_string()).collect(),
        };
        Some(message)
    }

    /// Returns what is not accepted, by time and id: it has no better order yet.
    fn pending(&self) -> Vec<Message> {
        let Some(map) = self.txn.get_map(MESSAGES) else { return Vec::new() };
        let waiting: Vec<Arc<str>> =
            map.keys(self.txn).filter(|id| self.order.acceptance(id).is_none()).map(Arc::from).collect();
        let mut messages: Vec<Message> = waiting.iter().filter_map(|id| self.pending_one(id)).collect();
        messages.sort_by(|a, b| (a.at, &a.id).cmp(&(b.at, &b.id)));
        messages
    }

    fn pending_one(&self, id: &str) -> Option<Message> {
        let mut message = self.message(id)?;
        message.state = State::Pending;
        Some(message)
    }

    fn message(&self, id: &str) -> Option<Message> {
        let container = container(self.txn, id)?;
        let head = Head::parse(&head_in(self.txn, &container)?).ok()?;
        let frozen = Parts::of(self.txn, &container)?.freeze(self.txn);
        let fact = |root: &str| plain(self.txn.get_map(root)?.get(self.txn, id));
        let state = fact(STATE);
        let (state, details) = state.as_ref().and_then(State::read).unwrap_or((State::Done, None));
        let feedback = self.feedback.get(id).and_then(Field::winner);
        Some(Message {
            id: id.to_owned(),
            parent: head.parent,
            role: head.role,
            seq: None,
            state,
            alternatives: Alternatives { index: 1, count: 1, ids: vec![id.to_owned()] },
            parts: parts::read(&frozen),
            by: head.by.to_string(),
            at: head.at,
            req: head.req,
            model: head.model,
            details: details.map(json::read),
            facts: fact(FACTS).as_ref().map(json::read),
            feedback: feedback.map(|entry| json::read(&entry.value)).filter(|value| !value.is_null()),
            hidden: self.hidden.get(id).is_some_and(Field::is_true),
            erased: parts::is_erased(&frozen),
        })
    }
}

/// Sorts messages so that each comes after those it refers to, and otherwise keeps their order. References may run in
/// circles, as a hostile client's do.
pub(crate) fn after_their_parents<'a>(
    ids: &[&'a str],
    refers_to: impl Fn(&str) -> [Option<&'a str>; 2],
) -> Vec<&'a str> {
    let mut state: HashMap<&str, bool> = ids.iter().map(|id| (*id, false)).collect();
    let mut sorted = Vec::with_capacity(ids.len());
    for id in ids {
        let mut stack = vec![(*id, false)];
        while let Some((at, is_done)) = stack.pop() {
            if is_done {
                sorted.push(at);
                continue;
            }
            // Entered before, whether it is sorted by now or waits further down in a circle.
            if state.insert(at, true) != Some(false) {
                continue;
            }
            stack.push((at, true));
            let before = refers_to(at).into_iter().flatten().filter(|id| state.get(id) == Some(&false));
            stack.extend(before.map(|id| (id, false)).collect::<Vec<_>>().into_iter().rev());
        }
    }
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_come_first_and_circles_end() {
        let parents =
            HashMap::from([("c", "b"), ("b", "a"), ("x", "y"), ("y", "x"), ("s", "s"), ("m", "missing")]);
        let refers_to = |id: &str| [parents.get(id).copied(), None];
        let sorted = after_their_parents(&["c", "x", "a", "m", "s", "b", "y"], refers_to);
        assert_eq!(sorted, ["a", "b", "c", "y", "x", "m", "s"]);
        let chain: Vec<String> = (0..50_000).map(|n| n.to_string()).collect();
        let ids: Vec<&str> = chain.iter().rev().map(String::as_str).collect();
        let before = |id: &str| {
            let n: usize = id.parse().expect("a number");
            [n.checked_sub(1).map(|n| &*chain[n]), None]
        };
        assert!(after_their_parents(&ids, before).is_sorted_by_key(|id| id.parse::<u32>().ok()));
    }
}
