//! Guards the way of a record through memory: how many instructions it takes, beside what it took when `instructions.tsv` was
//! written. More than five per cent more is a failure.
//!
//! `cargo bench --package benches --bench instructions` compares, `... -- --record` writes the file anew. Instructions are
//! counted by valgrind, so they do not depend on what else the machine does; they do on the compiler and the target, so
//! with others than the file's the difference is shown and is no failure. Without valgrind nothing is measured.

use benches::{RECORDS, build, check_and_decode, own, seal};
use sarameya::batch::{Compression, Compressor, Decompressor};
use sarameya::{Murmur2Partitioner, Partitioner, ProducerRecord};
use std::collections::BTreeMap;
use std::error::Error;
use std::hint::black_box;
use std::path::Path;
use std::process::{Command, ExitCode};

/// A case, and how to do it once; `once` is for [`RECORDS`] records.
struct Case {
    name: String,
    once: Box<dyn FnMut()>,
}

impl Case {
    fn new(name: impl Into<String>, once: impl FnMut() + 'static) -> Self {
        Self { name: name.into(), once: Box::new(once) }
    }
}

fn cases() -> Vec<Case> {
    let mut buffer = Vec::with_capacity(1 << 20);
    let append = move || buffer = black_box(build(std::mem::take(&mut buffer))).into_buffer();
    let mut cases = vec![Case::new("append", append)];
    for compression in [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4] {
        let (mut buffer, mut compressor) = (Vec::with_capacity(1 << 20), Compressor::default());
        cases.push(Case::new(format!("append and seal {compression}"), move || {
            let sealed = seal(std::mem::take(&mut buffer), compression, &mut compressor);
            buffer = sealed.into_buffer().unwrap_or_default();
        }));
        let sealed = seal(Vec::new(), compression, &mut Compressor::default());
        let mut decompressor = Decompressor::new();
        cases.push(Case::new(format!("check and decode {compression}"), move || {
            black_box(check_and_decode(&sealed, &mut decompressor));
        }));
    }
    let (sealed, mut decompressor) =
        (seal(Vec::new(), Compression::None, &mut Compressor::default()), Decompressor::new());
    cases.push(Case::new("own records", move || {
        black_box(own(&sealed, &mut decompressor));
    }));
    cases.push(Case::new("partition by murmur2", || {
        for i in 0..u64::from(RECORDS) {
            black_box(Murmur2Partitioner.partition(&ProducerRecord::new("t").key(&i.to_be_bytes()), 12));
        }
    }));
    cases
}

/// Does a case so often; what is counted is the difference between often and more often.
fn run(name: &str, times: u64) -> Result<(), Box<dyn Error>> {
    let case = cases().into_iter().find(|case| case.name == name);
    let mut case = case.ok_or_else(|| format!("no case is called {name}"))?;
    (0..times).for_each(|_| (case.once)());
    Ok(())
}

fn counted(name: &str, times: u64) -> Result<u64, Box<dyn Error>> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?)
        .args(["--case", name, &times.to_string()])
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let count = said.lines().find_map(|line| line.split_once("Collected : "));
    match count {
        Some((_, count)) if output.status.success() => Ok(count.trim().parse()?),
        _ => Err(format!("valgrind counts no instructions of {name}: {said}").into()),
    }
}

/// What a record takes.
fn measured(name: &str) -> Result<f64, Box<dyn Error>> {
    const FEW: u64 = 5;
    const MANY: u64 = 25;
    let more = counted(name, MANY)?.saturating_sub(counted(name, FEW)?);
    Ok(more as f64 / ((MANY - FEW) * u64::from(RECORDS)) as f64)
}

fn compiler() -> Result<String, Box<dyn Error>> {
    let said = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).arg("-vV").output()?.stdout;
    let said = String::from_utf8(said)?;
    let told =
        |what: &str| said.lines().find_map(|line| line.strip_prefix(what)).unwrap_or("unknown").trim().to_owned();
    Ok(format!("{} {}", told("release:"), told("host:")))
}

fn compare(record: bool) -> Result<ExitCode, Box<dyn Error>> {
    const TOLERATED: f64 = 1.05;
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.tsv");
    let known = std::fs::read_to_string(&file).unwrap_or_default();
    let mut lines = known.lines();
    let (compiler, known_compiler) = (compiler()?, lines.next().unwrap_or_default());
    let known: BTreeMap<&str, f64> =
        lines.filter_map(|line| line.split_once('\t')).filter_map(|(name, n)| Some((name, n.parse().ok()?))).collect();
    let comparable = compiler == known_compiler;
    if !comparable && !record {
        println!("instructions.tsv is of {known_compiler}, this is {compiler}: differences are shown only");
    }
    println!("{:<26}{:>10}{:>10}{:>10}", "instructions a record", "before", "now", "change");
    let (mut now, mut worse) = (format!("{compiler}\n"), Vec::new());
    for Case { name, .. } in cases() {
        let count = measured(&name)?;
        now.push_str(&format!("{name}\t{count:.1}\n"));
        let before = known.get(name.as_str()).copied();
        let change = before.map_or("new".to_owned(), |before| format!("{:+.1} %", (count / before - 1.0) * 100.0));
        let before_text = before.map_or(String::new(), |before| format!("{before:.1}"));
        println!("{name:<26}{before_text:>10}{count:>10.1}{change:>10}");
        if before.is_none_or(|before| count > before * TOLERATED) {
            worse.push(name);
        }
    }
    if record {
        std::fs::write(&file, now)?;
    } else if comparable && !worse.is_empty() {
        eprintln!("5 % more than before, or new: {}. If it has to be: -- --record", worse.join(", "));
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    // cargo adds --bench.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["--case", name, times] => run(name, times.parse()?).map(|()| ExitCode::SUCCESS),
        _ if Command::new("valgrind").arg("--version").output().is_err() => {
            println!("there is no valgrind: nothing is measured");
            Ok(ExitCode::SUCCESS)
        }
        [] => compare(false),
        ["--record"] => compare(true),
        other => Err(format!("unknown: {}", other.join(" ")).into()),
    }
}
