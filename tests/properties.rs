//! The page of rules beside the code: every letter that is cited is defined, and every rule names checks that cite it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const PAGE: &str = "src/properties.md";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The rules of the page, each with the files that its row names.
fn defined(page: &str) -> BTreeMap<String, Vec<String>> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| **"));
    let rule = |row: &str| {
        let (name, rest) = row.split_once("** |")?;
        let checks = rest.trim_end_matches(" |").rsplit_once('|')?.1;
        Some((name.to_owned(), checks.split('`').skip(1).step_by(2).map(str::to_owned).collect()))
    };
    rows.filter_map(rule).collect()
}

/// The rules that a text cites: a letter and a number that stand alone.
fn cited(text: &str) -> BTreeSet<String> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let is_rule = |word: &&str| {
        let (letter, number) = word.split_at(1.min(word.len()));
        "SLADEFV".contains(letter)
            && !number.is_empty()
            && number.len() <= 2
            && number.bytes().all(|b| b.is_ascii_digit())
    };
    text.split(|c| !is_word(c))
        .filter(|word| word.is_ascii() && !word.is_empty())
        .filter(is_rule)
        .map(str::to_owned)
        .collect()
}

/// Citations stand in comments and in texts; elsewhere such a word is a name of the code.
fn prose(source: &str) -> String {
    let of_line = |line: &str| match line.find("//") {
        Some(at) => line[at..].to_owned(),
        None => line.split('"').skip(1).step_by(2).collect::<Vec<_>>().join(" "),
    };
    source.lines().map(|line| of_line(line) + "\n").collect()
}

fn files(dir: &Path, ends: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let entries = std::fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").path());
    for path in entries.filter(|path| !path.ends_with("target")) {
        if path.is_dir() {
            found.extend(files(&path, ends));
        } else if path.extension().is_some_and(|end| ends.iter().any(|wanted| end == *wanted)) {
            found.push(path);
        }
    }
    found
}

fn undefined(path: &str, text: &str, defined: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let unknown = cited(&prose(text)).into_iter().filter(|rule| !defined.contains_key(rule));
    unknown.map(|rule| format!("{path} cites {rule}, which {PAGE} does not define")).collect()
}

/// What is wrong with the checks that a rule names.
fn unchecked(rule: &str, checks: &[String], read: impl Fn(&str) -> Option<String>) -> Vec<String> {
    if checks.is_empty() {
        return vec![format!("{rule} names no check")];
    }
    let wrong = |check: &String| match read(check) {
        None => Some(format!("{rule} names {check}, which is not there")),
        Some(text) if !cited(&text).contains(rule) => Some(format!("{rule} names {check}, where it is not cited")),
        Some(_) => None,
    };
    checks.iter().filter_map(wrong).collect()
}

fn page() -> BTreeMap<String, Vec<String>> {
    let page = std::fs::read_to_string(root().join(PAGE)).expect("the page");
    let defined = defined(&page);
    assert!(defined.len() > 40, "the page is read: {defined:?}");
    defined
}

#[test]
fn every_rule_that_is_cited_is_defined() {
    let defined = page();
    let mut wrong = Vec::new();
    for dir in ["src", "tests", "examples", "benches"] {
        for path in files(&root().join(dir), &["rs"]) {
            // Here stand rules that do not exist.
            if !path.ends_with(file!()) {
                let text = std::fs::read_to_string(&path).expect("a source");
                wrong.extend(undefined(&path.display().to_string(), &text, &defined));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_rule_names_checks_that_cite_it() {
    let read = |check: &str| std::fs::read_to_string(root().join(check)).ok();
    let wrong: Vec<String> = page().iter().flat_map(|(rule, checks)| unchecked(rule, checks, read)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_page_and_a_source_that_differ_are_seen() {
    let defined = defined("| **S1** | One leader. | paper | `a.rs`, `b.rs` |\n| **S2** | One vote. | paper | none |\n");
    assert_eq!(defined["S1"], ["a.rs", "b.rs"]);
    assert_eq!(undefined("x.rs", "// S1 and S9.\nlet v = S8;\nhold(\"S7\")", &defined).len(), 2, "S9 and S7");
    let read = |check: &str| (check == "a.rs").then(|| "// S1".to_owned());
    assert_eq!(unchecked("S1", &defined["S1"], read), ["S1 names b.rs, which is not there"]);
    assert_eq!(unchecked("S2", &defined["S2"], read), ["S2 names no check"]);
    assert_eq!(unchecked("S2", &["a.rs".to_owned()], read), ["S2 names a.rs, where it is not cited"]);
}
