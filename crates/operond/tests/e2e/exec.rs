//! `operond worker exec`: programs as workers, from their input to what callers see.

use std::io::Read;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use operond_client::{Any, Client, Code, NewOperation, Operation, Options, Outcome, State, json, payload};
use operond_proto::google::rpc;
use operond_proto::operond::v1::{ReleaseRequest, ReportFailureRequest};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::sync::watch;
use tokio_stream::StreamExt;

use crate::support::{Server, claimed, command, work};

const KIND: &str = "exec";
/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);
/// Less than the 5 s after which a worker drops an attempt whose lease is lost.
const AT_ONCE: Duration = Duration::from_secs(3);

/// A running `operond worker exec`, killed when dropped.
struct Worker {
    process: Child,
    /// What it has written to its standard error so far; no more comes when the other end is gone.
    stderr: watch::Receiver<String>,
}

impl Worker {
    /// A worker of `server` that runs `program`, given `flags`.
    fn start(server: &Server, flags: &[&str], program: &[&str]) -> Self {
        let mut process = command()
            .args(["worker", "exec", "--kind", KIND, "--endpoint", &server.http])
            .args(flags)
            .arg("--")
            .args(program)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut pipe = process.stderr.take().unwrap();
        let (said, stderr) = watch::channel(String::new());
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(bytes @ 1..) = pipe.read(&mut buffer) {
                said.send_modify(|said| said.push_str(&String::from_utf8_lossy(&buffer[..bytes])));
            }
        });
        Self { process, stderr }
    }

    fn shell(server: &Server, flags: &[&str], script: &str) -> Self {
        Self::start(server, flags, &["sh", "-c", script])
    }

    /// Asks it to stop, and waits until it has understood.
    async fn terminate(&mut self) {
        self.signal();
        let understood = self.stderr.wait_for(|said| said.contains("stopping when the programs have ended"));
        tokio::time::timeout(PATIENCE, understood).await.expect("it says that it stops").unwrap();
    }

    fn signal(&self) {
        kill_process(Pid::from_child(&self.process), Signal::TERM).unwrap();
    }

    /// How it ended of its own accord, and what it wrote to its standard error.
    async fn ended(mut self) -> (ExitStatus, String) {
        let ended = async {
            while self.stderr.changed().await.is_ok() {}
            tokio::task::block_in_place(|| self.process.wait().unwrap())
        };
        let status = tokio::time::timeout(PATIENCE, ended).await.expect("the worker ends");
        (status, self.stderr.borrow().clone())
    }

    /// Asks it to stop when nothing runs any more.
    async fn stopped(self) -> String {
        self.signal();
        let (status, said) = self.ended().await;
        assert!(status.success(), "{status}: {said}");
        said
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _already_dead = self.process.kill();
        let _reaped = self.process.wait();
    }
}

fn client(server: &Server) -> Client {
    Client::connect(Options::new(&server.http)).unwrap()
}

fn operation() -> NewOperation {
    NewOperation::new(KIND)
}

/// Has one operation carried out by `program`, and says how it ended.
async fn carried_out(program: &[&str], operation: NewOperation) -> Operation {
    let server = Server::start();
    let worker = Worker::start(&server, &[], program);
    let client = client(&server);
    let id = client.create(operation).await.unwrap().id;
    let operation = done(&client, &id).await;
    worker.stopped().await;
    operation
}

async fn done(client: &Client, id: &str) -> Operation {
    let operation = client.wait(id).timeout(PATIENCE).await.unwrap();
    assert!(operation.done, "{operation:?}");
    operation
}

/// The operation as soon as it is as it should be.
async fn seen(client: &Client, id: &str, wanted: impl Fn(&Operation) -> bool) -> Operation {
    let mut changes = Box::pin(client.watch(id, None, Duration::ZERO));
    let found = async {
        loop {
            let operation = changes.next().await.expect("it is not done without having been so").unwrap();
            if wanted(&operation) {
                return operation;
            }
        }
    };
    tokio::time::timeout(PATIENCE, found).await.expect("it comes to be so")
}

/// A program that says `{"progress": …}` is far enough for a test to go on.
async fn began(client: &Client, id: &str) -> Operation {
    seen(client, id, |operation| operation.progress.is_some()).await
}

fn response(operation: &Operation) -> &Any {
    match &operation.result {
        Some(Outcome::Response(response)) => response,
        other => panic!("no response: {other:?}"),
    }
}

fn error(operation: &Operation) -> (Code, &str) {
    match &operation.result {
        Some(Outcome::Error(error)) => (Code::try_from(error.code).unwrap(), &error.message),
        other => panic!("no error: {other:?}"),
    }
}

