//! gRPC: every method of every service that is served, whatever is in its frames.

use operond_proto::FILE_DESCRIPTOR_SET;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor};
use serde_json::Deserializer;

use crate::gzip::gzip;
use crate::input::Input;
use crate::random::Random;
use crate::rig::Rig;
use crate::run::{Target, corpus, run};
use crate::{mutate, wire};

#[test]
fn whatever_is_sent_to_a_grpc_method_is_answered_by_the_contract() {
    let tally = run(Grpc::new());
    let (all, ok) = (tally.values().sum::<usize>(), tally.get("ok").copied().unwrap_or_default());
    assert!(all < 1_000 || (all / 20..all / 20 * 19).contains(&ok), "{ok} of {all} were accepted");
}

#[test]
fn the_corpus_asks_every_method_there_is() {
    let (grpc, files) = (Grpc::new(), corpus(Grpc::FOLDER));
    let asked: Vec<_> = files.iter().map(|(_, text)| Input::parse(text).target).collect();
    for method in &grpc.methods {
        let path = path(method).into_bytes();
        assert!(asked.contains(&path), "{path:?} is in no file: {}", method.full_name());
    }
}

pub(crate) struct Grpc {
    methods: Vec<MethodDescriptor>,
    words: Vec<String>,
    /// Bytes that become many more when they are unpacked.
    bombs: Vec<Vec<u8>>,
}

impl Grpc {
    pub(crate) fn new() -> Self {
        let sets = [
            FILE_DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ];
        let pools = sets.map(|set| DescriptorPool::decode(set).unwrap());
        let services = pools.iter().flat_map(DescriptorPool::services);
        let methods: Vec<_> = services.flat_map(|service| service.methods().collect::<Vec<_>>()).collect();
        assert!(methods.len() > 35, "{methods:?}");
        // A text field with nothing but zeros behind it, below and above what a request may have.
        let bomb = |zeros: usize| gzip(&[&[0x12][..], &*wire::varint(zeros as u64)].concat(), zeros);
        let bombs = [0, 1_000, 65_536, (4 << 20) - 100, 4 << 20, 8 << 20].map(bomb).to_vec();
        Self { methods, words: Vec::new(), bombs }
    }
}

impl Target for Grpc {
    const FOLDER: &'static str = "grpc";

    fn begin(&mut self) -> Rig {
        let rig = Rig::new();
        self.words = WORDS.iter().copied().chain(rig.given()).map(str::to_owned).collect();
        rig
    }

    /// The body is JSON, a message after the other, or frames in hexadecimal.
    fn kept(&self, rig: &Rig, text: &str, number: usize) -> Input {
        let mut input = Input::parse(&rig.fill(text, number));
        let method = self.methods.iter().find(|method| path(method).as_bytes() == input.target);
        if let Some(method) = method.filter(|_| !text.contains("\n\nhex ")) {
            let messages = Deserializer::from_slice(&input.body).into_iter::<serde_json::Value>();
            let message = |json| DynamicMessage::deserialize(method.input(), json).unwrap().encode_to_vec();
            input.body = messages.flat_map(|json| frame(0, &message(json.unwrap()))).collect();
        }
        input.header("content-type", "application/grpc")
    }

    fn fresh(&mut self, random: &mut Random, rig: &Rig, kept: &[Input]) -> Input {
        if random.one_in(16) {
            return looked_at(random, rig);
        }
        let mut input = random.pick(kept).clone();
        if random.one_in(16) {
            input.target = path(random.pick(&self.methods)).into_bytes();
        }
        if random.one_in(100) {
            mutate::bytes(random, &mut input.target, b"/");
        }
        let message = self.message(random, &input, random_other(kept));
        input.body = self.framed(random, &mut input.headers, message);
        input.cut = random.below(input.body.len() + 1);
        input.breaks = random.one_in(64);
        headers(random, &mut input);
        input
    }
}

impl Grpc {
    fn message(&self, random: &mut Random, input: &Input, other: impl Fn(&mut Random) -> Vec<u8>) -> Vec<u8> {
        let method = self.methods.iter().find(|method| path(method).as_bytes() == input.target);
        let mut message = match (random.below(8), method) {
            (0..2, Some(method)) => wire::made_up(random, &method.input(), &self.words, 4),
            (2, _) => random_bytes(random),
            _ => input.body.get(5..).unwrap_or_default().to_vec(),
        };
        let other = other(random);
        // More than one or two, and hardly anything can be read any more.
        for _ in 0..random.below(3).min(random.below(3)) {
            wire::mutate(random, &mut message, &other);
        }
        message
    }

