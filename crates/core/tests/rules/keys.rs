//! Idempotency keys: what a create meets whose key was used before.

use operond_core::{FIELDS, Fingerprint, KeyJudgement, KeyRecord, Worker, judge_key, lease_of_start};

use crate::bench::{Bench, second};

const DAY: i64 = 24 * 60 * 60;

fn record(bench: &Bench) -> KeyRecord {
    let fingerprint = content(0);
    KeyRecord { operation: bench.op.id.clone(), created_at: second(0), fingerprint }
}

/// The fingerprint of a create whose member `changed` (and no other) differs from content 0.
fn content(changed: usize) -> Fingerprint {
    let mut hashes: Vec<u64> = (1..=FIELDS.len() as u64).collect();
    if changed > 0 {
        hashes[changed - 1] = 0;
    }
    Fingerprint(hashes)
}

fn finished() -> Bench {
    let mut bench = Bench::new(|_| {});
    bench.cancel().expect("a cancel is accepted");
    bench
}

#[test]
fn the_same_content_meets_the_existing_operation() {
    for bench in [Bench::new(|_| {}), finished()] {
        let judged = judge_key(&record(&bench), Some(&bench.op), &content(0), second(5));
        assert_eq!(judged, KeyJudgement::Repeat);
    }
}

#[test]
fn other_content_is_refused_naming_the_member() {
    let bench = Bench::new(|_| {});
    for (index, field) in FIELDS.iter().enumerate() {
        let judged = judge_key(&record(&bench), Some(&bench.op), &content(index + 1), second(5));
        assert_eq!(judged, KeyJudgement::Reused(field));
    }
}

#[test]
fn a_fingerprint_stored_before_a_member_existed_counts_it_as_absent() {
    let mut old = content(0);
    old.0.truncate(13);
    let mut new = content(0);
    assert_eq!(old.difference(&new), Some("responseType"));
    new.0[13..].fill(0);
    assert_eq!(old.difference(&new), None);
}

#[test]
fn the_key_of_a_finished_operation_lives_a_day_from_create_and_not_longer() {
    let bench = finished();
    let judge = |at, changed| judge_key(&record(&bench), Some(&bench.op), &content(changed), at);
    let last = second(DAY).before(std::time::Duration::from_micros(1));
    assert_eq!(judge(last, 0), KeyJudgement::Repeat);
    assert_eq!(judge(last, 1), KeyJudgement::Reused("kind"));
    assert_eq!(judge(second(DAY), 0), KeyJudgement::Free);
    assert_eq!(judge(second(DAY), 1), KeyJudgement::Free);
}

#[test]
fn the_key_of_an_unfinished_operation_lives_as_long_as_that() {
    let bench = Bench::new(|_| {});
    let judge = |changed| judge_key(&record(&bench), Some(&bench.op), &content(changed), second(400 * DAY));
    assert_eq!(judge(0), KeyJudgement::Repeat);
    assert_eq!(judge(2), KeyJudgement::Reused("description"));
}

#[test]
fn a_key_that_lives_and_whose_operation_is_gone_says_so() {
    let bench = finished();
    let judge = |at, changed| judge_key(&record(&bench), None, &content(changed), at);
    let last = second(DAY).before(std::time::Duration::from_micros(1));
    assert_eq!(judge(last, 0), KeyJudgement::OperationGone);
    assert_eq!(judge(last, 1), KeyJudgement::OperationGone);
    assert_eq!(judge(second(DAY), 0), KeyJudgement::Free);
}

#[test]
fn a_repeated_start_shows_its_lease_to_the_same_worker_while_it_is_good() {
    let worker = |name| Worker::new(name).expect("a short name");
    let shown = |bench: &Bench, name| lease_of_start(&bench.op, &worker(name)).is_some();
    let (mut bench, lease) = Bench::started(|_| {});
    assert!(shown(&bench, "producer"));
    assert!(!shown(&bench, "other"));
    bench.release(&lease).expect("a release is accepted");
    assert!(!shown(&bench, "producer"), "it was given up");
}

#[test]
fn a_start_that_repeats_a_plain_create_shows_no_lease_that_was_claimed() {
    let mut bench = Bench::new(|_| {});
    bench.at(1).claim("producer");
    assert!(lease_of_start(&bench.op, &Worker::new("producer").expect("a short name")).is_none());
}
