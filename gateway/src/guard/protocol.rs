//! The lines between gateway and guard: JSON, one question a line, one answer a line, over a Unix
//! socket that only its owner can open.

use serde::{Deserialize, Serialize};

/// Longest question, in bytes: the longest real one has some 70.
pub const MAX_ASK_BYTES: usize = 256;
/// Longest answer, in bytes: 32 outputs with the longest names take some 20 KB.
pub const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// A question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub enum Ask {
    /// Open an output for so long from `at_ms` on, or close it.
    Lease {
        /// Its number.
        output: u8,
        /// 0 closes.
        seconds: u16,
        /// When this was asked, on the field clock, in monotonic milliseconds.
        at_ms: u64,
    },
    /// How an output is.
    Output {
        /// Its number.
        output: u8,
    },
    /// The flags of an output were seen.
    Clear {
        /// Its number.
        output: u8,
    },
    /// How everything is.
    Report,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// It was done.
    Done,
    /// To [`Ask::Output`].
    Output(OutputReport),
    /// To [`Ask::Report`].
    Report(Report),
    /// It was not done.
    Refused {
        /// Why, for people.
        reason: String,
    },
}

/// One output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputReport {
    /// Its number.
    pub output: u8,
    /// Its name for people.
    pub name: String,
    /// Where it is.
    pub place: String,
    /// It holds a lease.
    pub commanded: bool,
    /// It was read back as on.
    pub confirmed: bool,
    /// It does not follow.
    pub fault: bool,
    /// The guard started since the flags were cleared.
    pub was_reset: bool,
    /// A lease ran out since the flags were cleared.
    pub lease_ran_out: bool,
    /// The ceiling closed it since the flags were cleared.
    pub ceiling_reached: bool,
    /// Milliseconds until its lease ends.
    pub left_ms: u64,
    /// Writes and readings that failed since the start.
    pub failures: u32,
}

/// Everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// All outputs, in the order of the configuration.
    pub outputs: Vec<OutputReport>,
    /// Whether the relays' supply is kept on; `None` where no watchdog is wired.
    pub supply: Option<bool>,
    /// Memory of the process, in KiB.
    pub memory_kib: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_what_they_look_like() {
        let ask = Ask::Lease {
            output: 32,
            seconds: 300,
            at_ms: u64::MAX,
        };
        let text = serde_json::to_string(&ask).unwrap();
        let expected = r#"{"ask":"lease","output":32,"seconds":300,"at_ms":18446744073709551615}"#;
        assert_eq!(text, expected);
        assert!(text.len() < MAX_ASK_BYTES);
        for wrong in [
            r#"{"ask":"open"}"#,
            r#"{"ask":"lease","output":1}"#,
            r#"{"ask":"lease","output":256,"seconds":1,"at_ms":0}"#,
            r#"{"ask":"report","force":true}"#,
        ] {
            assert!(serde_json::from_str::<Ask>(wrong).is_err(), "{wrong}");
        }
        let refused = Answer::Refused {
            reason: "late".into(),
        };
        let text = serde_json::to_string(&refused).unwrap();
        assert_eq!(text, r#"{"answer":"refused","reason":"late"}"#);
    }
}
