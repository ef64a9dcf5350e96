//! Heads of 64 KiB: FAILURES 41.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::beside::Victim;
use super::frames::{CONTINUATION, END_HEADERS, END_STREAM, HEADERS, flood, frame, greet, request};

const BYTES: usize = 64 * 1024;
/// Calls of an attack.
const CALLS: usize = 300;

/// The status that one HTTP/1.1 call with so much in its head is answered; none if it was cut.
async fn http1(address: &str, padding: usize) -> Option<String> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nx-padding: {}\r\n\r\n",
        "x".repeat(padding)
    );
    let _cut_while_sent = stream.write_all(head.as_bytes()).await;
    let mut answer = Vec::new();
    let _reset = stream.read_to_end(&mut answer).await;
    Some(String::from_utf8_lossy(&answer).split(' ').nth(1)?.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn f41_heads_of_http1_have_a_limit() {
    let victim = Victim::start().await;
    assert_eq!(http1(victim.address(), BYTES - 1024).await.as_deref(), Some("200"), "a large one is read");
    let statuses = async || {
        let mut statuses = Vec::new();
        for _ in 0..CALLS {
            statuses.push(http1(victim.address(), BYTES).await);
        }
        statuses
    };
    let statuses = victim.bears(statuses).await;
    let refused = statuses.iter().filter(|status| status.as_deref() == Some("431")).count();
    // Some answers are lost: the server closes while it is still being written to.
    assert!(refused > 0 && statuses.iter().flatten().all(|status| status == "431"), "{statuses:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn f41_heads_of_http2_have_a_limit() {
    let victim = Victim::start().await;
    let value = "x".repeat(BYTES);
    let large = |number: u32| {
        let head = request("GET", "/healthz", &[("x-padding", &value)]);
        let stream = number * 2 + 1;
        let (first, rest) = head.split_at(16_000);
        let mut frames = frame(HEADERS, END_STREAM, stream, first);
        let pieces: Vec<&[u8]> = rest.chunks(16_000).collect();
        for (index, piece) in pieces.iter().enumerate() {
            let last = index + 1 == pieces.len();
            frames.extend(frame(CONTINUATION, if last { END_HEADERS } else { 0 }, stream, piece));
        }
        frames
    };
    let ends = victim.bears(async || flood(greet(victim.address(), &[]).await, CALLS, large).await).await;
    assert!(ends.is_some(), "four times the limit is more than a mistake: the connection ends");
}
