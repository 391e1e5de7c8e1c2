//! The server's own tables: what follows from documents and is looked up without opening them, and the audit.
//!
//! Rows are written in the commit of the edit that they follow from, so they never say more or less than the documents.
//!
//! | key | value (JSON) |
//! |---|---|
//! | `last/{document}` | [`Last`]: the last turn of a conversation |
//! | `audit/{document}/{2 hex digits}` | [`Audit`]: what had to be healed lately, and who had written it; a ring |
//! | `revoked/{user}/{device}` | the device is signed out for good (`revoked.rs`): no row, and it is not |
//! | `etag/{user}/{tag}[-{part}]` | preferences as a caller saw them, for 30 days (`api/merge.rs`) |
//! | `blob/...`, `upload/...`, `mention/...` | files that messages refer to (`blobs.rs`) |
//! | `event/{user}/{16 hex digits}` | what an edit changed (`events.rs`) |
//! | `idem/{user}/{hash of a key}` | what a write over HTTP answered, for a day (`api/idempotency.rs`) |
//! | `erased/{user}[/c/{conversation}[/{message}]]` | the id of the erasure: what has such a row was erased for good (`erasure/ledger.rs`) |
//! | `erasure/{user}/{id}` | the erasure itself: its receipt, once it is done |
//! | `erasing/{id}` | an erasure that is not done |
//! | `scrub/{document}/{16 hex digits}` | entries up to this sequence hold what was erased before: to be rewritten (`erasure/scrub.rs`) |
//!
//! What belongs to a user, a conversation or another document has a key `{table}/{user}/...`, `{table}/{document}` or
//! `{table}/{document}/...`: whoever erases finds it by that, in whatever table.

use std::collections::HashMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use syncline_document::{Accepted, DeviceStanding, Heal, Malformed, record::Sequence, schema::Kind};
use syncline_protocol::names::DocumentName;
use syncline_store::{Row, Store, StoreError, store::ROW_BYTES};
use syncline_sync::Verdict;

/// A before-image over this many bytes of JSON is told by its size only: it stands in the document again.
const IMAGE_BYTES: usize = 4 << 10;
/// Rows read at a time.
const PAGE: usize = 1_000;
/// Conversations of one user that are listed.
const CONVERSATIONS: usize = 100_000;
/// Bytes told of a key.
const KEY_BYTES: usize = 256;
/// Audited edits that are kept of a document: the newest.
const AUDITS: u64 = 64;
/// Heals told of one edit.
const HEALS: usize = 8;

/// The last turn of a conversation, as lists show it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Last {
    /// Its number: the conversation has that many turns, those of all branches counted.
    pub seq: u64,
    /// Its id.
    pub id: String,
    /// Who speaks.
    pub role: String,
    /// The beginning of its text.
    pub preview: String,
    /// When it was accepted: unix milliseconds.
    pub at: u64,
    /// The number of the person's own last turn: whoever wrote has read what came before.
    pub own_seq: u64,
}

impl Last {
    /// Returns how many turns came after what was read. A mark beyond the last turn says that all was read when it was set:
    /// it does not speak for what came since, of which the last turn is known.
    pub fn unread(&self, read_seq: u64, read_at_ms: u64) -> u64 {
        if read_seq > self.seq {
            return u64::from(read_at_ms < self.at && self.own_seq < self.seq);
        }
        self.seq.saturating_sub(read_seq.max(self.own_seq))
    }
}

/// What had to be healed.
#[derive(Debug, Serialize)]
struct Audit<'a> {
    user: Option<&'a str>,
    device: Option<&'a str>,
    at: u64,
    heals: Vec<Value>,
    /// Heals beyond those told.
    more: usize,
    malformed: Vec<Value>,
}

/// Returns the rows that follow from a judgement. `last` is the conversation's last turn so far, and is brought up to
/// date; `sequence` is that of the entry that was judged.
pub fn rows(name: &DocumentName, sequence: Sequence, last: &mut Option<Last>, verdict: &Verdict) -> Vec<Row> {
    let judgement = &verdict.judgement;
    let mut rows = standing_rows(name.owner().unwrap_or_default(), &judgement.devices);
    if let Some(last) = last
        && advance(last, &judgement.accepted, verdict.origin.at_ms)
    {
        rows.push(row(last_key(name), &json!(last)));
    }
    if let Some(last) = last
        && judgement.erased.contains(&last.id)
        && !last.preview.is_empty()
    {
        last.preview.clear();
        rows.push(row(last_key(name), &json!(last)));
    }
    if judgement.revived {
        // What came and what was made of it are neighbours.
        rows.push(Row { key: scrub_key(name, sequence + 1), value: Some(Bytes::new()) });
    }
    if !judgement.heals.is_empty() || !judgement.malformed.is_empty() {
        let audit = Audit {
            user: verdict.origin.user.as_deref(),
            device: verdict.origin.device.as_deref(),
            at: verdict.origin.at_ms,
            heals: judgement.heals.iter().take(HEALS).map(told).collect(),
            more: judgement.heals.len().saturating_sub(HEALS),
            malformed: judgement.malformed.iter().take(HEALS).map(ill).collect(),
        };
        let mut told = row(format!("audit/{name}/{:02x}", sequence % AUDITS).into_bytes(), &json!(audit));
        if told.value.as_ref().is_some_and(|value| value.len() > ROW_BYTES) {
            let (heals, malformed) = (judgement.heals.len(), judgement.malformed.len());
            let user = audit.user;
            told.value = Some(
                json!({ "user": user, "at": audit.at, "heals": heals, "malformed": malformed })
                    .to_string()
                    .into(),
            );
        }
        rows.push(told);
    }
    rows
}

