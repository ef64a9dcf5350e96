//! Just enough HTTP/2 to see the frames of one answer: client libraries hide how an answer was cut into frames.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const PATIENCE: Duration = Duration::from_secs(20);

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// A frame of the answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Headers { end_stream: bool },
    Data { end_stream: bool },
    Reset,
    GoAway,
}

/// Makes one gRPC call and returns the frames of its answer.
pub(crate) async fn frames_of_call(
    mut io: impl AsyncRead + AsyncWrite + Unpin,
    path: &str,
    message: &[u8],
    headers: &[(&str, &str)],
) -> Vec<Frame> {
    let fixed = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    let block: Vec<u8> = fixed.iter().chain(headers).flat_map(|(name, value)| literal(name, value)).collect();
    let length = u32::try_from(message.len()).expect("a short message");
    let body = [&[0], &length.to_be_bytes()[..], message].concat();

    greet(&mut io).await;
    send(&mut io, HEADERS, END_HEADERS, 1, &block).await;
    send(&mut io, DATA, END_STREAM, 1, &body).await;
    io.flush().await.expect("a flush");
    tokio::time::timeout(PATIENCE, answer(&mut io)).await.expect("an answer")
}

/// The client's preface and its (empty) settings.
pub(crate) async fn greet(io: &mut (impl AsyncWrite + Unpin)) {
    io.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.expect("a write");
    send(io, SETTINGS, 0, 0, &[]).await;
    io.flush().await.expect("a flush");
}

/// Sends a ping and waits for its echo.
pub(crate) async fn ping(io: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    send(io, PING, 0, 0, b"operond!").await;
    let echo = async {
        loop {
            let (kind, flags, _, payload) = receive(io).await;
            assert_ne!(kind, GOAWAY, "the server takes offence");
            if kind == PING && flags & ACK != 0 {
                return payload;
            }
        }
    };
    let payload = tokio::time::timeout(PATIENCE, echo).await.expect("an echo");
    assert_eq!(payload, b"operond!");
}

async fn answer(io: &mut (impl AsyncRead + Unpin)) -> Vec<Frame> {
    let mut frames = Vec::new();
    loop {
        let (kind, flags, stream, _) = receive(io).await;
        let end_stream = flags & END_STREAM != 0;
        frames.push(match (kind, stream) {
            (DATA, 1) => Frame::Data { end_stream },
            (HEADERS, 1) => Frame::Headers { end_stream },
            (RST_STREAM, 1) => Frame::Reset,
            (GOAWAY, _) => Frame::GoAway,
            _ => continue,
        });
        let ended =
            [Frame::Headers { end_stream: true }, Frame::Data { end_stream: true }, Frame::Reset, Frame::GoAway];
        if frames.last().is_some_and(|last| ended.contains(last)) {
            return frames;
        }
    }
}

/// A header field that is neither indexed nor Huffman-coded.
fn literal(name: &str, value: &str) -> Vec<u8> {
    let short = |text: &str| u8::try_from(text.len()).ok().filter(|length| *length < 127).expect("a short text");
    [&[0, short(name)], name.as_bytes(), &[short(value)], value.as_bytes()].concat()
}

async fn send(io: &mut (impl AsyncWrite + Unpin), kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    io.write_all(&[&head, payload].concat()).await.expect("a write");
}

async fn receive(io: &mut (impl AsyncRead + Unpin)) -> (u8, u8, u32, Vec<u8>) {
    let mut head = [0; 9];
    io.read_exact(&mut head).await.expect("a frame");
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    let mut payload = vec![0; length as usize];
    io.read_exact(&mut payload).await.expect("a payload");
    (head[3], head[4], stream, payload)
}
