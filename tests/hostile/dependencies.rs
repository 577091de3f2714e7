//! What is built into the crate from elsewhere: `Cargo.lock` against the bans in `deny.toml`, for those who have neither
//! `cargo deny` nor a network.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The value in quotes behind `key = ` in a line that begins with it.
fn value<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let quoted = line.trim().trim_start_matches("{ ").strip_prefix(key)?.strip_prefix(" = \"")?;
    quoted.split('"').next()
}

/// The versions of each crate in the lock file.
fn locked() -> BTreeMap<String, Vec<String>> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut name = "";
    let text = read("Cargo.lock");
    for line in text.lines() {
        if let Some(of) = value(line, "name") {
            name = of;
        } else if let Some(version) = value(line, "version") {
            all.entry(name.to_owned()).or_default().push(version.to_owned());
        }
    }
    all
}

/// The numbers of a version, without what stands behind a hyphen or a plus.
fn numbers(version: &str) -> Vec<u64> {
    let plain = version.split(['-', '+']).next().unwrap_or_default();
    plain.split('.').map(|number| number.parse().expect("a number")).collect()
}

#[test]
fn no_dependency_is_banned_or_older_than_the_fix_of_an_advisory() {
    let locked = locked();
    let deny = read("deny.toml");
    let bans: Vec<_> = deny.lines().filter_map(|line| value(line, "crate")).collect();
    let fixes: Vec<_> = bans.iter().filter_map(|ban| ban.split_once("@<")).collect();
    for (name, fixed) in &fixes {
        let versions =
            locked.get(*name).unwrap_or_else(|| panic!("{name} is not used any more: its ban means nothing"));
        for version in versions {
            assert!(numbers(version) >= numbers(fixed), "{name} {version} is older than {fixed}");
        }
    }
    for fixed in ["rustls", "rustls-webpki", "bytes", "crossbeam-channel", "lz4_flex"] {
        assert!(fixes.iter().any(|(name, _)| *name == fixed), "{fixed} had an advisory, and has no ban");
    }
    for banned in ["openssl", "openssl-sys", "native-tls", "tokio"] {
        assert!(bans.contains(&banned), "{banned} is not banned");
        assert!(!locked.contains_key(banned), "{banned} is used");
    }
}

#[test]
fn the_crate_forbids_unsafe_code() {
    assert!(read("src/lib.rs").lines().any(|line| line == "#![forbid(unsafe_code)]"));
    assert!(read("Cargo.toml").lines().any(|line| line == "unsafe_code = \"forbid\""));
    for package in ["Cargo.toml", "examples/Cargo.toml"] {
        assert!(read(package).contains("[lints]\nworkspace = true"), "{package}");
    }
}

#[test]
fn arithmetic_is_checked_in_releases_too() {
    let text = read("Cargo.toml");
    let release = text.split("[profile.release]").nth(1).expect("a profile").split("\n[").next().unwrap_or_default();
    assert!(release.lines().any(|line| line == "overflow-checks = true"), "{release}");
}
