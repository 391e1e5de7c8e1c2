//! Renews the read marks: a fresh epoch takes the place of a history that has grown long, and carries the marks over.
//!
//! Yjs keeps a struct for every value that was ever set beside another key, so marks grow with every turn that is read.
//! A fresh document would not help: devices that hold the old one offer it again. Nor may history just be collected: what
//! a device sets next goes beside what it has, and is collected with it. So the server first writes the marks that count
//! once more, as the update of a client of their own:
//!
//! - Its id is higher than any in the document, and its blocks stand at the root, without neighbours. Yjs puts such a
//!   block behind every other of its key, on every replica, whatever that one holds of the old chain: all of it, the
//!   beginning of it, or nothing. That is why the block that stands there may not simply be written anew without its
//!   neighbour: on a device that lacks it, but holds what came before, it would go to the front and be lost.
//! - The time in it is the original one, so who wins stays the same.
//! - The key of a mark that lost gets a deleted block: its writer's next mark has something to stand beside.
//!
//! Behind that nothing refers to the old chains but edits that were made before their makers knew of the epoch, and they
//! become GC, under the same ids: every clock stays covered. No struct is changed, none changes its meaning. Edits that
//! come late all the same are found by the checker ([`Known::renew`]) and carried over by the judge.
//!
//! [`Known::renew`]: syncline_protocol::known::Known::renew

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use syncline_protocol::{
    known::Tip,
    limits::Limits,
    renewal::{Survey, retire, roots, survey},
    state_vector,
};
use yrs::{Any, Map as _, Out, ReadTxn as _, Transact as _};

use crate::{
    Broken, Replica,
    hlc::Hlc,
    ids::Writer,
    json,
    register::{Entry, Field, GONE_MS, read, split},
    schema::{ERASED, Kind},
};

/// Client ids end here: lib0 writes no larger integer.
const CLIENTS_END: u64 = (1 << 53) - 1;
/// What Yjs draws its ids from. Ids of epochs are above it once there is little room left below.
const YJS_CLIENTS_END: u64 = 1 << 32;
/// Ids that have to be left below [`YJS_CLIENTS_END`].
const ROOM: u64 = 1 << 20;

/// A document whose history was renewed.
#[derive(Debug)]
pub struct Renewed {
    /// What the server writes, to be committed before a checkpoint is made of the replica. The replica holds it.
    pub update: Bytes,
    /// The document from now on.
    pub replica: Replica,
}

/// What becomes of one key.
#[derive(Debug, Clone, PartialEq)]
enum Fate {
    /// It was written once, at the root: it stays as it is.
    Stays,
    /// Its value is written once more.
    Carried(Any),
    /// It has no value that counts, but its writer may go on.
    Held,
    /// Nothing is left of it.
    Goes,
}

/// Renews the history of a document, if its kind has one that may be, and no more than one of that many `parts` of it is
/// left then. The replica given is left as it is; `server_client` is the id that the server goes on to write under.
///
/// # Errors
/// [`Broken`] where yrs fails on the replica itself; it must then be dropped.
pub fn renew(
    replica: &mut Replica,
    kind: &Kind,
    server_client: u64,
    parts: usize,
    now_ms: u64,
) -> Result<Option<Renewed>, Broken> {
    let Some((root, ranking)) = kind.renewed() else { return Ok(None) };
    let state = replica.encode_state()?;
    let Ok(survey) = survey(&state, root) else { return Ok(None) };
    let Some(values) = values(replica, root, &survey)? else { return Ok(None) };
    let before = replica.read(|doc| read(&doc.transact(), root, ranking))?;
    let fates = fates(&survey, &values, &before, now_ms);
    if estimate(&survey, &fates).saturating_mul(parts) > state.len() {
        return Ok(None);
    }
    let Some(epoch) = epoch(survey.highest_client, server_client) else { return Ok(None) };
    let update = Bytes::from(write(epoch, root, &fates));
    // From here on nothing that fails is the replica's fault: it stays as it is, history and all.
    let Ok(mut grown) = Replica::load_as(server_client, [&*state, &*update]) else { return Ok(None) };
    let stays = |client, key: &str| client == epoch || fates.get(key) == Some(&Fate::Stays);
    let Some(renewed) = grown.encode_state().ok().and_then(|state| retire(&state, root, stays).ok()?) else {
        return Ok(None);
    };
    if renewed.len().saturating_mul(parts) > state.len() {
        return Ok(None);
    }
    let Ok(mut fresh) = Replica::load_as(server_client, [&*renewed]) else { return Ok(None) };
    let Ok(after) = fresh.read(|doc| read(&doc.transact(), root, ranking)) else { return Ok(None) };
    if !covers(&fresh, &grown) || !covers(&grown, &fresh) || counting(&before) != counting(&after) {
        return Ok(None);
    }
    fresh.mind_renewal(root, tips(&survey, &fates));
    Ok(Some(Renewed { update, replica: fresh }))
}

/// Reads the plain values of the keys that have one. `None` where one is no plain value: nobody knows what that is.
fn values(
    replica: &mut Replica,
    root: &'static str,
    survey: &Survey,
) -> Result<Option<HashMap<String, Any>>, Broken> {
    replica.read(|doc| {
        let txn = doc.transact();
        let map = txn.get_map(root)?;
        let live = survey.chains.iter().filter(|(_, chain)| chain.live.is_some());
        live.map(|(key, _)| match map.get(&txn, key) {
            Some(Out::Any(value)) => Some((key.clone(), value)),
            _ => None,
        })
        .collect()
    })
}

