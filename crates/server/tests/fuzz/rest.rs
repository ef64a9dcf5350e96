//! REST: methods, paths, queries, headers and JSON bodies that nobody would send.

use std::collections::BTreeSet;

use operond_proto::OPENAPI;
use serde_json::Value;

use crate::input::Input;
use crate::mutate;
use crate::random::Random;
use crate::rig::Rig;
use crate::run::{Target, corpus, run};

#[test]
fn whatever_is_sent_over_rest_is_answered_by_the_contract() {
    let tally = run(Rest);
    let (all, ok) = (tally.values().sum::<usize>(), tally.get("ok").copied().unwrap_or_default());
    assert!(all < 1_000 || (all / 20..all / 20 * 19).contains(&ok), "{ok} of {all} were accepted");
}

/// As many calls as the document promises, told apart by method and verb or last segment.
#[test]
fn the_corpus_asks_every_path_there_is() {
    let openapi: Value = serde_json::from_str(OPENAPI).unwrap();
    let kept = corpus(Rest::FOLDER);
    let asked: Vec<_> = kept.iter().map(|(_, text)| Input::parse(text)).collect();
    let mut missing = BTreeSet::new();
    for (path, methods) in openapi["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let asks = |input: &&Input| input.method.eq_ignore_ascii_case(method) && is_at(path, &input.path());
            if !asked.iter().any(|input| asks(&input)) {
                missing.insert(format!("{method} {path}"));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:?} are asked by no file");
}

pub(crate) struct Rest;

impl Target for Rest {
    const FOLDER: &'static str = "rest";

    fn begin(&mut self) -> Rig {
        Rig::new()
    }

    fn kept(&self, rig: &Rig, text: &str, number: usize) -> Input {
        Input::parse(&rig.fill(text, number))
    }

    fn fresh(&mut self, random: &mut Random, _rig: &Rig, kept: &[Input]) -> Input {
        let mut input = random.pick(kept).clone();
        let other = random.pick(kept);
        match random.below(8) {
            0 => input.method = (*random.pick(METHODS)).to_owned(),
            1 => path(random, &mut input),
            2 | 3 => query(random, &mut input),
            4 => header(random, &mut input),
            _ => {}
        }
        if !input.body.is_empty() || random.one_in(16) {
            for _ in 0..random.below(3) {
                mutate::json(random, &mut input.body, &other.body);
            }
        } else if random.one_in(2) {
            query(random, &mut input);
        }
        if !input.body.is_empty() && random.one_in(5_000) {
            let spaces = (4 << 20) + 1 - input.body.len().min(4 << 20) - random.below(3);
            input.body.extend(vec![b' '; spaces]);
        }
        input.cut = random.below(input.body.len() + 1);
        input.breaks = random.one_in(64);
        input
    }
}

/// A segment is changed, encoded, doubled, left out, or grows.
fn path(random: &mut Random, input: &mut Input) {
    let (path, query) = split(&input.target);
    let mut segments: Vec<Vec<u8>> = path.split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect();
    let at = random.below(segments.len());
    match random.below(10) {
        0 => mutate::bytes(random, &mut segments[at], b":cancel"),
        1 => segments[at] = encoded(random, &segments[at]),
        2 => segments.insert(at, (*random.pick(SEGMENTS)).into()),
        3 => drop(segments.remove(at)),
        4 => segments[at].extend(mutate::word(random).bytes()),
        5 => {
            let times = random.length(2_000);
            segments[at] = segments[at].repeat(times);
        }
        6 => {
            let times = random.length(1_000);
            segments.extend(std::iter::repeat_n(b"a".to_vec(), times));
        }
        7 => segments[at].extend(random.pick(VERBS).bytes()),
        8 => segments[at] = (*random.pick(SEGMENTS)).into(),
        _ => {
            let byte = random.byte();
            segments[at].extend(format!("%{byte:02x}").bytes());
        }
    }
    let mut target = segments.join(&b'/');
    if random.one_in(16) {
        target.splice(0..0, *b"http://localhost/");
    }
    input.target = [&*target, &*query].concat();
}

/// A pair is added, doubled, changed or encoded otherwise.
fn query(random: &mut Random, input: &mut Input) {
    let (path, query) = split(&input.target);
    let mut pairs: Vec<_> =
        query.get(1..).unwrap_or_default().split(|byte| *byte == b'&').map(<[u8]>::to_vec).collect();
    let at = random.below(pairs.len());
    match random.below(6) {
        0 => pairs.insert(at, pairs[at].clone()),
        1 => mutate::bytes(random, &mut pairs[at], b"&=%+"),
        2 => pairs[at] = encoded(random, &pairs[at]),
        3 => {
            let times = random.length(300);
            pairs[at].extend(mutate::word(random).replace(' ', "+").repeat(times).bytes());
        }
        _ => {
            let word = mutate::word(random);
            let value = encoded(random, word.as_bytes());
            pairs.push([mutate::member(random).as_bytes(), b"=", &value].concat());
        }
    }
    input.target = [&*path, b"?", &*pairs.join(&b'&')].concat();
}

fn header(random: &mut Random, input: &mut Input) {
    let name = *random.pick(HEADERS);
    let value = match random.below(4) {
        0 => mutate::word(random).as_bytes().to_vec(),
        1 => {
            let count = random.length(300);
            random.bytes(count).into_iter().filter(|byte| !matches!(byte, 0..=31 | 127)).collect()
        }
        2 => random.pick(HEADER_VALUES).as_bytes().to_vec(),
        _ => {
            let times = random.length(500);
            random.pick(HEADER_VALUES).repeat(times).into_bytes()
        }
    };
    if random.one_in(2) {
        input.headers.retain(|(of, _)| of != name);
    }
    input.headers.push((name.to_owned(), value));
}

/// The path, and the query with its question mark.
fn split(target: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let at = target.iter().position(|byte| *byte == b'?').unwrap_or(target.len());
    (target[..at].to_vec(), target[at..].to_vec())
}

/// What has to be percent-encoded, or more.
fn encoded(random: &mut Random, bytes: &[u8]) -> Vec<u8> {
    let all = random.one_in(4);
    let encode = |byte: &u8| {
        if byte.is_ascii_alphanumeric() && !all { vec![*byte] } else { format!("%{byte:02X}").into_bytes() }
    };
    bytes.iter().flat_map(encode).collect()
}

/// Whether `path` is one of those that `template` stands for.
fn is_at(template: &str, path: &str) -> bool {
    let path = path.replace("%3A", ":");
    let (mut template, mut path) = (template.split('/'), path.split('/'));
    template.by_ref().all(|part| {
        let found = path.next().unwrap_or_default();
        match (part.find('{'), part.rfind('}')) {
            (Some(_), Some(end)) => found.ends_with(&part[end + 1..]) && found.contains(':') == part.contains(':'),
            _ => part == found,
        }
    }) && path.next().is_none()
}

const METHODS: &[&str] =
    &["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "get", "BREW", "GET "];

const VERBS: &[&str] =
    &[":cancel", ":wait", ":watch", ":start", ":claim", ":revoke", "%3Acancel", ":%63ancel", ":", "::"];

const SEGMENTS: &[&str] = &[
    "",
    ".",
    "..",
    "%2e%2e",
    "%2F",
    "api",
    "v1",
    "operations",
    "work:claim",
    "kinds",
    "keys",
    "%00",
    "%",
    "%f",
    "%c3%28",
    "projects",
    "operations:cancel",
    "*",
    "a;b=c",
    "a%20b",
];

const HEADERS: &[&str] = &[
    "host",
    "content-type",
    "content-length",
    "idempotency-key",
    "if-none-match",
    "last-event-id",
    "x-request-id",
    "origin",
    "sec-fetch-site",
    "sec-purpose",
    "purpose",
    "accept",
    "authorization",
    "cookie",
    "grpc-timeout",
    "x-http-method-override",
];

const HEADER_VALUES: &[&str] = &[
    "localhost",
    "[::1]:80",
    "application/json",
    "application/json; charset=utf-8",
    "application/grpc-web",
    "0",
    "4194305",
    "18446744073709551616",
    "\"1\"",
    "W/\"1\", \"2\"",
    "*",
    "1",
    "cross-site",
    "same-origin",
    "prefetch",
    "http://localhost",
    "null",
    "DELETE",
];