/// Returns the rows that say how a user's devices stand.
pub fn standing_rows(user: &str, devices: &[DeviceStanding]) -> Vec<Row> {
    let row_of = |standing: &DeviceStanding| {
        let value = standing.is_revoked.then(|| bytes::Bytes::from_static(b"{}"));
        Row { key: revoked_key(user, &standing.device), value }
    };
    devices.iter().map(row_of).collect()
}

/// Says whether a device is signed out for good.
///
/// # Errors
/// As the store fails.
pub fn is_revoked(store: &dyn Store, user: &str, device: &str) -> Result<bool, StoreError> {
    Ok(store.row(&revoked_key(user, device))?.is_some())
}

fn revoked_key(user: &str, device: &str) -> Vec<u8> {
    format!("revoked/{user}/{device}").into_bytes()
}

/// Says whether a document has a row of [`Last`].
pub fn has_last(name: &DocumentName) -> bool {
    matches!(Kind::of(name), Kind::Conversation(_))
}

/// Reads the last turn of a conversation.
///
/// # Errors
/// As the store fails.
pub fn last(store: &dyn Store, name: &DocumentName) -> Result<Last, StoreError> {
    let stored = store.row(&last_key(name))?;
    Ok(stored.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default())
}

/// Reads the last turns of a user's conversations, by conversation.
///
/// # Errors
/// As the store fails.
pub fn lasts(store: &dyn Store, user: &str) -> Result<HashMap<String, Last>, StoreError> {
    let (prefix, end) = (format!("last/{user}/c/"), format!("last/{user}/c0"));
    let mut lasts = HashMap::new();
    let mut from = prefix.clone().into_bytes();
    loop {
        let page = store.rows(&from, end.as_bytes(), PAGE)?;
        for (key, value) in &page {
            let id = key.strip_prefix(prefix.as_bytes()).and_then(|id| std::str::from_utf8(id).ok());
            if let (Some(id), Ok(last)) = (id, serde_json::from_slice(value)) {
                lasts.insert(id.to_owned(), last);
            }
        }
        match page.into_iter().next_back() {
            Some((mut key, _)) if lasts.len() < CONVERSATIONS => {
                key.push(0);
                from = key;
            }
            _ => return Ok(lasts),
        }
    }
}

/// The rows of documents that are to be scrubbed lie from here to [`SCRUBS_END`].
pub(crate) const SCRUBS: &[u8] = b"scrub/";
/// The first key after those.
pub(crate) const SCRUBS_END: &[u8] = b"scrub0";

fn scrub_key(name: &DocumentName, sequence: Sequence) -> Vec<u8> {
    format!("scrub/{name}/{sequence:016x}").into_bytes()
}

/// Parses the key of a document that is to be scrubbed.
pub(crate) fn parse_scrub(key: &[u8]) -> Option<(DocumentName, Sequence)> {
    let rest = std::str::from_utf8(key.strip_prefix(SCRUBS)?).ok()?;
    let (name, sequence) = rest.rsplit_once('/')?;
    Some((DocumentName::parse(name).ok()?, Sequence::from_str_radix(sequence, 16).ok()?))
}

fn last_key(name: &DocumentName) -> Vec<u8> {
    format!("last/{name}").into_bytes()
}

fn row(key: Vec<u8>, value: &Value) -> Row {
    Row { key, value: Some(value.to_string().into()) }
}

/// Takes in what was accepted; says whether anything was.
fn advance(last: &mut Last, accepted: &[Accepted], at_ms: u64) -> bool {
    let mut moved = false;
    // One that repeats another has no place of its own.
    for message in accepted {
        if message.seq <= last.seq {
            continue;
        }
        moved = true;
        let own = if message.role == "user" { message.seq } else { last.own_seq };
        *last = Last {
            seq: message.seq,
            id: message.id.clone(),
            role: message.role.clone(),
            preview: message.preview.clone(),
            at: at_ms,
            own_seq: own,
        };
    }
    moved
}

fn told(heal: &Heal) -> Value {
    let mut told = json!({ "rule": heal.rule, "key": clip(&heal.key), "before": heal.before });
    let size = told["before"].to_string().len();
    if size > IMAGE_BYTES {
        told["before"] = json!({ "bytes": size });
    }
    told
}

fn ill(message: &Malformed) -> Value {
    json!({ "id": clip(&message.id), "reason": message.reason })
}

/// Cuts a key that a client chose.
fn clip(key: &str) -> &str {
    &key[..key.floor_char_boundary(KEY_BYTES)]
}

