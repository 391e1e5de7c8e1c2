//! What registers come to after concurrent offline edits, in detail: sources, block and clear, freshness, hints, ties.
//! `docs/merge-outcomes.md` lists the rows of the data model's table.

mod support;

use serde_json::{Value, json};
use support::{Device, ID, NOW, Server, conversation_id, index, meet};
use syncline_document::{
    hlc::Hlc,
    schema::{Kind, index as sidebar, marks, preferences},
};

/// Sources, the strongest first.
const SOURCES: [&str; 4] = ["explicit", "imported", "inferred", "default"];

fn tone(server: &mut Server, now_ms: u64) -> Option<preferences::Preference> {
    preferences::read(&mut server.replica, now_ms).expect("reads").pop()
}

/// Both the server and the device show this of the one preference: value, whether it is blocked, hints.
fn shows(server: &mut Server, device: &Device, value: &Value, blocked: bool, hints: &[Value]) {
    for replica in [&mut server.replica, &mut device.replica()] {
        let seen = preferences::read(replica, NOW).expect("reads").pop().expect("one");
        let told: Vec<Value> = seen.conflicts.iter().map(|hint| hint.value.clone()).collect();
        assert_eq!((&seen.value, seen.blocked, &told[..]), (value, blocked, hints));
    }
}

fn set(device: &mut Device, value: &Value, meta: &Value) {
    device.set_with("preferences", "tone", value, meta);
}

#[test]
fn a_persons_title_beats_an_automatic_one_however_late() {
    meet(
        &index(),
        |_| {},
        |phone, _| phone.set("conversations", &format!("{ID}|title"), &json!("Trip")),
        |server, _| {
            let late = Hlc::at(NOW + 1_000_000);
            let (named, _) =
                server.edit(|pen| sidebar::set_autotitle(pen, &conversation_id(), late, "About a trip"));
            assert_eq!(named, Ok(()));
            let seen = sidebar::read(&mut server.replica).expect("reads").remove(0);
            assert_eq!((seen.title.as_deref(), seen.auto_title), (Some("Trip"), false));
        },
    );
}

#[test]
fn archive_folder_and_tags_go_by_the_later_time() {
    let fields = [
        ("archived", json!(true), json!(false)),
        ("folder", json!("f1"), json!("f2")),
        ("tag:a@b|c", json!(true), json!(false)),
        ("deleted", json!(false), json!(true)),
    ];
    for (field, earlier, later) in fields {
        let key = format!("{ID}|{field}");
        meet(
            &index(),
            |_| {},
            |phone, laptop| {
                phone.set("conversations", &key, &earlier);
                laptop.clock_ms = NOW + 90;
                laptop.set("conversations", &key, &later);
            },
            |server, device| {
                for replica in [&mut server.replica, &mut device.replica()] {
                    let seen = sidebar::read(replica).expect("reads").remove(0);
                    let shown = match field {
                        "archived" => json!(seen.archived),
                        "folder" => json!(seen.folder),
                        "deleted" => json!(seen.deleted),
                        _ => json!(!seen.tags.is_empty()),
                    };
                    assert_eq!(shown, later, "{field}");
                }
            },
        );
    }
}

#[test]
fn a_stronger_source_beats_every_weaker_one_however_late() {
    for (at, stronger) in SOURCES.iter().enumerate() {
        for weaker in &SOURCES[at + 1..] {
            meet(
                &Kind::Profile,
                |_| {},
                |phone, laptop| {
                    set(phone, &json!("dry"), &json!({ "source": stronger }));
                    laptop.clock_ms = NOW + 250_000;
                    set(laptop, &json!("warm"), &json!({ "source": weaker, "confidence": 1 }));
                },
                |server, device| shows(server, device, &json!("dry"), false, &[json!("warm")]),
            );
        }
    }
}

#[test]
fn among_equal_sources_the_later_time_counts() {
    for source in SOURCES {
        meet(
            &Kind::Profile,
            |_| {},
            |phone, laptop| {
                set(phone, &json!("dry"), &json!({ "source": source }));
                laptop.clock_ms = NOW + 90;
                set(laptop, &json!("warm"), &json!({ "source": source }));
            },
            |server, device| shows(server, device, &json!("warm"), false, &[json!("dry")]),
        );
    }
}

