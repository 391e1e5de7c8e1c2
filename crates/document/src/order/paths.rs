//! Paths of nodes, each asked for its end: joined, cut and walked in logarithmic time, so that a long conversation is
//! not walked for each message that comes to it.
//!
//! Every path is a splay tree (Sleator and Tarjan) whose nodes are in the path's order.

/// No node.
const NONE: usize = usize::MAX;

#[derive(Debug, Clone, Copy)]
struct Links {
    up: usize,
    left: usize,
    right: usize,
}

/// The paths.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    nodes: Vec<Links>,
    /// Links that were followed or changed, ever.
    #[cfg(test)]
    pub(crate) steps: usize,
}

impl Paths {
    /// Adds a node, a path of its own. Nodes are numbered from 0.
    pub(crate) fn add(&mut self) {
        self.nodes.push(Links { up: NONE, left: NONE, right: NONE });
    }

    /// Returns the last node of the path that a node is on.
    pub(crate) fn end(&mut self, node: usize) -> usize {
        self.splay(node);
        let mut last = node;
        while self.nodes[last].right != NONE {
            last = self.nodes[last].right;
            #[cfg(test)]
            {
                self.steps += 1;
            }
        }
        self.splay(last);
        last
    }

    /// Puts a path behind another: `node` is the last of the one, `first` the first of the other.
    pub(crate) fn join(&mut self, node: usize, first: usize) {
        self.splay(node);
        self.splay(first);
        debug_assert!(
            self.nodes[node].right == NONE && self.nodes[first].left == NONE,
            "an end meets a beginning"
        );
        self.nodes[node].right = first;
        self.nodes[first].up = node;
    }

    /// Cuts a path behind a node.
    pub(crate) fn cut(&mut self, node: usize) {
        self.splay(node);
        let rest = std::mem::replace(&mut self.nodes[node].right, NONE);
        if rest != NONE {
            self.nodes[rest].up = NONE;
        }
    }

    /// Makes a node the root of its tree.
    fn splay(&mut self, node: usize) {
        while self.nodes[node].up != NONE {
            let up = self.nodes[node].up;
            let above = self.nodes[up].up;
            if above != NONE {
                let straight = (self.nodes[up].left == node) == (self.nodes[above].left == up);
                self.rotate(if straight { up } else { node });
            }
            self.rotate(node);
        }
    }

    /// Lifts a node above the one that it hangs from.
    fn rotate(&mut self, node: usize) {
        #[cfg(test)]
        {
            self.steps += 1;
        }
        let up = self.nodes[node].up;
        let above = self.nodes[up].up;
        let moved = if self.nodes[up].left == node {
            let moved = std::mem::replace(&mut self.nodes[node].right, up);
            self.nodes[up].left = moved;
            moved
        } else {
            let moved = std::mem::replace(&mut self.nodes[node].left, up);
            self.nodes[up].right = moved;
            moved
        };
        if moved != NONE {
            self.nodes[moved].up = up;
        }
        self.nodes[up].up = node;
        self.nodes[node].up = above;
        if above != NONE {
            if self.nodes[above].left == up {
                self.nodes[above].left = node;
            } else {
                self.nodes[above].right = node;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_joins_and_cuts_end_where_a_walk_ends() {
        const NODES: usize = 60;
        let mut random = 0x2545_f491_4f6c_dd1d_u64;
        let mut draw = |below: usize| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            usize::try_from(random % below as u64).expect("small")
        };
        let mut paths = Paths::default();
        (0..NODES).for_each(|_| paths.add());
        let mut next = [NONE; NODES];
        let walk = |next: &[usize; NODES], mut node: usize| {
            while next[node] != NONE {
                node = next[node];
            }
            node
        };
        for _ in 0..20_000 {
            let (node, other) = (draw(NODES), draw(NODES));
            if next[node] != NONE {
                paths.cut(node);
                next[node] = NONE;
            } else if !next.contains(&other) && walk(&next, other) != node {
                paths.join(node, other);
                next[node] = other;
            }
            let asked = draw(NODES);
            assert_eq!(paths.end(asked), walk(&next, asked));
        }
    }
}
