//! Honest traffic: several yrs documents that edit, go offline, merge and resend in random order. None of it is refused,
//! and the server ends with what everybody sees. Repeat a failure with SYNCLINE_SEED.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use fastrand::Rng;
use support::{Server, apply, content, diff, edit, new_doc, seed};
use yrs::{Doc, ReadTxn, StateVector, Transact, merge_updates_v1, updates::encoder::Encode};

struct Peer {
    doc: Doc,
    /// Updates not sent yet, oldest first.
    outbox: Vec<Vec<u8>>,
    /// A state vector of the server from some time ago.
    stale: Vec<u8>,
}

fn round(seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let mut server = Server::new();
    let gc = rng.u8(0..4) != 0;
    let mut peers: Vec<Peer> = (0..rng.usize(1..5))
        .map(|_| Peer { doc: new_doc(rng.u64(1..1 << 53), gc), outbox: Vec::new(), stale: vec![0] })
        .collect();
    for _ in 0..rng.usize(1..60) {
        let at = rng.usize(0..peers.len());
        let peer = &mut peers[at];
        match rng.u8(0..14) {
            0..=6 => {
                let update = edit(&peer.doc, &mut rng);
                peer.outbox.push(update);
            }
            7 => peer.outbox.drain(..).for_each(|update| server.receive(&update)),
            8 => {
                rng.shuffle(&mut peer.outbox);
                peer.outbox.drain(..).for_each(|update| server.receive(&update));
            }
            9 => {
                // Merged, with holes: the dropped ones come with the final sync.
                peer.outbox.retain(|_| rng.u8(0..3) != 0);
                if !peer.outbox.is_empty() {
                    let merged = merge_updates_v1(peer.outbox.drain(..)).unwrap();
                    server.receive(&merged);
                }
            }
            10 => {
                let update = diff(&peer.doc, &peer.stale);
                server.receive(&update);
                peer.stale = server.known.state_vector();
            }
            11 => {
                let state_vector = peer.doc.transact().state_vector();
                let update = server.doc.transact().encode_state_as_update_v1(&state_vector);
                apply(&peer.doc, &update);
            }
            12 => server.retry(),
            _ => {
                // From one device to another, past the server.
                let other = rng.usize(0..peers.len());
                let state_vector = peers[other].doc.transact().state_vector();
                let update = peers[at].doc.transact().encode_state_as_update_v1(&state_vector);
                apply(&peers[other].doc, &update);
            }
        }
        if rng.u8(0..12) == 0 {
            let pending = std::mem::take(&mut server.pending);
            server = server.reload();
            server.pending = pending;
        }
    }
    for peer in &peers {
        let update = diff(&peer.doc, &server.known.state_vector());
        server.receive(&update);
    }
    server.retry();
    assert!(server.pending.is_empty(), "everything arrived, {} rests are left", server.pending.len());
    for peer in &peers {
        apply(&peer.doc, &server.state());
        assert!(!peer.doc.transact().has_missing_updates());
        assert_eq!(content(&peer.doc), content(&server.doc));
        assert_eq!(peer.doc.transact().state_vector().encode_v1().len(), server.known.state_vector().len());
    }
    server.reload();
}

#[test]
fn honest_traffic_is_never_refused_and_converges() {
    let first = seed();
    println!("SYNCLINE_SEED={first}");
    let rounds =
        std::env::var("SYNCLINE_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(2_000);
    for number in 0..rounds {
        let seed = first.wrapping_add(number);
        if let Err(panic) = std::panic::catch_unwind(|| round(seed)) {
            println!("failed with SYNCLINE_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn a_whole_state_in_any_order_of_pieces_gives_the_same_document() {
    let mut rng = Rng::with_seed(11);
    for _ in 0..50 {
        let doc = new_doc(rng.u64(1..1 << 53), true);
        let mut updates: Vec<Vec<u8>> = (0..40).map(|_| edit(&doc, &mut rng)).collect();
        rng.shuffle(&mut updates);
        let mut server = Server::new();
        for update in &updates {
            server.receive(update);
            server.retry();
        }
        assert!(server.pending.is_empty());
        assert_eq!(content(&server.doc), content(&doc));
        let state_vector = doc.transact().state_vector();
        assert_eq!(server.doc.transact().state_vector(), state_vector);
        assert_ne!(state_vector, StateVector::default());
    }
}