    fn framed(&self, random: &mut Random, headers: &mut Vec<(String, Vec<u8>)>, message: Vec<u8>) -> Vec<u8> {
        let packed = |headers: &mut Vec<(String, Vec<u8>)>, bytes| {
            headers.push(("grpc-encoding".into(), b"gzip".to_vec()));
            frame(1, bytes)
        };
        match random.below(40) {
            0 => Vec::new(),
            1 => message,
            2 => frame(*random.pick(&[1, 2, 0x80, 0xff]), &message),
            3 => packed(headers, &gzip(&message, 0)),
            4 => {
                let mut bytes = gzip(&message, random.below(100));
                mutate::bytes(random, &mut bytes, &message);
                packed(headers, &bytes)
            }
            // Unpacking takes its time.
            5 if random.one_in(50) => packed(headers, &self.bombs[random.below(self.bombs.len())]),
            5 => packed(headers, &self.bombs[random.below(2)]),
            6 => [frame(0, &message), frame(0, &message)].concat(),
            7 => [frame(0, &message), random_bytes(random)].concat(),
            8 => {
                let length = *random.pick(&[0, 1, 4 << 20, (4 << 20) + 1, u32::MAX]);
                [&[0], &length.to_be_bytes()[..], &message].concat()
            }
            9 => {
                let mut frames = frame(0, &message);
                mutate::bytes(random, &mut frames, &message);
                frames
            }
            10 if random.one_in(200) => frame(0, &vec![0x12; (4 << 20) + 1 - random.below(3)]),
            _ => frame(0, &message),
        }
    }
}

/// What was written over gRPC is shown as JSON.
fn looked_at(random: &mut Random, rig: &Rig) -> Input {
    let id = rig.last().unwrap_or_default();
    let target = match random.below(7) {
        0 => format!("/api/v1/operations/{id}?view=FULL"),
        1 => format!("/operations/{id}"),
        2 => format!("/v1/operations/{id}"),
        3 => "/api/v1/operations?pageSize=5".to_owned(),
        4 => "/v1/operations?pageSize=5&filter=metadata.a%3D1".to_owned(),
        5 => "/api/v1/kinds".to_owned(),
        _ => "/api/v1/types".to_owned(),
    };
    Input::new("GET", target)
}

fn headers(random: &mut Random, input: &mut Input) {
    // Held calls are let go of soon: a minute has many ticks.
    if !random.one_in(16) {
        let timeout = *random.pick(&["0n", "1u", "1m", "10m", "100m", "1S"]);
        input.headers.push(("grpc-timeout".into(), timeout.into()));
    }
    if random.one_in(16) {
        let timeout = *random.pick(&["", "1", "S", "1s", "-1S", "999999999S", "99999999H", "1.5S", " 1S", "\u{b2}S"]);
        input.headers.retain(|(name, _)| name != "grpc-timeout");
        input.headers.push(("grpc-timeout".into(), timeout.into()));
    }
    if random.one_in(16) {
        let kind = *random.pick(CONTENT_TYPES);
        input.headers.retain(|(name, _)| name != "content-type" || kind.is_empty());
        input.headers.push(("content-type".into(), kind.into()));
    }
    if random.one_in(8) {
        input.headers.push(("idempotency-key".into(), mutate::word(random).into()));
    }
    if random.one_in(32) {
        let count = random.length(200);
        let name = *random.pick(NAMES);
        input.headers.push((name.into(), random.bytes(count).into_iter().map(|byte| byte | 0x20).collect()));
    }
}

fn random_other(kept: &[Input]) -> impl Fn(&mut Random) -> Vec<u8> {
    |random| random.pick(kept).body.get(5..).unwrap_or_default().to_vec()
}

fn random_bytes(random: &mut Random) -> Vec<u8> {
    let count = random.length(300);
    random.bytes(count)
}

fn path(method: &MethodDescriptor) -> String {
    format!("/{}/{}", method.parent_service().full_name(), method.name())
}

pub(crate) fn frame(flag: u8, message: &[u8]) -> Vec<u8> {
    [&[flag], &u32::try_from(message.len()).unwrap().to_be_bytes()[..], message].concat()
}

const CONTENT_TYPES: &[&str] = &[
    "application/grpc",
    "application/grpc+proto",
    "application/grpc+json",
    "application/grpc;charset=utf-8",
    "application/grpc-web",
    "application/grpcx",
    "application/json",
    "APPLICATION/GRPC",
    "text/plain",
    "",
];

const NAMES: &[&str] = &[
    "x-request-id",
    "grpc-encoding",
    "grpc-accept-encoding",
    "te",
    "origin",
    "host",
    "authorization",
    "x-trailing-bin",
    "grpc-message",
    "grpc-status",
    "sec-fetch-site",
    "content-length",
    "if-none-match",
];

const WORDS: &[&str] = &[
    "a",
    "b",
    "c",
    "w",
    "default",
    "operations/x",
    "done = true",
    "kind = a",
    "created_at",
    "type.googleapis.com/google.protobuf.Struct",
    "type.googleapis.com/google.protobuf.Any",
    "type.googleapis.com/google.rpc.Status",
    "1",
    "key",
];
