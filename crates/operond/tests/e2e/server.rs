//! What an operator meets: a second server on the same file, a full disk, bad flags, a graceful stop.

use std::path::Path;
use std::process::{Command, Output};

use operond_proto::operond::v1::{CompleteRequest, GetOperationRequest, WaitRequest, complete_request};

use crate::support::{Server, claimed, command, create, http, operations, text, work};

#[test]
fn f54_a_second_server_on_the_same_file_is_refused() {
    let server = Server::start();
    let second = command()
        .args(["dev", "--listen", "127.0.0.1:0", "--tls-listen", "127.0.0.1:0", "--data"])
        .arg(server.data())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(!second.status.success());
    assert!(said.contains("operond.db is open in another server"), "{said}");
    assert_eq!(http::call(&server.http, "GET", "/healthz", &[], "").status, 200, "the first one goes on");
}

#[test]
fn a_server_refuses_to_listen_where_others_could_reach_it() {
    let data = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", data.path().join("x.db").display());
    let refused = |arguments: &[&str]| -> String {
        let output: Output = command().args(arguments).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = refused(&["serve", "--store", &store, "--listen", "0.0.0.0:0"]);
    assert!(said.contains("0.0.0.0:0") && said.contains("--tls-listen"), "{said}");
    let open = ["serve", "--store", &store, "--insecure-no-auth", "--listen"];
    let said = refused(&[&open[..], &["0.0.0.0:0"]].concat());
    assert!(said.contains("0.0.0.0:0") && said.contains("--insecure-no-auth"), "{said}");
    // A proxy would let everybody on its other side in.
    let said = refused(&[&open[..], &["127.0.0.1:0", "--behind-tls-proxy"]].concat());
    assert!(said.contains("--insecure-no-auth") && said.contains("--behind-tls-proxy"), "{said}");
    let said = refused(&["serve", "--store", &store, "--worker-listen", "https://127.0.0.1:0"]);
    assert!(said.contains("--tls-cert"), "{said}");
    let said = refused(&["dev", "--data", &data.path().display().to_string(), "--listen", "0.0.0.0:0"]);
    assert!(said.contains("0.0.0.0:0") && said.contains("operond dev"), "{said}");
    let said = refused(&["serve", "--store", "mongodb:x", "--listen", "127.0.0.1:0"]);
    assert!(said.contains("mongodb:x") && said.contains("sqlite:PATH"), "{said}");
    let said = refused(&["serve", "--store", "sqlite:/nowhere/x.db", "--listen", "127.0.0.1:0"]);
    assert!(said.contains("/nowhere"), "{said}");
    assert!(!data.path().join("x.db").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_answers_whoever_waits_and_loses_nothing() {
    let mut server = Server::start();
    let id = operations(&server.http).create(create("stop")).await.unwrap().into_inner().id;
    let request = GetOperationRequest { id: id.clone(), ..GetOperationRequest::default() };
    let mut client = operations(&server.http);
    let mut behind = client.clone();
    let wait = WaitRequest { id: id.clone(), timeout: None };
    let mut waiting = Box::pin(async move { client.wait(wait).await });
    // On one connection calls arrive in order: once one behind it is answered, the server has the wait.
    tokio::select! {
        biased;
        early = &mut waiting => panic!("nothing was to be told yet: {early:?}"),
        answered = behind.get(request.clone()) => drop(answered.unwrap()),
    }
    let waiting = tokio::spawn(waiting);
    let began = std::time::Instant::now();
    assert!(server.stop().success());
    assert!(began.elapsed().as_secs() < 3, "it took {:?} to stop", began.elapsed());
    let answer = waiting.await.unwrap().expect("a waiter is answered with the operation as it is").into_inner();
    assert!(!answer.done);
    server.start_again();
    assert_eq!(operations(&server.http).get(request).await.unwrap().into_inner().id, id);
}

/// FAILURES 28, on a real file system without room.
#[tokio::test(flavor = "multi_thread")]
async fn f28_on_a_full_disk_creates_are_refused_completions_go_on_and_room_is_used_without_a_restart() {
    let temp = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(temp.path());
    let server = Server::start_in(disk.0, &[]);
    let mut operations = operations(&server.http);
    operations.create(create("full")).await.unwrap();
    let lease = claimed(&server.http, "full").await.lease;
    disk.fill();
    let refused = operations.create(create("full")).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unavailable, "{refused:?}");
    assert!(String::from_utf8_lossy(refused.details()).contains("DISK_FULL"), "{refused:?}");
    let outcome = Some(complete_request::Outcome::Response(text("done")));
    work(&server.http).complete(CompleteRequest { lease, metadata: None, outcome }).await.unwrap();
    disk.free();
    let again = async {
        while operations.create(create("full")).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(5), again).await.expect("creates go on when there is room");
}

/// A file system of its own in memory.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    const BYTES: u64 = 96 << 20;

    fn mount(path: &'a Path) -> Self {
        let size = format!("size={}", Self::BYTES);
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(path).status().unwrap();
        assert!(mounted.success(), "this test mounts a small file system: run it as root");
        Self(path)
    }

    /// Leaves a megabyte.
    fn fill(&self) {
        let used =
            std::fs::read_dir(self.0).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum::<u64>();
        let ballast = std::fs::File::create(self.0.join("ballast")).unwrap();
        let bytes = vec![0; usize::try_from(Self::BYTES - used - (1 << 20)).unwrap()];
        std::io::Write::write_all(&mut &ballast, &bytes).unwrap();
    }

    fn free(&self) {
        std::fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        // Lazily: the server that holds files there may be killed a moment later.
        let _left_mounted = Command::new("umount").arg("-l").arg(self.0).status();
    }
}
