//! What is committed below `fuzz/corpus`.

use std::fs;
use std::path::{Path, PathBuf};

/// One file of it.
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

/// All samples of a target, by name, so that a seed means the same everywhere.
pub(crate) fn samples(target: &str) -> Vec<Sample> {
    let folder = folder().join(target);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut samples: Vec<_> = files
        .map(|file| {
            let path = file.expect("a file").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            Sample { name, bytes }
        })
        .collect();
    samples.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(!samples.is_empty(), "{} is empty", folder.display());
    samples
}

#[test]
fn the_corpus_is_small_and_has_a_folder_for_each_target_alone() {
    let mut folders: Vec<_> = fs::read_dir(folder())
        .expect("a corpus")
        .map(|folder| folder.expect("a folder").file_name().into_string().expect("UTF-8"))
        .collect();
    folders.sort();
    let mut targets: Vec<_> = sarameya::fuzzing::TARGETS.iter().map(|target| target.name.to_owned()).collect();
    targets.sort();
    assert_eq!(folders, targets);
    let bytes: usize = targets.iter().flat_map(|target| samples(target)).map(|sample| sample.bytes.len()).sum();
    assert!(bytes < 1_000_000, "{bytes} bytes");
}
