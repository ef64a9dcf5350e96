//! Two servers over one store: each knows the types and the defaults of kinds that the other was given.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::StatusCode;
use operond_store::{
    Answer, Applied, Batch, Collection, Count, CountQuery, Document, DocumentWrite, Error, Feed, ListQuery, Lookup,
    MemoryStore, News, Page, Properties, Stale, Store,
};
use prost_types::field_descriptor_proto::Type;
use tokio::sync::{Mutex, mpsc};

use crate::harness::{Faces, within};
use crate::types::register;

/// The store as the second server sees it: told of what the first one writes, and at times not let to the documents.
struct Seen {
    inner: Arc<MemoryStore>,
    properties: Properties,
    closed_off: Arc<AtomicBool>,
}

struct Told(Mutex<mpsc::Receiver<News>>);

impl Feed for Told {
    fn next(&self) -> Answer<'_, News> {
        Box::pin(async {
            match self.0.lock().await.recv().await {
                Some(news) => Ok(news),
                None => std::future::pending().await,
            }
        })
    }
}

impl Store for Seen {
    fn update(&self, batch: Arc<Batch>) -> Answer<'_, Applied> {
        self.inner.update(batch)
    }

    fn get(&self, scope: &operond_core::Scope, id: &operond_core::OperationId) -> Answer<'_, Lookup> {
        self.inner.get(scope, id)
    }

    fn list(&self, query: &ListQuery) -> Answer<'_, Page> {
        self.inner.list(query)
    }

    fn count(&self, query: &CountQuery) -> Answer<'_, Count> {
        self.inner.count(query)
    }

    fn purge(&self, limit: usize) -> Answer<'_, usize> {
        self.inner.purge(limit)
    }

    fn documents(&self, collection: Collection) -> Answer<'_, Vec<Document>> {
        if self.closed_off.load(Ordering::SeqCst) {
            return Box::pin(std::future::ready(Err(Error::Unavailable("away".into()))));
        }
        self.inner.documents(collection)
    }

    fn put_documents(&self, writes: Vec<DocumentWrite>) -> Answer<'_, Result<Vec<Document>, Stale>> {
        self.inner.put_documents(writes)
    }

    fn ping(&self) -> Answer<'_, Vec<String>> {
        self.inner.ping()
    }

    fn properties(&self) -> &Properties {
        &self.properties
    }

    fn close(&self) -> Answer<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Two servers, and the one who tells the second of them what the first did.
struct Two {
    first: Faces,
    second: Faces,
    teller: mpsc::Sender<News>,
    closed_off: Arc<AtomicBool>,
}

impl Two {
    fn new() -> Self {
        let (teller, told) = mpsc::channel(16);
        let (first, closed_off) = (Faces::new(), Arc::<AtomicBool>::default());
        let second = first.beside(|inner| {
            let others: Option<Arc<dyn Feed>> = Some(Arc::new(Told(Mutex::new(told))));
            let properties = Properties { others, ..inner.properties().clone() };
            Arc::new(Seen { inner, properties, closed_off: Arc::clone(&closed_off) })
        });
        Self { first, second, teller, closed_off }
    }

    /// Writes a default and a type at the first server. The second one knows neither.
    async fn write(&self) {
        self.first.rest("PUT /api/v1/kinds/render", r#"{"maxAttempts": 7}"#).await.ok();
        register(&self.first, Type::Int32).await.unwrap();
        assert_eq!(self.known().await, (false, false));
    }

    fn tell(&self, news: News) {
        self.teller.try_send(news).unwrap();
    }

    /// Whether the second server knows the default, and the type.
    async fn known(&self) -> (bool, bool) {
        let kind = self.second.rest("GET /api/v1/kinds/render", "").await.status == StatusCode::OK;
        let types = self.second.rest("GET /api/v1/types", "").await.ok();
        (kind, types.to_string().contains("acme.Frame"))
    }

    async fn until_known(&self, expected: (bool, bool)) {
        within(async {
            while self.known().await != expected {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
    }
}

fn of(collection: Collection) -> News {
    News { documents: vec![collection], ..News::default() }
}

fn missed() -> News {
    News { missed: true, ..News::default() }
}

#[tokio::test(start_paused = true)]
async fn types_and_defaults_of_kinds_that_another_server_was_given_are_known_when_that_is_told() {
    let two = Two::new();
    two.write().await;
    two.tell(of(Collection::Kinds));
    two.until_known((true, false)).await;
    two.tell(of(Collection::Types));
    two.until_known((true, true)).await;
    let created = two.second.create("render").await;
    assert_eq!(created.max_attempts, 7);
}

#[tokio::test(start_paused = true)]
async fn types_and_defaults_of_kinds_are_read_again_when_news_were_missed() {
    let two = Two::new();
    two.write().await;
    two.tell(missed());
    two.until_known((true, true)).await;
}

#[tokio::test(start_paused = true)]
async fn types_and_defaults_of_kinds_that_cannot_be_read_stay_as_they_were_and_are_read_later() {
    let two = Two::new();
    two.first.rest("PUT /api/v1/kinds/other", r#"{"maxAttempts": 3}"#).await.ok();
    two.tell(missed());
    within(async {
        while two.second.rest("GET /api/v1/kinds/other", "").await.status != StatusCode::OK {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    two.closed_off.store(true, Ordering::SeqCst);
    two.write().await;
    two.tell(missed());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(two.second.rest("GET /api/v1/kinds/other", "").await.status, StatusCode::OK);
    two.closed_off.store(false, Ordering::SeqCst);
    two.until_known((true, true)).await;
}
