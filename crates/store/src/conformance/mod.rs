//! One suite for every store, and the tools to show that it would notice a bad one.
//!
//! A store's own tests say how it is opened, and get every case as a test:
//!
//! ```
//! use std::sync::Arc;
//!
//! use operond_store::conformance::{self, Subject};
//! use operond_store::{ManualClock, MemoryStore, Store};
//!
//! struct Memory;
//!
//! impl Subject for Memory {
//!     fn open(&mut self, clock: Arc<ManualClock>) -> Arc<dyn Store> {
//!         Arc::new(MemoryStore::new(clock))
//!     }
//! }
//!
//! conformance::suite!(Memory);
//! ```
//!
//! A store that outlives its handle adds [`restart_suite!`](restart_suite) with a subject that
//! keeps the data (a directory, a schema) and opens it again at each call; one that is also an
//! [`Archive`](crate::Archive) adds [`copy_suite!`](copy_suite).
//!
//! [`Differential`] holds two stores against each other by commands made up at random, [`faults`]
//! makes a store fail at will, and [`mutants`] are stores with a flaw that some case must catch.
//!
//! Cases whose name begins with `f` and a number check the row of that number in the project's
//! table of failures.

mod block_on;
mod differential;
pub mod faults;
mod filters;
#[cfg(test)]
mod fuzz;
mod invariants;
mod make;
pub mod mutants;
mod random;
mod rig;
mod script;

