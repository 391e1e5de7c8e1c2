//! Judges what comes late to a map whose history was renewed (see `renewal.rs`): no mark is lost for it.

use std::{collections::BTreeMap, sync::Arc};

use yrs::Any;

use super::{Bench, fields::Fields};
use crate::{
    hlc::{Clock, Hlc},
    ids::Writer,
    json,
    register::{Entry, Ranking, split},
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
    let mut strongest: BTreeMap<String, Entry> = BTreeMap::new();
    for (key, value) in late {
        if !offer(&mut strongest, bench, root, &key, &value) && bench.pen.get(root, &key).is_none() {
            // What nobody here understands stands where it was meant to stand.
            bench.moved.entry((root, key.clone())).or_insert(None);
            bench.pen.set(root, key.clone(), value);
        }
    }
    for (key, committed) in bench.offences(root) {
        if let Some(committed) = committed {
            offer(&mut strongest, bench, root, &key, &committed);
        }
    }
    for (field, mut entry) in strongest {
        let standing = fields.read(bench.pen.txn(), root, &field, ranking);
        if entry.hlc.is_future(now_ms) {
            // As any other value from the future; it may have been overruled just now.
            let is_overruled = |stands: &Entry| stands.hlc >= Hlc::at(now_ms) && stands.value == entry.value;
            if standing.entries().iter().any(is_overruled) {
                continue;
            }
            entry.hlc = clock.tick(now_ms);
        }
        if standing.entries().iter().any(|stands| rank(stands) >= rank(&entry)) {
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

/// Notes a value where it is the strongest of its field so far: each field is read once, however many values come. Says
/// whether it is a register's.
fn offer(
    strongest: &mut BTreeMap<String, Entry>,
    bench: &Bench<'_, '_, '_>,
    root: &'static str,
    key: &str,
    value: &Any,
) -> bool {
    let Some((field, writer)) = split(key) else { return is_marked(bench, root, key) };
    if writer.is_server() || is_marked(bench, root, key) {
        return true;
    }
    let Some(entry) = Entry::parse(Writer::server(), value) else { return false };
    if strongest.get(field).is_none_or(|strongest| rank(strongest) < rank(&entry)) {
        strongest.insert(field.to_owned(), entry);
    }
    true
}

/// Says whether a key says that something was erased, or belongs to what was.
fn is_marked(bench: &Bench<'_, '_, '_>, root: &'static str, key: &str) -> bool {
    is_erasure_mark(key) || is_marked_erased(bench.pen, root, key)
}

/// Orders the values of a field by their strength, whoever wrote them.
fn rank(entry: &Entry) -> (Hlc, Option<u64>) {
    (entry.hlc, json::whole(&entry.value))
}
