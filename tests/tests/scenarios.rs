//! Scenarios: the shipped ones pass, each finds out when its interlock is off, mistakes are told, and
//! what the documentation shows for CI works.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test helpers")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

struct Output {
    code: Option<i32>,
    said: String,
    error: String,
}

/// Where the programs lie: ingest is not one of them here.
fn programs() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.ancestors().nth(2).unwrap().to_owned();
    for name in ["furrow-gateway", "furrow-sim"] {
        let program = folder.join(name);
        assert!(
            program.is_file(),
            "{} is missing: build it",
            program.display()
        );
    }
    folder
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

fn shipped() -> PathBuf {
    root().join("firmware-sim/scenarios")
}

fn scenario(config: &Path, files: &[PathBuf], more: &[&str]) -> Output {
    let programs = programs();
    let mut command = Command::new(programs.join("furrow-sim"));
    command.arg("scenario").args(files);
    command
        .arg("--gateway")
        .arg(programs.join("furrow-gateway"))
        .arg("--config")
        .arg(config)
        .args(more);
    output(command.env("RUST_LOG", "error"))
}

fn output(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    Output {
        code: output.status.code(),
        said: String::from_utf8(output.stdout).unwrap(),
        error: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Plays one text with the shipped configuration.
fn play(text: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("one.toml");
    fs::write(&path, text).unwrap();
    scenario(&shipped().join("config"), &[path], &[])
}

/// Elements by name, if every one of them is closed and every attribute quoted.
fn elements(xml: &str) -> Vec<String> {
    let body = xml
        .strip_prefix("<?xml version=\"1.0\" encoding=\"UTF-8\"?>")
        .unwrap();
    let (mut open, mut all) = (Vec::new(), Vec::new());
    for part in body.split('<').skip(1) {
        let (tag, text) = part.split_once('>').unwrap();
        assert!(!text.contains('>') && !text.contains('"'), "{text}");
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        let name = tag
            .trim_matches('/')
            .split_whitespace()
            .next()
            .unwrap()
            .to_owned();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name));
            continue;
        }
        all.push(name.clone());
        if !tag.ends_with('/') {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?}");
    all
}

#[test]
fn the_shipped_scenarios_pass() {
    let mut files: Vec<PathBuf> = fs::read_dir(shipped())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect();
    files.sort();
    assert!(files.len() >= 12, "{files:?}");
    let folder = tempfile::tempdir().unwrap();
    let (even, odd): (Vec<_>, Vec<_>) = files.iter().enumerate().partition(|(at, _)| at % 2 == 0);
    let halves = [even, odd].map(|half| half.into_iter().map(|(_, path)| path.clone()).collect());
    std::thread::scope(|scope| {
        for (at, half) in halves.iter().enumerate() {
            let junit = folder.path().join(format!("{at}.xml"));
            scope.spawn(move || {
                let half: &Vec<PathBuf> = half;
                let played = scenario(
                    &shipped().join("config"),
                    half,
                    &["--junit", junit.to_str().unwrap()],
                );
                assert_eq!(played.code, Some(0), "{}{}", played.said, played.error);
                let report = fs::read_to_string(junit).unwrap();
                let all = elements(&report);
                let count = |name: &str| all.iter().filter(|one| *one == name).count();
                assert_eq!((count("testsuite"), count("failure")), (half.len(), 0));
                let cases = count("testcase");
                assert!(report.contains(&format!(
                    "<testsuites name=\"furrow-sim scenario\" tests=\"{cases}\""
                )));
            });
        }
    });
}

#[test]
fn each_finds_out_when_its_interlock_is_off() {
    let config = fs::read_to_string(shipped().join("config/gateway.toml")).unwrap();
    let table = [
        (
            "no-flow.toml",
            "flow = \"active\"",
            "flow = \"monitor\"",
            "zone-2 was open for 900",
        ),
        (
            "one-at-a-time.toml",
            "max_open_zones = 1",
            "max_open_zones = 2",
            "2 zones were open at",
        ),
        (
            "limits.toml",
            "max_run = \"20min\"",
            "max_run = \"40min\"",
            "expected \"longer than",
        ),
        (
            "leak.toml",
            "leak = \"active\"",
            "leak = \"monitor\"",
            "3 openings",
        ),
        (
            "pump-fails.toml",
            "low = 0.8 ",
            "low = 0.0 ",
            "expected 10.0 to 120.0 s",
        ),
        (
            "order.toml",
            "step = \"4s\"",
            "step = \"0s\"",
            "the pump worked against closed valves",
        ),
        (
            "fertigation.toml",
            "ec_max = 3.0",
            "ec_max = 30.0",
            "dosing was open for",
        ),
        (
            "tank.toml",
            "empty = 0.1 ",
            "empty = -9 ",
            "the run ends at once",
        ),
    ];
    for (file, from, to, seen) in table {
        assert!(config.contains(from), "{from}");
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("gateway.toml"), config.replace(from, to)).unwrap();
        let played = scenario(folder.path(), &[shipped().join(file)], &[]);
        assert_eq!(
            played.code,
            Some(1),
            "{file}: {}{}",
            played.said,
            played.error
        );
        assert!(played.said.contains(seen), "{file}: {}", played.said);
    }
}

const HEAD: &str = "start = \"2026-04-18T06:00:00+07:00\"\nlength = \"3min\"\n";

