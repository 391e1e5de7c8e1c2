//! Read marks: how far a conversation was read, on any device.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use yrs::{Any, Transact as _};

use super::{Unfit, check_id};
use crate::{
    Broken, Pen, Replica,
    hlc::Hlc,
    ids::ConversationId,
    json,
    register::{self, Ranking, Stamp},
};

const ROOT: &str = "marks";

/// How far a conversation was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The sequence of the last message that was read; lowered when it is marked unread.
    pub seq: u64,
    /// The message at the end of the branch that was read.
    pub tip: Option<String>,
    /// When it was said.
    pub hlc: Hlc,
}

/// Reads all marks, by conversation. The later one counts, then the one that is further.
///
/// # Errors
/// [`Broken`] where yrs fails; the replica must then be dropped.
pub fn read(replica: &mut Replica) -> Result<BTreeMap<String, Mark>, Broken> {
    replica.read(|doc| {
        let fields = register::read(&doc.transact(), ROOT, Ranking::Value);
        let marks = fields.into_iter().filter_map(|(field, entries)| {
            let conversation = field.strip_suffix("|read")?;
            // A mark without a sequence says nothing: the strongest that has one counts.
            let (entry, seq) =
                entries.entries().iter().find_map(|entry| Some((entry, json::whole(&entry.value)?)))?;
            let tip = entry.meta.as_ref().and_then(json::text).map(str::to_owned);
            Some((conversation.to_owned(), Mark { seq, tip, hlc: entry.hlc }))
        });
        marks.collect()
    })
}

/// Marks a conversation as read up to a sequence; a lower one marks it unread.
///
/// # Errors
/// [`Unfit::Name`] where `tip` is no message id.
pub fn set(
    pen: &mut Pen<'_, '_>,
    conversation: &ConversationId,
    stamp: &Stamp,
    seq: u64,
    tip: Option<&str>,
) -> Result<(), Unfit> {
    tip.map_or(Ok(()), check_id)?;
    let field = format!("{conversation}|read");
    register::write_with(pen, ROOT, &field, stamp, json::int(seq), tip.map(Any::from));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Writer;

    const ID: &str = "017f22e2-79b0-7cc3-98c4-dc0c0c07398f";

    #[test]
    fn the_later_mark_counts_and_the_further_one_at_the_same_time() {
        let id = ConversationId::parse(ID).expect("an id");
        let stamp =
            |writer: &str, ms| Stamp { writer: Writer::parse(writer).expect("a writer"), hlc: Hlc::at(ms) };
        let mut replica = Replica::of_client(1);
        let mut mark = |writer, ms, seq| {
            let edit = replica.edit(|pen| set(pen, &id, &stamp(writer, ms), seq, Some("m1")));
            assert_eq!(edit.expect("writes").value, Ok(()));
            read(&mut replica).expect("reads")[ID].seq
        };
        assert_eq!(mark("phone.a", 10, 9), 9);
        assert_eq!(mark("laptop.a", 10, 4), 9);
        assert_eq!(mark("laptop.a", 20, 3), 3);
    }
}
