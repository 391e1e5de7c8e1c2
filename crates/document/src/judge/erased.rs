//! Judges what is written of a conversation that was erased, in the documents that hold something of many: nothing of it
//! is kept, whoever writes it. The mark that says so is the server's.

use super::{Bench, Rule};
use crate::schema::{is_erasure_mark, is_marked_erased};

/// Removes what was written of erased conversations.
pub(super) fn judge(bench: &mut Bench<'_, '_, '_>, root: &'static str) {
    for (key, committed) in bench.offences(root) {
        if is_erasure_mark(&key) {
            bench.restore(Rule::ServerRegister, root, &key, committed);
        }
    }
    // What the server itself was asked to write counts too: an import, a call.
    let changes = bench.changes;
    let mut keys: Vec<_> = changes
        .keys
        .keys()
        .filter(|(at, key)| *at == root && !is_erasure_mark(key))
        .map(|(_, key)| key)
        .collect();
    keys.sort_unstable();
    for key in keys {
        if bench.pen.has(root, key) && is_marked_erased(bench.pen, root, key) {
            // No more of the key than whose it is: a tag's name stands in it.
            let of = key.split(['|', '@']).next().unwrap_or_default();
            bench.heal_erased(Rule::Erased, format!("{root}/{of}"), None);
            bench.pen.remove(root, key);
        }
    }
}