/// The process that a program told of by `{"metadata": {"pid": …}}`.
fn pid(operation: &Operation) -> i64 {
    json::plain(operation.metadata.as_ref().unwrap())["pid"].as_i64().unwrap()
}

async fn gone(pid: i64) {
    gone_within(PATIENCE, pid).await;
}

/// Waits until a process has ended; who is to reap it may take his time.
async fn gone_within(time: Duration, pid: i64) {
    let gone = async {
        while std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z ")) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(time, gone).await.expect("the process ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_input_goes_in_as_json_and_the_output_comes_out_as_json() {
    let operation = carried_out(&["tr", "a-z", "A-Z"], operation().input(payload::text("hello"))).await;
    assert_eq!(operation.state(), State::Succeeded);
    assert_eq!(response(&operation), &payload::text("HELLO"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_learns_what_it_works_on_and_answers_with_an_object() {
    let script = r#"read -r input
        printf '{"id": "%s", "kind": "%s", "attempt": %s, "input": %s}' \
            "$OPEROND_OPERATION_ID" "$OPEROND_KIND" "$OPEROND_ATTEMPT" "$input""#;
    let input = json!({"pages": [1, 2], "title": "жуть\n"});
    let operation = carried_out(&["sh", "-c", script], operation().input(payload::from_json(input.clone()))).await;
    let expected = json!({"id": operation.id, "kind": KIND, "attempt": 1, "input": input});
    assert_eq!(response(&operation), &payload::from_json(expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_of_unknown_type_can_be_handed_back_as_it_is() {
    let input = Any { type_url: "type.googleapis.com/a.B".into(), value: vec![0, 1, 255] };
    let operation = carried_out(&["cat"], operation().input(input.clone())).await;
    assert_eq!(response(&operation), &input);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_input_there_is_nothing_to_read_and_without_output_the_response_is_empty() {
    let silent = carried_out(&["sh", "-c", "cat >&2"], operation()).await;
    assert_eq!(response(&silent), &payload::empty());
    let counted = carried_out(&["wc", "-c"], operation()).await;
    assert_eq!(json::plain(response(&counted)), json!(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_need_not_read_its_input_nor_write_whole_lines() {
    let large = payload::text("x".repeat(900_000));
    let operation = carried_out(&["printf", "no newline"], operation().input(large)).await;
    assert_eq!(response(&operation), &payload::text("no newline"));
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_and_metadata_are_seen_by_callers_while_the_program_runs() {
    let folder = tempfile::tempdir().unwrap();
    let gate = gate(folder.path());
    let script = r#"echo '{"metadata": {"page": "first"}}'
        echo '{"progress": {"done": "many"}}'
        echo '{"progress": {"done": 1, "total": 3, "unit": "pages", "message": "going"}}'
        read -r word < "$0"
        echo "$word""#;
    let server = Server::start();
    let worker = Worker::start(&server, &[], &["sh", "-c", script, &gate]);
    let client = client(&server);
    let id = client.create(operation()).await.unwrap().id;

    let running = seen(&client, &id, |operation| operation.progress.is_some() && operation.metadata.is_some()).await;
    assert_eq!(running.state(), State::Running);
    let progress = running.progress.unwrap();
    assert_eq!((progress.done, progress.total), (Some(1.0), Some(3.0)));
    assert_eq!((progress.unit.as_str(), progress.message.as_str()), ("pages", "going"));
    assert_eq!(running.metadata, Some(payload::from_json(json!({"page": "first"}))));

    open(&gate, "made\n");
    let operation = done(&client, &id).await;
    assert_eq!(response(&operation), &payload::text("made"));
    let said = worker.stopped().await;
    assert!(said.contains("progress.done is no number"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_non_zero_exit_is_an_error_that_ends_with_the_tail_of_stderr_which_an_operator_sees_too() {
    let script = r#"echo '{"a": 1}'
        i=0; while [ $i -lt 2000 ]; do i=$((i+1)); echo "line $i" >&2; done
        printf 'no \033[31mpaper\377\n' >&2; exit 3"#;
    let server = Server::start();
    let worker = Worker::shell(&server, &[], script);
    let client = client(&server);
    let id = client.create(operation()).await.unwrap().id;
    let operation = done(&client, &id).await;
    let (code, message) = error(&operation);
    assert_eq!((operation.state(), code), (State::Failed, Code::Unknown));
    assert!(message.starts_with("sh exited with status 3: …"), "{}", message);
    assert!(message.ends_with("line 1999\\nline 2000\\nno \\u{1b}[31mpaper\u{fffd}"), "{}", message);
    assert!((4000..=4096).contains(&message.len()), "{} bytes", message.len());
    let said = worker.stopped().await;
    assert!(said.contains("line 1\nline 2\n") && said.contains("no \u{1b}[31mpaper"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_killed_fails_with_the_signal_that_did_it() {
    let operation = carried_out(&["sh", "-c", "echo oops >&2; kill -SEGV $$"], operation()).await;
    let (_, message) = error(&operation);
    assert!(message.starts_with("sh was killed by signal 11 (SIGSEGV)"), "{message}");
    assert!(message.ends_with(": oops"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overlong_line_is_an_error_and_ends_the_program() {
    let script = format!("head -c 3000000 /dev/zero | tr '\\0' x; {FOR_EVER}");
    let operation = carried_out(&["sh", "-c", &script], operation()).await;
    let expected = "sh wrote a line of more than 2097152 bytes to its standard output";
    assert_eq!(error(&operation), (Code::Internal, expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_brings_sigterm_and_the_operation_is_cancelled() {
    let (operation, said) = cancelled("10s", "trap 'echo tidied up >&2; exit 1' TERM").await;
    assert_eq!(operation.state(), State::Cancelled);
    assert_eq!(error(&operation), (Code::Cancelled, "sh exited with status 1"));
    assert!(said.contains("tidied up"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_came_in_spite_of_the_cancel_stands() {
    let (operation, _) = cancelled("10s", "trap 'echo made; exit 0' TERM").await;
    assert_eq!(operation.state(), State::Succeeded);
    assert_eq!(response(&operation), &payload::text("made"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_ignores_sigterm_is_killed_after_the_grace_with_all_it_has_started() {
    let script = r#"trap '' TERM; sleep 1000 & echo "{\"metadata\": {\"pid\": $!}}""#;
    let (operation, _) = cancelled("300ms", script).await;
    assert_eq!(operation.state(), State::Cancelled);
    assert_eq!(error(&operation), (Code::Cancelled, "sh was killed by signal 9 (SIGKILL)"));
    gone(pid(&operation)).await;
}

/// Cancels an operation when a program that begins with `script` has done that, and goes on for ever.
async fn cancelled(grace: &str, script: &str) -> (Operation, String) {
    let server = Server::start();
    let script = format!("{script}\necho '{{\"progress\": {{}}}}'\n{FOR_EVER}");
    let worker = Worker::shell(&server, &["--grace", grace], &script);
    let client = client(&server);
    let id = client.create(operation()).await.unwrap().id;
    began(&client, &id).await;
    client.cancel(&id, "enough").await.unwrap();
    let operation = done(&client, &id).await;
    (operation, worker.stopped().await)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_program_leaves_running_in_its_group_ends_with_it() {
    let script = r#"sleep 1000 & echo "{\"metadata\": {\"pid\": $!}}"; echo made"#;
    let operation = carried_out(&["sh", "-c", script], operation()).await;
    assert_eq!(response(&operation), &payload::text("made"));
    gone(pid(&operation)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_behind_the_program_may_finish_what_it_says() {
    let script = "exec 3<&0; (read -r word <&3; sleep 0.2; echo \"$word\") &";
    let operation = carried_out(&["sh", "-c", script], operation().input(payload::text("late"))).await;
    assert_eq!(response(&operation), &payload::text("late"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_lease_kills_the_program_at_once() {
    let server = Server::start();
    let script = format!("trap '' TERM; echo \"{{\\\"metadata\\\": {{\\\"pid\\\": $$}}}}\"\n{FOR_EVER}");
    let worker = Worker::shell(&server, &["--grace", "1h"], &script);
    let client = client(&server);
    let id = client.create(operation().run_timeout(Duration::from_secs(1))).await.unwrap().id;
    let running = seen(&client, &id, |operation| operation.metadata.is_some()).await;
    let operation = done(&client, &id).await;
    assert_eq!(error(&operation).0, Code::DeadlineExceeded);
    gone_within(AT_ONCE, pid(&running)).await;
    worker.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_is_lost_while_the_program_ignores_a_cancel_kills_it_too() {
    let server = Server::start();
    let script = format!("trap '' TERM; echo \"{{\\\"metadata\\\": {{\\\"pid\\\": $$}}}}\"\n{FOR_EVER}");
    // Once cancel is known, a third of the lease passes between heartbeats.
    let worker = Worker::shell(&server, &["--grace", "1h", "--lease", "1s"], &script);
    let client = client(&server);
    let id = client.create(operation().cancel_grace(Duration::from_secs(1))).await.unwrap().id;
    let running = seen(&client, &id, |operation| operation.metadata.is_some()).await;
    client.cancel(&id, "enough").await.unwrap();
    assert_eq!(done(&client, &id).await.state(), State::Cancelled);
    gone_within(AT_ONCE, pid(&running)).await;
    worker.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_lets_programs_finish_and_claims_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let gate = gate(folder.path());
    let server = Server::start();
    let script = "echo '{\"progress\": {}}'; read -r word < \"$0\"; echo \"$word\"";
    let mut worker = Worker::start(&server, &[], &["sh", "-c", script, &gate]);
    let client = client(&server);
    let id = client.create(operation()).await.unwrap().id;
    began(&client, &id).await;
    let next = client.create(operation()).await.unwrap().id;

    worker.terminate().await;
    open(&gate, "made\n");
    assert_eq!(response(&done(&client, &id).await), &payload::text("made"));
    let (status, said) = worker.ended().await;
    assert!(status.success(), "{status}: {said}");
    assert_eq!(client.get(&next).await.unwrap().state(), State::Queued);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_sigterm_stops_programs_and_gives_their_operations_back() {
    given_back("1h", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_grace_of_a_shutdown_is_over_programs_are_stopped_and_given_back() {
    given_back("200ms", false).await;
}

/// Has a worker stop in the middle of a program that would go on for ever.
async fn given_back(grace: &str, twice: bool) {
    let server = Server::start();
    let script = format!("echo \"{{\\\"metadata\\\": {{\\\"pid\\\": $$}}}}\"\n{FOR_EVER}");
    let mut worker = Worker::shell(&server, &["--grace", grace], &script);
    let client = client(&server);
    let id = client.create(operation()).await.unwrap().id;
    let running = seen(&client, &id, |operation| operation.metadata.is_some()).await;
    worker.terminate().await;
    if twice {
        worker.signal();
    }
    let (status, said) = worker.ended().await;
    assert!(status.success(), "{status}: {said}");
    gone(pid(&running)).await;
    let operation = client.get(&id).await.unwrap();
    assert_eq!((operation.state(), operation.attempt), (State::Queued, 0), "{operation:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_gone_when_it_is_needed_is_a_final_failure_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("program");
    std::fs::copy("/bin/true", &program).unwrap();
    let path = program.to_str().unwrap();
    let server = Server::start();
    let worker = Worker::start(&server, &[], &[path]);
    let client = client(&server);
    let first = client.create(operation()).await.unwrap().id;
    assert_eq!(done(&client, &first).await.state(), State::Succeeded);

    std::fs::remove_file(&program).unwrap();
    let second = client.create(operation()).await.unwrap().id;
    let operation = done(&client, &second).await;
    let (code, message) = error(&operation);
    assert_eq!(code, Code::FailedPrecondition);
    assert!(message.starts_with(&format!("{path} cannot be started: No such file")), "{}", message);
    worker.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_worker_has_left_to_roll_back_or_clean_up_starts_no_program() {
    let server = Server::start();
    let client = client(&server);
    let mut work = work(&server.http);
    let failing = client.create(operation()).await.unwrap().id;
    let lease = claimed(&server.http, KIND).await.lease;
    let error = rpc::Status { code: Code::DataLoss.into(), message: "checksum".into(), details: vec![] };
    let report = ReportFailureRequest { lease: lease.clone(), error: Some(error), metadata: None };
    work.report_failure(report).await.unwrap();
    work.release(ReleaseRequest { lease }).await.unwrap();
    let worker = Worker::shell(&server, &[], "echo started >&2");
    assert_eq!(self::error(&done(&client, &failing).await), (Code::DataLoss, "checksum"));
    assert!(!worker.stopped().await.contains("started"));

    let cancelling = client.create(operation().clean_up_on_cancel()).await.unwrap().id;
    let lease = claimed(&server.http, KIND).await.lease;
    client.cancel(&cancelling, "enough").await.unwrap();
    work.release(ReleaseRequest { lease }).await.unwrap();
    let worker = Worker::shell(&server, &[], "echo started >&2");
    let operation = done(&client, &cancelling).await;
    assert_eq!(self::error(&operation), (Code::Cancelled, "cancelled before sh was started"));
    assert!(!worker.stopped().await.contains("started"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_a_program_does_not_start() {
    let server = Server::start();
    for program in ["no-such-program", "/no/such/program", "/etc/passwd", "/"] {
        let (status, said) = Worker::start(&server, &[], &[program]).ended().await;
        assert_eq!(status.code(), Some(2), "{program}: {said}");
        assert!(said.contains(&format!("there is no program {program} that may be executed")), "{said}");
    }
}

/// A named pipe that a program reads from and a test writes to, once.
fn gate(folder: &Path) -> String {
    let path = folder.join("gate");
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    path.to_str().unwrap().to_owned()
}

fn open(gate: &str, word: &str) {
    std::fs::write(gate, word).unwrap();
}

/// For a script: waits without an end, and heeds signals meanwhile.
const FOR_EVER: &str = "while :; do sleep 0.05; done";
