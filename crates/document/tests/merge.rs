//! What concurrent offline edits come to: each row of the data model's table, with real Yjs documents as devices, in
//! both orders of arrival. `docs/merge-outcomes.md` lists the rows; `merge_registers.rs` has what registers come to in
//! detail.

mod support;

use serde_json::{Value, json};
use support::{Device, ID, NOW, Server, conversation, conversation_id, index, meet, stamp, writer};
use syncline_document::schema::{
    Kind,
    conversation::{self as chat, Branch},
    drafts, index as sidebar, marks,
    message::State,
    preferences,
};

#[test]
fn both_rename_a_conversation() {
    meet(
        &index(),
        |_| {},
        |phone, laptop| {
            phone.clock_ms = NOW + 50;
            phone.set("conversations", &format!("{ID}|title"), &json!("Paris"));
            laptop.set("conversations", &format!("{ID}|title"), &json!("Rome"));
        },
        |server, device| {
            for replica in [&mut server.replica, &mut device.replica()] {
                let seen = sidebar::read(replica).expect("reads").remove(0);
                assert_eq!(seen.title.as_deref(), Some("Paris"));
                let hint = &seen.conflicts["title"][0];
                assert_eq!((&hint.value, &*hint.writer), (&json!("Rome"), "laptop.s"));
            }
        },
    );
}

#[test]
fn both_send_messages() {
    meet(
        &conversation(),
        |phone| phone.say("m1", None, "hello", &json!({})),
        |phone, laptop| {
            phone.say("m2", Some("m1"), "from the phone", &json!({}));
            phone.say("m3", Some("m2"), "and more", &json!({}));
            laptop.clock_ms = 1;
            laptop.say("m4", Some("m1"), "from the laptop", &json!({}));
            assert_eq!(laptop.texts(), ["hello", "from the laptop"]);
            assert_eq!(laptop.messages(Branch::Selected)[1].state, State::Pending);
        },
        |server, device| {
            let texts = server.texts();
            let phone_first = ["hello", "from the phone", "and more", "from the laptop"];
            let laptop_first = ["hello", "from the laptop", "from the phone", "and more"];
            assert!(texts == phone_first || texts == laptop_first, "{texts:?}");
            assert_eq!(device.texts(), texts);
            let seqs: Vec<_> = server.messages(Branch::All).iter().map(|message| message.seq).collect();
            assert_eq!(seqs, [Some(1), Some(2), Some(3), Some(4)]);
        },
    );
}

#[test]
fn both_regenerate_the_same_message() {
    meet(
        &conversation(),
        |phone| {
            phone.say("q", None, "why?", &json!({}));
            phone.say("a1", Some("q"), "because", &json!({ "role": "assistant" }));
        },
        |phone, laptop| {
            phone.say("a2", Some("q"), "so", &json!({ "role": "assistant", "alt": "a1", "req": "r1" }));
            laptop.say("a3", Some("q"), "well", &json!({ "role": "assistant", "alt": "a1", "req": "r2" }));
        },
        |server, _| {
            let answer = server.messages(Branch::Selected).remove(1);
            assert_eq!((answer.alternatives.index, answer.alternatives.count), (3, 3));
            let all = server.messages(Branch::All);
            assert!(all[1..].iter().all(|message| message.parent.as_deref() == Some("q")));
        },
    );
}

#[test]
fn both_edit_the_same_question() {
    meet(
        &conversation(),
        |phone| {
            phone.say("q", None, "why?", &json!({}));
            phone.say("a", Some("q"), "because", &json!({ "role": "assistant" }));
        },
        |phone, laptop| {
            phone.say("q2", None, "why so?", &json!({ "alt": "q" }));
            laptop.say("q3", None, "why not?", &json!({ "alt": "q" }));
        },
        |server, device| {
            let shown = server.messages(Branch::Selected);
            assert_eq!((shown.len(), shown[0].alternatives.index, shown[0].alternatives.count), (1, 3, 3));
            assert_eq!(device.texts(), server.texts(), "the newest is shown, on its own branch");
            let all = server.messages(Branch::All);
            let follows: Vec<_> = all.iter().map(|message| message.parent.as_deref()).collect();
            assert_eq!(follows, [None, Some("q"), None, None]);
        },
    );
}

