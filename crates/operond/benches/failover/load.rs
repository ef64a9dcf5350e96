//! The load: who creates, waits, watches, reads, cancels and deletes. Workers are in [`crate::work`].

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use futures::StreamExt;
use operond_client::proto::operations_client::OperationsClient;
use operond_client::proto::{CreateRequest, GetOperationRequest};
use operond_client::{Client, Error, Operation};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::call::attempt;
use crate::dice::Dice;
use crate::scene::{PATIENCE, Scene};
use crate::work::work;

/// Everybody who calls the servers.
pub(crate) struct Load {
    scene: Arc<Scene>,
    callers: TaskTracker,
    workers: TaskTracker,
    waiters: TaskTracker,
    /// No more is begun.
    over: CancellationToken,
    /// Nothing is left to be done.
    idle: CancellationToken,
}

impl Load {
    pub(crate) fn start(scene: &Arc<Scene>) -> Self {
        let load = Self {
            scene: Arc::clone(scene),
            callers: TaskTracker::new(),
            workers: TaskTracker::new(),
            waiters: TaskTracker::new(),
            over: CancellationToken::new(),
            idle: CancellationToken::new(),
        };
        let patience = Arc::new(Semaphore::new(WAITERS_MAX));
        let mut whose = 0;
        for server in [0, 1] {
            let mut caller = || {
                whose += 1;
                Caller {
                    scene: Arc::clone(scene),
                    server,
                    dice: Dice::new(scene.seed, whose),
                    client: scene.client(server),
                    over: load.over.clone(),
                    waiters: load.waiters.clone(),
                    patience: Arc::clone(&patience),
                }
            };
            for _ in 0..CREATORS {
                load.callers.spawn(caller().create());
                load.callers.spawn(caller().create_by_keys());
            }
            load.callers.spawn(caller().read());
            load.callers.spawn(caller().read());
            load.callers.spawn(caller().cancel());
            load.callers.spawn(caller().delete());
            for worker in 0..WORKERS {
                load.put_to_work("quick", server, Dice::new(scene.seed, 1000 + 2 * worker + server as u64));
            }
        }
        load
    }

    /// Begins no more, and waits until all is done and everybody has been told.
    ///
    /// # Errors
    /// That takes too long.
    pub(crate) async fn end(self) -> Result<()> {
        self.over.cancel();
        self.callers.close();
        ensure!(timeout(END_MAX, self.callers.wait()).await.is_ok(), "a caller does not come to an end");
        // Those whose leases were lost are left to others.
        self.put_to_work("long", 0, Dice::new(self.scene.seed, 2000));
        let client = self.scene.client(0);
        let begun = Instant::now();
        for kind in ["quick", "long"].map(|kind| self.scene.kind(kind)) {
            while client.count(&format!("kind = \"{kind}\" AND done = false")).await?.count > 0 {
                ensure!(begun.elapsed() < END_MAX, "operations of the kind {kind} are not done after {END_MAX:?}");
                sleep(LOOK_AT_COUNT).await;
            }
        }
        self.idle.cancel();
        for those in [self.workers, self.waiters] {
            those.close();
            ensure!(timeout(END_MAX, those.wait()).await.is_ok(), "a worker or a waiter does not come to an end");
        }
        Ok(())
    }

    fn put_to_work(&self, kind: &str, server: usize, dice: Dice) {
        self.workers.spawn(work(Arc::clone(&self.scene), self.scene.kind(kind), server, dice, self.idle.clone()));
    }
}

/// One of those who call.
struct Caller {
    scene: Arc<Scene>,
    server: usize,
    dice: Dice,
    client: Client,
    over: CancellationToken,
    waiters: TaskTracker,
    patience: Arc<Semaphore>,
}

impl Caller {
    /// Creates that are made once: they show at once when writes are refused, and when they no longer are.
    async fn create(mut self) {
        let mut operations = OperationsClient::new(self.scene.channel(self.server));
        while self.pause(CREATE_EVERY).await {
            let request = self.scene.request("quick");
            let begun = Instant::now();
            let answer = attempt(operations.create(request.clone())).await;
            self.scene.ledger.book().wrote(self.server, begun, &answer);
            match answer {
                Ok(operation) => self.created(&operation, request, false),
                Err(error) => self.refused("a create", &error),
            }
        }
    }

    /// Creates that are repeated, at one server and the other, until they are acknowledged.
    async fn create_by_keys(mut self) {
        let mut operations = [0, 1].map(|server| OperationsClient::new(self.scene.channel(server)));
        while self.pause(CREATE_EVERY).await {
            let mut request = self.scene.request("quick");
            request.idempotency_key = Some(request.description.clone());
            let mut server = self.server;
            loop {
                let begun = Instant::now();
                let answer = attempt(operations[server].create(request.clone())).await;
                self.scene.ledger.book().wrote(server, begun, &answer);
                match answer {
                    Ok(operation) => self.created(&operation, request, true),
                    Err(error @ Error::Unreachable { .. }) if !self.over.is_cancelled() => {
                        self.refused("a create", &error);
                        server = 1 - server;
                        sleep(REPEAT_AFTER).await;
                        continue;
                    }
                    Err(error) => self.refused("a create", &error),
                }
                break;
            }
        }
    }

