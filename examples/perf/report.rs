//! The one line of JSON that a measurement ends with.

use serde_json::Value;
use std::fmt::{Display, Write};
use std::time::Duration;

/// The fields so far, in their order.
#[derive(Debug)]
pub(crate) struct Report(String);

impl Report {
    pub(crate) fn new(op: &str) -> Self {
        let version = env!("CARGO_PKG_VERSION");
        Self(format!("{{\"client\":\"sarameya\",\"version\":\"{version}\",\"op\":\"{op}\""))
    }

    pub(crate) fn text(self, field: &str, text: &str) -> Self {
        self.number(field, Value::from(text))
    }

    pub(crate) fn number(mut self, field: &str, number: impl Display) -> Self {
        let _ = write!(self.0, ",\"{field}\":{number}");
        self
    }

    /// How much was done in which time, and what it took.
    pub(crate) fn done(self, records: u64, size: u64, bytes: u64, wall: Duration) -> Self {
        let wall = wall.as_secs_f64().max(1e-9);
        self.number("n", records)
            .number("size", size)
            .number("wall_s", format!("{wall:.6}"))
            .number("rate", format!("{:.1}", records as f64 / wall))
            .number("mb_s", format!("{:.3}", bytes as f64 / 1e6 / wall))
            .usage()
    }

    pub(crate) fn failed(self, error: &str) -> Self {
        self.number("n", 0).usage().text("error", error)
    }

    /// Of the whole process so far.
    fn usage(self) -> Self {
        let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let peak_kib: f64 = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix("kB")?.trim().parse().ok())
            .unwrap_or(0.0);
        self.number("cpu_s", format!("{:.6}", cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9))
            .number("peak_rss_mb", format!("{:.1}", peak_kib / 1024.0))
    }

    /// Sorts the latencies of single sends and tells of them.
    pub(crate) fn latencies(self, mut nanoseconds: Vec<u64>) -> Self {
        nanoseconds.sort_unstable();
        let micros = |index: usize| {
            let index = index.min(nanoseconds.len().saturating_sub(1));
            format!("{:.1}", nanoseconds.get(index).copied().unwrap_or(0) as f64 / 1e3)
        };
        let quantile = |q: f64| micros((nanoseconds.len() as f64 * q) as usize);
        self.number("p50_us", quantile(0.5))
            .number("p99_us", quantile(0.99))
            .number("max_us", micros(usize::MAX))
            .number("min_us", micros(0))
    }

    pub(crate) fn line(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_json_with_the_agreed_fields() {
        let line = Report::new("sync")
            .done(4, 10, 40, Duration::from_millis(500))
            .latencies(vec![4000, 1000, 3000, 2000])
            .text("note", "a \"note\"")
            .line();
        let json: Value = serde_json::from_str(&line).unwrap();
        assert_eq!((json["client"].as_str(), json["n"].as_u64()), (Some("sarameya"), Some(4)));
        assert_eq!((json["rate"].as_f64(), json["mb_s"].as_f64()), (Some(8.0), Some(0.0)));
        assert_eq!((json["p50_us"].as_f64(), json["p99_us"].as_f64()), (Some(3.0), Some(4.0)));
        assert_eq!((json["min_us"].as_f64(), json["max_us"].as_f64()), (Some(1.0), Some(4.0)));
        assert!(json["cpu_s"].as_f64().unwrap() > 0.0);
        assert_eq!(json["note"], "a \"note\"");
        let failed: Value = serde_json::from_str(&Report::new("sync").failed("x").line()).unwrap();
        assert_eq!((failed["n"].as_u64(), failed["error"].as_str()), (Some(0), Some("x")));
    }
}
