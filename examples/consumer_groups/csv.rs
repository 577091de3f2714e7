//! Plans of offsets as CSV: topic, partition and offset, with the group before them if there are several.

use crate::support::Outcome;
use sarameya::TopicPartition;
use std::collections::BTreeMap;

/// Where groups are to go on.
pub(crate) type Plans = BTreeMap<String, BTreeMap<TopicPartition, i64>>;

/// Reads a plan. Lines without a group are for this one, if there is one.
pub(crate) fn read(text: &str, only_group: Option<&str>) -> Outcome<Plans> {
    let mut plans = Plans::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let fields = fields(line);
        let (group, rest) = match (&fields[..], only_group) {
            ([_, _, _], Some(group)) => (group, &fields[..]),
            ([group, rest @ ..], _) if rest.len() == 3 => (group.as_str(), rest),
            _ => return Err(format!("not a line of a plan: {line}").into()),
        };
        let [topic, partition, offset] = rest else { return Err(format!("not a line of a plan: {line}").into()) };
        let number = |text: &String| text.trim().parse().map_err(|_| format!("no number: {text:?} in {line}"));
        let partition = TopicPartition::new(topic, i32::try_from(number(partition)?)?);
        plans.entry(group.to_owned()).or_default().insert(partition, number(offset)?);
    }
    Ok(plans)
}

/// Splits at commas outside of quotes; quotes in quotes are doubled.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                push(&mut fields, '"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            other => push(&mut fields, other),
        }
    }
    fields
}

fn push(fields: &mut [String], character: char) {
    if let Some(field) = fields.last_mut() {
        field.push(character);
    }
}

/// Writes a plan as it is read.
pub(crate) fn write(plans: &Plans, with_group: bool) -> String {
    let quoted = |text: &str| {
        if text.contains([',', '"', ' ']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
    };
    let mut text = String::new();
    for (group, plan) in plans {
        for (TopicPartition { topic, partition }, offset) in plan {
            if with_group {
                text += &quoted(group);
                text.push(',');
            }
            text += &format!("{},{partition},{offset}\n", quoted(topic));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_that_was_written_is_read_again() {
        let plan = BTreeMap::from([(TopicPartition::new("t", 0), 5), (TopicPartition::new("u", 1), 0)]);
        let plans = Plans::from([("a, \"b\"".to_owned(), plan.clone()), ("c".to_owned(), plan)]);
        assert_eq!(read(&write(&plans, true), None).unwrap(), plans);
    }

    #[test]
    fn lines_without_a_group_are_for_the_only_one() {
        let plans = read("\"t\",0,5\nt,1,6\n\n", Some("g")).unwrap();
        let offsets: Vec<_> = plans["g"].iter().map(|(p, offset)| (p.to_string(), *offset)).collect();
        assert_eq!(offsets, [("t-0".to_owned(), 5), ("t-1".to_owned(), 6)]);
        assert!(read("t,0,5", None).is_err());
        assert!(read("t,zero,5", Some("g")).is_err());
    }
}
