//! A bar on the terminal.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::support::StopFlag;

/// One thread, `progress`, if standard error is a terminal: draws what was counted a few times a second, until it is
/// dropped.
#[derive(Debug)]
pub(crate) struct Progress {
    done: Arc<AtomicU64>,
    ended: StopFlag,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    pub(crate) fn start(total: u64) -> Self {
        let (done, ended) = (Arc::new(AtomicU64::new(0)), StopFlag::default());
        let thread = std::io::stderr().is_terminal().then(|| {
            let (done, ended) = (done.clone(), ended.clone());
            std::thread::Builder::new().name("progress".into()).spawn(move || draw(total, &done, &ended))
        });
        Self { done, ended, thread: thread.and_then(Result::ok) }
    }

    /// Counts. Callers count many at once, since all share one number.
    pub(crate) fn add(&self, records: u64) {
        self.done.fetch_add(records, Ordering::Relaxed);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.ended.set();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn draw(total: u64, done: &AtomicU64, ended: &StopFlag) {
    let start = Instant::now();
    while !ended.wait(Duration::from_millis(200)) {
        eprint!("\r{}\x1b[K", bar(done.load(Ordering::Relaxed), total, start.elapsed()));
        let _ = std::io::stderr().flush();
    }
    eprint!("\r\x1b[K");
}

fn bar(done: u64, total: u64, elapsed: Duration) -> String {
    const WIDTH: f64 = 40.0;
    let part = (done as f64 / total.max(1) as f64).min(1.0);
    let filled = (part * WIDTH) as usize;
    let rate = done as f64 / elapsed.as_secs_f64().max(1e-9);
    format!("[{:<40}] {:3.0} %  {done} records  {rate:.0}/s", "#".repeat(filled), part * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_fills_and_never_overflows() {
        let half = bar(50, 100, Duration::from_secs(5));
        assert_eq!(half, format!("[{}{}]  50 %  50 records  10/s", "#".repeat(20), " ".repeat(20)));
        assert!(bar(200, 100, Duration::from_secs(1)).starts_with(&format!("[{}] 100 %", "#".repeat(40))));
        assert!(bar(0, 0, Duration::ZERO).contains("  0 %"));
    }
}
