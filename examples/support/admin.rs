//! What the programs that administer a cluster have in common.

use super::{Connection, Outcome};
use regex::Regex;
use sarameya::admin::{Admin, Results, TopicListing};
use std::time::Duration;

/// The admin API of the cluster that the options name.
pub(crate) fn admin(connection: &Connection) -> Outcome<Admin> {
    let properties = connection.properties()?;
    Ok(Admin::new(&connection.client(&properties)?))
}

/// The same with a timeout for each call.
pub(crate) fn admin_within(connection: &Connection, timeout_ms: u64) -> Outcome<Admin> {
    Ok(admin(connection)?.timeout(Duration::from_millis(timeout_ms)))
}

/// The values, or the first error.
pub(crate) fn all<T, K>(results: Results<T, K>) -> Outcome<Vec<(K, T)>> {
    results.into_iter().map(|(entity, outcome)| Ok((entity, outcome?))).collect()
}

/// What Kafka's tools take as the name of a topic: regular expressions with commas between, each for a whole name.
#[derive(Debug)]
pub(crate) struct IncludeList(Regex);

impl IncludeList {
    pub(crate) fn new(list: &str) -> Outcome<Self> {
        let alternatives = list.trim().replace(',', "|").replace(['"', '\'', ' '], "");
        Ok(Self(Regex::new(&format!("^(?:{alternatives})$"))?))
    }

    pub(crate) fn has(&self, topic: &str) -> bool {
        self.0.is_match(topic)
    }
}

/// The names of all topics that are meant.
pub(crate) fn topics(admin: &Admin, list: Option<&str>, exclude_internal: bool) -> Outcome<Vec<String>> {
    let include = list.map(IncludeList::new).transpose()?;
    let meant = |topic: &TopicListing| {
        !(exclude_internal && topic.internal) && include.as_ref().is_none_or(|list| list.has(&topic.name))
    };
    Ok(admin.list_topics()?.into_iter().filter(meant).map(|topic| topic.name).collect())
}

/// Prints a table as Kafka's newer tools do: columns as wide as they need to be, each with a tab behind it.
pub(crate) fn print_table(headers: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(String::len);
        cells.chain(headers.get(column).map(|header| header.len())).max().unwrap_or(0)
    };
    let print = |cells: &[&str]| {
        let line = cells.iter().enumerate().map(|(at, cell)| format!("{cell:width$}\t", width = width(at)));
        println!("{}", line.collect::<String>());
    };
    print(headers);
    for row in rows {
        print(&row.iter().map(String::as_str).collect::<Vec<_>>());
    }
}

/// Numbers with commas between.
pub(crate) fn joined(numbers: &[i32]) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
