//! What judging costs: it grows with what changed, not with what stands there. Times are compared within one run, where the
//! naive way is dozens of times slower. (How a long branch is walked is counted in `judge/tips.rs`.)

mod support;

use std::time::{Duration, Instant};

use serde_json::json;
use support::{Device, Server};
use syncline_document::{
    Absorbed, Judgement,
    schema::{Kind, conversation::Branch},
};
use syncline_protocol::limits::Limits;

/// Messages judged at once.
const MESSAGES: usize = 100;
/// How much more a large conversation may cost than a small one: it is fifty times as large.
const FACTOR: u32 = 12;

/// Judges what a device wrote, several times on fresh servers; returns the least time.
fn least(write: impl Fn(&mut Device, &mut Server)) -> Duration {
    let once = || {
        let (mut server, mut device) = (Server::conversation(), Device::new(11, "good"));
        write(&mut device, &mut server);
        device.sync(&mut server);
        for n in 0..MESSAGES {
            device.say(&format!("late{n}"), Some("absent"), "x", &json!({}));
        }
        let (judgement, took) = judged(&mut server, &mut device);
        assert_eq!(judgement.accepted.len(), MESSAGES);
        took
    };
    (0..2).map(|_| once()).min().expect("some")
}

/// Gives a server what a device has for it; returns what was judged of it, and how long that took.
fn judged(server: &mut Server, device: &mut Device) -> (Judgement, Duration) {
    let update = device.diff(&server.replica.state_vector());
    let absorbed = server.replica.absorb(&update, &Limits::default());
    assert!(matches!(absorbed, Absorbed::Applied(_)), "{absorbed:?}");
    let began = Instant::now();
    let judgement = server.judge();
    (judgement, began.elapsed())
}

fn assert_near(small: Duration, large: Duration) {
    let bound = small * FACTOR + Duration::from_millis(5);
    assert!(large < bound, "{large:?} where a fiftieth takes {small:?}");
}

#[test]
fn messages_cost_the_same_however_often_somebody_chose_a_branch() {
    let chosen = |count: usize| {
        move |device: &mut Device, _: &mut Server| {
            device.say("m1", None, "x", &json!({}));
            for n in 0..count {
                device.set("selected", &format!("p{n}"), &json!("m1"));
            }
        }
    };
    assert_near(least(chosen(100)), least(chosen(5_000)));
}

#[test]
fn what_changed_is_told_at_the_same_cost_however_many_marks_stand_there() {
    let marked = |count: usize| {
        let (mut server, mut device) = (Server::new(Kind::Marks), Device::new(11, "good"));
        let field = |n: usize| format!("018c1f3e-0000-7000-8000-{n:012}|read");
        for n in 0..count {
            device.set("marks", &field(n), &json!(1));
        }
        device.sync(&mut server);
        let once = |seq: usize| {
            device.set("marks", &field(count / 2), &json!(seq));
            let (judgement, took) = judged(&mut server, &mut device);
            assert_eq!(judgement.changed.len(), 1, "{:?}", judgement.changed);
            took
        };
        // What else runs here may make any of them slow, not all.
        (2..22).map(once).min().expect("some")
    };
    let (small, large) = (marked(400), marked(20_000));
    assert!(
        large < small * FACTOR + Duration::from_micros(300),
        "{large:?} where a fiftieth takes {small:?}"
    );
}

#[test]
fn a_message_goes_behind_the_branch_that_is_chosen_at_that_moment() {
    let (mut server, mut device) = (Server::conversation(), Device::new(11, "good"));
    device.say("a", None, "a", &json!({}));
    device.say("b", Some("a"), "b", &json!({}));
    device.say("c", Some("a"), "c", &json!({ "alt": "b" }));
    device.sync(&mut server);
    let after = |server: &mut Server, id: &str| {
        let messages = server.messages(Branch::All);
        messages.into_iter().find(|message| message.id == id).and_then(|message| message.parent)
    };
    device.say("d", Some("a"), "d", &json!({}));
    device.sync(&mut server);
    assert_eq!(after(&mut server, "d").as_deref(), Some("c"), "the newest is shown");
    device.set("selected", "a", &json!("b"));
    device.say("e", Some("a"), "e", &json!({}));
    device.sync(&mut server);
    assert_eq!(after(&mut server, "e").as_deref(), Some("b"), "chosen in the same update");
    device.say("f", Some("absent"), "f", &json!({}));
    device.sync(&mut server);
    assert_eq!(after(&mut server, "f").as_deref(), Some("e"));
    server.restart();
    device.delete("selected", "a@good.s");
    device.say("g", Some("absent"), "g", &json!({}));
    device.sync(&mut server);
    assert_eq!(after(&mut server, "g").as_deref(), Some("d"), "nothing is chosen any more");
}
