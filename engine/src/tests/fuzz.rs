//! Every fuzz target with its corpus (engine/fuzz/corpus), the tables of malformed messages, and mutations of both: the same
//! ones in each run. What a fuzzer finds goes into the corpus and is tried here ever after.

use std::panic;
use std::path::Path;

use super::table_of::{self, Text};
use crate::balance::random::Random;
use crate::fuzz;

const MUTATIONS: usize = 4000;
const LARGEST_BYTES: usize = 8192;
/// What parsers of these protocols trip over.
const PIECES: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b" ",
    b"\t",
    b":",
    b";",
    b",",
    b"\0",
    b"0",
    b"-1",
    b"+",
    b"_",
    b"0x",
    b"\xff",
    b"\x80",
    b"ffffffffffffffff",
    b"18446744073709551616",
    b"9223372036854775807",
    b"65536",
    b"..",
    b"%2e",
    b"%00",
    b"/",
    b"?",
    b"#",
    b"@",
    b"Content-Length: 1\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Host: a\r\n",
    b"Connection: close\r\n",
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"chunked",
    b"[",
    b"]",
    b"{",
    b"}",
    b"\"",
    b"null",
    b"1e999",
    b"\xc0\x0c",
    b"PROXY ",
    b"TCP6",
];

#[derive(serde::Deserialize)]
struct Row {
    send: Text,
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut names: Vec<_> = std::fs::read_dir(&folder).expect("a corpus").flatten().map(|e| e.path()).collect();
    names.sort();
    let mut seeds: Vec<Vec<u8>> = names.iter().map(|name| std::fs::read(name).unwrap()).collect();
    assert!(!seeds.is_empty(), "{target} has no corpus");
    let rows: Vec<Row> = match target {
        "request" => table_of::rows("requests"),
        "response" => table_of::rows("responses"),
        _ => Vec::new(),
    };
    seeds.extend(rows.iter().map(|row| row.send.bytes()).filter(|bytes| bytes.len() < LARGEST_BYTES));
    seeds
}

/// One to four small changes.
fn mutate(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut below = |n: usize| (random.draw() % n.max(1) as u64) as usize;
    let mut bytes = seeds[below(seeds.len())].clone();
    for _ in 0..=below(4) {
        let at = below(bytes.len() + 1);
        match below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << below(8),
            1 if at < bytes.len() => bytes[at] = below(256) as u8,
            2 => drop(bytes.drain(at..(at + below(9)).min(bytes.len()))),
            3 => bytes.truncate(at),
            4 => {
                let from = below(bytes.len() + 1);
                let piece = bytes[from..(from + below(33)).min(bytes.len())].to_vec();
                bytes.splice(at..at, piece);
            }
            5 => {
                let other = &seeds[below(seeds.len())];
                bytes.truncate(at);
                bytes.extend_from_slice(&other[below(other.len() + 1)..]);
            }
            _ => drop(bytes.splice(at..at, PIECES[below(PIECES.len())].iter().copied())),
        }
    }
    bytes.truncate(LARGEST_BYTES);
    bytes
}

fn try_one(name: &str, target: fuzz::Target, input: &[u8]) {
    if let Err(cause) = panic::catch_unwind(|| target(input)) {
        eprintln!("{name} fails for {:?}", String::from_utf8_lossy(input));
        eprintln!("as bytes: {input:?}");
        panic::resume_unwind(cause);
    }
}

#[test]
fn every_target_holds_for_its_corpus_and_for_mutations_of_it() {
    for (name, target) in fuzz::TARGETS {
        let seeds = seeds(name);
        seeds.iter().for_each(|seed| try_one(name, *target, seed));
        let mut random = Random::new(20_260_101);
        (0..MUTATIONS).for_each(|_| try_one(name, *target, &mutate(&seeds, &mut random)));
    }
}

#[test]
fn every_target_has_its_program() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    for (name, _) in fuzz::TARGETS {
        let program = std::fs::read_to_string(folder.join(format!("fuzz_targets/{name}.rs"))).expect(name);
        assert!(
            program.contains(&format!("engine::fuzz::{name}(")) && manifest.contains(&format!("name = \"{name}\""))
        );
    }
}

#[test]
fn the_fuzzers_build_what_the_engine_builds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(folder.join(path)).unwrap();
    let dependencies = |text: &str| {
        let from = text.find("[dependencies]").unwrap() + "[dependencies]".len();
        let lines = text[from..].lines().skip(1).take_while(|line| !line.starts_with('['));
        let mut lines: Vec<String> =
            lines.filter(|l| !l.trim().is_empty() && !l.starts_with("libfuzzer-sys")).map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(dependencies(&read("fuzz/Cargo.toml")), dependencies(&read("Cargo.toml")));
}
