//! HTTP/2 as no library sends it.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

/// GOAWAY with this says that the peer overdoes it.
pub(super) const ENHANCE_YOUR_CALM: u32 = 11;
/// No server lets a test wait longer for what it is going to say.
const PATIENCE: Duration = Duration::from_secs(20);

/// A frame.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A connection that has said hello, with these settings (`[identifier, value]`).
pub(super) async fn greet(address: &str, settings: &[(u16, u32)]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let settings: Vec<u8> =
        settings.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
    let hello = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(SETTINGS, 0, 0, &settings)[..]].concat();
    stream.write_all(&hello).await.unwrap();
    stream
}

/// The header block of a request, never indexed.
pub(super) fn request(method: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let fixed = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "localhost")];
    fixed.iter().chain(more).flat_map(|(name, value)| literal(0, name, value)).collect()
}

/// The headers of a gRPC call.
pub(super) fn grpc(path: &str) -> Vec<u8> {
    request("POST", path, &[("content-type", "application/grpc"), ("te", "trailers")])
}

/// A header field that is not Huffman-coded; `first` says whether it is remembered (0x40) or not (0).
pub(super) fn literal(first: u8, name: &str, value: &str) -> Vec<u8> {
    let mut field = vec![first];
    for text in [name, value] {
        let mut length = text.len();
        if length < 127 {
            field.push(u8::try_from(length).unwrap());
        } else {
            // RFC 7541, 5.1.
            field.push(127);
            length -= 127;
            while length >= 128 {
                field.push(u8::try_from(length % 128).unwrap() | 128);
                length /= 128;
            }
            field.push(u8::try_from(length).unwrap());
        }
        field.extend(text.as_bytes());
    }
    field
}

/// How the server ended a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With this code.
    GoAway(u32),
    /// Without a word that arrived.
    Closed,
}

/// Sends what `bytes` says, `times` at most, while the server bears it. How the server ended it; none if it goes on,
/// also behind all of it.
pub(super) async fn flood(stream: TcpStream, times: usize, mut bytes: impl FnMut(u32) -> Vec<u8>) -> Option<End> {
    let (mut read, mut write) = stream.into_split();
    let mut verdict = std::pin::pin!(async {
        loop {
            match receive(&mut read).await {
                Ok((GOAWAY, payload)) => {
                    break Some(End::GoAway(u32::from_be_bytes(payload[4..8].try_into().unwrap())));
                }
                Ok((PING, payload)) if payload == BEHIND => break None,
                Ok(_) => {}
                Err(_) => break Some(End::Closed),
            }
        }
    });
    let writes = async {
        for time in 0..u32::try_from(times).unwrap() {
            write.write_all(&bytes(time)).await?;
        }
        write.write_all(&frame(PING, 0, 0, BEHIND)).await
    };
    tokio::select! {
        verdict = &mut verdict => return verdict,
        _written_or_cut = writes => {}
    }
    timeout(PATIENCE, verdict).await.expect("the server decides")
}

/// The next frame: its kind and payload.
pub(super) async fn receive(read: &mut (impl AsyncRead + Unpin)) -> std::io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 9];
    read.read_exact(&mut head).await?;
    let mut payload = vec![0; usize::try_from(u32::from_be_bytes([0, head[0], head[1], head[2]])).unwrap()];
    read.read_exact(&mut payload).await?;
    Ok((head[3], payload))
}

/// A ping that only a server answers which has borne all before it.
const BEHIND: &[u8; 8] = b"still up";
