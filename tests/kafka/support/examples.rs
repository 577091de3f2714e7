//! The example programs, run as a user runs them.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use super::process::{Process, Spec};

/// Starts an example with these arguments.
pub(crate) fn spawn(name: &str, arguments: &[&str]) -> Process {
    spec(name).args(arguments.iter().copied()).spawn()
}

/// An example to which arguments, environment or input are still to be added.
pub(crate) fn spec(name: &str) -> Spec {
    Spec::new(path(name))
}

/// The built program of an example, of the profile of this test.
pub(crate) fn path(name: &str) -> PathBuf {
    let folder = built().join("examples");
    let path = folder.join(name);
    assert!(path.is_file(), "there is no example {name} in {}", folder.display());
    path
}

/// `cargo test` has built the examples, but `cargo test --test kafka` does not, and would run old ones.
fn built() -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let own = std::env::current_exe().expect("the path of this test");
        let folder = own.ancestors().nth(2).expect("a test lies in PROFILE/deps").to_owned();
        // Not set when somebody runs the test binary by hand: then what is there has to do.
        if let Some(cargo) = std::env::var_os("CARGO") {
            let profile = if folder.ends_with("release") { "release" } else { "dev" };
            // With others than the tests' own it would be another build.
            let features = [("oidc", cfg!(feature = "oidc")), ("stores", cfg!(feature = "stores"))];
            let features =
                features.into_iter().filter(|(_, tested)| *tested).flat_map(|(name, _)| ["--features", name]);
            let output = Command::new(cargo)
                .args(["build", "--quiet", "--examples", "--profile", profile])
                .args(features)
                .current_dir(env!("CARGO_MANIFEST_DIR"))
                .output()
                .expect("run cargo");
            assert!(output.status.success(), "the examples do not build:\n{}", String::from_utf8_lossy(&output.stderr));
        }
        folder
    });
    folder.clone()
}