#[test]
fn the_same_request_on_both_is_one_message() {
    meet(
        &conversation(),
        |phone| phone.say("q", None, "why?", &json!({})),
        |phone, laptop| {
            phone.say("m2", Some("q"), "the draft", &json!({ "req": "r" }));
            laptop.say("m3", Some("q"), "the draft", &json!({ "req": "r" }));
            laptop.say("m4", Some("m3"), "and on", &json!({}));
        },
        |server, device| {
            assert_eq!(device.texts(), ["why?", "the draft", "and on"]);
            assert_eq!(server.messages(Branch::All).len(), 3);
        },
    );
}

#[test]
fn one_deletes_the_conversation_and_the_other_writes_in_it() {
    let deleted = |phone: &mut Device| {
        phone.clock_ms = NOW + 1_000_000;
        let field = format!("{ID}|deleted");
        phone.set_with("conversations", &field, &json!(true), &json!({ "seq": 1 }));
    };
    meet(
        &index(),
        |_| {},
        |phone, _| deleted(phone),
        |server, _| {
            // The writing stands in another document, and reaches sequence 2 there.
            let seen = sidebar::read(&mut server.replica).expect("reads").remove(0);
            assert!(seen.deleted && !seen.has_news(1, NOW) && seen.has_news(2, NOW));
        },
    );
}

#[test]
fn pin_feedback_and_branch_choice_go_by_the_later_time() {
    let check_pin = |server: &mut Server, device: &Device| {
        for replica in [&mut server.replica, &mut device.replica()] {
            assert!(!sidebar::read(replica).expect("reads")[0].pinned);
        }
    };
    let field = format!("{ID}|pinned");
    meet(
        &index(),
        |phone| phone.set("conversations", &field, &json!(true)),
        |phone, laptop| {
            phone.clock_ms = NOW + 90;
            phone.set("conversations", &field, &json!(false));
            laptop.set("conversations", &field, &json!(true));
        },
        check_pin,
    );
    meet(
        &conversation(),
        |phone| {
            phone.say("q", None, "why?", &json!({}));
            phone.say("a1", Some("q"), "one", &json!({}));
            phone.say("a2", Some("q"), "two", &json!({ "alt": "a1" }));
        },
        |phone, laptop| {
            laptop.clock_ms = NOW + 90;
            laptop.set("selected", "q", &json!("a1"));
            laptop.set("feedback", "a1", &json!({ "v": 1 }));
            phone.set("selected", "q", &json!("a2"));
            phone.set("feedback", "a1", &json!({ "v": -1 }));
        },
        |_, device| {
            assert_eq!(device.texts(), ["why?", "one"]);
            assert_eq!(device.messages(Branch::Selected)[1].feedback, Some(json!({ "v": 1 })));
        },
    );
}

#[test]
fn a_preference_set_by_hand_beats_what_is_inferred_later() {
    meet(
        &Kind::Profile,
        |_| {},
        |phone, laptop| {
            phone.set_with("preferences", "tone", &json!("dry"), &json!({ "source": "explicit" }));
            laptop.clock_ms = NOW + 90;
            laptop.set_with("preferences", "tone", &json!("warm"), &json!({ "source": "inferred" }));
        },
        |server, device| {
            for replica in [&mut server.replica, &mut device.replica()] {
                let seen = preferences::read(replica, NOW).expect("reads").remove(0);
                assert_eq!((seen.value, seen.conflicts.len()), (json!("dry"), 1));
            }
        },
    );
}

