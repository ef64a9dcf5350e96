//! Bodies of 100 MiB: FAILURES 36.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::beside::Victim;
use super::frames::{DATA, END_HEADERS, HEADERS, RST_STREAM, SETTINGS, WINDOW_UPDATE, frame, greet, grpc, receive};

const BYTES: usize = 100 << 20;
const PIECE: usize = 64 * 1024;
/// What a server may have taken before it says no: a request of the largest size, and what is on its way.
const TAKEN_MAX: usize = 16 << 20;

/// Posts `head`, then pieces for as long as they are taken. The status, if it was seen, and how much was taken.
async fn post(address: &str, head: &str, piece: &[u8]) -> (Option<String>, usize) {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    let send = async {
        write.write_all(head.as_bytes()).await.unwrap();
        let mut taken = 0;
        while taken < BYTES && write.write_all(piece).await.is_ok() {
            taken += piece.len();
        }
        taken
    };
    let answer = async {
        let mut answer = Vec::new();
        let _reset = read.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).split(' ').nth(1).map(str::to_owned)
    };
    let (taken, status) = tokio::join!(send, answer);
    (status, taken)
}

const HEAD: &str =
    "POST /api/v1/operations HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nconnection: close\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn f36_a_rest_body_of_a_hundred_megabytes_is_refused_unread() {
    let victim = Victim::start().await;
    let announced = format!("{HEAD}content-length: {BYTES}\r\n\r\n");
    let chunked = format!("{HEAD}transfer-encoding: chunked\r\n\r\n");
    let spaces = vec![b' '; PIECE];
    let chunk = [format!("{PIECE:x}\r\n").as_bytes(), &spaces, b"\r\n"].concat();
    for (head, piece) in [(&announced, &spaces), (&chunked, &chunk)] {
        let attack = async || {
            let posts = (0..8).map(|_| post(victim.address(), head, piece));
            futures::future::join_all(posts).await
        };
        for (status, taken) in victim.bears(attack).await {
            // An answer can be lost when the server closes while it is being written to.
            assert!(status.as_deref().is_none_or(|status| status == "413"), "{status:?}");
            assert!(taken < TAKEN_MAX, "{taken} bytes were taken");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f36_a_grpc_message_of_a_hundred_megabytes_is_refused_unread() {
    let victim = Victim::start().await;
    let attack = async || {
        let mut stream = greet(victim.address(), &[]).await;
        let head = frame(HEADERS, END_HEADERS, 1, &grpc("/operond.v1.Operations/Create"));
        stream.write_all(&head).await.unwrap();
        let length = [&[0], &u32::try_from(BYTES).unwrap().to_be_bytes()[..]].concat();
        stream.write_all(&frame(DATA, 0, 1, &length)).await.unwrap();
        let (mut read, mut write) = stream.into_split();
        // As much as the server's window allows, whatever it says meanwhile.
        let piece = frame(DATA, 0, 1, &[0; 16_000]);
        for _ in 0..4 {
            if write.write_all(&piece).await.is_err() {
                break;
            }
        }
        loop {
            match receive(&mut read).await.expect("an answer") {
                (SETTINGS | WINDOW_UPDATE, _) => {}
                (kind, _) => break kind,
            }
        }
    };
    let kind = victim.bears(attack).await;
    assert!([HEADERS, RST_STREAM].contains(&kind), "refused by its length alone, not by {kind}");
}
