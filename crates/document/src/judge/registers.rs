//! Judges registers: those that come from the future, and those under the server's name.

use std::cmp::Ordering;

use super::{Bench, Rule};
use crate::{
    hlc::Clock,
    ids::Writer,
    register::{Entry, Ranking, split},
};

/// Judges the registers that clients changed in these root maps.
pub(super) fn judge(
    bench: &mut Bench<'_, '_, '_>,
    roots: &[(&'static str, Ranking)],
    clock: &mut Clock,
    now_ms: u64,
) {
    for (root, ranking) in roots {
        for (key, committed) in bench.offences(root) {
            let Some((field, writer)) = split(&key) else { continue };
            if writer.is_server() {
                bench.restore(Rule::ServerRegister, root, &key, committed);
                continue;
            }
            let offered = bench.pen.get(root, &key).and_then(|stored| Entry::parse(writer, &stored));
            let Some(entry) = offered else { continue };
            if entry.hlc.is_future(now_ms) {
                overrule(bench, root, *ranking, field, &entry, clock, now_ms);
            } else {
                clock.observe(entry.hlc, now_ms);
            }
        }
    }
}

/// Moves a value from the future under the server's name, with the time of its arrival.
///
/// The writer's key is removed, not overwritten: what the writer sets there next, not knowing of this yet, then wins
/// in Yjs, whatever the client ids are.
fn overrule(
    bench: &mut Bench<'_, '_, '_>,
    root: &'static str,
    ranking: Ranking,
    field: &str,
    offered: &Entry,
    clock: &mut Clock,
    now_ms: u64,
) {
    let own_key = format!("{field}@{}", Writer::SERVER);
    let stamped = Entry { writer: Writer::server(), hlc: clock.tick(now_ms), ..offered.clone() };
    let stays = bench.pen.get(root, &own_key).and_then(|stored| Entry::parse(Writer::server(), &stored));
    // The server may hold a stronger one, folded from elsewhere: a preference set by hand.
    if stays.is_none_or(|stays| stamped.cmp(&stays, ranking) == Ordering::Greater) {
        bench.pen.set(root, own_key, stamped.stored());
    }
    let key = format!("{field}@{}", offered.writer);
    bench.heal(Rule::Future, format!("{root}/{key}"), None);
    bench.pen.remove(root, &key);
}
