//! How the client behaves towards a server that answers late, twice, or not at all.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::TryStreamExt;
use operond_proto::operond::v1::{ListResponse, Operation};
use tokio::time::Instant;
use tonic::Status;

use crate::error::tests::status_with_reason;
use crate::fake::{Fake, Reply, Sends, Then, done, operation};
use crate::{Client, Error, ListOptions, NewOperation, WaitEvent};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_create_whose_answer_was_lost_is_repeated_with_the_same_key() {
    let fake = Fake::new();
    fake.create.answer(|_, before| match before {
        0 => Reply::Lost,
        _ => Reply::Now(operation("r1")),
    });
    let created = fake.client.create(NewOperation::new("k")).await.unwrap();
    assert_eq!(created.id, "op1");
    let calls = fake.create.calls();
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[0], calls[1]);
    assert!(calls[0].idempotency_key.as_ref().is_some_and(|key| key.len() == 32));
}

#[tokio::test(start_paused = true)]
async fn a_refused_create_is_not_repeated() {
    let fake = Fake::new();
    fake.create.answer(|_, _| Reply::Refuse(Status::invalid_argument("kind is missing")));
    let error = fake.client.create(NewOperation::new("")).await.unwrap_err();
    assert_eq!(error.to_string(), "kind is missing");
    assert_eq!(fake.create.calls().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn patience_with_an_absent_server_is_bounded() {
    let fake = Fake::new();
    fake.wire.down();
    let begun = Instant::now();
    let error = fake.client.get("op1").await.unwrap_err();
    assert_eq!(error.to_string(), "server unreachable: connection refused");
    assert_eq!(begun.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_answers_is_as_good_as_absent() {
    let fake = Fake::new();
    fake.get.answer(|_, _| Reply::Never);
    let error = fake.client.get("op1").await.unwrap_err();
    assert_eq!(error.to_string(), "server unreachable: no answer within 10 s");
}

#[tokio::test(start_paused = true)]
async fn a_delete_that_was_carried_out_and_is_repeated_succeeds() {
    let fake = Fake::new();
    let gone = || Reply::Refuse(status_with_reason(tonic::Code::NotFound, "deleted", "DELETED"));
    fake.delete.answer(move |_, before| if before == 0 { Reply::Lost } else { gone() });
    assert_eq!(fake.client.delete("op1").await, Ok(()));

    fake.delete.answer(move |_, _| gone());
    assert!(matches!(fake.client.delete("op1").await, Err(Error::NotFound { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_claim_is_never_repeated() {
    let fake = Fake::new();
    fake.claim.answer(|_, _| Reply::Lost);
    assert!(fake.client.claim(crate::proto::ClaimRequest::default()).await.unwrap_err().is_unreachable());
    assert_eq!(fake.claim.calls().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn listing_all_follows_the_pages() {
    let fake = Fake::new();
    fake.list.answer(|request, _| {
        let (revisions, next): (&[&str], &str) = match request.page_token.as_str() {
            "" => (&["a", "b"], "t1"),
            "t1" => (&[], "t2"),
            "t2" => (&["c"], ""),
            other => panic!("unknown token {other}"),
        };
        let operations = revisions.iter().map(|revision| operation(revision)).collect();
        Reply::Now(ListResponse { operations, next_page_token: next.into() })
    });
    let options = ListOptions { filter: "kind = \"k\"".into(), page_size: Some(2), oldest_first: true };
    let all: Vec<Operation> = fake.client.list_all(options).try_collect().await.unwrap();
    assert_eq!(revisions(&all), ["a", "b", "c"]);
    let first = &fake.list.calls()[0];
    assert_eq!((first.filter.as_str(), first.page_size, first.order_by.as_str()), ("kind = \"k\"", 2, "created_at"));
}

#[tokio::test(start_paused = true)]
async fn a_wait_goes_on_after_each_held_call() {
    let fake = Fake::new();
    fake.wait.answer(|_, before| match before {
        0 | 1 => Reply::After(30 * SECOND, operation("r1")),
        _ => Reply::After(5 * SECOND, done("r2")),
    });
    let begun = Instant::now();
    assert!(fake.client.wait("op1").await.unwrap().done);
    assert_eq!(begun.elapsed().as_secs(), 65);
    assert_eq!(fake.wait.calls().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_wait_answers_with_what_there_is_when_its_time_is_over() {
    let fake = Fake::new();
    fake.wait.answer(|request, _| {
        let hold = Duration::try_from(request.timeout.unwrap()).unwrap();
        Reply::After(hold, operation("r1"))
    });
    let begun = Instant::now();
    assert!(!fake.client.wait("op1").timeout(45 * SECOND).await.unwrap().done);
    assert_eq!(begun.elapsed().as_secs(), 45);
    let holds: Vec<i64> = fake.wait.calls().iter().map(|call| call.timeout.unwrap().seconds).collect();
    assert_eq!(holds, [30, 15]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_hold_is_not_asked_without_a_pause() {
    let fake = Fake::new();
    fake.wait.answer(|_, before| if before < 100 { Reply::Now(operation("r1")) } else { Reply::Never });
    _ = fake.client.wait("op1").timeout(10 * SECOND).await;
    assert!(fake.wait.calls().len() <= 14, "{} calls in 10 s", fake.wait.calls().len());
}

#[tokio::test(start_paused = true)]
async fn a_wait_rides_out_an_outage() {
    let fake = Fake::new();
    fake.wait.answer(|_, before| match before {
        0 => Reply::Never,
        _ => Reply::After(SECOND, done("r2")),
    });
    let outage = async {
        fake.wait.reached(1).await;
        fake.wire.down();
        tokio::time::sleep(50 * SECOND).await;
        fake.wire.up();
    };
    let (waited, ()) = tokio::join!(fake.client.wait("op1").into_future(), outage);
    assert!(waited.unwrap().done);
}

#[tokio::test(start_paused = true)]
async fn outages_of_which_each_ends_a_held_call_are_not_one_long_outage() {
    let fake = Fake::new();
    let away = || status_with_reason(tonic::Code::Unavailable, "the store is away", "STORE_UNAVAILABLE");
    fake.wait.answer(move |_, before| match before {
        0..10 => Reply::RefuseAfter(20 * SECOND, away()),
        _ => Reply::Now(done("r2")),
    });
    assert!(fake.client.wait("op1").outage(60 * SECOND).await.unwrap().done);
}

#[tokio::test(start_paused = true)]
async fn a_wait_gives_up_when_the_outage_is_too_long() {
    let fake = Fake::new();
    fake.wire.down();
    let begun = Instant::now();
    let error = fake.client.wait("op1").outage(20 * SECOND).await.unwrap_err();
    assert!(error.is_unreachable());
    assert_eq!(begun.elapsed().as_secs(), 20);
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_what_does_not_exist_ends_at_once() {
    let fake = Fake::new();
    fake.wait.answer(|_, _| Reply::Refuse(Status::not_found("no such operation")));
    assert!(matches!(fake.client.wait("op1").await, Err(Error::NotFound { .. })));
    assert_eq!(fake.wait.calls().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_watch_resumes_after_the_last_change_it_saw() {
    let fake = Fake::new();
    fake.watch.answer(|_, before| {
        Reply::Now(match before {
            0 => Sends { operations: vec![operation("r1"), operation("r2")], then: Then::Cut },
            // A server that does not know the revision any more tells how it is now.
            1 => Sends { operations: vec![operation("r2"), operation("r3")], then: Then::End },
            _ => Sends { operations: vec![done("r4")], then: Then::End },
        })
    });
    let seen: Vec<Operation> = fake.client.watch("op1", None, 60 * SECOND).try_collect().await.unwrap();
    assert_eq!(revisions(&seen), ["r1", "r2", "r3", "r4"]);
    let asked: Vec<String> = fake.watch.calls().into_iter().map(|call| call.after_revision).collect();
    assert_eq!(asked, ["", "r2", "r3"]);
}

#[tokio::test(start_paused = true)]
async fn an_observed_wait_tells_every_change_and_every_outage() {
    let fake = Fake::new();
    fake.watch.answer(|_, before| {
        Reply::Now(match before {
            0 => Sends { operations: vec![operation("r1")], then: Then::Cut },
            _ => Sends { operations: vec![operation("r2"), done("r3")], then: Then::End },
        })
    });
    let told = Mutex::new(Vec::new());
    let waited = observe(&fake.client, &told).await.unwrap();
    assert_eq!(waited.revision, "r3");
    assert_eq!(told.into_inner().unwrap(), ["r1", "lost", "back", "r2", "r3"]);
}

#[tokio::test(start_paused = true)]
async fn an_observed_wait_answers_with_the_last_it_saw_when_its_time_is_over() {
    let fake = Fake::new();
    fake.watch.answer(|_, _| Reply::Now(Sends { operations: vec![operation("r1")], then: Then::Stay }));
    let told = Mutex::new(Vec::new());
    let waited = observe(&fake.client, &told).await.unwrap();
    assert_eq!((waited.revision.as_str(), waited.done), ("r1", false));
}

#[tokio::test(start_paused = true)]
async fn a_wait_may_be_moved_to_another_task() {
    let fake = Arc::new(Fake::new());
    fake.wait.answer(|_, _| Reply::Now(done("r2")));
    let moved = Arc::clone(&fake);
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move { moved.client.wait("op1").await });
    assert!(tasks.join_next().await.unwrap().unwrap().unwrap().done);
}

async fn observe(client: &Client, told: &Mutex<Vec<String>>) -> Result<Operation, Error> {
    let observer = |event: WaitEvent<'_>| {
        told.lock().unwrap().push(match event {
            WaitEvent::Changed(operation) => operation.revision.clone(),
            WaitEvent::Lost(_) => "lost".into(),
            WaitEvent::Back => "back".into(),
        });
    };
    client.wait("op1").timeout(60 * SECOND).on_event(observer).await
}

fn revisions(operations: &[Operation]) -> Vec<&str> {
    operations.iter().map(|operation| operation.revision.as_str()).collect()
}
