//! Programs outside the JVM: built where they are ours, found where they are not.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use crate::support::process::{Process, Spec};
use crate::support::say;
use crate::transcript::{Said, Transcript};

/// The first build compiles librdkafka.
const BUILD_LIMIT: Duration = Duration::from_secs(1200);
/// For one program, which limits its own waits.
const RUN_LIMIT: Duration = Duration::from_secs(240);

/// Whether these programs are installed; if not, says that the test is skipped.
///
/// `required` ones fail the test instead where `SARAMEYA_REQUIRE_KAFKA` is 1.
pub(crate) fn installed(programs: &[&str], required: bool) -> bool {
    let runs = |program: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", "command -v \"$0\"", program]).stdin(Stdio::null()).stdout(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let missing: Vec<&str> = programs.iter().copied().filter(|program| !runs(program)).collect();
    if missing.is_empty() {
        return true;
    }
    let required = required && std::env::var("SARAMEYA_REQUIRE_KAFKA").as_deref() == Ok("1");
    assert!(!required, "not installed: {missing:?}, and SARAMEYA_REQUIRE_KAFKA=1 forbids to skip this test");
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    say(&format!("SKIPPED {name}: not installed: {}", missing.join(", ")));
    false
}

/// Runs a program to its end and writes down its standard output: what goes to standard error is a log.
pub(crate) fn run(transcript: &mut Transcript, step: &str, program: Spec) -> Said {
    let said = ended(program.spawn());
    transcript.said(step, &said);
    said
}

/// As [`run`], for a program that prints in any order.
pub(crate) fn run_sorted(transcript: &mut Transcript, step: &str, program: Spec) -> Said {
    let said = ended(program.spawn());
    transcript.sorted(step, &said);
    said
}

/// What a program said once it ends. Its log is shown only where it fails.
pub(crate) fn ended(process: Process) -> Said {
    let output = process.finish(RUN_LIMIT);
    let status = output.status.code().unwrap_or(-1);
    if status != 0 {
        say(&format!("a program ended with status {status}: {}", output.stderr));
    }
    Said { status, output: output.lines().map(str::to_owned).collect(), errors: Vec::new() }
}

/// One of the programs in `go/`.
pub(crate) fn go(program: &str) -> Spec {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let folder = BUILT.get_or_init(|| {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("interop-go");
        std::fs::create_dir_all(&folder).expect("create a folder for programs");
        let build = Spec::new("go").args(["build", "-o"]).args([folder.display().to_string()]).args(["./..."]);
        build.directory(sources().join("go")).spawn().finish(BUILD_LIMIT).success();
        folder
    });
    Spec::new(folder.join(program))
}

/// The program in `rdkafka/`.
pub(crate) fn rdkafka() -> Spec {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let program = BUILT.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("interop-rdkafka");
        let cargo = std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from);
        let build = Spec::new(cargo).args(["build", "--quiet", "--locked", "--target-dir"]);
        let build = build.args([target.display().to_string()]).directory(sources().join("rdkafka"));
        build.spawn().finish(BUILD_LIMIT).success();
        target.join("debug/interop-rdkafka")
    });
    Spec::new(program)
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop")
}
