//! The order of a conversation as the server accepted it: a tree in which every message follows one that was accepted
//! before it, so that no walk can loop.

pub(crate) mod paths;

use std::{collections::HashMap, sync::Arc};

use yrs::{Any, Map as _, Out, ReadTxn};

use crate::{
    ids::is_id,
    json,
    register::{self, Ranking},
};

/// The root map of acceptances.
pub(crate) const ACCEPTED: &str = "accepted";
/// The root map of branch choices.
pub(crate) const SELECTED: &str = "selected";
/// What stands for "no parent" in the key of a branch choice.
pub(crate) const TOP: &str = "root";

/// A committed acceptance: `[seq, after]`, or `[0, null, {same}]` for a message that repeats another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Acceptance {
    /// It has a place.
    Placed {
        /// Its number, from 1.
        seq: u64,
        /// The message it follows.
        after: Option<Arc<str>>,
    },
    /// It repeats that message, and is not shown.
    Same(Arc<str>),
}

impl Acceptance {
    pub(crate) fn parse(stored: &Any) -> Option<Self> {
        let Any::Array(items) = stored else { return None };
        let (seq, after, rest) = match &items[..] {
            [seq, after] => (json::whole(seq)?, after, None),
            [seq, after, rest] => (json::whole(seq)?, after, Some(rest)),
            _ => return None,
        };
        match (seq, after, rest) {
            (0, Any::Null, Some(rest)) => Some(Self::Same(json::text_field(rest, "same")?.into())),
            (1.., Any::Null | Any::Undefined, None) => Some(Self::Placed { seq, after: None }),
            (1.., Any::String(after), None) if is_id(after) => {
                Some(Self::Placed { seq, after: Some(after.clone()) })
            }
            _ => None,
        }
    }

    pub(crate) fn stored(&self) -> Any {
        let items = match self {
            Self::Placed { seq, after } => {
                vec![json::int(*seq), after.clone().map_or(Any::Null, Any::String)]
            }
            Self::Same(id) => {
                vec![json::int(0), Any::Null, json::object([("same", Some(Any::String(id.clone())))])]
            }
        };
        Any::Array(items.into())
    }
}

/// A message with a place.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: Arc<str>,
    pub(crate) seq: u64,
    /// The one it follows: always one of a lower seq.
    pub(crate) after: Option<usize>,
    /// The latest acceptance that was placed behind it.
    children: Vec<usize>,
}

/// All accepted messages, by seq.
#[derive(Debug, Default)]
pub(crate) struct Order {
    nodes: Vec<Node>,
    index: HashMap<Arc<str>, usize>,
    tops: Vec<usize>,
    /// Messages that repeat another, and which.
    same: HashMap<Arc<str>, Arc<str>>,
}

impl Order {
    /// Reads the committed acceptances. What is malformed, or follows something later than itself, comes from a device
    /// that was not healed yet: the one is passed over, the other stands at the top.
    pub(crate) fn read<T: ReadTxn>(txn: &T) -> Self {
        let mut order = Self::default();
        let Some(map) = txn.get_map(ACCEPTED) else { return order };
        let mut placed: Vec<(u64, Arc<str>, Option<Arc<str>>)> = Vec::new();
        for (id, out) in map.iter(txn) {
            let Out::Any(stored) = out else { continue };
            match Acceptance::parse(&stored) {
                Some(Acceptance::Placed { seq, after }) => placed.push((seq, id.into(), after)),
                Some(Acceptance::Same(original)) => {
                    order.same.insert(id.into(), original);
                }
                None => {}
            }
        }
        placed.sort_unstable();
        for (seq, id, after) in placed {
            let after = after.and_then(|after| order.find(&after));
            order.push(id, seq, after);
        }
        order
    }

    /// Places a message behind another. Sequences rise.
    pub(crate) fn push(&mut self, id: Arc<str>, seq: u64, after: Option<usize>) -> usize {
        let at = self.nodes.len();
        self.index.insert(id.clone(), at);
        self.nodes.push(Node { id, seq, after, children: Vec::new() });
        match after {
            Some(after) => self.nodes[after].children.push(at),
            None => self.tops.push(at),
        }
        at
    }

    /// Notes that a message repeats another.
    pub(crate) fn push_same(&mut self, id: Arc<str>, original: Arc<str>) {
        self.same.insert(id, original);
    }

    /// Finds a message, or the one that it repeats.
    pub(crate) fn find(&self, id: &str) -> Option<usize> {
        self.index.get(id).or_else(|| self.index.get(self.same.get(id)?)).copied()
    }