#[test]
fn a_block_stops_what_is_inferred_and_a_clear_or_a_hand_lets_it_go_on() {
    let inferred = json!({ "source": "inferred" });
    let blocked = |phone: &mut Device, laptop: &mut Device| {
        set(phone, &Value::Null, &json!({ "source": "explicit", "op": "block" }));
        laptop.clock_ms = NOW + 90;
        set(laptop, &json!("warm"), &inferred);
    };
    meet(
        &Kind::Profile,
        |_| {},
        blocked,
        // What lost is told all the same.
        |server, device| shows(server, device, &Value::Null, true, &[json!("warm")]),
    );
    meet(
        &Kind::Profile,
        |_| {},
        |phone, laptop| {
            blocked(phone, laptop);
            phone.clock_ms = NOW + 200;
            set(phone, &Value::Null, &json!({ "source": "explicit", "op": "clear" }));
            laptop.clock_ms = NOW + 300;
            set(laptop, &json!("cool"), &inferred);
        },
        |server, device| shows(server, device, &json!("cool"), false, &[]),
    );
    meet(
        &Kind::Profile,
        |_| {},
        |phone, laptop| {
            blocked(phone, laptop);
            phone.clock_ms = NOW + 200;
            set(phone, &json!("dry"), &json!({ "source": "explicit" }));
        },
        |server, device| shows(server, device, &json!("dry"), false, &[json!("warm")]),
    );
}

#[test]
fn a_value_that_holds_for_a_time_is_fresh_until_then_everywhere() {
    meet(
        &Kind::Profile,
        |_| {},
        |phone, laptop| {
            set(phone, &json!("brief"), &json!({ "source": "inferred", "ttl": 60 }));
            laptop.clock_ms = NOW - 3_600_000;
            set(laptop, &json!("long"), &json!({ "source": "inferred", "ttl": 3_600_000 }));
        },
        |server, _| {
            // Written at NOW + 1: the time of its register counts, not that of its arrival.
            for (after_ms, fresh) in [(0, true), (60_001, true), (60_002, false)] {
                let seen = tone(server, NOW + after_ms).expect("it stays, fresh or not");
                assert_eq!((&seen.value, seen.fresh, seen.ttl), (&json!("brief"), fresh, Some(60)));
            }
        },
    );
}

#[test]
fn what_lost_is_a_hint_that_one_tap_brings_back() {
    let field = format!("{ID}|title");
    meet(
        &index(),
        |phone| phone.set("conversations", &field, &json!("Rome")),
        |phone, laptop| {
            laptop.clock_ms = NOW + 50;
            laptop.set("conversations", &field, &json!("Paris"));
            phone.clock_ms = NOW + 90;
            // What is named alike is no conflict.
            phone.set("conversations", &field, &json!("Paris"));
        },
        |server, _| assert!(sidebar::read(&mut server.replica).expect("reads")[0].conflicts.is_empty()),
    );
    meet(
        &index(),
        |_| {},
        |phone, laptop| {
            phone.set("conversations", &field, &json!("Rome"));
            laptop.clock_ms = NOW + 50;
            laptop.set("conversations", &field, &json!("Paris"));
            // The tap: the value of the hint, set again, later.
            phone.clock_ms = NOW + 90;
            phone.set("conversations", &field, &json!("Rome"));
        },
        |server, device| {
            for replica in [&mut server.replica, &mut device.replica()] {
                let seen = sidebar::read(replica).expect("reads").remove(0);
                let hints: Vec<&Value> = seen.conflicts["title"].iter().map(|hint| &hint.value).collect();
                assert_eq!((seen.title.as_deref(), hints), (Some("Rome"), vec![&json!("Paris")]));
            }
        },
    );
}

#[test]
fn of_two_marks_of_one_time_the_further_one_counts() {
    let field = format!("{ID}|read");
    meet(
        &Kind::Marks,
        |_| {},
        |phone, laptop| {
            phone.set_with("marks", &field, &json!(9), &json!("m9"));
            laptop.set_with("marks", &field, &json!(4), &json!("m4"));
        },
        |server, device| {
            for replica in [&mut server.replica, &mut device.replica()] {
                assert_eq!(marks::read(replica).expect("reads")[ID].seq, 9);
            }
        },
    );
}
