//! Documents with rules: what devices write is judged at once, what the judge writes is committed with it and shown
//! only then; what the server itself writes and reads.

#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use serde_json::json;
use support::{Bench, saved};
use syncline_document::{
    Absorbed, Replica,
    hlc::Hlc,
    ids::Writer,
    record::{Origin, Stored},
    register::Stamp,
    schema::conversation::{self, Branch, NewMessage},
};
use syncline_protocol::frame::Dialect;
use syncline_sync::{Access, Deliver, Edit, Effect, Ending, Room, Settings};

const CONVERSATION: &str = "ada/c/017f22e2-79b0-7cc3-98c4-dc0c0c07398f";
const HOCUSPOCUS: Dialect = Dialect::Hocuspocus;

fn message(id: &str, parent: Option<&str>) -> NewMessage {
    NewMessage {
        id: id.to_owned(),
        role: "user".to_owned(),
        parent: parent.map(str::to_owned),
        alternative_to: None,
        stamp: Stamp { writer: Writer::parse("phone.a").unwrap(), hlc: Hlc::at(1_000) },
        req: None,
        model: None,
        parts: vec![json!({ "type": "text", "text": "hello" })],
    }
}

/// A device's own copy.
struct Device(Replica);

impl Device {
    fn new() -> Self {
        Self(Replica::of_client(77))
    }

    fn append(&mut self, message: &NewMessage) -> Bytes {
        let edited = self.0.edit(|pen| conversation::append(pen, message)).unwrap();
        assert_eq!(edited.value, Ok(true));
        edited.update.unwrap()
    }

    /// Takes in what the server wrote last.
    fn hear(&mut self, bench: &Bench) {
        let written = &bench.appended.last().unwrap().bytes;
        assert!(matches!(self.0.absorb(written, &Settings::default().limits), Absorbed::Applied(_)));
    }

    /// Writes what only the server may write.
    fn forge(&mut self) -> Bytes {
        let forged = self.0.edit(|pen| conversation::set_facts(pen, "m1", &json!({ "tokens": 1 }))).unwrap();
        forged.update.unwrap()
    }
}

fn origin() -> Origin {
    Origin { user: Some("ada".into()), device: None, at_ms: 0 }
}

/// Writes a message as the HTTP API does.
fn compose(bench: &mut Bench, edit: u64, message: NewMessage) {
    bench.call(|session, now_ms, fx| {
        let writing = move |draft: syncline_sync::Draft<'_>| {
            Ok(draft.replica.edit(|pen| conversation::append(pen, &message))?.update)
        };
        session.compose(Edit(edit), origin(), Box::new(writing), Room::Needed, now_ms, fx);
    });
}

/// The ids of the accepted messages, once they may be seen.
type Seen = Arc<Mutex<Option<Vec<(String, Option<u64>)>>>>;

fn look(bench: &mut Bench) -> Seen {
    let found = Seen::default();
    let give = found.clone();
    bench.call(|session, now_ms, fx| {
        let looking = move |replica: Result<&mut Replica, &str>| {
            let messages = conversation::messages(replica.unwrap(), Branch::All).unwrap();
            let found = messages.into_iter().map(|message| (message.id, message.seq)).collect();
            Box::new(move || *give.lock().unwrap() = Some(found)) as Deliver
        };
        session.look(Box::new(looking), now_ms, fx);
    });
    found
}

/// Reads the ids of the accepted messages.
fn accepted(bench: &mut Bench) -> Vec<(String, Option<u64>)> {
    look(bench).lock().unwrap().take().unwrap()
}

fn saved_edits(bench: &Bench) -> Vec<u64> {
    let edit = |effect: &Effect| match effect {
        Effect::EditSaved(edit) => Some(edit.0),
        _ => None,
    };
    bench.asked.iter().filter_map(edit).collect()
}