#[test]
fn one_marks_read_and_the_other_unread() {
    let field = format!("{ID}|read");
    meet(
        &Kind::Marks,
        |phone| phone.set_with("marks", &field, &json!(5), &json!("m5")),
        |phone, laptop| {
            phone.set_with("marks", &field, &json!(9), &json!("m9"));
            laptop.clock_ms = NOW + 90;
            laptop.set_with("marks", &field, &json!(3), &json!("m3"));
        },
        |server, device| {
            for replica in [&mut server.replica, &mut device.replica()] {
                assert_eq!(marks::read(replica).expect("reads")[ID].seq, 3);
            }
        },
    );
}

#[test]
fn each_device_keeps_its_own_draft() {
    let draft = |text: &str, req: &str, taken: Value| json!({ "text": text, "attachments": [], "req": req, "takenBy": taken });
    meet(
        &Kind::Drafts,
        |_| {},
        |phone, laptop| {
            phone.set("drafts", ID, &draft("on the phone", "r1", Value::Null));
            laptop.set("drafts", ID, &draft("on the laptop", "r2", Value::Null));
        },
        |server, _| {
            assert_eq!(drafts::read(&mut server.replica).expect("reads").len(), 2);
            let (taken, _) = server.edit(|pen| {
                drafts::take_over(pen, &conversation_id(), &stamp("tablet.s", NOW), &writer("phone.s"))
            });
            assert_eq!(taken, Ok(()));
            let seen = drafts::read(&mut server.replica).expect("reads");
            assert_eq!(seen[1].taken_by.as_deref(), Some("tablet.s"));
            server.edit(|pen| drafts::remove(pen, &conversation_id(), &writer("tablet.s")));
        },
    );
}

#[test]
fn whoever_ends_an_answer_first_ended_it() {
    for producer_first in [true, false] {
        let mut server = Server::conversation();
        let mut phone = Device::new(11, "phone");
        phone.say("q", None, "why?", &json!({}));
        phone.sync(&mut server);
        let ends = [(State::Done, json!({ "finish": "stop" })), (State::Stopped, json!({ "by": "phone.s" }))];
        let order = if producer_first { [0, 1] } else { [1, 0] };
        let mut set = Vec::new();
        for end in order {
            let (state, details) = &ends[end];
            set.push(server.edit(|pen| chat::set_state(pen, "q", *state, Some(details))).0);
        }
        assert_eq!(set, [Ok(true), Ok(false)]);
        phone.sync(&mut server);
        let seen = phone.messages(Branch::Selected).remove(0);
        let (state, details) = &ends[order[0]];
        assert_eq!((seen.state, seen.details.as_ref()), (*state, Some(details)));
    }
}

#[test]
fn a_retry_of_the_same_message_is_one() {
    meet(
        &conversation(),
        |_| {},
        |phone, laptop| {
            // Over the socket and over HTTP, as it were.
            let head = json!({ "role": "user", "parent": null, "by": "phone.s", "at": "1700000000000-0000", "req": "r" });
            let parts = json!([{ "type": "text", "text": "once" }]);
            phone.raw_message("m1", &head, &parts);
            laptop.raw_message("m1", &head, &parts);
        },
        |server, device| {
            assert_eq!(device.texts(), ["once"]);
            assert_eq!(server.texts(), ["once"]);
        },
    );
}

#[test]
fn clocks_wrong_by_hours_change_no_order() {
    meet(
        &conversation(),
        |phone| phone.say("m1", None, "one", &json!({})),
        |phone, laptop| {
            phone.clock_ms = NOW + 7 * 3_600_000;
            phone.say("m2", Some("m1"), "two", &json!({}));
            phone.clock_ms = NOW - 7 * 3_600_000;
            phone.say("m3", Some("m2"), "three", &json!({}));
            laptop.set("hidden", "m1", &json!(false));
        },
        |_, device| assert_eq!(device.texts(), ["one", "two", "three"]),
    );
}