/// Decides what becomes of every key.
fn fates(
    survey: &Survey,
    values: &HashMap<String, Any>,
    fields: &BTreeMap<String, Field>,
    now_ms: u64,
) -> BTreeMap<String, Fate> {
    let mut newest: HashMap<&Writer, Hlc> = HashMap::new();
    for entry in fields.values().flat_map(Field::entries) {
        let seen = newest.entry(&entry.writer).or_default();
        *seen = (*seen).max(entry.hlc);
    }
    let since = Hlc::at(now_ms.saturating_sub(GONE_MS));
    let goes_on = |writer: &Writer| writer.is_server() || newest.get(writer).is_some_and(|hlc| *hlc >= since);
    let counts: HashSet<(&str, &Writer)> = fields
        .iter()
        .flat_map(|(field, entries)| strongest(entries).map(|entry| (&**field, &entry.writer)))
        .collect();
    let fate = |key: &str, is_single: bool| {
        let register = split(key);
        let stays = |other| if is_single { Fate::Stays } else { other };
        match (values.get(key), register) {
            (Some(value), Some((field, writer))) => {
                let is_register = Entry::parse(writer.clone(), value).is_some();
                if is_register && !counts.contains(&(field, &writer)) {
                    stays(Fate::Held)
                } else {
                    stays(Fate::Carried(value.clone()))
                }
            }
            // What nobody here understands is carried over as it is.
            (Some(value), None) => stays(Fate::Carried(value.clone())),
            (None, Some((field, writer))) => {
                let conversation = field.split('|').next().unwrap_or_default();
                let is_erased = values.contains_key(&format!("{conversation}{ERASED}"));
                if !is_erased && goes_on(&writer) { stays(Fate::Held) } else { Fate::Goes }
            }
            (None, None) => stays(Fate::Held),
        }
    };
    survey.chains.iter().map(|(key, chain)| (key.clone(), fate(key, chain.blocks == 1))).collect()
}

/// Returns the values of a field that count: the strongest, and the strongest that is a mark.
fn strongest(field: &Field) -> impl Iterator<Item = &Entry> {
    let mark = field.entries().iter().find(|entry| json::whole(&entry.value).is_some());
    field.winner().into_iter().chain(mark)
}

fn counting(fields: &BTreeMap<String, Field>) -> BTreeMap<&String, Vec<&Entry>> {
    fields.iter().map(|(name, field)| (name, strongest(field).collect())).collect()
}

/// Estimates the bytes that are left.
fn estimate(survey: &Survey, fates: &BTreeMap<String, Fate>) -> usize {
    /// Kind, parent, lengths, and the value of a mark without its texts.
    const BLOCK: usize = 16;
    let left = fates.iter().map(|(key, fate)| {
        let bytes = survey.chains.get(key).map_or(0, |chain| chain.bytes / chain.blocks.max(1));
        match fate {
            Fate::Stays => bytes,
            Fate::Carried(_) => key.len() + BLOCK + 16,
            Fate::Held => key.len() + BLOCK,
            Fate::Goes => 0,
        }
    });
    survey.other_bytes + left.sum::<usize>()
}

/// Chooses the client id of an epoch: higher than all in the document, and another in a store that was restored from a
/// backup, whose devices may have seen an epoch that it knows nothing of.
fn epoch(highest: u64, server_client: u64) -> Option<u64> {
    let end = if highest < YJS_CLIENTS_END - ROOM { YJS_CLIENTS_END } else { CLIENTS_END };
    let low = highest.max(if end == CLIENTS_END { YJS_CLIENTS_END } else { 0 });
    // A part of the room that is left, so that many more follow.
    let step = (end.checked_sub(low)? / 64).max(1);
    let turned = (server_client ^ highest.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let client = low + 1 + (turned ^ (turned >> 29)) % step;
    (client < end).then_some(client)
}

fn write(epoch: u64, root: &str, fates: &BTreeMap<String, Fate>) -> Vec<u8> {
    let written: Vec<(&str, Option<Vec<u8>>)> = fates
        .iter()
        .filter_map(|(key, fate)| match fate {
            Fate::Carried(value) => {
                let mut bytes = Vec::new();
                value.encode(&mut bytes);
                Some((&**key, Some(bytes)))
            }
            Fate::Held => Some((&**key, None)),
            Fate::Stays | Fate::Goes => None,
        })
        .collect();
    roots(epoch, root, written.into_iter())
}

/// Says whether a replica has every clock that another has.
fn covers(one: &Replica, other: &Replica) -> bool {
    let theirs = one.state_vector();
    state_vector::parse(&theirs, &Limits::stored()).is_ok_and(|theirs| other.known().covered_by(&theirs))
}

/// Lists where the values that were collected stood: what was set beside them and is still under way tells no key.
fn tips(survey: &Survey, fates: &BTreeMap<String, Fate>) -> Vec<Tip> {
    let collected = survey.chains.iter().filter(|(key, _)| fates.get(*key) != Some(&Fate::Stays));
    collected
        .filter_map(|(key, chain)| {
            let (client, clock) = chain.live?;
            Some(Tip { client, clock, key: Arc::from(&**key) })
        })
        .collect()
}