#[test]
fn a_message_gets_its_place_in_the_commit_that_saves_it_and_nobody_sees_it_before() {
    let mut bench = Bench::of(CONVERSATION, Settings::default());
    let (sender, other) = (bench.synced(HOCUSPOCUS), bench.synced(HOCUSPOCUS));
    let update = Device::new().append(&message("m1", None));
    bench.update(sender, HOCUSPOCUS, &update);
    assert_eq!(bench.appended.len(), 2, "the message, and what the server made of it");
    assert_eq!(bench.appended[1].origin.user, None);
    assert_eq!(bench.told(other).len(), 1, "the message itself is relayed at once");
    assert!(bench.told(sender).is_empty());
    bench.commit();
    let place =
        support::frame(HOCUSPOCUS, &syncline_protocol::frame::Reply::Update(&bench.appended[1].bytes));
    assert_eq!(bench.told(other), std::slice::from_ref(&place));
    assert_eq!(bench.told(sender), [place, saved()]);
    let verdict = bench.verdicts.remove(0);
    assert_eq!(verdict.origin.user.as_deref(), Some("ada"));
    assert_eq!(verdict.judgement.accepted[0].seq, 1);
    assert_eq!(accepted(&mut bench), [("m1".to_owned(), Some(1))]);
}

#[test]
fn a_message_that_comes_back_with_its_place_is_told_though_nothing_is_written() {
    let mut bench = Bench::of(CONVERSATION, Settings::default());
    let mut device = Device::new();
    let sender = bench.synced(HOCUSPOCUS);
    bench.update(sender, HOCUSPOCUS, &device.append(&message("m1", None)));
    bench.commit();
    device.hear(&bench);
    let kept = device.0.encode_state().unwrap();
    // A server that lost both: its tables follow from what it is told.
    let mut restored = Bench::of(CONVERSATION, Settings::default());
    let sender = restored.synced(HOCUSPOCUS);
    restored.update(sender, HOCUSPOCUS, &kept);
    assert_eq!(restored.appended.len(), 1, "the place stands there already");
    let judgement = &restored.verdicts.first().expect("a verdict").judgement;
    assert_eq!(judgement.accepted.iter().map(|message| message.seq).collect::<Vec<_>>(), [1]);
}

#[test]
fn a_place_that_a_device_brings_is_read_by_nobody_before_it_is_durable() {
    let mut bench = Bench::of(CONVERSATION, Settings::default());
    let mut device = Device::new();
    let sender = bench.synced(HOCUSPOCUS);
    bench.update(sender, HOCUSPOCUS, &device.append(&message("m1", None)));
    bench.commit();
    device.hear(&bench);
    let mut restored = Bench::of(CONVERSATION, Settings::default());
    let sender = restored.synced(HOCUSPOCUS);
    restored.update(sender, HOCUSPOCUS, &device.0.encode_state().unwrap());
    let seen = look(&mut restored);
    assert_eq!(*seen.lock().unwrap(), None);
    restored.commit();
    assert_eq!(*seen.lock().unwrap(), Some(vec![("m1".to_owned(), Some(1))]));
}

#[test]
fn what_waits_for_the_document_stays_its_senders_who_left_meanwhile() {
    let mut bench = Bench::of(CONVERSATION, Settings { heals: 0, ..Settings::default() });
    bench.by_hand = true;
    bench.device = Some("phone".into());
    let sender = bench.join(HOCUSPOCUS, Access::Write);
    let mut device = Device::new();
    bench.update(sender, HOCUSPOCUS, &device.append(&message("m1", None)));
    bench.update(sender, HOCUSPOCUS, &device.forge());
    bench.call(|session, now_ms, fx| {
        assert!(session.detach(sender, now_ms, fx));
    });
    bench.call(|session, now_ms, fx| session.loaded(Ok(None), now_ms, fx));
    let devices: Vec<_> = bench.verdicts.iter().map(|verdict| verdict.origin.device.as_deref()).collect();
    assert_eq!(devices, [Some("phone"), Some("phone")]);
    assert!(bench.appended.iter().any(|entry| entry.origin.device.as_deref() == Some("phone")));
    // It was over the bound: what it offers when it is back is not taken.
    let again = bench.join(HOCUSPOCUS, Access::Write);
    let written = bench.appended.len();
    bench.update(again, HOCUSPOCUS, &device.append(&message("m2", None)));
    assert_eq!(bench.appended.len(), written);
}

