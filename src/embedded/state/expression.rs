//! Regular expressions of strangers: of members for topics, and of those who list transactions.

use regex::bytes::{Regex, RegexBuilder};

/// How much memory a compiled expression may take, in bytes: the expression is a stranger's.
const MAX_COMPILED: usize = 1 << 20;

/// How much memory the work of matching may take beside it, in bytes, for each thread that matches.
const MAX_CACHE: usize = 1 << 17;

/// How long an expression may be, in bytes: Kafka reads no longer string from the wire. What is taken before the size of the
/// compiled expression is known, by its syntax tree, follows its length.
const MAX_LENGTH: usize = i16::MAX as usize;

/// How long one may be that has more than ASCII in its classes: each of them may have a thousand ranges.
const MAX_UNICODE_LENGTH: usize = 1 << 10;

/// An expression for topics as Kafka takes it: it must match a whole name, and is RE2's syntax, which takes no longer than the
/// name is long. Names of topics are ASCII, and so are expressions wherever they can be: `.` is one byte then.
pub(in crate::embedded::state) fn compile(expression: &str) -> Result<Regex, String> {
    let text = checked(expression)?;
    build(&text, false).or_else(|error| {
        // Kafka takes classes of Unicode, though they match no more of a name.
        let may_be_unicode = expression.len() <= MAX_UNICODE_LENGTH;
        if may_be_unicode { build(&text, true) } else { Err(error) }
    })
}

/// The same for names of any characters, as transactional ids are: `.` and what a class excludes are one character.
///
/// An expression that would be too large then, or that is long and could have classes of many ranges, is for ASCII alone.
pub(in crate::embedded::state) fn compile_for_any_name(expression: &str) -> Result<Regex, String> {
    let text = checked(expression)?;
    let may_have_many_ranges = [r"\p", r"\P", "(?"].iter().any(|start| expression.contains(start));
    if may_have_many_ranges && expression.len() > MAX_UNICODE_LENGTH {
        return build(&text, false);
    }
    build(&text, true).or_else(|_| build(&text, false))
}

fn checked(expression: &str) -> Result<String, String> {
    if expression.len() > MAX_LENGTH {
        return Err(format!("it is longer than {MAX_LENGTH} bytes"));
    }
    translate(expression)
}

fn build(text: &str, unicode: bool) -> Result<Regex, String> {
    let build = |text: &str| {
        let mut builder = RegexBuilder::new(text);
        builder.unicode(unicode).size_limit(MAX_COMPILED).dfa_size_limit(MAX_CACHE).build()
    };
    // On its own first, so that `a)(b` is not made whole by what is put around it.
    let built = build(text).and_then(|_| build(&format!("^(?:{text})$")));
    built.map_err(|error| error.to_string().lines().last().unwrap_or_default().trim().to_owned())
}

/// What RE2 and this crate's expressions write differently: `\Q...\E` (the text between is taken as it stands); `\b`, `\d`, `\s`
/// and `\w`, which are ASCII's in RE2; and `[`, `&&`, `--` and `~~` in a class, where RE2 knows no operations on classes.
///
/// # Errors
/// The flags that RE2 does not have: one of them would make it Unicode after all.
fn translate(expression: &str) -> Result<String, String> {
    let mut text = String::with_capacity(expression.len());
    let mut rest = expression;
    let mut class = Class::None;
    while let Some(character) = rest.chars().next() {
        let (taken, written) = match (character, class) {
            ('\\', _) if rest.starts_with(r"\Q") => {
                let quoted = rest.get(2..).unwrap_or_default();
                let (literal, _) = quoted.split_once(r"\E").unwrap_or((quoted, ""));
                ((literal.len() + 4).min(rest.len()), regex::escape(literal))
            }
            ('\\', Class::None) if rest.starts_with(r"\b") => (2, r"(?-u:\b)".to_owned()),
            ('\\', Class::None) if rest.starts_with(r"\B") => (2, r"(?-u:\B)".to_owned()),
            ('\\', _) => {
                let taken = 1 + rest.chars().nth(1).map_or(0, char::len_utf8);
                let pair = rest.get(..taken).unwrap_or_default();
                (taken, ascii_class(pair).unwrap_or(pair).to_owned())
            }
            ('(', Class::None) if rest.starts_with("(?") && !rest.starts_with("(?P<") && !rest.starts_with("(?<") => {
                let flags = rest.get(2..).unwrap_or_default().split([':', ')']).next().unwrap_or_default();
                if flags.contains(|flag| !matches!(flag, 'i' | 'm' | 's' | 'U' | '-')) {
                    return Err("invalid or unsupported Perl syntax".to_owned());
                }
                (2, "(?".to_owned())
            }
            ('[', Class::None) => {
                let opening = if rest.starts_with("[^") { "[^" } else { "[" };
                class = Class::Open;
                // A bracket that closes nothing yet is an element.
                let literal = rest.get(opening.len()..).is_some_and(|rest| rest.starts_with(']'));
                (opening.len() + usize::from(literal), format!("{opening}{}", if literal { r"\]" } else { "" }))
            }
            ('[', Class::Open) => match rest.strip_prefix("[:").and_then(|name| name.split_once(":]")) {
                Some((name, _)) => (name.len() + 4, format!("[:{name}:]")),
                None => (1, r"\[".to_owned()),
            },
            (']', Class::Open) => {
                class = Class::None;
                (1, "]".to_owned())
            }
            ('&' | '~', Class::Open) => (1, format!(r"\{character}")),
            ('-', Class::Open) if rest.starts_with("--") => (1, r"\-".to_owned()),
            _ => (character.len_utf8(), character.to_string()),
        };
        text.push_str(&written);
        rest = rest.get(taken..).unwrap_or_default();
    }
    Ok(text)
}

