//! Three times the load that a server can carry: FAILURES 56.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use operond_proto::operond::v1::ListRequest;
use operond_proto::operond::v1::operations_client::OperationsClient;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tonic::Code;
use tonic::transport::Channel;

use super::beside::Victim;
use crate::support::{create, operations};

/// Lists that the server carries out at a time; see `LISTS_MAX` in its `listing.rs`.
const LISTS_MAX: u32 = 64;
/// Calls at a time that keep the server busy.
const CALLERS: usize = 8;
/// How long is measured.
const LENGTH: Duration = Duration::from_secs(3);
/// Others may disturb one measurement, but not every one.
const ATTEMPTS: usize = 3;

fn list() -> ListRequest {
    ListRequest { page_size: 1_000, filter: r#"description:"nothing has this""#.into(), ..ListRequest::default() }
}

/// How many lists are answered by a server that is always busy, and never asked for more.
async fn capacity(clients: &[OperationsClient<Channel>]) -> usize {
    let answered = AtomicUsize::new(0);
    let callers = (0..CALLERS).map(|caller| {
        let (mut client, answered) = (clients[caller % clients.len()].clone(), &answered);
        async move {
            loop {
                client.list(list()).await.unwrap();
                answered.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let _elapsed = timeout(LENGTH, futures::future::join_all(callers)).await;
    answered.into_inner()
}

/// How many of `calls`, spread over the time, are answered within `patience`.
async fn goodput(clients: &[OperationsClient<Channel>], calls: usize, patience: Duration) -> usize {
    let begun = Instant::now();
    let mut answers = JoinSet::new();
    for call in 0..calls {
        sleep_until(begun + LENGTH.mul_f64(call as f64 / calls as f64)).await;
        let mut client = clients[call % clients.len()].clone();
        answers.spawn(async move {
            let mut request = tonic::Request::new(list());
            request.set_timeout(patience);
            match client.list(request).await {
                Ok(_) => true,
                Err(status) => {
                    assert!(
                        matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled),
                        "{status:?}"
                    );
                    false
                }
            }
        });
    }
    answers.join_all().await.into_iter().filter(|good| *good).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn f56_lists_at_three_times_the_capacity_leave_four_fifths_of_the_goodput() {
    let victim = Victim::start().await;
    // Each looks at as many operations as a list may, and finds none.
    for _ in 0..1_000 {
        operations(&victim.server.http).create(create("listed")).await.unwrap();
    }
    let clients: Vec<_> = (0..8).map(|_| operations(&victim.server.http)).collect();
    let mut told = Vec::new();
    for _ in 0..ATTEMPTS {
        let capacity = capacity(&clients).await;
        // What a list waits for that was admitted, and as much again.
        let patience = LENGTH.mul_f64(2.0 * f64::from(LISTS_MAX) / capacity as f64);
        let goodput = goodput(&clients, 3 * capacity, patience).await;
        let said = format!("{goodput} of {capacity} in {LENGTH:?}, patience {patience:?}");
        println!("{said}");
        if goodput * 5 >= capacity * 4 {
            return;
        }
        told.push(said);
    }
    panic!("{told:#?}");
}