#[cfg(test)]
mod tests {
    use syncline_document::{Judgement, Rule, record::Origin};

    use super::*;

    fn accepted(seq: u64, role: &str) -> Accepted {
        Accepted {
            id: format!("m{seq}"),
            seq,
            after: None,
            same: None,
            role: role.to_owned(),
            by: "phone.a".to_owned(),
            req: None,
            preview: format!("turn {seq}"),
        }
    }

    fn verdict(judgement: Judgement) -> Verdict {
        Verdict { origin: Origin { user: Some("ada".into()), device: None, at_ms: 5 }, judgement }
    }

    fn name() -> DocumentName {
        DocumentName::parse("ada/c/017f22e2-79b0-7cc3-98c4-dc0c0c07398f").expect("a name")
    }

    #[test]
    fn the_last_turn_moves_on_and_own_turns_count_as_read() {
        let mut last = Some(Last::default());
        let turns = [accepted(1, "user"), accepted(2, "assistant"), accepted(3, "assistant")];
        let verdict = verdict(Judgement { accepted: turns.to_vec(), ..Judgement::default() });
        let rows = rows(&name(), 7, &mut last, &verdict);
        let last = last.expect("is kept");
        assert_eq!((last.seq, last.own_seq, &*last.preview), (3, 1, "turn 3"));
        assert_eq!((last.unread(0, 0), last.unread(2, 0), last.unread(9, u64::MAX)), (2, 1, 0));
        assert_eq!(last.unread(9, last.at - 1), 1, "the last turn came after that");
        assert_eq!(rows.len(), 1);
        let value = rows[0].value.as_ref().expect("a value");
        assert_eq!(serde_json::from_slice::<Last>(value).expect("reads"), last);
    }

    #[test]
    fn what_is_erased_is_not_shown_as_the_last_turn_and_what_comes_back_is_to_be_scrubbed() {
        let mut last =
            Some(Last { seq: 2, id: "m2".to_owned(), preview: "a secret".to_owned(), ..Last::default() });
        let judgement = Judgement { erased: vec!["m1".to_owned()], ..Judgement::default() };
        assert!(rows(&name(), 7, &mut last, &verdict(judgement)).is_empty(), "another one");
        let judgement = Judgement { erased: vec!["m2".to_owned()], revived: true, ..Judgement::default() };
        let rows = rows(&name(), 7, &mut last, &verdict(judgement));
        assert_eq!(last.as_ref().map(|last| (last.seq, &*last.preview)), Some((2, "")));
        assert!(!String::from_utf8_lossy(rows[0].value.as_ref().expect("a value")).contains("secret"));
        assert_eq!(parse_scrub(&rows[1].key), Some((name(), 8)));
    }

    #[test]
    fn a_repetition_moves_nothing() {
        let mut last = Some(Last { seq: 2, ..Last::default() });
        let again = Accepted { seq: 0, same: Some("m2".to_owned()), ..accepted(0, "user") };
        let verdict = verdict(Judgement { accepted: vec![again], ..Judgement::default() });
        assert!(rows(&name(), 7, &mut last, &verdict).is_empty());
    }

    #[test]
    fn heals_are_audited_with_what_stood_there_bounded() {
        let heal = |bytes: usize| Heal {
            rule: Rule::MessageChanged,
            key: format!("messages/{}", "m".repeat(1_000_000)),
            before: Some("x".repeat(bytes).into()),
        };
        let mut heals = vec![heal(10), heal(100_000)];
        heals.extend((0..20).map(|_| heal(1)));
        let verdict = verdict(Judgement { heals, ..Judgement::default() });
        let rows = rows(&name(), 0x2a, &mut None, &verdict);
        assert!(rows[0].key.ends_with(b"/2a"));
        let value = rows[0].value.as_ref().expect("a value");
        assert!(value.len() < 48 << 10);
        let audit: Value = serde_json::from_slice(value).expect("JSON");
        assert_eq!(audit["heals"][0]["before"], "xxxxxxxxxx");
        assert_eq!(audit["heals"][1]["before"]["bytes"], 100_002);
        assert_eq!((audit["heals"].as_array().map(Vec::len), &audit["more"]), (Some(8), &json!(14)));
    }

    #[test]
    fn an_audit_that_is_longer_than_a_row_is_cut_to_its_counts() {
        let heal =
            Heal { rule: Rule::Meta, key: "\u{1}".repeat(300), before: Some("\u{1}".repeat(600).into()) };
        let judgement = Judgement { heals: vec![heal; 8], malformed: Vec::new(), ..Judgement::default() };
        let long = Malformed { id: "\u{1}".repeat(300), reason: "no head" };
        let judgement = Judgement { malformed: vec![long; 8], ..judgement };
        let rows = rows(&name(), 1, &mut None, &verdict(judgement));
        let value = rows[0].value.as_ref().expect("a value");
        assert!(value.len() <= ROW_BYTES, "{}", value.len());
        let audit: Value = serde_json::from_slice(value).expect("JSON");
        assert_eq!((&audit["heals"], &audit["malformed"]), (&json!(8), &json!(8)));
    }
}