/// Whether a place in an expression is within brackets.
#[derive(Clone, Copy)]
enum Class {
    None,
    Open,
}

/// What a shorthand stands for; it may stand in a class, too.
fn ascii_class(pair: &str) -> Option<&'static str> {
    Some(match pair {
        r"\d" => "[0-9]",
        r"\D" => "[^0-9]",
        r"\s" => r"[\t\n\f\r ]",
        r"\S" => r"[^\t\n\f\r ]",
        r"\w" => "[0-9A-Za-z_]",
        r"\W" => "[^0-9A-Za-z_]",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_must_match_the_whole_name() {
        let regex = compile("orders|pay.*").unwrap();
        let matches = |name: &str| regex.is_match(name.as_bytes());
        assert!(matches("orders") && matches("payments"));
        assert!(!matches("orders2") && !matches("repay"));
    }

    #[test]
    fn quoted_text_is_taken_as_it_stands() {
        let regex = compile(r"\Qa.b\E\d+").unwrap();
        assert!(regex.is_match(b"a.b7") && !regex.is_match(b"aXb7"));
        assert!(compile(r"\\Q").unwrap().is_match(br"\Q"));
        assert!(compile(r"x\Q+").unwrap().is_match(b"x+"));
    }

    #[test]
    fn shorthands_are_those_of_ascii() {
        for (shorthand, inside, outside) in [("d", "7", "x"), ("w", "_", "."), ("s", " ", "\u{b}")] {
            let upper = shorthand.to_uppercase();
            for (expression, yes, no) in [
                (format!(r"\{shorthand}"), inside, outside),
                (format!(r"[!\{shorthand}]"), inside, outside),
                (format!(r"\{upper}"), outside, inside),
                (format!(r"[!\{upper}]"), outside, inside),
            ] {
                let regex = compile(&expression).unwrap();
                assert!(regex.is_match(yes.as_bytes()) && !regex.is_match(no.as_bytes()), "{expression}");
            }
        }
        assert!(
            compile(r"\w{1,249}").unwrap().is_match("a".repeat(249).as_bytes()),
            "a topic name, as long as it may be"
        );
    }

    #[test]
    fn a_class_has_no_classes_in_it_and_no_operations() {
        let matched = |expression: &str| -> String {
            let regex = compile(expression).unwrap_or_else(|error| panic!("{expression}: {error}"));
            r"ab[]&~-^".chars().filter(|one| regex.is_match(one.to_string().as_bytes())).collect()
        };
        for (expression, expected) in [
            ("[[a]", "a["),
            ("[]a]", "a]"),
            ("[^]a]", "b[&~-^"),
            ("[a&&b]", "ab&"),
            ("[a~~b]", "ab~"),
            ("[[:alpha:]-]", "ab-"),
            (r"[\]^]", "]^"),
        ] {
            assert_eq!(matched(expression), expected, "{expression}");
        }
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        for expression in ["(", "a)(b", "[a", "*", r"\", r"\pX", "a{2,1}", "(?u)a", "(?i-x:a)"] {
            assert!(compile(expression).is_err(), "{expression}");
        }
    }

    #[test]
    fn classes_of_unicode_are_taken_as_long_as_they_are_few() {
        for expression in [r"\pL+", r"(?i)[aé]+", r"\p{Greek}|A+", r"[\x{0}-\x{10ffff}]+"] {
            assert!(compile(expression).unwrap().is_match(b"A"), "{expression}");
        }
        assert!(compile(&r"\pL".repeat(MAX_UNICODE_LENGTH)).is_err());
        assert!(compile("(?i)straße|A").unwrap().is_match(b"a"));
    }

    #[test]
    fn of_any_name_a_character_is_matched_by_what_matches_one() {
        let matches = |expression: &str, name: &str| {
            let regex = compile_for_any_name(expression).unwrap_or_else(|error| panic!("{expression}: {error}"));
            regex.is_match(name.as_bytes())
        };
        for one in [r".", r"[^a]", r"\W", r"\D", r"\S", r"[[:^alpha:]]", r"\PN", r"(?s).", "[à-ż日🦀]"] {
            for character in ["ż", "日", "🦀"] {
                assert!(
                    matches(one, character) && matches(&format!("t-{one}-.*"), &format!("t-{character}-1")),
                    "{one}"
                );
                assert!(!matches(&format!("{one}{one}"), character), "{one} is a part of {character}");
            }
        }
        assert!(matches("(?i)zażółć", "ZAŻÓŁĆ") && !matches("zażółć", "ZAŻÓŁĆ"));
        assert!(matches(r"t\bż\Bż\bt", "tżżt") && !matches(r"t\Bżt", "tżt"), "a word is of ASCII");
    }

    #[test]
    fn a_long_expression_for_any_name_is_of_characters_unless_its_classes_are_large() {
        let names: Vec<String> = (1000..5000).map(|number| format!("t{number}.")).collect();
        let long = compile_for_any_name(&names[..500].join("|")).unwrap();
        assert!(long.is_match("t1499ż".as_bytes()) && !long.is_match("t1499żż".as_bytes()));
        for for_ascii in [names.join("|"), format!("(?i){}", names.join("|"))] {
            let regex = compile_for_any_name(&for_ascii).unwrap();
            assert!(regex.is_match(b"t4999x") && !regex.is_match(b"t4999xx"));
        }
        assert!(compile_for_any_name(&r"\pL".repeat(MAX_UNICODE_LENGTH)).is_err());
    }

    /// Each of them would take gigabytes, or minutes, or is longer than a string can be.
    #[test]
    fn what_is_too_big_is_refused_whatever_makes_it_so() {
        let long = "x".repeat(MAX_LENGTH + 1);
        let classes = r"\pL".repeat(MAX_LENGTH / 3);
        let folded = format!("(?i){}", r"[\x{0}-\x{10ffff}]".repeat(100));
        let nested = format!("{}a{}", "(".repeat(10_000), ")".repeat(10_000));
        let powers = format!("{}a{}", "(".repeat(9), "{1000})".repeat(9));
        let all = [
            &*long,
            &*classes,
            &*folded,
            &*nested,
            &*powers,
            r"(\w{1000}){1000}",
            "(.{1000}){1000}",
            "(((a?){999}){999}){999}",
        ];
        for expression in all {
            let start: String = expression.chars().take(20).collect();
            assert!(compile(expression).is_err(), "{start}");
            assert!(compile_for_any_name(expression).is_err(), "{start}");
        }
    }

    /// What backtracking would never finish, and the longest that is taken at all.
    #[test]
    fn a_match_ends_whatever_the_expression() {
        let name = "a".repeat(249);
        for expression in ["(a*)*b", "(a|aa)+b", "(a?){200}a{249}b", "([ab]*a[ab]{30})+b"] {
            assert!(!compile(expression).unwrap().is_match(name.as_bytes()), "{expression}");
        }
        let names: Vec<String> = (1000..5000).map(|number| format!("t{number}")).collect();
        let any = names.join("|");
        assert!((20_000..MAX_LENGTH).contains(&any.len()));
        assert!(compile(&any).unwrap().is_match(b"t4999"));
    }
}