    fn created(&mut self, operation: &Operation, request: CreateRequest, keyed: bool) {
        {
            let mut book = self.scene.ledger.book();
            book.created(operation, request.description, keyed);
            book.is_common(&operation.id);
        }
        let Ok(permit) = Arc::clone(&self.patience).try_acquire_owned() else { return };
        let (scene, client, id) = (Arc::clone(&self.scene), self.client.clone(), operation.id.clone());
        match self.dice.below(20) {
            0 => {
                self.waiters.spawn(async move {
                    watch(&scene, &client, &id).await;
                    drop(permit);
                });
            }
            1..=4 => {
                self.waiters.spawn(async move {
                    wait(&scene, &client, &id).await;
                    drop(permit);
                });
            }
            _ => {}
        }
    }

    /// Reads what was created lately: it is there.
    async fn read(mut self) {
        let mut operations = OperationsClient::new(self.scene.channel(self.server));
        while self.pause(READ_EVERY).await {
            let Some(id) = self.recent() else { continue };
            let request = GetOperationRequest { id: id.clone(), wait: Some(Default::default()), view: 0 };
            let begun = Instant::now();
            let answer = attempt(operations.get(request)).await;
            let mut book = self.scene.ledger.book();
            book.read(self.server, begun, &answer);
            match answer {
                Ok(operation) if operation.done => book.ended(&operation),
                Err(error @ Error::NotFound { .. }) => book.missed(&id, &error),
                _ => {}
            }
        }
    }

    async fn cancel(mut self) {
        while self.pause(CANCEL_EVERY).await {
            let Some(id) = self.recent() else { continue };
            let begun = Instant::now();
            let answer = self.client.cancel(&id, "the load cancels").await;
            let mut book = self.scene.ledger.book();
            book.wrote(self.server, begun, &answer);
            match answer {
                Ok(operation) if operation.done => book.ended(&operation),
                Ok(_) => book.known(&id).cancelled = true,
                Err(error @ Error::NotFound { .. }) => book.missed(&id, &error),
                Err(error) => book.broken.extend(refusal("a cancel", &error)),
            }
        }
    }

    async fn delete(mut self) {
        while self.pause(DELETE_EVERY).await {
            let Some(id) = self.scene.ledger.book().done(|count| self.dice.below(count)) else { continue };
            self.scene.ledger.book().known(&id).delete_tried = true;
            let begun = Instant::now();
            let answer = self.client.delete(&id).await;
            let mut book = self.scene.ledger.book();
            book.wrote(self.server, begun, &answer);
            match answer {
                Ok(()) => book.known(&id).deleted = true,
                // By another one before.
                Err(Error::NotFound { .. }) => {}
                Err(error) => book.broken.extend(refusal("a delete", &error)),
            }
        }
    }

    fn recent(&mut self) -> Option<String> {
        let book = self.scene.ledger.book();
        book.recent(|count| self.dice.below(count))
    }

    fn refused(&self, what: &str, error: &Error) {
        self.scene.ledger.book().broken.extend(refusal(what, error));
    }

    /// Does nothing for about so long. False when no more is to be begun.
    async fn pause(&mut self, about: Duration) -> bool {
        let pause = about.mul_f64(0.5 + self.dice.below(1000) as f64 / 1000.0);
        self.over.run_until_cancelled(sleep(pause)).await.is_some()
    }
}

/// A refusal of what must not be refused.
fn refusal(what: &str, error: &Error) -> Option<String> {
    (!error.is_unreachable()).then(|| format!("{what} was refused: {error}"))
}

async fn wait(scene: &Scene, client: &Client, id: &str) {
    match client.wait(id).outage(PATIENCE).await {
        Ok(operation) => scene.ledger.book().ended(&operation),
        Err(error @ Error::NotFound { .. }) => scene.ledger.book().missed(id, &error),
        Err(error) => scene.ledger.book().broken.push(format!("a wait for {id} ended: {error}")),
    }
}

async fn watch(scene: &Scene, client: &Client, id: &str) {
    let mut states = Box::pin(client.watch(id, None, PATIENCE));
    let mut last: Option<Operation> = None;
    while let Some(state) = states.next().await {
        let mut book = scene.ledger.book();
        match state {
            Ok(operation) => {
                if last.is_some_and(|last| modified(&last) > modified(&operation)) {
                    book.broken.push(format!("{id} went back in time"));
                }
                if operation.done {
                    book.ended(&operation);
                }
                last = Some(operation);
            }
            Err(error @ Error::NotFound { .. }) => return book.missed(id, &error),
            Err(error) => return book.broken.push(format!("a watch of {id} ended: {error}")),
        }
    }
}

fn modified(operation: &Operation) -> (i64, i32) {
    operation.modified_at.map_or((0, 0), |at| (at.seconds, at.nanos))
}

/// Of each sort, at each server.
const CREATORS: usize = 3;
const WORKERS: u64 = 3;
/// Who waits or watches, at all connections of creators: on each of them fewer than a server allows.
const WAITERS_MAX: usize = 1000;
const CREATE_EVERY: Duration = Duration::from_millis(30);
const READ_EVERY: Duration = Duration::from_millis(30);
const CANCEL_EVERY: Duration = Duration::from_millis(50);
const DELETE_EVERY: Duration = Duration::from_millis(200);
/// Who was refused asks again after so long.
const REPEAT_AFTER: Duration = Duration::from_millis(100);
const LOOK_AT_COUNT: Duration = Duration::from_millis(500);
/// How long what is under way may take to end, an outage included.
const END_MAX: Duration = Duration::from_secs(180);
