//! Rules of the workspace that no compiler checks. Each failure names the file and the rule.
//!
//! It reads sources as text and asks cargo for dependency trees; it runs none of the programs.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test helpers")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Crates without IO, with their folders.
const PURE_CRATES: [(&str, &str); 6] = [
    ("furrow-wire", "wire"),
    ("furrow-alerts", "alerts"),
    ("furrow-gateway-core", "gateway/core"),
    ("furrow-irrigation", "gateway/irrigation"),
    ("furrow-drivers", "gateway/drivers"),
    ("furrow-ingest-core", "ingest/core"),
];

/// Packages that do IO, or bring a runtime for it.
const NOT_IN_PURE_CRATES: [&str; 11] = [
    "axum",
    "gpiocdev",
    "influxdb2",
    "linux-embedded-hal",
    "mio",
    "reqwest",
    "rmqtt",
    "rppal",
    "rumqttc",
    "rusqlite",
    "tokio",
];

/// Lines of a file without its tests.
const FILE_LINES_MAX: usize = 500;
/// Lines of a program's `main.rs`: it parses, builds, runs and ends.
const MAIN_LINES_MAX: usize = 60;

/// Tests of real processes, and the client that ingest's whole-service tests talk to it with: only
/// these may wait for real time.
const END_TO_END: [&str; 2] = ["tests/", "ingest/tests/kit/client.rs"];

/// Folders that hold no sources of ours.
const NOT_OURS: [&str; 4] = [".git", "node_modules", "dist", "test-results"];

/// Crates behind the field's traits, as code names them, each with the only file that does.
const HARDWARE_ONLY: [(&str, &str); 3] = [
    ("rppal", "gateway/src/bus/pi.rs"),
    ("linux_embedded_hal", "gateway/src/bus/linux.rs"),
    ("gpiocdev", "gateway/src/bus/linux.rs"),
];
/// The only crate that does not forbid unsafe code: one call to the kernel (docs/adr/0005).
const UNSAFE_CRATE: &str = "gateway/kernel-clock";
/// Not spelt in one piece, so that this file has none.
const UNSAFE_BLOCK: &str = concat!("unsafe", " {");
/// The only file that knows topic strings.
const TOPICS_ONLY: &str = "wire/src/topic.rs";

#[test]
fn pure_crates_depend_on_nothing_that_does_io() {
    let mut broken = Vec::new();
    for (package, folder) in PURE_CRATES {
        for dependency in dependencies(package) {
            if NOT_IN_PURE_CRATES.contains(&dependency.as_str()) {
                broken.push(format!(
                    "{folder}/Cargo.toml: a pure crate depends on {dependency}"
                ));
            }
        }
    }
    report(&broken);
}