macro_rules! cases {
    ($($(#[$doc:meta])* $module:ident)*) => {
        $(
            $(#[$doc])*
            #[expect(missing_docs, reason = "the name of a case is the sentence that it checks")]
            pub mod $module;
        )*
    };
}

cases! { fields lookups batches keys claims timers lists filtering documents scopes service restarts copies }

use std::sync::Arc;

use operond_core::OperationId;

pub use block_on::block_on;
pub use differential::{Differential, History};

pub use crate::{
    conformance_copy_suite as copy_suite, conformance_restart_suite as restart_suite, conformance_suite as suite,
};

use crate::clock::ManualClock;
use crate::{Archive, Store};

/// How cases get at a kind of store. Each case has a subject of its own.
pub trait Subject {
    /// Opens the store on `clock`: empty at first, and with what it kept when its store was closed
    /// before. The futures of the store are waited for without a runtime.
    fn open(&mut self, clock: Arc<ManualClock>) -> Arc<dyn Store>;

    /// Has somebody else lock an operation, and keep it locked for longer than the store waits. Says whether it is
    /// locked: it cannot be where nobody else writes.
    fn hold(&mut self, _id: &OperationId) -> bool {
        false
    }
}

/// How cases get at a kind of store that can be copied.
pub trait Archived: Subject {
    /// What the store kept, which is closed.
    fn archive(&mut self) -> Arc<dyn Archive>;

    /// The same of a new and empty store, which is meant from now on.
    fn move_house(&mut self) -> Arc<dyn Archive>;
}

/// Every case that any store passes, each as a `#[test]`. Takes an expression that makes a
/// [`Subject`](crate::conformance::Subject).
#[macro_export]
macro_rules! conformance_suite {
    ($subject:expr) => {
        $crate::conformance_cases! {
            $subject;
            fields {
                every_member_that_a_producer_sets_reads_back
                every_member_at_its_limit_reads_back
                empty_and_absent_members_stay_apart
                every_member_that_work_sets_reads_back
                a_response_of_a_mebibyte_reads_back
                an_error_reads_back_with_its_details
                the_newest_sixteen_events_read_back_in_order
                progress_keeps_every_bit_of_its_numbers
                a_lease_reads_back_with_what_was_answered_under_it
                instants_keep_their_microseconds
            }
            lookups {
                an_id_never_heard_of_is_never
                a_deleted_operation_is_remembered_with_its_tenant
                f18_nothing_brings_a_deleted_operation_back
                an_unfinished_operation_is_not_deleted
                a_delete_tells_how_an_operation_ended_that_ends_only_now
                retention_removes_at_its_instant_and_not_before
                a_command_meets_an_expired_operation_before_anyone_settles_it
                f19_retention_never_removes_the_unfinished_nor_what_is_kept
                each_outcome_has_its_own_retention
                tombstones_are_forgotten_after_thirty_days
                purge_removes_at_most_its_limit
                purge_counts_tombstones_and_keys_together
            }
            batches {
                an_empty_batch_does_nothing
                every_request_of_a_batch_is_answered_in_order
                later_requests_see_what_earlier_ones_did
                an_operation_lives_a_whole_life_in_one_batch
                a_refused_request_does_not_hurt_its_batch
                a_refusal_keeps_what_settling_changed
                a_batch_tells_what_it_wrote_once_each
                what_changes_nothing_writes_nothing
                an_id_that_is_taken_is_not_overwritten
                batches_of_many_threads_are_carried_out_one_after_the_other
                what_was_answered_is_read_by_everybody_at_once
            }
            keys {
                f10_a_repeated_create_answers_with_the_same_operation
                f10_a_hundred_creates_at_once_with_one_key_create_once
                f10_what_only_repeats_begins_nothing
                a_repeat_settles_the_operation_first
                f11_a_key_used_for_other_content_is_refused_by_member
                f12_keys_of_two_tenants_are_two_keys
                keys_are_told_apart_by_every_byte
                two_creates_with_one_key_in_one_batch_create_once
                f13_a_key_lives_for_a_day_after_create
                f13_a_key_lives_as_long_as_its_operation_is_unfinished
                f13_a_living_key_whose_operation_is_gone_creates_nothing
                a_repeat_that_finds_its_operation_expired_says_that_it_is_gone
                a_key_is_gone_for_later_requests_of_the_batch_that_deletes
                purge_removes_the_keys_that_are_free
            }
            claims {
                the_longest_claimable_is_claimed_first
                of_one_instant_the_lesser_id_is_claimed_first
                only_the_kinds_asked_for_are_claimed
                a_lapse_keeps_the_place
                a_release_keeps_the_place
                a_retry_goes_behind_its_backoff
                tenants_are_served_in_turn
                the_turn_is_with_the_tenant_behind_the_last_one
                the_last_tenant_is_served_again_when_it_is_the_only_one
                turns_go_round_over_several_kinds
                of_many_tenants_each_is_served_once_before_any_is_served_twice
                turns_go_round_over_kinds_of_different_tenants
                a_kind_named_twice_is_asked_for_once
                what_waits_for_its_backoff_takes_no_turn
                claims_of_one_batch_share_what_there_is
                claims_of_overlapping_kinds_never_share_an_operation
                f02_what_was_cancelled_in_the_queue_is_never_claimed
                what_a_batch_ends_is_not_claimed_by_it
                a_claim_ends_what_waited_too_long_and_takes_the_next
                a_finished_operation_is_never_claimed
                an_operation_whose_attempts_are_used_up_is_never_claimed
                f06_sixty_four_claimers_never_get_one_operation_twice
            }
            timers {
                every_timer_is_due_at_its_instant_and_not_before
                the_earliest_due_are_settled_first
                of_one_instant_the_lesser_id_is_settled_first
                retention_takes_its_turn_among_the_other_timers
                two_settles_of_one_batch_settle_as_many_as_each_may
                a_heartbeat_moves_the_timer
                f07_a_shorter_heartbeat_does_not_move_the_timer
                a_timer_that_was_stopped_is_never_due
                reads_never_settle
                f05_a_worker_that_lost_its_lease_changes_nothing
                f04_a_lapsed_lease_still_completes_what_nobody_claimed
            }
            lists {
                a_list_of_nothing_is_empty
                a_list_is_ordered_by_creation_and_id_both_ways
                a_list_shows_what_is_stored
                a_list_leaves_inputs_out_and_nothing_else
                f21_pages_hold_everything_once
                f21_pages_neither_skip_nor_repeat_while_others_come_go_and_end
                a_page_goes_on_behind_an_operation_that_is_gone
                a_cursor_before_or_behind_everything_is_a_place_too
                a_page_ends_before_its_bytes_pass_the_limit
                a_page_holds_a_thousand_operations_and_says_when_there_are_no_more
            }
            filtering {
                a_list_is_filtered_by_kind
                a_list_is_filtered_by_every_state
                a_list_is_filtered_by_kind_and_state_together
                a_filter_follows_changes
                f21_filtered_pages_hold_everything_once
                a_page_ends_after_looking_at_its_limit_and_is_gone_on_with
                what_an_index_leaves_out_is_not_looked_at
                a_page_stops_looking_when_it_has_seen_enough_bytes
                a_filter_asks_about_every_field
                members_of_payloads_are_read_by_who_asks
                a_count_is_that_of_the_list
                a_count_says_when_there_may_be_more
            }
            documents {
                a_new_store_has_no_documents
                a_document_reads_back_with_its_version_and_time
                documents_of_a_collection_are_listed_by_name
                names_mean_nothing_to_another_collection
                a_write_of_another_version_is_refused_by_name
                a_refused_write_leaves_every_document_as_it_was
                a_document_named_twice_in_one_write_is_written_twice
                a_document_of_four_mebibytes_reads_back
            }
            scopes {
                f45_a_foreign_operation_is_as_one_that_never_was
                nothing_is_settled_on_account_of_a_stranger
                f45_a_foreign_operation_that_somebody_holds_is_as_one_that_never_was
                a_tombstone_is_told_to_its_tenant_alone
                what_a_batch_removes_is_told_to_its_tenant_alone
                a_claim_for_one_tenant_gets_nothing_of_another
                claims_of_tenants_and_of_all_share_what_there_is_in_one_batch
                a_list_of_one_tenant_shows_nothing_of_another
                a_list_of_one_tenant_does_not_look_at_others
            }
            service {
                an_open_store_serves
                a_closed_store_refuses_everything
                f08_a_step_of_the_calendar_while_open_changes_nothing
            }
        }
    };
}

/// The cases about what is kept when a store is closed and opened again, each as a `#[test]`.
#[macro_export]
macro_rules! conformance_restart_suite {
    ($subject:expr) => {
        $crate::conformance_cases! {
            $subject;
            restarts {
                a_reopened_store_has_every_operation_as_it_was
                a_reopened_store_has_its_tombstones
                a_reopened_store_has_its_keys
                a_reopened_store_goes_on_with_its_queue
                a_reopened_store_goes_on_with_its_timers
                a_worker_goes_on_with_its_lease_after_a_restart
                a_lease_that_ended_while_nobody_served_is_started_anew
                a_reopened_store_has_its_seal_key
                a_reopened_store_has_its_documents
                f08_the_clock_does_not_go_back_behind_a_document
                f08_the_clock_does_not_go_back_when_the_calendar_did
                f08_the_clock_does_not_go_back_behind_a_bare_heartbeat
                f08_retention_is_held_for_an_hour_after_a_great_step_forwards
                retention_is_not_held_after_a_short_absence
            }
        }
    };
}

/// The cases about copying a whole store, each as a `#[test]`. Takes an expression that makes an
/// [`Archived`](crate::conformance::Archived).
#[macro_export]
macro_rules! conformance_copy_suite {
    ($subject:expr) => {
        $crate::conformance_cases! {
            $subject;
            copies {
                what_is_copied_reads_back_the_same
                a_copied_store_goes_on_where_it_was
                f08_the_clock_does_not_go_back_behind_a_copied_store
                rows_are_read_in_their_order_and_no_more_than_are_wanted
                a_copy_that_was_let_go_of_goes_on_behind_its_mark
                nothing_is_written_without_a_mark
                a_copy_is_begun_once
            }
        }
    };
}

/// Makes tests of cases.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_cases {
    ($subject:expr; $($module:ident { $($case:ident)* })*) => {
        $(mod $module {
            #[allow(unused_imports, reason = "a subject may be named by its full path")]
            use super::*;
            $(
                #[test]
                fn $case() {
                    $crate::conformance::$module::$case(&mut $subject);
                }
            )*
        })*
    };
}
