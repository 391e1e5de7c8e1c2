//! Judges what comes late to a map whose history was renewed (see `renewal.rs`): no mark is lost for it.

use std::{cmp::Ordering, sync::Arc};

use yrs::Any;

use super::{Bench, fields::Fields};
use crate::{
    hlc::{Clock, Hlc},
    ids::Writer,
    json,
    register::{Entry, Field, Ranking, split},
    schema::{is_erasure_mark, is_marked_erased},
};

/// Carries values over to the server's key, with their original time, where nothing that stands is as strong: those that
/// came late (they may show nowhere), and those that a client put away.
///
/// A client that knew nothing of the renewal puts away what was carried over by setting the key anew; a later time then
/// stands there. Where none does, what was put away still counts: a mark is lowered, never removed.
pub(super) fn judge(
    bench: &mut Bench<'_, '_, '_>,
    fields: &mut Fields,
    (root, ranking): (&'static str, Ranking),
    late: Vec<(Arc<str>, Any)>,
    clock: &mut Clock,
    now_ms: u64,
) {
    let put_away = bench.offences(root).into_iter().filter_map(|(key, committed)| Some((key, committed?)));
    let put_away: Vec<(Arc<str>, Any)> = put_away.collect();
    for (key, value) in late.into_iter().chain(put_away) {
        let Some((field, writer)) = split(&key) else { continue };
        if writer.is_server() || is_erasure_mark(&key) || is_marked_erased(bench.pen, root, &key) {
            continue;
        }
        let Some(mut entry) = Entry::parse(Writer::server(), &value) else { continue };
        let standing = fields.read(bench.pen.txn(), root, field, ranking);
        if entry.hlc.is_future(now_ms) {
            // As any other value from the future; it may have been overruled just now.
            let is_overruled = |stands: &Entry| stands.hlc >= Hlc::at(now_ms) && stands.value == entry.value;
            if standing.entries().iter().any(is_overruled) {
                continue;
            }
            entry.hlc = clock.tick(now_ms);
        }
        if counts(&standing, &entry) {
            continue;
        }
        clock.observe(entry.hlc, now_ms);
        let own_key: Arc<str> = format!("{field}@{}", Writer::SERVER).into();
        let stood = bench.pen.get(root, &own_key);
        bench.moved.entry((root, own_key.clone())).or_insert(stood);
        bench.pen.set(root, own_key.clone(), entry.stored());
        fields.refresh(bench.pen.txn(), root, &own_key);
    }
}

/// Says whether a field holds a value that is as strong as this one, whoever wrote it.
fn counts(standing: &Field, entry: &Entry) -> bool {
    let rank = |entry: &Entry| (entry.hlc, json::whole(&entry.value));
    standing.entries().iter().any(|stands| rank(stands).cmp(&rank(entry)) != Ordering::Less)
}