#[test]
fn pure_crates_share_one_list_of_banned_calls() {
    let first = read(&format!("{}/clippy.toml", PURE_CRATES[0].1));
    let others = PURE_CRATES
        .iter()
        .map(|(_, folder)| format!("{folder}/clippy.toml"));
    let differing = others.filter(|path| read(path) != first);
    report(
        &differing
            .map(|path| format!("{path}: differs from {}/clippy.toml", PURE_CRATES[0].1))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn every_crate_has_the_lints_of_the_workspace() {
    let mut broken = Vec::new();
    for member in members() {
        if member == UNSAFE_CRATE {
            continue;
        }
        let path = format!("{member}/Cargo.toml");
        let manifest: toml::Table = read(&path).parse().unwrap();
        let inherits = manifest
            .get("lints")
            .and_then(|lints| lints.get("workspace"))
            .and_then(toml::Value::as_bool);
        if inherits != Some(true) {
            broken.push(format!("{path}: `[lints] workspace = true` is missing"));
        }
    }
    report(&broken);
}

#[test]
fn one_file_is_unsafe() {
    let named =
        |path: &String| numbered(&read(path)).any(|(_, line)| code_of(line).contains(UNSAFE_BLOCK));
    let found: Vec<String> = rust_files().into_iter().filter(named).collect();
    let only = format!("{UNSAFE_CRATE}/src/lib.rs");
    assert_eq!(found, [only]);
    let calls = numbered(&read(&found[0]))
        .filter(|(_, line)| code_of(line).contains(UNSAFE_BLOCK))
        .count();
    assert_eq!(calls, 2, "docs/adr/0005-adjtimex.md names what is unsafe");
}

#[test]
fn one_file_each_names_the_crates_of_the_hardware() {
    for (package, only) in HARDWARE_ONLY {
        let naming: Vec<String> = rust_files()
            .into_iter()
            .filter(|path| !path.starts_with("tests/tests/tidy"))
            .filter(|path| {
                read(path)
                    .lines()
                    .any(|line| code_of(line).contains(package))
            })
            .collect();
        assert_eq!(naming, [only], "files whose code names {package}");
    }
}

#[test]
fn one_module_knows_topic_strings() {
    let mut broken = Vec::new();
    for path in rust_files() {
        if path == TOPICS_ONLY || is_test_file(&path) {
            continue;
        }
        for (number, line) in without_tests(&read(&path)) {
            if code_of(line).contains("\"furrow/") {
                broken.push(format!(
                    "{path}:{number}: a topic string outside {TOPICS_ONLY}"
                ));
            }
        }
    }
    report(&broken);
}

#[test]
fn files_are_short() {
    let mut broken = Vec::new();
    for path in rust_files() {
        if is_test_file(&path) {
            continue;
        }
        let text = read(&path);
        let lines = without_tests(&text).count();
        if lines > FILE_LINES_MAX {
            broken.push(format!(
                "{path}: {lines} lines without tests, {FILE_LINES_MAX} allowed"
            ));
        }
        let is_main = path.ends_with("src/main.rs") && !path.starts_with("xtask/");
        if is_main && lines > MAIN_LINES_MAX {
            broken.push(format!(
                "{path}: {lines} lines, {MAIN_LINES_MAX} allowed in a main.rs"
            ));
        }
    }
    report(&broken);
}

#[test]
fn nothing_is_without_a_bound_skipped_or_unfinished() {
    // In two pieces, so that this file does not break its own rule.
    let banned = [
        (concat!("un", "bounded"), "every queue has a bound"),
        (concat!("#[ig", "nore"), "no test is skipped"),
        (concat!("to", "do!("), "no unfinished code"),
        (concat!("unimpl", "emented!("), "no unfinished code"),
    ];
    let mut broken = Vec::new();
    for path in rust_files() {
        for (number, line) in numbered(&read(&path)) {
            for (word, rule) in banned {
                if code_of(line).contains(word) {
                    broken.push(format!("{path}:{number}: `{word}`: {rule}"));
                }
            }
        }
    }
    report(&broken);
}

#[test]
fn tests_below_end_to_end_do_not_sleep() {
    let mut broken = Vec::new();
    for path in rust_files() {
        if END_TO_END.iter().any(|prefix| path.starts_with(prefix)) {
            continue;
        }
        let text = read(&path);
        let code: BTreeSet<usize> = match is_test_file(&path) {
            true => BTreeSet::new(),
            false => without_tests(&text).map(|(number, _)| number).collect(),
        };
        for (number, line) in numbered(&text) {
            let line_code = code_of(line);
            let sleeps = ["thread::sleep", "time::sleep"]
                .iter()
                .any(|s| line_code.contains(s));
            if sleeps && !code.contains(&number) {
                broken.push(format!("{path}:{number}: a test that sleeps"));
            }
        }
    }
    report(&broken);
}

#[test]
fn decision_records_are_numbered_without_gaps() {
    let mut names: Vec<String> = fs::read_dir(root().join("docs/adr"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let mut broken = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let expected = format!("{:04}-", index + 1);
        if !name.starts_with(&expected) || !name.ends_with(".md") {
            broken.push(format!(
                "docs/adr/{name}: expected a name like {expected}title.md"
            ));
        }
    }
    report(&broken);
}

#[test]
fn the_architecture_page_shows_every_crate_with_an_invariant() {
    let page = read("ARCHITECTURE.md");
    let sections: Vec<&str> = page.split("\n### ").skip(1).collect();
    let mut broken = Vec::new();
    for member in members() {
        let folder = format!("`{member}/`");
        let section = sections.iter().find(|section| {
            let heading = section.lines().next().unwrap_or_default();
            heading.contains(&folder)
        });
        match section {
            None => broken.push(format!("ARCHITECTURE.md: no section for {folder}")),
            Some(section) if !section.contains("**Invariant:**") => {
                broken.push(format!(
                    "ARCHITECTURE.md: {folder} has no line `**Invariant:** …`"
                ));
            }
            Some(_) => {}
        }
    }
    for path in backticked_paths(&page) {
        if !root().join(&path).exists() {
            broken.push(format!(
                "ARCHITECTURE.md: names `{path}`, which does not exist"
            ));
        }
    }
    report(&broken);
}

#[test]
fn sources_name_no_machine() {
    let banned = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
    ];
    let mut broken = Vec::new();
    for path in all_files() {
        // Pictures and the like are not text.
        let Ok(text) = fs::read_to_string(root().join(&path)) else {
            continue;
        };
        for (number, line) in numbered(&text) {
            if let Some(found) = banned.iter().find(|word| line.contains(**word)) {
                broken.push(format!("{path}:{number}: a path of one machine: {found}"));
            }
            if path.ends_with("package-lock.json")
                && line.contains("\"resolved\": \"http")
                && !line.contains("\"https://registry.npmjs.org/")
            {
                broken.push(format!("{path}:{number}: a package from another registry"));
            }
        }
    }
    report(&broken);
}

#[test]
fn the_texts_of_logs_are_constant() {
    let mut broken = Vec::new();
    for path in rust_files() {
        for (number, line) in numbered(&read(&path)) {
            let code = code_of(line).trim_start();
            let is_log = ["trace", "debug", "info", "warn", "error"]
                .iter()
                .any(|level| {
                    code.starts_with(&format!("tracing::{level}!("))
                        || code.starts_with(&format!("{level}!("))
                });
            // The text comes last; a field before it may have been formatted.
            let text = code.rsplit('"').nth(1).unwrap_or_default();
            if is_log && text.contains('{') {
                broken.push(format!(
                    "{path}:{number}: values in the text of a log, not in fields"
                ));
            }
        }
    }
    report(&broken);
}

#[test]
fn a_file_is_split_into_code_and_tests() {
    let text = "code\n#[cfg(test)]\nmod tests {\n    a\n    {\n    }\n}\nmore\n\
                #[cfg(test)]\nmod other;\nend\n";
    let code: Vec<(usize, &str)> = without_tests(text).collect();
    assert_eq!(code, [(1, "code"), (8, "more"), (11, "end")]);
    assert_eq!(code_of("let a = \"x\"; // rest"), "let a = \"x\"; ");
    assert_eq!(
        code_of("let a = \"http://x\"; // rest"),
        "let a = \"http://x\"; "
    );
    assert_eq!(code_of("/// text"), "");
    for (path, expected) in [
        ("journal/tests/power.rs", true),
        ("journal/src/scan/tests.rs", true),
        ("gateway/src/tests/kit.rs", true),
        ("ingest/benches/delivery.rs", true),
        ("journal/src/scan.rs", false),
        ("tests/src/site.rs", true),
    ] {
        assert_eq!(is_test_file(path), expected, "{path}");
    }
}

/// Fails with all violations at once.
fn report(broken: &[String]) {
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap().to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).expect(path)
}

/// Folders of all crates.
fn members() -> Vec<String> {
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let members = manifest["workspace"]["members"].as_array().unwrap();
    members
        .iter()
        .map(|member| member.as_str().unwrap().to_owned())
        .collect()
}

/// Names of all packages that are built into a package on this platform.
fn dependencies(package: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .current_dir(root())
        .args([
            "tree",
            "--offline",
            "--locked",
            "--edges",
            "normal",
            "--prefix",
            "none",
        ])
        .args(["--all-features", "--format", "{p}", "--package", package])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo tree of {package}: {errors}");
    let tree = String::from_utf8(output.stdout).unwrap();
    let names: BTreeSet<String> = tree
        .lines()
        .filter_map(|line| line.split(' ').next().map(str::to_owned))
        .collect();
    assert!(names.contains(package), "{tree}");
    names
}

/// All files of the project, as paths from its root with `/`.
fn all_files() -> Vec<String> {
    let mut files = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let path = entry.path();
            if path.is_dir() {
                let ours = !NOT_OURS.contains(&name.as_str())
                    && !name.starts_with("target")
                    && name != ".demo";
                if ours {
                    folders.push(path);
                }
            } else if name != ".git" {
                // In a second working tree it is a file that names the first.
                let path = path.strip_prefix(root()).unwrap();
                files.push(path.to_str().unwrap().to_owned());
            }
        }
    }
    files.sort();
    files
}