#[test]
fn a_free_form_document_is_not_judged() {
    let mut bench = Bench::new(Settings::default());
    let sender = bench.synced(HOCUSPOCUS);
    bench.update(sender, HOCUSPOCUS, &Device::new().append(&message("m1", None)));
    assert_eq!(bench.appended.len(), 1);
    assert!(bench.verdicts.is_empty());
}

#[test]
fn a_device_that_writes_what_is_the_servers_in_a_loop_is_closed_also_when_it_comes_back() {
    let mut bench = Bench::of(CONVERSATION, Settings { heals: 3, ..Settings::default() });
    let mut device = Device::new();
    bench.device = Some("phone".into());
    let first = bench.synced(HOCUSPOCUS);
    bench.update(first, HOCUSPOCUS, &device.append(&message("m1", None)));
    bench.commit();
    device.hear(&bench);
    let ended = |bench: &mut Bench, peer| {
        let ends = |effect: &Effect| matches!(effect, Effect::End { peer: who, ending: Ending::Forbidden(_) } if *who == peer);
        bench.asked.iter().any(ends)
    };
    for round in 0..4 {
        assert!(!ended(&mut bench, first), "round {round}");
        let forged = device.forge();
        bench.update(first, HOCUSPOCUS, &forged);
        bench.commit();
        device.hear(&bench);
        assert!(conversation::message(&mut device.0, "m1").unwrap().unwrap().facts.is_none(), "healed");
    }
    assert!(ended(&mut bench, first));
    let again = bench.synced(HOCUSPOCUS);
    let written = bench.appended.len();
    let forged = device.forge();
    bench.update(again, HOCUSPOCUS, &forged);
    assert_eq!(
        bench.appended.len(),
        written,
        "it is known by its user and device, and nothing of it is taken"
    );
    assert_eq!(bench.told(again), [support::not_saved()]);
    device = Device::new();
    for entry in &bench.appended {
        device.0.absorb(&entry.bytes, &Settings::default().limits);
    }
    bench.tick_at(bench.now_ms + Settings::default().culprit_ms + 1);
    let later = bench.synced(HOCUSPOCUS);
    let forged = device.forge();
    bench.update(later, HOCUSPOCUS, &forged);
    assert!(!ended(&mut bench, later), "and not for ever");
}

#[test]
fn who_brings_back_what_was_erased_answers_for_it_though_it_stands_nowhere() {
    let mut bench = Bench::of(CONVERSATION, Settings { heals: 0, ..Settings::default() });
    bench.device = Some("phone".into());
    let peer = bench.synced(HOCUSPOCUS);
    let mut device = Device::new();
    bench.update(peer, HOCUSPOCUS, &device.append(&message("m1", None)));
    bench.commit();
    device.hear(&bench);
    bench.call(|session, now_ms, fx| {
        let erasing = |draft: syncline_sync::Draft<'_>| {
            Ok(draft.replica.edit(|pen| conversation::erase(pen, "m1"))?.update)
        };
        session.compose(Edit(1), origin(), Box::new(erasing), Room::Made, now_ms, fx);
    });
    bench.commit();
    let late = device.0.edit(|pen| conversation::erase(pen, "m1")).unwrap();
    bench.update(peer, HOCUSPOCUS, &late.update.unwrap());
    let judgement = &bench.verdicts.last().unwrap().judgement;
    assert!(judgement.revived && judgement.heals.is_empty(), "{judgement:?}");
    let ended = |effect: &Effect| matches!(effect, Effect::End { ending: Ending::Forbidden(_), .. });
    assert!(bench.asked.iter().any(ended));
}

