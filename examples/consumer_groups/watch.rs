//! `--watch`: the lag of groups, drawn again and again, with bars.

use crate::describe::ordered;
use crate::support::{self, Outcome, StopFlag};
use sarameya::admin::{Admin, GroupLag};
use std::io::Write;
use std::time::Duration;

const BAR: usize = 30;
/// To the top left corner, and everything below away.
const CLEAR: &str = "\x1b[H\x1b[2J";

pub(crate) fn watch(admin: &Admin, groups: &[String], seconds: u64) -> Outcome {
    let stop = StopFlag::default();
    let stopped = stop.clone();
    support::on_signal(move || stopped.set())?;
    let names: Vec<&str> = groups.iter().map(String::as_str).collect();
    loop {
        let mut screen = CLEAR.to_owned();
        for (group, lag) in admin.group_lag(&names)? {
            match lag {
                Ok(lag) => screen += &draw(&lag),
                Err(error) => screen += &format!("{group}: {error}\n\n"),
            }
        }
        let mut out = std::io::stdout().lock();
        out.write_all(screen.as_bytes())?;
        out.flush()?;
        drop(out);
        if stop.wait(Duration::from_secs(seconds.max(1))) {
            return Ok(());
        }
    }
}

fn draw(lag: &GroupLag) -> String {
    let (group, state, members) = (&lag.group.group_id, lag.group.state, lag.group.members.len());
    let mut text = format!("{group}: {state}, {members} members, {} behind\n", lag.total());
    let longest = lag.partitions.iter().filter_map(|partition| partition.lag()).max().unwrap_or(0);
    let width = lag.partitions.iter().map(|partition| partition.partition.to_string().len()).max().unwrap_or(0);
    for (partition, member) in ordered(lag) {
        let behind = partition.lag();
        let number = behind.map_or_else(|| "-".to_owned(), |behind| behind.to_string());
        let bar = bar(behind.unwrap_or(0), longest);
        let member = member.map_or("-", |member| member.member_id.as_str());
        text += &format!("  {:<width$} {number:>12} {bar} {member}\n", partition.partition.to_string());
    }
    text.push('\n');
    text
}

/// As long as the lag is beside the longest one; never empty where there is any.
fn bar(lag: i64, longest: i64) -> String {
    let share = if longest > 0 { lag.max(0) as f64 / longest as f64 } else { 0.0 };
    let filled = ((share * BAR as f64).ceil() as usize).min(BAR);
    format!("[{}{}]", "#".repeat(filled), " ".repeat(BAR - filled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_show_any_lag_and_never_overflow() {
        assert_eq!(bar(0, 0), format!("[{}]", " ".repeat(BAR)));
        assert_eq!(bar(7, 7), format!("[{}]", "#".repeat(BAR)));
        assert_eq!(bar(1, 1_000_000).matches('#').count(), 1);
        assert_eq!(bar(i64::MAX, 1).len(), BAR + 2);
    }
}
