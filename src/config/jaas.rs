//! `sasl.jaas.config`: Java's way to name a login module and its options, as far as a client's setting has it.

use crate::{Error, Result};
use std::fmt;
use zeroize::Zeroizing;

const SETTING: &str = "sasl.jaas.config";

/// `some.java.LoginModule required name="value" …;`
pub(crate) struct Jaas {
    /// The class without its package.
    pub(crate) module: String,
    options: Vec<(String, Zeroizing<String>)>,
}

impl Jaas {
    /// Reads a setting that holds exactly one login module. Errors tell no value.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let refused = |why: &str| Error::config(SETTING, why);
        let mut tokens = Tokens(text);
        let class = tokens.next()?.filter(Token::is_word).ok_or_else(|| refused("begins with no login module"))?.text;
        let flag = tokens.next()?.filter(Token::is_word).ok_or_else(|| refused("has no flag such as required"))?.text;
        if !["required", "requisite", "sufficient", "optional"].iter().any(|known| flag.eq_ignore_ascii_case(known)) {
            return Err(refused("has no flag such as required behind the login module"));
        }
        let mut options = Vec::new();
        loop {
            let name = tokens.next()?.ok_or_else(|| refused("does not end with a semicolon"))?;
            if name.is(';') {
                break;
            }
            let equals = tokens.next()?.is_some_and(|token| token.is('='));
            let value = tokens.next()?.filter(|value| !value.is('=') && !value.is(';'));
            match value {
                Some(value) if name.is_word() && equals => options.push((name.text.to_string(), value.text)),
                _ => return Err(refused("has an option that is not name=\"value\"")),
            }
        }
        if tokens.next()?.is_some() {
            return Err(refused("holds more than one login module"));
        }
        let module = class.rsplit('.').next().unwrap_or_default().to_owned();
        Ok(Self { module, options })
    }

    /// The value of an option.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.options.iter().rev().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}

impl fmt::Debug for Jaas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.options.iter().map(|(name, _)| name).collect();
        f.debug_struct("Jaas").field("module", &self.module).field("options", &names).finish()
    }
}

/// A word, a text in quotes, or one of `=` and `;`.
struct Token {
    text: Zeroizing<String>,
    quoted: bool,
}

impl Token {
    fn is(&self, sign: char) -> bool {
        !self.quoted && self.text.chars().eq([sign])
    }

    fn is_word(&self) -> bool {
        !self.quoted && !self.is('=') && !self.is(';')
    }
}

/// The rest of the text.
struct Tokens<'a>(&'a str);

impl Tokens<'_> {
    fn next(&mut self) -> Result<Option<Token>> {
        self.skip_blanks()?;
        let mut chars = self.0.chars();
        let Some(first) = chars.next() else { return Ok(None) };
        let mut text = Zeroizing::new(String::with_capacity(self.0.len()));
        if !matches!(first, '"' | '\'') {
            let ends = |c: char| c.is_whitespace() || matches!(c, '=' | ';' | '"' | '\'');
            let word = match first {
                '=' | ';' => 1,
                _ => self.0.find(ends).unwrap_or(self.0.len()),
            };
            text.push_str(&self.0[..word]);
            self.0 = &self.0[word..];
            return Ok(Some(Token { text, quoted: false }));
        }
        while let Some(c) = chars.next() {
            match c {
                c if c == first => {
                    self.0 = chars.as_str();
                    return Ok(Some(Token { text, quoted: true }));
                }
                '\\' => text.push(match chars.next() {
                    Some('n') => '\n',
                    Some('t') => '\t',
                    Some('r') => '\r',
                    Some('f') => '\u{c}',
                    Some('b') => '\u{8}',
                    Some(other) => other,
                    None => break,
                }),
                c => text.push(c),
            }
        }
        Err(Error::config(SETTING, "has a quote that does not end"))
    }

    fn skip_blanks(&mut self) -> Result<()> {
        loop {
            self.0 = self.0.trim_start();
            if let Some(comment) = self.0.strip_prefix("//") {
                self.0 = comment.split_once('\n').map_or("", |(_, rest)| rest);
            } else if let Some(comment) = self.0.strip_prefix("/*") {
                let end = comment.split_once("*/").map(|(_, rest)| rest);
                self.0 = end.ok_or_else(|| Error::config(SETTING, "has a comment that does not end"))?;
            } else {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn f9_modules_and_options_are_read_like_java_does() {
        let text = "org.apache.kafka.common.security.scram.ScramLoginModule required\n  username=\"alice\" // who\n \
                    password='a\"l=;\\'\\\\i ce' tokenauth=true/* so */;";
        let jaas = Jaas::parse(&text.replace("true/*", "true /*")).unwrap();
        assert_eq!(jaas.module, "ScramLoginModule");
        assert_eq!(jaas.get("username"), Some("alice"));
        assert_eq!(jaas.get("password"), Some("a\"l=;'\\i ce"));
        assert_eq!(jaas.get("tokenauth"), Some("true"));
        assert_eq!(jaas.get("absent"), None);
        assert_eq!(Jaas::parse("M Required;").unwrap().module, "M");
        let quoted = Jaas::parse("M required a=\";\" b=\"\" a=\"=\";").unwrap();
        assert_eq!((quoted.get("a"), quoted.get("b")), (Some("="), Some("")), "the last one counts");
        assert!(!format!("{jaas:?}").contains("alice"));
    }

    #[test]
    fn f9_what_is_malformed_is_refused_without_its_values() {
        for text in [
            "",
            ";",
            "\"M\" required;",
            "M",
            "M;",
            "M needed;",
            "M required",
            "M required password=hunter2",
            "M required password=\"hunter2;",
            "M required password=\"hunter2\\",
            "M required password \"hunter2\";",
            "M required password is hunter2;",
            "M required password=;",
            "M required =hunter2;",
            "M required \"password\"=hunter2;",
            "M required password==hunter2;",
            "M required; M required;",
            "M required /* password=hunter2;",
        ] {
            let error = Jaas::parse(text).unwrap_err();
            assert_eq!(error.setting(), Some(SETTING), "{text}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn f9_any_text_is_read_or_refused(text in r#"(?s).{0,40}|(M |required |a|=|"|'|;|\\|/\*|\*/|//|\n){0,20}"#) {
            let _ = Jaas::parse(&text);
        }

        #[test]
        fn f9_quoted_values_round_trip(value in r"(?s).{0,40}") {
            let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
            let jaas = Jaas::parse(&format!("M required p=\"{quoted}\";")).unwrap();
            prop_assert_eq!(jaas.get("p"), Some(value.as_str()));
        }
    }
}