    /// Finds a message that has a place of its own.
    pub(crate) fn placed(&self, id: &str) -> Option<usize> {
        self.index.get(id).copied()
    }

    /// Returns the acceptance of a message, if it has one.
    pub(crate) fn acceptance(&self, id: &str) -> Option<Acceptance> {
        match self.index.get(id) {
            Some(at) => {
                let node = &self.nodes[*at];
                let after = node.after.map(|after| self.nodes[after].id.clone());
                Some(Acceptance::Placed { seq: node.seq, after })
            }
            None => self.same.get(id).map(|original| Acceptance::Same(original.clone())),
        }
    }

    /// Lists the messages that repeat one, by id.
    pub(crate) fn repeats(&self, original: &str) -> Vec<&str> {
        let mut repeats: Vec<&str> =
            self.same.iter().filter(|(_, of)| ***of == *original).map(|(id, _)| &**id).collect();
        repeats.sort_unstable();
        repeats
    }

    pub(crate) fn node(&self, at: usize) -> &Node {
        &self.nodes[at]
    }

    /// Returns all messages with a place, by seq.
    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Returns the sequence of the next acceptance.
    pub(crate) fn next_seq(&self) -> u64 {
        self.nodes.last().map_or(1, |node| node.seq + 1)
    }

    /// Returns what follows a message, or the first messages.
    pub(crate) fn children(&self, of: Option<usize>) -> &[usize] {
        of.map_or(&self.tops, |of| &self.nodes[of].children)
    }

    /// Returns the branch that is shown behind a message, from the first: the chosen child, else the newest.
    pub(crate) fn branch(&self, of: Option<usize>, chosen: &Choices) -> Vec<usize> {
        let mut branch = Vec::new();
        let mut at = of;
        // A child is always later than what it follows, so this ends.
        while let Some(next) = self.shown_child(at, chosen.of(at.map_or(TOP, |at| &self.nodes[at].id))) {
            branch.push(next);
            at = Some(next);
        }
        branch
    }

    /// Returns the child of a message, or of the top, that is shown: the chosen one, else the newest.
    pub(crate) fn shown_child(&self, of: Option<usize>, choice: Option<&str>) -> Option<usize> {
        let children = self.children(of);
        let choice = choice.and_then(|id| self.find(id));
        choice.filter(|choice| self.nodes[*choice].after == of).or_else(|| children.last().copied())
    }
}

/// Which branch people chose, by parent.
#[derive(Debug, Default)]
pub(crate) struct Choices(HashMap<String, String>);

impl Choices {
    pub(crate) fn read<T: ReadTxn>(txn: &T) -> Self {
        let fields = register::read(txn, SELECTED, Ranking::Time);
        let choices =
            fields.into_iter().filter_map(|(parent, field)| Some((parent, field.text()?.to_owned())));
        Self(choices.collect())
    }

    /// Returns the child that was chosen behind a message.
    fn of(&self, parent: &str) -> Option<&str> {
        self.0.get(parent).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_follows_the_choice_or_the_newest() {
        let mut order = Order::default();
        let a = order.push("a".into(), 1, None);
        let b = order.push("b".into(), 2, Some(a));
        let c = order.push("c".into(), 3, Some(a));
        let d = order.push("d".into(), 4, Some(b));
        assert_eq!(order.branch(None, &Choices::default()), [a, c]);
        let choose =
            |parent: &str, child: &str| Choices(HashMap::from([(parent.to_owned(), child.to_owned())]));
        assert_eq!(order.branch(None, &choose("a", "b")), [a, b, d]);
        // Neither a stranger nor somebody else's child can be chosen.
        assert_eq!(order.branch(None, &choose("a", "d")), [a, c]);
        assert_eq!(order.branch(None, &choose("a", "z")), [a, c]);
        assert_eq!(order.branch(None, &choose(TOP, "a")), [a, c]);
    }

    #[test]
    fn what_is_stored_reads_back() {
        for acceptance in [
            Acceptance::Placed { seq: 7, after: Some("m6".into()) },
            Acceptance::Placed { seq: 1, after: None },
            Acceptance::Same("m1".into()),
        ] {
            assert_eq!(Acceptance::parse(&acceptance.stored()), Some(acceptance));
        }
        assert_eq!(Acceptance::parse(&Any::Array([Any::from(0), Any::Null].as_slice().into())), None);
    }
}
