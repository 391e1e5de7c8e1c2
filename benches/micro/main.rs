//! Micro benches of the hot path and of a cold open: `cargo bench -p syncline-benches --bench micro`.
//!
//! Each line is the median of many timed rounds, with the fastest round beside it: where the two are far apart, the
//! machine was busy and the fastest is closer to the truth.

use std::hint::black_box;
use std::time::Instant;
use syncline_benches::traffic::{LONG_MESSAGE_BYTES, Stream};
use syncline_benches::wire;
use syncline_document::Replica;
use syncline_protocol::frame;
use syncline_protocol::known::{Known, Verdict};
use syncline_protocol::limits::Limits;

/// Updates of the long document: as in W4.
const LONG: usize = 50_500;
const CLIENT: u64 = 0x9234_5678;

fn main() -> anyhow::Result<()> {
    let stream = Stream::make(CLIENT, LONG, 1, LONG_MESSAGE_BYTES);
    let limits = Limits::default();
    println!("{LONG} updates of {:.1} bytes on average", stream.mean_bytes());
    println!("{:<46}{:>12}{:>12}", "", "median", "fastest");

    time("decode a plain frame", 20, LONG, || {
        for index in 0..LONG {
            let _frame = black_box(frame::decode_plain(stream.frame_bytes(index)));
        }
    });
    let addressed: Vec<_> = (0..LONG)
        .map(|index| {
            wire::sync_frame(&wire::address(wire::Dialect::Hocuspocus, "u1-chat"), 2, stream.update(index))
        })
        .collect();
    time("decode a Hocuspocus frame", 20, LONG, || {
        for frame in &addressed {
            let _frame = black_box(frame::decode_hocuspocus(frame));
        }
    });
    time("encode a Hocuspocus frame", 20, LONG, || {
        for index in 0..LONG {
            black_box(frame::encode(Some("u1-chat"), &frame::Reply::Update(stream.update(index))));
        }
    });
    time("judge and admit an update", 10, LONG, || {
        let mut known = Known::new();
        for index in 0..LONG {
            if let Ok(Verdict::Whole(checked)) = known.judge(stream.update(index), &limits) {
                known.admit(&checked);
            }
        }
        assert_eq!(known.clock(CLIENT), stream.clock_after(LONG), "the checker must take every update");
    });
    time("judge, apply and admit an update", 5, LONG, || {
        black_box(replayed(&stream, &limits));
    });

    let mut replica = replayed(&stream, &limits);
    let vector = replica.state_vector();
    let state = replica.encode_state()?;
    println!("the long document takes {} bytes", state.len());
    time("fold the long document by replay", 5, 1, || {
        black_box(Replica::load((0..LONG).map(|index| stream.update(index))).is_ok());
    });
    time("load the long document from one state", 20, 1, || {
        black_box(Replica::load([&state[..]]).is_ok());
    });
    time("judge the state of the long document", 20, 1, || {
        let _verdict = black_box(Known::new().judge(&state, &limits));
    });
    time("diff against an equal state vector", 200, 1, || {
        let _diff = black_box(replica.diff(&vector));
    });
    time("encode the whole state", 20, 1, || {
        let _state = black_box(replica.encode_state());
    });
    Ok(())
}

fn replayed(stream: &Stream, limits: &Limits) -> Replica {
    let mut replica = Replica::new();
    for index in 0..stream.len() {
        let update = stream.update(index);
        if let Ok(Verdict::Whole(checked)) = replica.judge(update, limits) {
            let applied = replica.apply(&checked, update);
            assert!(applied.is_ok(), "update {index} must apply");
        }
    }
    replica
}

/// Times `rounds` rounds, each of which does the same thing `times` times.
fn time(name: &str, rounds: usize, times: usize, mut round: impl FnMut()) {
    let mut nanos: Vec<f64> = (0..rounds)
        .map(|_| {
            let started = Instant::now();
            round();
            started.elapsed().as_nanos() as f64 / times as f64
        })
        .collect();
    nanos.sort_by(f64::total_cmp);
    println!("{name:<46}{:>12}{:>12}", show(nanos[rounds / 2]), show(nanos[0]));
}

fn show(nanos: f64) -> String {
    match nanos {
        _ if nanos >= 1e6 => format!("{:.2} ms", nanos / 1e6),
        _ if nanos >= 1e3 => format!("{:.2} us", nanos / 1e3),
        _ => format!("{nanos:.0} ns"),
    }
}