fn rust_files() -> Vec<String> {
    let files: Vec<String> = all_files()
        .into_iter()
        .filter(|path| path.ends_with(".rs"))
        .collect();
    assert!(files.len() > 50, "{files:?}");
    files
}

/// Test crates, `tests` and `benches` folders, `tests.rs`.
fn is_test_file(path: &str) -> bool {
    let mut parts = path.split('/');
    parts.any(|part| ["tests", "tests.rs", "benches"].contains(&part))
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line))
}

/// Numbered lines outside modules marked `#[cfg(test)]`.
fn without_tests(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut marked = false;
    let mut inside = false;
    numbered(text).filter(move |(_, line)| {
        if inside {
            inside = *line != "}";
            return false;
        }
        if marked && !line.starts_with("#[") {
            marked = false;
            inside = line.ends_with('{');
            return false;
        }
        marked |= *line == "#[cfg(test)]";
        !marked
    })
}

/// A line without its comment. A `//` inside a string is taken for code.
fn code_of(line: &str) -> &str {
    let mut quotes = 0;
    for (at, character) in line.char_indices() {
        match character {
            '"' => quotes += 1,
            '/' if quotes % 2 == 0 => {
                let (code, rest) = line.split_at(at);
                if rest.starts_with("//") {
                    return code;
                }
            }
            _ => {}
        }
    }
    line
}

/// What stands in backticks and looks like a file or folder of the project.
fn backticked_paths(page: &str) -> Vec<String> {
    let quoted = page.split('`').skip(1).step_by(2);
    let paths = quoted.filter(|text| {
        text.contains('/')
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c))
    });
    paths.map(str::to_owned).collect()
}
