//! Judges registers: those that come from the future, and those under the server's name. Folds what writers left behind
//! that are gone.

use std::{cmp::Ordering, collections::HashMap, sync::Arc};

use super::{Bench, Rule};
use crate::{
    hlc::{Clock, Hlc},
    ids::Writer,
    register::{Entry, GONE_MS, Ranking, fold, read, split},
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
    let stood = bench.pen.get(root, &own_key);
    let stays = stood.as_ref().and_then(|stored| Entry::parse(Writer::server(), stored));
    // The server may hold a stronger one, folded from elsewhere: a preference set by hand.
    if stays.is_none_or(|stays| stamped.cmp(&stays, ranking) == Ordering::Greater) {
        let own_key: Arc<str> = own_key.into();
        // What stood there before the first of several.
        bench.moved.entry((root, own_key.clone())).or_insert(stood);
        bench.pen.set(root, own_key, stamped.stored());
    }
    let key = format!("{field}@{}", offered.writer);
    bench.heal(Rule::Future, format!("{root}/{key}"), None);
    bench.pen.remove(root, &key);
}

/// Folds the registers of writers that are gone into the server's, with their original times: a document must not grow with
/// every session that ever was. Who comes back after all writes on under the old name.
pub(super) fn sweep(bench: &mut Bench<'_, '_, '_>, roots: &[(&'static str, Ranking)], now_ms: u64) {
    let mut newest: HashMap<Writer, Hlc> = HashMap::new();
    for (root, ranking) in roots {
        for field in read(bench.pen.txn(), root, *ranking).values() {
            for entry in field.entries() {
                let seen = newest.entry(entry.writer.clone()).or_insert(entry.hlc);
                *seen = (*seen).max(entry.hlc);
            }
        }
    }
    let since = Hlc::at(now_ms.saturating_sub(GONE_MS));
    newest.retain(|writer, seen| !writer.is_server() && *seen < since);
    if newest.is_empty() {
        return;
    }
    for (root, ranking) in roots {
        fold(bench.pen, root, *ranking, &Writer::server(), &|writer: &Writer| newest.contains_key(writer));
    }
}
