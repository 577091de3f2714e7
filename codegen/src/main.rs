//! Writes `src/protocol/messages/*.rs` from the message schemas inside Kafka's kafka-clients jar.
//!
//! `cargo run -p codegen [-- [--check] [JAR]]`: without a path, Maven fetches the jar into `target/kafka-jars`.
//! `--check` writes nothing, names the files that are out of date and exits with 1 if there are any.

mod model;
mod rust;
mod schema;
mod table;

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

const KAFKA: &str = "4.3.0";

fn main() -> Result<ExitCode> {
    let mut check = false;
    let mut jar = None;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--check" => check = true,
            path if !path.starts_with('-') && jar.is_none() => jar = Some(PathBuf::from(path)),
            other => return Err(format!("unknown argument {other}; usage: codegen [--check] [JAR]").into()),
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("the workspace has no root")?;
    let jar = match jar {
        Some(jar) => jar,
        None => fetch(root)?,
    };
    let files = format(root, &generate(&jar)?)?;
    let folder = root.join("src/protocol/messages");
    let stale = stale(&folder, &files)?;
    if check {
        for name in &stale {
            println!("stale: {}", folder.join(name).display());
        }
        return Ok(ExitCode::from(u8::from(!stale.is_empty())));
    }
    fs::create_dir_all(&folder)?;
    for name in &stale {
        match files.get(name) {
            Some(text) => fs::write(folder.join(name), text)?,
            None => fs::remove_file(folder.join(name))?,
        }
    }
    println!("{} files, {} of them changed", files.len(), stale.len());
    Ok(ExitCode::SUCCESS)
}

/// Gets the jar from Maven's repository, once.
fn fetch(root: &Path) -> Result<PathBuf> {
    let folder = root.join("target/kafka-jars");
    let jar = folder.join(format!("kafka-clients-{KAFKA}.jar"));
    if !jar.exists() {
        let status = Command::new("mvn")
            .args(["-q", "-B", "dependency:copy"])
            .arg(format!("-Dartifact=org.apache.kafka:kafka-clients:{KAFKA}"))
            .arg(format!("-DoutputDirectory={}", folder.display()))
            // Outside of any Maven project, and inside a folder that surely exists.
            .current_dir(root)
            .status()
            .map_err(|error| format!("mvn is needed to fetch {}: {error}", jar.display()))?;
        if !status.success() || !jar.exists() {
            return Err(format!("mvn did not fetch {}", jar.display()).into());
        }
    }
    Ok(jar)
}

/// All files by name, not yet formatted.
fn generate(jar: &Path) -> Result<BTreeMap<String, String>> {
    let schemas = schema::read(jar)?;
    let modules = table::modules(&schemas)?;
    let mut files = BTreeMap::new();
    for module in &modules {
        files.insert(format!("{}.rs", module.name), rust::file(module)?);
    }
    files.insert("mod.rs".to_owned(), table::mod_rs(&schemas, &modules));
    Ok(files)
}

/// Runs rustfmt with the workspace's settings over the files.
fn format(root: &Path, files: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>> {
    let folder = root.join("target/codegen");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    for (name, text) in files {
        fs::write(folder.join(name), text)?;
    }
    // It follows the `mod` lines of this file to all others.
    let status = Command::new("rustfmt")
        .args(["--edition", "2024", "--config-path"])
        .arg(root)
        .arg(folder.join("mod.rs"))
        .status()?;
    if !status.success() {
        return Err("rustfmt refused the generated code, see target/codegen".into());
    }
    files.keys().map(|name| Ok((name.clone(), fs::read_to_string(folder.join(name))?))).collect()
}

/// Names of the files in `folder` that are missing, differ, or should not be there.
fn stale(folder: &Path, files: &BTreeMap<String, String>) -> Result<Vec<String>> {
    let mut stale: Vec<String> = files
        .iter()
        .filter(|(name, text)| fs::read_to_string(folder.join(name)).ok().as_ref() != Some(text))
        .map(|(name, _)| name.clone())
        .collect();
    if folder.exists() {
        for entry in fs::read_dir(folder)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if !files.contains_key(&name) {
                stale.push(name);
            }
        }
    }
    Ok(stale)
}
