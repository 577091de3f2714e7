//! Decodes the corpus, and mutations of it, with this crate and with the crate kafka-protocol or Kafka's own classes, and
//! compares what both make of it.
//!
//! ```text
//! cargo run --release --package differential -- [--kafka FOLDER-OF-JARS] [MUTATIONS]
//! ```
//!
//! The other one may allocate by lengths from the wire and die, so it runs in a child whose memory is limited; a child
//! that dies is counted and replaced. Exits with 1 if the two disagree about something both of them accept, or about
//! anything at all in the corpus as it is.

mod child;
mod ours;
mod report;

use child::{Child, Peer};
use report::{Report, Verdict};
use std::fs;
use std::path::Path;
use std::process::ExitCode;

/// What a case is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Response,
    Request,
    Batches,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Response, Self::Request, Self::Batches];

    fn folder(self) -> &'static str {
        match self {
            Self::Response => "responses",
            Self::Request => "requests",
            Self::Batches => "batches",
        }
    }
}

fn main() -> ExitCode {
    let (mut peer, mut mutations) = (Peer::KafkaProtocol, 100_000u32);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match (argument.as_str(), argument.parse()) {
            ("--child", _) => {
                child::serve();
                return ExitCode::SUCCESS;
            }
            ("--kafka", _) => match arguments.next() {
                Some(jars) => peer = Peer::Kafka(jars.into()),
                None => return usage(),
            },
            (_, Ok(count)) => mutations = count,
            _ => return usage(),
        }
    }
    let mut child = Child::start(peer.clone());
    let mut report = Report::default();
    for kind in Kind::ALL {
        let samples = samples(kind);
        for (name, bytes) in &samples {
            let verdict = compare(&mut child, &peer, kind, bytes).explained(&peer, kind, bytes);
            report.add(kind, false, &verdict, name, bytes);
        }
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..mutations {
            let (name, bytes) = &samples[random.usize(..samples.len())];
            let mutated = mutate(bytes, &mut random);
            let verdict = compare(&mut child, &peer, kind, &mutated).explained(&peer, kind, &mutated);
            report.add(kind, true, &verdict, name, &mutated);
        }
    }
    report.print();
    if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn usage() -> ExitCode {
    eprintln!("usage: differential [--kafka FOLDER-OF-JARS] [MUTATIONS]");
    ExitCode::from(2)
}

fn samples(kind: Kind) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus").join(kind.folder());
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut samples: Vec<_> = files
        .map(|file| file.expect("a file").path())
        .map(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            (name, fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
        })
        .collect();
    samples.sort();
    samples
}

fn compare(child: &mut Child, peer: &Peer, kind: Kind, bytes: &[u8]) -> Verdict {
    let oldest_magic = if matches!(peer, Peer::Kafka(_)) { 0 } else { 2 };
    let Some(ours) = ours::meaning(kind, bytes, oldest_magic) else { return Verdict::Skipped };
    let theirs = match child.ask(kind, bytes) {
        child::Answer::Died => return Verdict::TheirsDied,
        child::Answer::Skipped => return Verdict::Skipped,
        child::Answer::Refused => Err(()),
        child::Answer::Meaning(meaning) => Ok(ours::normalized(kind, bytes, meaning)),
    };
    match (ours, theirs) {
        (Ok(ours), Ok(theirs)) if ours == theirs => Verdict::Same,
        (Ok(ours), Ok(theirs)) => Verdict::Different { ours, theirs },
        (Err(_), Err(())) => Verdict::BothRefuse,
        (Ok(_), Err(())) => Verdict::TheirsRefuses,
        (Err(why), Ok(_)) => Verdict::OursRefuses(why),
    }
}

/// Behind the number of the API and the version, which stay.
fn mutate(bytes: &[u8], random: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..random.usize(1..3) {
        if bytes.len() <= 8 {
            break;
        }
        let at = random.usize(8..bytes.len());
        match random.u8(..4) {
            0 => bytes[at] ^= 1 << random.u8(..8),
            1 => bytes[at] = random.u8(..),
            2 => bytes.truncate(at),
            _ => bytes.insert(at, random.u8(..)),
        }
    }
    bytes
}
