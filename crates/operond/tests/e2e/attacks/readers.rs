//! Answers that are asked for and hardly taken: FAILURES 35. That they are cut after a while is shown where the
//! clock can be moved (`net/tests.rs`); here, that they are borne until then.

use std::time::Duration;

use operond_proto::operond::v1::{CreateRequest, HeartbeatRequest};
use prost_types::Any;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, interval};

use super::beside::Victim;
use super::frames::{DATA, END_HEADERS, END_STREAM, HEADERS, WINDOW_UPDATE, frame, greet, grpc, request};
use crate::support::{claimed, operations, work};

/// So long a reader takes a byte a second.
const LENGTH: Duration = Duration::from_secs(4);
/// Readers at a time.
const READERS: usize = 20;
/// What the server may take while that many lists wait, in kB: each once, 4 MB of JSON in a buffer of up to 8 MB, and
/// what one of them takes to be made. (All lists of a server together have a bound, too: `net/tests.rs`.)
const MEMORY_KB_MAX: usize = (READERS + 4) * 8 * 1024;
/// RFC 9113, 6.5.2: how much may be sent on a stream before its reader has said that there is room.
const INITIAL_WINDOW_SIZE: u16 = 4;

/// Operations whose list is as large as an answer may be.
async fn large_list(victim: &Victim) {
    let mut client = operations(&victim.server.http);
    let metadata = Any { type_url: "type.googleapis.com/x.Y".into(), value: vec![0; 60_000] };
    for _ in 0..60 {
        let metadata = Some(metadata.clone());
        let create = CreateRequest { kind: "large".into(), metadata, ..CreateRequest::default() };
        client.create(create).await.unwrap();
    }
}

/// Reads a byte a second of what comes, all of them at the same time.
async fn trickle(mut sockets: Vec<TcpStream>, each_second: &[u8]) {
    let mut second = interval(Duration::from_secs(1));
    let until = Instant::now() + LENGTH;
    while Instant::now() < until {
        second.tick().await;
        for socket in &mut sockets {
            let byte = tokio::time::timeout(Duration::from_secs(5), socket.read(&mut [0])).await;
            assert!(matches!(byte, Ok(Ok(1))), "the answer has begun, and is not cut yet: {byte:?}");
            socket.write_all(each_second).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f35_slow_readers_of_a_large_list_over_http1_are_borne() {
    let victim = Victim::start().await;
    large_list(&victim).await;
    let attack = async || {
        let mut sockets = Vec::new();
        for _ in 0..READERS {
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_recv_buffer_size(4_096).unwrap();
            let mut socket = socket.connect(victim.address().parse().unwrap()).await.unwrap();
            let call = b"GET /api/v1/operations?pageSize=1000 HTTP/1.1\r\nhost: localhost\r\n\r\n";
            socket.write_all(call).await.unwrap();
            sockets.push(socket);
        }
        trickle(sockets, b"").await;
    };
    victim.bears_with(MEMORY_KB_MAX, attack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f35_slow_readers_of_a_large_list_over_http2_are_borne() {
    let victim = Victim::start().await;
    large_list(&victim).await;
    let attack = async || {
        let mut sockets = Vec::new();
        for _ in 0..READERS {
            let mut socket = greet(victim.address(), &[(INITIAL_WINDOW_SIZE, 1)]).await;
            let head = request("GET", "/api/v1/operations?pageSize=1000", &[]);
            socket.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &head)).await.unwrap();
            sockets.push(socket);
        }
        trickle(sockets, &frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])).await;
    };
    victim.bears_with(MEMORY_KB_MAX, attack).await;
}

/// However often an operation changes, a watch that is not read has one state of it.
#[tokio::test(flavor = "multi_thread")]
async fn f35_slow_readers_of_watches_get_fewer_states_and_no_memory() {
    let victim = Victim::start().await;
    let http = &victim.server.http;
    let attack = async || {
        let id = operations(http).create(crate::support::create("watched")).await.unwrap().into_inner().id;
        let lease = claimed(http, "watched").await.lease;
        let mut sockets = Vec::new();
        for _ in 0..READERS {
            let mut socket = greet(victim.address(), &[(INITIAL_WINDOW_SIZE, 1)]).await;
            let head = frame(HEADERS, END_HEADERS, 1, &grpc("/operond.v1.Operations/Watch"));
            let id = [&[0x0a, u8::try_from(id.len()).unwrap()], id.as_bytes()].concat();
            let message = [&[0, 0, 0, 0, u8::try_from(id.len()).unwrap()], &id[..]].concat();
            socket.write_all(&[head, frame(DATA, END_STREAM, 1, &message)].concat()).await.unwrap();
            sockets.push(socket);
        }
        let changes = async {
            let mut work = work(http);
            let metadata = Any { type_url: "type.googleapis.com/x.Y".into(), value: vec![0; 60_000] };
            // 20 watches of 300 states of 60 kB would be 360 MB.
            for _ in 0..300 {
                let metadata = Some(metadata.clone());
                let heartbeat = HeartbeatRequest { lease: lease.clone(), metadata, ..HeartbeatRequest::default() };
                work.heartbeat(heartbeat).await.unwrap();
            }
        };
        let room = frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]);
        tokio::join!(trickle(sockets, &room), changes);
    };
    victim.bears(attack).await;
}
