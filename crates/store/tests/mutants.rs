//! The suite notices a bad store: for each flaw a case that it breaks.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use operond_core::Timestamp;
use operond_store::conformance::mutants::{Flaw, Mutant};
use operond_store::conformance::{
    Differential, Subject, batches, claims, documents, fields, keys, lists, lookups, restarts, scopes, service, timers,
};
use operond_store::{ManualClock, MemoryStore};

macro_rules! caught {
    ($($name:ident: $flaw:ident by $($case:path),+;)*) => {
        $(#[test]
        fn $name() {
            $(check(Flaw::$flaw, stringify!($case), $case);)+
        })*

        const CAUGHT: &[Flaw] = &[$(Flaw::$flaw),*];
    };
}

caught! {
    a_store_that_acknowledges_before_commit_is_caught: AcknowledgesBeforeCommit by
        batches::what_was_answered_is_read_by_everybody_at_once, fields::every_member_that_work_sets_reads_back;
    a_store_that_drops_what_a_refusal_settled_is_caught: DropsWhatARefusalSettled by
        batches::a_refusal_keeps_what_settling_changed, lookups::a_command_meets_an_expired_operation_before_anyone_settles_it;
    a_store_that_drops_bare_changes_is_caught: DropsBareChanges by
        timers::a_heartbeat_moves_the_timer, fields::every_member_that_work_sets_reads_back;
    a_store_that_ignores_the_revision_is_caught: IgnoresTheRevision by
        claims::f06_sixty_four_claimers_never_get_one_operation_twice, keys::f10_a_hundred_creates_at_once_with_one_key_create_once,
        batches::batches_of_many_threads_are_carried_out_one_after_the_other;
    a_store_that_overwrites_taken_ids_is_caught: OverwritesTakenIds by
        batches::an_id_that_is_taken_is_not_overwritten;
    a_store_that_commits_half_of_a_batch_is_caught: CommitsHalfOfABatch by
        batches::an_id_that_is_taken_is_not_overwritten;
    a_store_that_offers_candidates_twice_is_caught: OffersTwice by
        claims::claims_of_one_batch_share_what_there_is, claims::the_longest_claimable_is_claimed_first;
    a_store_that_offers_the_newest_first_is_caught: OffersTheNewestFirst by
        claims::the_longest_claimable_is_claimed_first, claims::a_lapse_keeps_the_place;
    a_store_that_forgets_whose_turn_it_is_is_caught: ForgetsWhoseTurnItIs by
        claims::the_turn_is_with_the_tenant_behind_the_last_one, claims::of_many_tenants_each_is_served_once_before_any_is_served_twice;
    a_store_that_forgets_keys_is_caught: ForgetsKeys by
        keys::f10_a_repeated_create_answers_with_the_same_operation, restarts::a_reopened_store_has_its_keys;
    a_store_that_forgets_tombstones_is_caught: ForgetsTombstones by
        lookups::a_deleted_operation_is_remembered_with_its_tenant, lookups::retention_removes_at_its_instant_and_not_before;
    a_store_that_purges_too_early_is_caught: PurgesTooEarly by
        lookups::tombstones_are_forgotten_after_thirty_days, keys::purge_removes_the_keys_that_are_free;
    a_store_that_pages_by_instant_alone_is_caught: PagesByInstantAlone by
        lists::f21_pages_hold_everything_once, lists::f21_pages_neither_skip_nor_repeat_while_others_come_go_and_end;
    a_store_that_lists_inputs_is_caught: ListsInputs by
        lists::a_list_leaves_inputs_out_and_nothing_else;
    a_store_that_settles_while_reading_is_caught: SettlesWhileReading by
        timers::reads_never_settle;
    a_store_that_rounds_instants_is_caught: RoundsInstants by
        fields::instants_keep_their_microseconds, timers::every_timer_is_due_at_its_instant_and_not_before;
    a_store_that_forgets_the_time_is_caught: ForgetsTheTime by
        restarts::f08_the_clock_does_not_go_back_when_the_calendar_did, restarts::f08_the_clock_does_not_go_back_behind_a_bare_heartbeat;
    a_store_that_never_holds_retention_is_caught: NeverHoldsRetention by
        restarts::f08_retention_is_held_for_an_hour_after_a_great_step_forwards;
    a_store_that_forgets_its_seal_key_is_caught: ForgetsItsSealKey by
        restarts::a_reopened_store_has_its_seal_key;
    a_store_that_ignores_versions_is_caught: IgnoresVersions by
        documents::a_write_of_another_version_is_refused_by_name;
    a_store_that_puts_half_of_the_documents_is_caught: PutsHalfOfTheDocuments by
        documents::a_refused_write_leaves_every_document_as_it_was;
    a_store_that_looks_up_foreign_operations_is_caught: LooksUpForeignOnes by
        scopes::f45_a_foreign_operation_is_as_one_that_never_was;
    a_store_that_tells_strangers_what_is_held_is_caught: TellsStrangersWhatIsHeld by
        scopes::f45_a_foreign_operation_that_somebody_holds_is_as_one_that_never_was;
    a_store_that_lists_foreign_operations_is_caught: ListsForeignOnes by
        scopes::a_list_of_one_tenant_shows_nothing_of_another, scopes::a_list_of_one_tenant_does_not_look_at_others;
    a_store_that_offers_foreign_operations_is_caught: OffersForeignOnes by
        scopes::a_claim_for_one_tenant_gets_nothing_of_another, scopes::claims_of_tenants_and_of_all_share_what_there_is_in_one_batch;
    a_store_that_never_closes_is_caught: NeverCloses by
        service::a_closed_store_refuses_everything;
}

#[test]
fn every_flaw_is_caught_by_some_case() {
    assert_eq!(CAUGHT, Flaw::ALL);
}

#[test]
fn the_differential_test_finds_what_it_can_see() {
    let flaws = [
        Flaw::AcknowledgesBeforeCommit,
        Flaw::DropsWhatARefusalSettled,
        Flaw::DropsBareChanges,
        Flaw::IgnoresTheRevision,
        Flaw::OffersTwice,
        Flaw::OffersTheNewestFirst,
        Flaw::ForgetsWhoseTurnItIs,
        Flaw::ForgetsKeys,
        Flaw::ForgetsTombstones,
        Flaw::PurgesTooEarly,
        Flaw::PagesByInstantAlone,
        Flaw::ListsInputs,
        Flaw::RoundsInstants,
    ];
    for flaw in flaws {
        assert!(panics(|| compare_with(Some(flaw))), "{flaw:?}");
    }
    compare_with(None);
}

/// The case must hold without the flaw and break with it.
fn check(flaw: Flaw, name: &str, case: fn(&mut dyn Subject)) {
    case(&mut Mutant::new(None));
    assert!(panics(|| case(&mut Mutant::new(Some(flaw)))), "{name} does not notice {flaw:?}");
}

fn compare_with(flaw: Option<Flaw>) {
    let clock = Arc::new(ManualClock::new(Timestamp::from_micros(1_750_000_000_000_000)));
    let model = MemoryStore::new(Arc::clone(&clock));
    let mutant = Mutant::new(flaw).open(Arc::clone(&clock));
    Differential { seed: 42, commands: 3_000 }.run(&clock, &model, &*mutant);
}

fn panics(work: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(work)).is_err()
}