#[test]
fn who_names_no_device_answers_for_its_own_connection_only() {
    let mut bench = Bench::of(CONVERSATION, Settings { heals: 1, ..Settings::default() });
    let mut device = Device::new();
    let (first, other) = (bench.synced(HOCUSPOCUS), bench.synced(HOCUSPOCUS));
    bench.update(first, HOCUSPOCUS, &device.append(&message("m1", None)));
    bench.commit();
    device.hear(&bench);
    for peer in [first, first, other] {
        let forged = device.forge();
        bench.update(peer, HOCUSPOCUS, &forged);
        device.hear(&bench);
    }
    let ended: Vec<_> = bench
        .asked
        .iter()
        .filter_map(|effect| match effect {
            Effect::End { peer, .. } => Some(*peer),
            _ => None,
        })
        .collect();
    assert_eq!(ended, [first]);
}

#[test]
fn what_the_server_writes_is_saved_and_judged_like_all_else() {
    let mut bench = Bench::of(CONVERSATION, Settings::default());
    let peer = bench.synced(HOCUSPOCUS);
    compose(&mut bench, 5, message("m1", None));
    assert_eq!(bench.appended.len(), 2);
    assert!(bench.told(peer).is_empty(), "not before it is durable");
    assert!(saved_edits(&bench).is_empty());
    bench.commit();
    assert_eq!(saved_edits(&bench), [5]);
    assert_eq!(bench.told(peer).len(), 2);
    assert_eq!(accepted(&mut bench), [("m1".to_owned(), Some(1))]);
    compose(&mut bench, 6, message("m1", None));
    assert_eq!(saved_edits(&bench), [5, 6], "it is there already, and durable");
}

#[test]
fn a_full_document_takes_what_removes_something_and_little_things() {
    let mut bench = Bench::of(CONVERSATION, Settings::default());
    compose(&mut bench, 1, message("m1", None));
    bench.commit();
    let size: usize = bench.appended.iter().map(|entry| entry.bytes.len()).sum();
    for (document_bytes, taken) in [(size, [false, true, true]), (size / 2, [false, false, true])] {
        for (room, taken) in [Room::Needed, Room::Little, Room::Made].into_iter().zip(taken) {
            let mut full = Bench::of(CONVERSATION, Settings { document_bytes, ..Settings::default() });
            full.stored = Some(Stored { tail: bench.appended.clone(), sequence: 2, ..Stored::default() });
            full.call(|session, now_ms, fx| {
                let writing = |draft: syncline_sync::Draft<'_>| {
                    Ok(draft.replica.edit(|pen| conversation::erase(pen, "m1"))?.update)
                };
                session.compose(Edit(2), origin(), Box::new(writing), room, now_ms, fx);
            });
            full.commit();
            let refused = full
                .asked
                .iter()
                .any(|effect| matches!(effect, Effect::EditRefused(Edit(2), "document_full", _)));
            assert_eq!((refused, saved_edits(&full) == [2]), (!taken, taken), "{room:?} of {document_bytes}");
        }
    }
}

#[test]
fn what_is_written_and_read_waits_for_the_document_in_its_turn() {
    let mut bench = Bench::of(CONVERSATION, Settings::default());
    bench.by_hand = true;
    compose(&mut bench, 1, message("m1", None));
    let seen = Arc::new(Mutex::new(0));
    let note = seen.clone();
    bench.call(|session, now_ms, fx| {
        let looking = move |replica: Result<&mut Replica, &str>| {
            let count = conversation::messages(replica.unwrap(), Branch::All).unwrap().len();
            Box::new(move || *note.lock().unwrap() = count) as Deliver
        };
        session.look(Box::new(looking), now_ms, fx);
    });
    assert_eq!((*seen.lock().unwrap(), bench.appended.len()), (0, 0));
    bench.call(|session, now_ms, fx| session.loaded(Ok(None), now_ms, fx));
    assert_eq!((*seen.lock().unwrap(), bench.appended.len()), (0, 2), "what is not durable is not shown");
    bench.commit();
    assert_eq!(*seen.lock().unwrap(), 1);
}

