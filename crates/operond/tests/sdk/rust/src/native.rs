//! The server side of an operation, over the native REST face: what a producer and a worker do.

use serde_json::{Value, json};

/// A client of the native face.
pub(crate) struct Native {
    base: String,
    client: reqwest::Client,
}

impl Native {
    pub(crate) fn new(base: &str) -> Self {
        let client = reqwest::Client::builder().no_proxy().build().expect("a client needs nothing from outside");
        Self { base: base.into(), client }
    }

    /// A new operation; its id.
    pub(crate) async fn create(&self, kind: &str) -> String {
        let operation = self.post("operations", json!({ "kind": kind })).await;
        operation["id"].as_str().expect("an operation has an id").into()
    }

    /// The lease of the only operation of its kind.
    pub(crate) async fn claim(&self, kind: &str) -> String {
        let request = json!({ "kinds": [kind], "worker": "sdk-test", "leaseDuration": "60s", "wait": "5s" });
        let answer = self.post("work:claim", request).await;
        answer["claims"][0]["lease"].as_str().expect("there is an operation to claim").into()
    }

    pub(crate) async fn set_metadata(&self, lease: &str, metadata: Value) {
        self.post("work:heartbeat", json!({ "lease": lease, "metadata": metadata })).await;
    }

    /// Waits, at most half the lease, for a cancel to reach the worker.
    pub(crate) async fn cancel_requested(&self, lease: &str) -> bool {
        let answer = self.post("work:heartbeat", json!({ "lease": lease, "wait": "20s" })).await;
        answer.get("cancelRequested").is_some()
    }

    pub(crate) async fn report_failure(&self, lease: &str, error: Value) {
        self.post("work:reportFailure", json!({ "lease": lease, "error": error })).await;
    }

    /// `outcome` is `{"response": ...}`, `{"error": ...}` or `{"cancelled": ...}`.
    pub(crate) async fn complete(&self, lease: &str, mut outcome: Value) {
        outcome["lease"] = lease.into();
        self.post("work:complete", outcome).await;
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let request = self.client.post(format!("{}/api/v1/{path}", self.base)).json(&body);
        let response = request.send().await.expect("the server is there");
        let status = response.status();
        let answer: Value = response.json().await.expect("the server answers in JSON");
        assert!(status.is_success(), "POST {path}: {status}: {answer}");
        answer
    }
}
