//! Connections that cost their peer nothing: FAILURES 33 and 43.

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::beside::Victim;
use crate::support::{Server, create, http, operations};

/// Sockets of an attack.
const SOCKETS: usize = 5_000;
/// What the process needs beside them.
const FILES_RESERVED: u64 = 500;

/// Lets this process have that many.
fn afford_sockets() {
    let (limit, wanted) = (getrlimit(Resource::Nofile), SOCKETS as u64 + FILES_RESERVED);
    assert!(limit.maximum.is_none_or(|files| files >= wanted), "a hard limit (ulimit -Hn) of {wanted} files is needed");
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
}

async fn connect(address: &str, say: &[u8]) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    // The server may have closed it already.
    let _closed = stream.write_all(say).await;
    Some(stream)
}

/// Whether the server has closed the connection within `limit`.
async fn closed(stream: &mut TcpStream, limit: Duration) -> bool {
    timeout(limit, async { while matches!(stream.read(&mut [0; 1024]).await, Ok(1..)) {} }).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn f43_sockets_half_open_keep_nobody_out() {
    let victim = Victim::start().await;
    afford_sockets();
    let half: [&[u8]; 4] = [b"", b"GET / HT", b"GET / HTTP/1.1\r\nhost: loc", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"];
    let attack = async || {
        let mut sockets = Vec::with_capacity(SOCKETS);
        for number in 0..SOCKETS {
            sockets.push(connect(victim.address(), half[number % half.len()]).await.unwrap());
        }
        assert_eq!(http::call(&victim.server.http, "GET", "/healthz", &[], "").status, 200);
        sockets
    };
    // That none is kept for longer than some seconds is shown where the clock can be moved: `net/tests.rs`.
    assert_eq!(victim.bears(attack).await.len(), SOCKETS);
}

#[tokio::test]
async fn a_server_takes_as_many_file_descriptors_as_it_may_have() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("operond.db").display());
    let server = Server::serve_with_files(&store, "-Sn 64");
    let address = server.http.replace("http://", "");
    let mut sockets = Vec::new();
    for _ in 0..100 {
        let mut socket = connect(&address, b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        let mut answer = [0; 12];
        socket.read_exact(&mut answer).await.expect("it is answered, and stays open");
        assert_eq!(&answer, b"HTTP/1.1 200");
        sockets.push(socket);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f33_a_thousand_connections_at_64_file_descriptors_leave_the_server_at_work() {
    let victim = Victim::start_by(|store| Server::serve_with_files(store, "-n 64")).await;
    let attack = async || {
        let mut sockets = Vec::new();
        for _ in 0..1_000 {
            sockets.extend(connect(victim.address(), b"").await);
        }
        // Whoever found no room knows it: 32 are held at most, the others are closed by now.
        let mut open = 0;
        for socket in &mut sockets {
            open += usize::from(!closed(socket, Duration::from_millis(20)).await);
        }
        drop(sockets);
        // Their places are free again.
        let mut client = operations(&victim.server.http);
        crate::support::until(Duration::from_secs(5), "room for a client", || {
            let mut client = client.clone();
            async move { client.create(create("after")).await.ok() }
        })
        .await;
        client.create(create("after")).await.expect("the store has its files");
        open
    };
    let open = victim.bears(attack).await;
    assert!((1..=32).contains(&open), "{open} connections are held");
}