#[test]
fn who_writes_or_reads_a_document_that_cannot_be_opened_is_told() {
    let mut bench = Bench::of(CONVERSATION, Settings::default());
    bench.by_hand = true;
    compose(&mut bench, 1, message("m1", None));
    let told = Arc::new(Mutex::new(String::new()));
    let note = told.clone();
    bench.call(|session, now_ms, fx| {
        let looking = move |replica: Result<&mut Replica, &str>| {
            let reason = replica.unwrap_err().to_owned();
            Box::new(move || *note.lock().unwrap() = reason) as Deliver
        };
        session.look(Box::new(looking), now_ms, fx);
    });
    bench.call(|session, now_ms, fx| session.loaded(Err("a bad sector".to_owned()), now_ms, fx));
    assert!(told.lock().unwrap().contains("a bad sector"));
    let refused = |effect: &Effect| matches!(effect, Effect::EditRefused(Edit(1), "unavailable", _));
    assert!(bench.asked.iter().any(refused));
}

#[test]
fn nothing_is_written_where_nothing_can_be_saved() {
    let mut bench = Bench::of(CONVERSATION, Settings::default());
    bench.synced(HOCUSPOCUS);
    bench.call(|session, now_ms, fx| session.store_failed("disk full", now_ms, fx));
    compose(&mut bench, 1, message("m1", None));
    assert!(bench.appended.is_empty());
    assert!(bench.asked.iter().any(|effect| matches!(effect, Effect::EditRefused(Edit(1), "store", _))));
}

/// Takes the one job that was handed to the pool.
fn job(bench: &mut Bench) -> syncline_sync::Job {
    let at = bench.asked.iter().position(|effect| matches!(effect, Effect::Work(_))).expect("a job");
    match bench.asked.remove(at) {
        Effect::Work(job) => *job,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_short_update_that_deletes_much_is_judged_where_it_holds_up_nobody() {
    let mut bench = Bench::of(CONVERSATION, Settings::default());
    let mut device = Device::new();
    let peer = bench.synced(HOCUSPOCUS);
    const MESSAGES: u64 = 400;
    for n in 0..MESSAGES {
        bench.update(peer, HOCUSPOCUS, &device.append(&message(&format!("m{n}"), None)));
    }
    bench.commit();
    bench.by_hand = true;
    bench.update(peer, HOCUSPOCUS, &support::deleted(77, 0, 3 * MESSAGES));
    let done = job(&mut bench).run();
    bench.call(|session, now_ms, fx| session.worked(done, now_ms, fx));
    assert_eq!(bench.verdicts.last().unwrap().judgement.heals.len(), MESSAGES as usize);
    bench.commit();
    // A few are no matter.
    bench.update(peer, HOCUSPOCUS, &support::deleted(1, 0, 9));
    assert!(!bench.asked.iter().any(|effect| matches!(effect, Effect::Work(_))));
}

#[test]
fn a_large_document_is_read_where_that_holds_up_nobody() {
    let mut bench = Bench::of(CONVERSATION, Settings { heavy_document_bytes: 100, ..Settings::default() });
    compose(&mut bench, 1, message("m1", None));
    bench.commit();
    bench.by_hand = true;
    let seen = Arc::new(Mutex::new(0));
    let note = seen.clone();
    bench.call(|session, now_ms, fx| {
        let looking = move |replica: Result<&mut Replica, &str>| {
            let count = conversation::messages(replica.unwrap(), Branch::All).unwrap().len();
            Box::new(move || *note.lock().unwrap() = count) as Deliver
        };
        session.look(Box::new(looking), now_ms, fx);
    });
    let done = job(&mut bench).run();
    assert_eq!(*seen.lock().unwrap(), 0);
    bench.call(|session, now_ms, fx| session.worked(done, now_ms, fx));
    assert_eq!(*seen.lock().unwrap(), 1);
}
