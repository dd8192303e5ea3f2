//! Questions with defaults: to a person, or answered by the defaults alone.

use std::io::{self, BufRead, Write};
use std::str::FromStr;

/// Attempts at one answer.
const ATTEMPTS: usize = 5;

/// Where answers come from.
pub(super) enum Questions<'a> {
    /// `--yes`: defaults, and a mistake for what has none.
    Defaults {
        /// Flags that must be given.
        missing: Vec<&'static str>,
    },
    /// A person.
    Person {
        input: &'a mut dyn BufRead,
        output: &'a mut dyn Write,
    },
}

/// No answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAnswer {
    #[error("read the answer")]
    Io(#[from] io::Error),
    #[error("nobody answers: add --yes and the flags of `furrow-gateway init --help`")]
    Nobody,
    #[error("no usable answer after {ATTEMPTS} attempts")]
    Useless,
}

impl Questions<'_> {
    /// The flag's value where it was given, or else an answer. `Ok(None)` is noted as missing.
    pub(super) fn ask<T>(
        &mut self,
        flag: (&'static str, Option<T>),
        question: &str,
        default: Option<&str>,
    ) -> Result<Option<T>, NoAnswer>
    where
        T: FromStr<Err: std::fmt::Display>,
    {
        if let (_, Some(value)) = flag {
            return Ok(Some(value));
        }
        match self {
            Questions::Defaults { missing } => {
                let value = default.and_then(|default| default.parse().ok());
                if value.is_none() {
                    missing.push(flag.0);
                }
                Ok(value)
            }
            Questions::Person { input, output } => {
                for _ in 0..ATTEMPTS {
                    match default {
                        Some(default) => write!(output, "{question} [{default}]: ")?,
                        None => write!(output, "{question}: ")?,
                    }
                    output.flush()?;
                    let mut line = String::new();
                    if input.read_line(&mut line)? == 0 {
                        return Err(NoAnswer::Nobody);
                    }
                    let answer = match (line.trim(), default) {
                        ("", Some(default)) => default,
                        (answer, _) => answer,
                    };
                    match answer.parse() {
                        Ok(value) => return Ok(Some(value)),
                        Err(error) => writeln!(output, "  {error}")?,
                    }
                }
                Err(NoAnswer::Useless)
            }
        }
    }

    /// Whether there is a person to ask.
    pub(super) fn has_person(&self) -> bool {
        match self {
            Questions::Defaults { .. } => false,
            Questions::Person { .. } => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use furrow_wire::GatewayId;

    use super::*;

    #[test]
    fn an_answer_is_asked_for_until_it_is_one() {
        let mut output = Vec::new();
        let mut input: &[u8] = b"Not An Id\n\ngw-07\n";
        let mut questions = Questions::Person {
            input: &mut input,
            output: &mut output,
        };
        let first: Option<GatewayId> = questions
            .ask(("--gateway", None), "Gateway", Some("gw-01"))
            .unwrap();
        assert_eq!(first.unwrap().as_str(), "gw-01");
        let second: Option<GatewayId> =
            questions.ask(("--gateway", None), "Gateway", None).unwrap();
        assert_eq!(second.unwrap().as_str(), "gw-07");
        let none = questions.ask::<GatewayId>(("--gateway", None), "Gateway", None);
        assert!(matches!(none, Err(NoAnswer::Nobody)));
        let told = String::from_utf8(output).unwrap();
        assert!(told.starts_with("Gateway [gw-01]:   "), "{told}");
    }

    #[test]
    fn without_a_person_defaults_hold_and_the_rest_is_missing() {
        let mut questions = Questions::Defaults {
            missing: Vec::new(),
        };
        assert_eq!(
            questions
                .ask(("--port", None), "Port", Some("1883"))
                .unwrap(),
            Some(1883)
        );
        assert_eq!(
            questions.ask(("--port", Some(1)), "Port", None).unwrap(),
            Some(1)
        );
        assert_eq!(
            questions
                .ask::<String>(("--mqtt-host", None), "Host", None)
                .unwrap(),
            None
        );
        let Questions::Defaults { missing } = questions else {
            panic!("became a person");
        };
        assert_eq!(missing, ["--mqtt-host"]);
    }
}
