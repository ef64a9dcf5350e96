//! Floods of frames that cost their sender little: FAILURES 42.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::beside::Victim;
use super::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, End, HEADERS, PING, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, flood, frame, greet, grpc, literal, request,
};

/// An attack goes on for so long, on one connection after another.
const LENGTH: Duration = Duration::from_secs(2);
const GET: &str = "/operond.v1.Operations/Get";
/// RFC 9113, 7: refused, or given up.
const CANCEL: [u8; 4] = 8_u32.to_be_bytes();

/// How each of the connections ended that made a flood, until the time is over.
async fn again_and_again(victim: &Victim, times: usize, bytes: impl Fn(u32) -> Vec<u8>) -> Vec<Option<End>> {
    let began = Instant::now();
    let mut ends = Vec::new();
    while began.elapsed() < LENGTH {
        let stream = greet(victim.address(), &[]).await;
        ends.push(flood(stream, times, &bytes).await);
        // A connection is made in no time; what is looked at is what it does.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    ends
}

/// The stream that a client opens as its `number`th.
fn stream(number: u32) -> u32 {
    number * 2 + 1
}

#[tokio::test(flavor = "multi_thread")]
async fn f42_rapid_resets_end_with_the_connection() {
    let victim = Victim::start().await;
    let head = grpc(GET);
    // A hundred at a time: they arrive together, and are reset before anybody looks at them.
    let resets = |time: u32| -> Vec<u8> {
        let number = |one| stream(time * 100 + one);
        let one = |stream| [frame(HEADERS, END_HEADERS, stream, &head), frame(RST_STREAM, 0, stream, &CANCEL)].concat();
        (0..100).flat_map(|index| one(number(index))).collect()
    };
    let ends = victim.bears(async || again_and_again(&victim, 1_000, resets).await).await;
    let calmed = ends.iter().filter(|end| **end == Some(End::GoAway(ENHANCE_YOUR_CALM))).count();
    assert!(calmed > 0, "{ends:?}");
    assert!(!ends.contains(&None), "100,000 resets are borne by no connection: {ends:?}");

    // A client that gives up a call now and then is none that attacks.
    let now_and_then = |number: u32| {
        [frame(HEADERS, END_HEADERS, stream(number), &head), frame(RST_STREAM, 0, stream(number), &CANCEL)].concat()
    };
    assert_eq!(flood(greet(victim.address(), &[]).await, 15, now_and_then).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn f42_headers_without_end_end_with_the_connection() {
    let victim = Victim::start().await;
    for bytes in [0, 1, 16_384] {
        let padding = vec![0; bytes];
        let continued = |time: u32| match time {
            0 => frame(HEADERS, 0, 1, &grpc(GET)),
            _ => frame(CONTINUATION, 0, 1, &padding),
        };
        let ends = victim.bears(async || again_and_again(&victim, 10_000, continued).await).await;
        assert!(!ends.is_empty() && !ends.contains(&None), "{bytes} bytes each: {ends:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f42_resets_that_the_server_is_made_to_send_end_with_the_connection() {
    let victim = Victim::start().await;
    let head = grpc(GET);
    // A stream is opened well, then given more room than there are numbers for: an error of the stream, not of the
    // connection (RFC 9113, 6.9.1).
    let room = (u32::MAX >> 1).to_be_bytes();
    let made = |number: u32| {
        let number = stream(number);
        [frame(HEADERS, END_HEADERS, number, &head), frame(WINDOW_UPDATE, 0, number, &room)].concat()
    };
    let ends = victim.bears(async || again_and_again(&victim, 10_000, made).await).await;
    assert!(!ends.contains(&None), "{ends:?}");
    assert!(ends.contains(&Some(End::GoAway(ENHANCE_YOUR_CALM))), "{ends:?}");
}

/// Pings and settings want an answer each; a peer that takes none is not read from any more.
#[tokio::test(flavor = "multi_thread")]
async fn f42_answers_to_pings_and_settings_do_not_pile_up() {
    let victim = Victim::start().await;
    let floods = [frame(PING, 0, 0, b"no hurry"), frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255])];
    for one in floods {
        let many = one.repeat(1_000);
        let stuck = async || {
            let mut stream = greet(victim.address(), &[]).await;
            let began = Instant::now();
            let mut sent = 0;
            // Never reads: 40 MB at most, which loopback takes in less than the time there is.
            while began.elapsed() < LENGTH && sent < 40_000_000 {
                match timeout(Duration::from_millis(200), stream.write_all(&many)).await {
                    Ok(Ok(())) => sent += many.len(),
                    Ok(Err(_)) | Err(_) => break,
                }
            }
            sent
        };
        let sent = victim.bears(stuck).await;
        assert!(sent < 40_000_000, "the server goes on reading from a peer that takes no answers: {sent} bytes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f42_small_blocks_that_unpack_to_much_are_refused() {
    let victim = Victim::start().await;
    // One field of 4,000 bytes is remembered, and named (62: the newest) four thousand times: 16 MB.
    let value = "x".repeat(3_900);
    let bomb = |number: u32| {
        let mut head = request("GET", "/healthz", &[]);
        if number == 0 {
            head.extend(literal(0x40, "x-bomb", &value));
        }
        head.extend([0x80 | 62].repeat(4_000));
        frame(HEADERS, END_HEADERS | END_STREAM, stream(number), &head)
    };
    let ends = victim.bears(async || again_and_again(&victim, 1_000, bomb).await).await;
    assert!(!ends.contains(&None), "{ends:?}");
}

/// A frame of data without data costs its receiver more than its sender.
#[tokio::test(flavor = "multi_thread")]
async fn f42_empty_frames_end_with_the_connection() {
    let victim = Victim::start().await;
    let empty = |time: u32| match time {
        0 => frame(HEADERS, END_HEADERS, 1, &grpc(GET)),
        _ => frame(DATA, 0, 1, &[]).repeat(100),
    };
    let ends = victim.bears(async || again_and_again(&victim, 10_000, empty).await).await;
    assert!(!ends.contains(&None), "{ends:?}");
}
