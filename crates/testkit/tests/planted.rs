//! The checkers bite: each planted bug is found within a few seeds, by the checker that is there for it, and the
//! same seed without the bug is clean.

use syncline_testkit::{Bug, Check, Plan, World};

/// Seeds to try: a bug that hides longer than this is not caught in practice.
const SEEDS: u64 = 120;

fn caught(bug: Bug, by: &[Check]) {
    for seed in 0..SEEDS {
        let plan = Plan::new(seed).with(bug);
        let healthy = Plan { bug: None, ..plan.clone() };
        let Some(violation) = World::new(plan).expect("a world").run().violation else { continue };
        assert!(
            by.contains(&violation.check),
            "{bug:?} at seed {seed}: found by another checker: {violation:?}"
        );
        let clean = World::new(healthy).expect("a world").run();
        assert_eq!(clean.violation, None, "seed {seed} fails without {bug:?} too");
        eprintln!(
            "{bug:?}: seed {seed}, {:?} at {} ms: {}",
            violation.check, violation.at_ms, violation.text
        );
        return;
    }
    panic!("{bug:?} is not caught in {SEEDS} seeds");
}

#[test]
fn an_ack_before_the_commit_is_caught() {
    caught(Bug::AckBeforeCommit, &[Check::SavedEarly, Check::EditEarly, Check::Checkpoint]);
}

#[test]
fn a_server_edit_sent_before_its_commit_is_caught() {
    caught(Bug::EditSentBeforeCommit, &[Check::EditEarly]);
}

#[test]
fn an_eviction_with_an_ack_owed_is_caught() {
    caught(Bug::EvictionWithAckOwed, &[Check::NotQuiet, Check::Store]);
}

#[test]
fn one_sync_status_too_many_is_caught() {
    caught(Bug::OneStatusTooMany, &[Check::SavedEarly]);
}

#[test]
fn a_frame_dropped_on_a_full_queue_is_caught() {
    caught(Bug::DroppedFrame, &[Check::NotQuiet]);
}

#[test]
fn a_checkpoint_ahead_of_the_journal_is_caught() {
    caught(Bug::CheckpointAhead, &[Check::Checkpoint]);
}

#[test]
fn a_checkpoint_that_hides_newer_entries_is_caught() {
    caught(Bug::CheckpointRelabelled, &[Check::Lost]);
}

#[test]
fn acks_that_survive_a_second_sync_are_caught() {
    caught(Bug::ResyncKeepsAcks, &[Check::SavedEarly]);
}

#[test]
fn an_echo_before_the_commit_is_caught() {
    caught(Bug::EchoBeforeDurable, &[Check::SavedEarly]);
}

#[test]
fn a_failed_commit_that_is_acknowledged_is_caught() {
    caught(Bug::FailedCommitAcked, &[Check::SavedEarly, Check::EditEarly, Check::Checkpoint]);
}

#[test]
fn a_failed_load_shown_as_an_empty_document_is_caught() {
    caught(Bug::FailedLoadIsEmpty, &[Check::Store, Check::SavedEarly, Check::NotQuiet, Check::EditEarly]);
}

#[test]
fn a_lost_journal_entry_is_caught() {
    caught(Bug::EntryLost, &[Check::SavedEarly, Check::Store, Check::EditEarly, Check::Checkpoint]);
}

#[test]
fn what_the_judge_wrote_committed_later_is_caught() {
    caught(Bug::JudgedLater, &[Check::Message, Check::Register, Check::Row]);
}

#[test]
fn what_the_judge_wrote_sent_before_its_commit_is_caught() {
    caught(Bug::JudgedSentBeforeCommit, &[Check::EditEarly]);
}

#[test]
fn a_heal_that_is_lost_is_caught() {
    caught(Bug::HealLost, &[Check::Message, Check::Register]);
}

#[test]
fn a_session_that_judges_nothing_is_caught() {
    caught(Bug::NothingJudged, &[Check::Message]);
}

#[test]
fn clocks_that_are_used_again_are_caught() {
    caught(Bug::ClocksReused, &[Check::Message, Check::Register, Check::NotQuiet, Check::EditEarly]);
}

#[test]
fn rows_left_out_of_the_commit_are_caught() {
    caught(Bug::RowsLeftOut, &[Check::Row]);
}

#[test]
fn rows_committed_later_are_caught() {
    caught(Bug::RowsLater, &[Check::Row]);
}
