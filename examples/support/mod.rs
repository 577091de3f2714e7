//! What the example programs have in common: the options that reach a cluster, signals, and lines on standard output.
#![allow(dead_code, reason = "every program uses a part of it")]

pub(crate) mod admin;
pub(crate) mod deliveries;
pub(crate) mod event;

use sarameya::{Client, Properties};
use std::error::Error;
use std::fmt::Display;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// What the programs' functions return.
pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// How to reach the cluster.
#[derive(Debug, clap::Args)]
pub(crate) struct Connection {
    /// Brokers to ask for all the others, comma separated
    #[arg(long, value_name = "HOST:PORT,...")]
    pub(crate) bootstrap_server: String,

    /// File of settings by Kafka's names, such as request.timeout.ms=5000
    #[arg(long, value_name = "FILE", aliases = ["producer.config", "consumer.config"])]
    pub(crate) command_config: Option<PathBuf>,
}

impl Connection {
    /// The settings in the file.
    pub(crate) fn properties(&self) -> Outcome<Properties> {
        match &self.command_config {
            Some(path) => Ok(Properties::from_file(path)?),
            None => Ok(Properties::new()),
        }
    }

    /// A client with these settings. Says on standard error which of them have no effect.
    pub(crate) fn client(&self, properties: &Properties) -> Outcome<Client> {
        for name in properties.unused() {
            eprintln!("warning: the setting {name} has no counterpart here and is ignored");
        }
        Ok(Client::builder().properties(properties)?.bootstrap_servers(&self.bootstrap_server).build()?)
    }
}

/// Splits `name=value` options. A value may be empty and may contain `=`.
pub(crate) fn name_and_value(option: &str) -> Result<(String, String), String> {
    match option.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("{option:?} is not name=value")),
    }
}

/// Runs a program: warnings of the library go to standard error (`RUST_LOG` changes that), an error too.
pub(crate) fn run(program: impl FnOnce() -> Outcome<ExitCode>) -> ExitCode {
    // What `Connection::client` says of unused settings is not to be said twice.
    let filter = env_logger::Env::default().default_filter_or("warn,sarameya::config=error");
    env_logger::Builder::from_env(filter).init();
    program().unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}

/// Calls `action` on ctrl-c and on SIGTERM, on a thread of its own.
pub(crate) fn on_signal(action: impl FnMut() + Send + 'static) -> Outcome {
    Ok(ctrlc::set_handler(action)?)
}

/// Prints a line at once, so that a reader of a pipe has it before the next thing happens.
pub(crate) fn print_line(line: impl Display) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// A wish to stop that interrupts waits. Clones are the same wish.
#[derive(Debug, Clone, Default)]
pub(crate) struct StopFlag(Arc<(Mutex<bool>, Condvar)>);

impl StopFlag {
    pub(crate) fn set(&self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.1.notify_all();
    }

    pub(crate) fn is_set(&self) -> bool {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the flag is set, at most for the timeout; true if it is set.
    pub(crate) fn wait(&self, timeout: Duration) -> bool {
        let set = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        *self.0.1.wait_timeout_while(set, timeout, |set| !*set).unwrap_or_else(PoisonError::into_inner).0
    }
}