#[test]
fn what_was_not_as_expected_is_said() {
    let played = play(&format!(
        "{HEAD}[[event]]\nat = \"06:01\"\ncommand = \"water --zone zone-1 --for 1min\"\n\
         [[expect]]\nname = \"it stays dry\"\nzone = \"zone-1\"\nvalve = \"closed\"\nto = \"06:01:30\"\n\
         [[expect]]\nevent = \"run_started\"\nzone = \"zone-1\"\n"
    ));
    assert_eq!(played.code, Some(1), "{}", played.error);
    let which = "one.toml:6: it stays dry: zone-1 was not closed from 18 Apr 06:01:0";
    assert!(
        played.said.contains("1 of 2 expectations"),
        "{}",
        played.said
    );
    assert!(played.said.contains(which), "{}", played.said);
}

/// What is wrong, the file, what is said.
fn mistakes() -> Vec<(&'static str, String, &'static str)> {
    let expect = "[[expect]]\nzone = \"zone-1\"\nvalve = \"closed\"\n";
    vec![
        (
            "unknown key",
            format!("{HEAD}colour = 1\n{expect}"),
            "one.toml:3: unknown field `colour`",
        ),
        (
            "wrong type",
            format!("{HEAD}tank = \"full\"\n{expect}"),
            "one.toml:3: invalid type",
        ),
        (
            "nothing expected",
            HEAD.to_owned(),
            "nothing is expected: add [[expect]]",
        ),
        (
            "unknown zone",
            format!("{HEAD}{}", expect.replace("zone-1", "zone-9")),
            "one.toml:3: there is no zone \"zone-9\"; write one of zone-1",
        ),
        (
            "no time",
            format!("{HEAD}{expect}at = \"noon\"\n"),
            "one.toml:3: at: \"noon\" is no time",
        ),
        (
            "too late",
            format!("{HEAD}{expect}at = \"4min\"\n"),
            "lies behind the end: raise length",
        ),
        (
            "no such fault",
            format!("{HEAD}{expect}[[event]]\nat = \"1s\"\nfault = {{ kind = \"rust\" }}\n"),
            "one.toml:6: fault: unknown variant `rust`",
        ),
        (
            "no such device",
            format!(
                "{HEAD}{expect}[[event]]\nat = \"1s\"\nfault = {{ kind = \"unplug\", device = \"x\" }}\n"
            ),
            "one.toml:6: fault: there is no device \"x\"",
        ),
        (
            "no command",
            format!("{HEAD}{expect}[[event]]\nat = \"1s\"\ncommand = \"run\"\n"),
            "one.toml:6: command: begin with one of water",
        ),
        (
            "two at once",
            format!("{HEAD}{expect}given = [0, 1]\n"),
            "one.toml:3: expect exactly one of",
        ),
    ]
}

#[test]
fn mistakes_are_told_with_line_and_remedy() {
    for (what, text, problem) in mistakes() {
        let played = play(&text);
        assert_eq!(
            played.code,
            Some(2),
            "{what}: {}{}",
            played.said,
            played.error
        );
        assert!(played.error.contains(problem), "{what}: {}", played.error);
    }
    let folder = tempfile::tempdir().unwrap();
    let none = scenario(folder.path(), &[shipped().join("order.toml")], &[]);
    assert_eq!(none.code, Some(2));
    assert!(
        none.error.contains("gateway.toml: No such file"),
        "{}",
        none.error
    );
    let text = fs::read_to_string(shipped().join("config/gateway.toml")).unwrap();
    let wrong = text.replace("lease = \"30s\"", "lease = \"30h\"");
    fs::write(folder.path().join("gateway.toml"), wrong).unwrap();
    let refused = scenario(folder.path(), &[shipped().join("order.toml")], &[]);
    assert_eq!(refused.code, Some(2));
    assert!(
        refused.error.contains("irrigation.lease"),
        "{}",
        refused.error
    );
}

#[test]
fn a_scenario_that_takes_too_long_is_ended() {
    let text = format!("{}limit = \"1s\"\nspeed = 1.0\n", HEAD);
    let played = play(&format!(
        "{text}[[expect]]\nzone = \"zone-1\"\nvalve = \"closed\"\n"
    ));
    assert_eq!(played.code, Some(1), "{}", played.error);
    assert!(
        played.said.contains("its real time of 1s was over"),
        "{}",
        played.said
    );
}

#[test]
fn what_the_documentation_shows_for_ci_works() {
    let text = fs::read_to_string(root().join("docs/scenarios.md")).unwrap();
    let mut commands = Vec::new();
    for block in text.split("```yaml\n").skip(1) {
        let (block, _) = block.split_once("```").unwrap();
        let lines = block
            .lines()
            .map(|line| line.trim().trim_start_matches("- "));
        let lines = lines.map(|line| line.trim_start_matches("run: "));
        commands.extend(lines.filter(|line| line.starts_with("furrow-")));
    }
    assert_eq!(commands.len(), 4, "{commands:?}");
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &str| folder.path().join(path);
    fs::create_dir_all(at("site")).unwrap();
    fs::create_dir_all(at("scenarios")).unwrap();
    fs::copy(
        shipped().join("config/gateway.toml"),
        at("site/gateway.toml"),
    )
    .unwrap();
    for file in ["order.toml", "pump-fails.toml"] {
        fs::copy(shipped().join(file), at("scenarios").join(file)).unwrap();
    }
    let path = format!(
        "{}:{}",
        programs().display(),
        std::env::var("PATH").unwrap_or_default()
    );
    for command in commands {
        let mut shell = Command::new("sh");
        let shell = shell
            .args(["-c", command])
            .current_dir(folder.path())
            .env("PATH", &path);
        let ran = output(shell.env("RUST_LOG", "error"));
        assert_eq!(ran.code, Some(0), "{command}: {}{}", ran.said, ran.error);
    }
    assert_eq!(
        elements(&fs::read_to_string(at("scenarios.xml")).unwrap())[0],
        "testsuites"
    );
}
