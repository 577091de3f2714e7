//! How often the two agree.

use crate::Kind;
use crate::child::Peer;
use std::collections::BTreeMap;

/// What a comparison came to.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// One of them does not know the API or the version.
    Skipped,
    Same,
    BothRefuse,
    Different {
        ours: Vec<u8>,
        theirs: Vec<u8>,
    },
    OursRefuses(String),
    TheirsRefuses,
    /// Of a kind that is known, see [`EXPLAINED`].
    Explained,
    TheirsDied,
}

#[derive(Debug, Default)]
pub(crate) struct Report {
    counts: BTreeMap<(Kind, bool, &'static str), u32>,
    /// What must not be.
    problems: Vec<String>,
}

/// Requests that kafka-protocol refuses although Java's clients send them and brokers take them: API and version. For
/// OffsetCommit and OffsetFetch its table of versions goes to 10, and its messages to 9.
const EXPLAINED: [(i16, i16); 2] = [(8, 10), (9, 10)];

impl Verdict {
    /// With what is known about the two.
    pub(crate) fn explained(self, peer: &Peer, kind: Kind, bytes: &[u8]) -> Self {
        let api =
            bytes.first_chunk::<4>().map(|b| (i16::from_be_bytes([b[0], b[1]]), i16::from_be_bytes([b[2], b[3]])));
        match self {
            Self::TheirsRefuses
                if matches!(peer, Peer::KafkaProtocol)
                    && kind == Kind::Request
                    && api.is_some_and(|api| EXPLAINED.contains(&api)) =>
            {
                Self::Explained
            }
            verdict => verdict,
        }
    }
}

/// More of them tell nothing new.
const SHOWN: usize = 20;

impl Report {
    pub(crate) fn add(&mut self, kind: Kind, mutated: bool, verdict: &Verdict, name: &str, bytes: &[u8]) {
        let (what, problem) = match verdict {
            Verdict::Skipped => ("only one knows it", None),
            Verdict::Same => ("the same", None),
            Verdict::BothRefuse => ("both refuse it", None),
            Verdict::Different { ours, theirs } => {
                ("different", Some(format!("ours {}, theirs {}", hex(ours), hex(theirs))))
            }
            Verdict::OursRefuses(why) => ("only ours refuses it", (!mutated).then(|| why.clone())),
            Verdict::TheirsRefuses => ("only theirs refuses it", (!mutated).then(|| "refused by theirs".to_owned())),
            Verdict::Explained => ("only theirs refuses it, for a known reason", None),
            Verdict::TheirsDied => {
                ("theirs panics or runs out of memory", (!mutated).then(|| "theirs died".to_owned()))
            }
        };
        *self.counts.entry((kind, mutated, what)).or_default() += 1;
        if let Some(problem) = problem {
            self.problems.push(format!("{kind:?} {name}: {problem}\n    {}", hex(bytes)));
        }
    }

    pub(crate) fn print(&self) {
        for ((kind, mutated, what), count) in &self.counts {
            println!("{:10} {:10} {what:42} {count:8}", kind.folder(), if *mutated { "mutated" } else { "corpus" });
        }
        for problem in self.problems.iter().take(SHOWN) {
            println!("{problem}");
        }
        println!("{} that must not be", self.problems.len());
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
