//! The report for machines: JUnit XML, one suite a scenario, one case an expectation.

use super::Outcome;

/// Longest text of one failure, in characters.
const TEXT_MAX: usize = 32 * 1024;

/// The whole report. `outcomes` come with the path of their file.
#[must_use]
pub fn junit(outcomes: &[(String, Outcome)]) -> String {
    let mut suites = String::new();
    let (mut tests, mut failures, mut errors, mut seconds) = (0, 0, 0, 0.0);
    for (path, outcome) in outcomes {
        let failed = outcome
            .verdicts
            .iter()
            .filter(|verdict| verdict.seen.is_some())
            .count();
        let broken = usize::from(outcome.broken.is_some());
        let cases = outcome.verdicts.len() + broken;
        let took = outcome.took.as_secs_f64();
        suites.push_str(&format!(
            "  <testsuite name=\"{}\" file=\"{}\" tests=\"{cases}\" failures=\"{failed}\" \
             errors=\"{broken}\" skipped=\"0\" time=\"{took:.3}\">\n",
            escaped(&outcome.name),
            escaped(path),
        ));
        for verdict in &outcome.verdicts {
            let (class, name) = (escaped(&outcome.name), escaped(&verdict.name));
            let start = format!("    <testcase classname=\"{class}\" name=\"{name}\" time=\"0\"");
            match &verdict.seen {
                None => suites.push_str(&format!("{start}/>\n")),
                Some(seen) => suites.push_str(&format!(
                    "{start}>\n      <failure message=\"{}\">{}:{}: {}</failure>\n    </testcase>\n",
                    escaped(seen),
                    escaped(path),
                    verdict.line,
                    escaped(seen),
                )),
            }
        }
        if let Some(broken) = &outcome.broken {
            suites.push_str(&format!(
                "    <testcase classname=\"{}\" name=\"it is played to its end\" time=\"{took:.3}\">\n      \
                 <error message=\"{}\"/>\n    </testcase>\n",
                escaped(&outcome.name),
                escaped(broken),
            ));
        }
        if !outcome.log.is_empty() {
            suites.push_str(&format!(
                "    <system-err>{}</system-err>\n",
                escaped(&outcome.log)
            ));
        }
        suites.push_str("  </testsuite>\n");
        tests += cases;
        failures += failed;
        errors += broken;
        seconds += took;
    }
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"furrow-sim scenario\" \
         tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" time=\"{seconds:.3}\">\n\
         {suites}</testsuites>\n"
    )
}

/// Text that can stand in an element and in an attribute. What XML can't hold at all is replaced.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars().take(TEXT_MAX) {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\n' | '\t' => out.push(letter),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            letter if letter.is_control() => out.push('\u{fffd}'),
            letter => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::scenario::Verdict;

    #[test]
    fn whatever_is_said_the_report_is_well_formed() {
        let outcome = Outcome {
            name: "a<b>".into(),
            verdicts: vec![
                Verdict {
                    name: "right".into(),
                    line: 3,
                    seen: None,
                },
                Verdict {
                    name: "\"x\"".into(),
                    line: 7,
                    seen: Some("1 < 2 & \u{1}\u{ffff}".into()),
                },
            ],
            broken: Some("it's over".into()),
            simulated_ms: 1,
            took: Duration::from_millis(1_500),
            log: "]]>\n".into(),
        };
        let expected = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>
<testsuites name=\"furrow-sim scenario\" tests=\"3\" failures=\"1\" errors=\"1\" time=\"1.500\">
  <testsuite name=\"a&lt;b&gt;\" file=\"a.toml\" tests=\"3\" failures=\"1\" errors=\"1\" skipped=\"0\" time=\"1.500\">
    <testcase classname=\"a&lt;b&gt;\" name=\"right\" time=\"0\"/>
    <testcase classname=\"a&lt;b&gt;\" name=\"&quot;x&quot;\" time=\"0\">
      <failure message=\"1 &lt; 2 &amp; \u{fffd}\u{fffd}\">a.toml:7: 1 &lt; 2 &amp; \u{fffd}\u{fffd}</failure>
    </testcase>
    <testcase classname=\"a&lt;b&gt;\" name=\"it is played to its end\" time=\"1.500\">
      <error message=\"it&apos;s over\"/>
    </testcase>
    <system-err>]]&gt;
</system-err>
  </testsuite>
</testsuites>
";
        assert_eq!(junit(&[("a.toml".into(), outcome)]), expected);
    }
}
