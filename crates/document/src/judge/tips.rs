//! Where people read on behind a message: the end of what is shown there. Kept as messages are placed and branches
//! chosen, so that a message costs the same however long the conversation is and however often somebody chose.

use yrs::ReadTxn;

use crate::{
    ids::Writer,
    json,
    order::{Order, SELECTED, TOP, paths::Paths},
    register::split,
    winners::Winners,
};

/// The shown branches of a conversation.
#[derive(Debug, Default)]
pub(super) struct Tips {
    choices: Winners,
    /// What is shown behind each message. The first node stands for the top, before all messages.
    paths: Paths,
    /// The child that is shown, by the same numbers.
    shown: Vec<Option<usize>>,
}

/// The number of a message, or of the top, among the nodes.
fn node_of(at: Option<usize>) -> usize {
    at.map_or(0, |at| at + 1)
}

impl Tips {
    /// Reads the committed choices.
    pub(super) fn of<T: ReadTxn>(txn: &T, order: &Order) -> Self {
        let mut tips = Self { choices: Winners::read(txn, SELECTED, |_| true), ..Self::default() };
        tips.add();
        order.nodes().iter().for_each(|_| tips.add());
        tips.show(order, None);
        (0..order.nodes().len()).for_each(|at| tips.show(order, Some(at)));
        tips
    }

    fn add(&mut self) {
        self.paths.add();
        self.shown.push(None);
    }

    /// Takes in a message that was placed last.
    pub(super) fn placed(&mut self, order: &Order, at: usize) {
        self.add();
        self.show(order, order.node(at).after);
    }

    /// Takes in a message that repeats another: who chose it chose that one.
    pub(super) fn repeated(&mut self, order: &Order, original: &str) {
        if let Some(at) = order.find(original) {
            self.show(order, order.node(at).after);
        }
    }

    /// Takes in a choice that changed.
    pub(super) fn chosen<T: ReadTxn>(&mut self, txn: &T, order: &Order, key: &str) {
        let Some((parent, _)) = split(key) else { return };
        self.choices.refresh(txn, SELECTED, key);
        // The judge may have moved it there.
        self.choices.refresh(txn, SELECTED, &format!("{parent}@{}", Writer::SERVER));
        if parent == TOP {
            self.show(order, None);
        } else if let Some(at) = order.placed(parent) {
            self.show(order, Some(at));
        }
    }

    /// Returns the end of what is shown behind a message, or from the top: itself where nothing follows.
    pub(super) fn tip(&mut self, of: Option<usize>) -> Option<usize> {
        self.paths.end(node_of(of)).checked_sub(1)
    }

    /// Brings up to date which child of a message is shown.
    fn show(&mut self, order: &Order, of: Option<usize>) {
        let parent = of.map_or(TOP, |of| &order.node(of).id);
        let choice = self.choices.winner(parent).and_then(|(_, choice)| json::text(choice));
        let child = order.shown_child(of, choice);
        let node = node_of(of);
        if self.shown[node] == child {
            return;
        }
        if std::mem::replace(&mut self.shown[node], child).is_some() {
            self.paths.cut(node);
        }
        if child.is_some() {
            self.paths.join(node, node_of(child));
        }
    }
}

#[cfg(test)]
mod tests {
    use yrs::Transact as _;

    use super::*;
    use crate::{
        Replica,
        hlc::Hlc,
        order::Choices,
        register::{Stamp, write},
    };

    /// Numbers that look random.
    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            usize::try_from(self.0 % bound as u64).expect("small")
        }
    }

    #[test]
    fn the_tip_is_the_end_of_the_branch_that_is_shown() {
        for seed in 1..=40_u64 {
            let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let mut replica = Replica::of_client(1);
            let mut order = Order::default();
            let mut tips = replica.read(|doc| Tips::of(&doc.transact(), &order)).expect("reads");
            let mut repeats = 0;
            for step in 0..120_u64 {
                let count = order.nodes().len();
                match random.below(5) {
                    0 if count > 1 => {
                        let name =
                            |at: usize| at.checked_sub(1).map_or(TOP.to_owned(), |at| format!("m{at}"));
                        let parent = name(random.below(count + 1));
                        // Some that have not come yet, too.
                        let child = match random.below(3) {
                            0 => format!("r{}", random.below(repeats + 3)),
                            _ => name(1 + random.below(count + 3)),
                        };
                        let writer = ["a.1", "b.1"][random.below(2)];
                        // Times may go back.
                        let hlc = Hlc::at(random.below(50) as u64);
                        let stamp = Stamp { writer: Writer::parse(writer).expect("a writer"), hlc };
                        let key = format!("{parent}@{writer}");
                        let gone = random.below(4) == 0;
                        let edited = replica.edit(|pen| match gone {
                            true => pen.remove(SELECTED, &key),
                            false => write(pen, SELECTED, &parent, &stamp, child.into()),
                        });
                        edited.expect("writes");
                        replica.read(|doc| tips.chosen(&doc.transact(), &order, &key)).expect("reads");
                    }
                    1 if count > 0 => {
                        let original = format!("m{}", random.below(count));
                        order.push_same(format!("r{repeats}").into(), original.as_str().into());
                        repeats += 1;
                        tips.repeated(&order, &original);
                    }
                    _ => {
                        let after = random.below(count + 1).checked_sub(1);
                        let at = order.push(format!("m{count}").into(), step + 1, after);
                        tips.placed(&order, at);
                    }
                }
                let choices = replica.read(|doc| Choices::read(&doc.transact())).expect("reads");
                for of in std::iter::once(None).chain((0..order.nodes().len()).map(Some)) {
                    let walked = order.branch(of, &choices).last().copied().or(of);
                    assert_eq!(tips.tip(of), walked, "seed {seed}, step {step}, behind {of:?}");
                }
            }
        }
    }

    #[test]
    fn a_long_branch_and_many_alternatives_are_not_walked_for_each_message() {
        const MESSAGES: usize = 20_000;
        for is_chain in [true, false] {
            let mut order = Order::default();
            for n in 0..MESSAGES {
                let after = if is_chain { n.checked_sub(1) } else { (n > 0).then_some(0) };
                order.push(format!("m{n}").into(), n as u64 + 1, after);
            }
            let mut tips =
                Replica::of_client(1).read(|doc| Tips::of(&doc.transact(), &order)).expect("reads");
            for n in MESSAGES..2 * MESSAGES {
                // Nothing is known of its parent, or it stands far up.
                let from = [None, Some(0), Some(n / 2)][n % 3];
                let after = tips.tip(from);
                let at = order.push(format!("m{n}").into(), n as u64 + 1, after);
                tips.placed(&order, at);
            }
            let each = tips.paths.steps / MESSAGES;
            assert!(each < 100, "{each} steps for each message");
        }
    }
}
