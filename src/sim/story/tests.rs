use super::*;

fn refused(text: &str) -> String {
    Story::parse("s.txt", text).expect_err(text).to_string()
}

#[test]
fn a_story_that_does_not_parse_is_refused_with_the_place() {
    for (text, place, expected, found) in [
        ("nodes a b\nrin 3s", "s.txt:2:1", "a command", "rin"),
        ("start a", "s.txt:1:1", "nodes NAME..., before any other command but a setting", "start"),
        ("nodes a b\n\nstart c", "s.txt:3:7", "a node of a b", "c"),
        ("nodes a b\nrun 3", "s.txt:2:5", "a duration such as 50ms", "3"),
        ("nodes a b\nrun", "s.txt:2:4", "a duration such as 50ms", "the end of the line"),
        ("nodes a b\nrun until", "s.txt:2:10", "an expectation", "the end of the line"),
        ("nodes a b\n  cut a -> x # why", "s.txt:2:12", "a node of a b", "x"),
        ("nodes a b\nloss a - b 1.5", "s.txt:2:12", "a probability, 0 to 1", "1.5"),
        ("nodes a b\nexpect term < 3", "s.txt:2:13", "=, <= or >=", "<"),
        ("nodes a b\nexpect term = x", "s.txt:2:15", "a number", "x"),
        ("nodes a b\nexpect changes = 0 since mark", "s.txt:2:26", "a mark that was set above", "mark"),
        ("nodes a b\nexpect refused a no_idea", "s.txt:2:18", "a reason (stale_term", "no_idea"),
        ("nodes a b\nexpect role a king", "s.txt:2:15", "a role (follower", "king"),
        ("nodes a b\nexpect event \"never closed", "s.txt:2:27", "a closing quotation mark", "the end of the line"),
        ("nodes a b\nexpect event a b", "s.txt:2:16", "a text in quotation marks", "b"),
        ("nodes a b\nmark now", "s.txt:2:6", "the end of the line", "now"),
        ("nodes a b\nrun 1s\nseed 7", "s.txt:3:1", "a command that is no setting", "seed"),
        ("nodes a a", "s.txt:1:9", "a name that is valid and new", "a"),
        ("nodes a b\ncut a a - b", "s.txt:2:7", "a node that was not named yet", "a"),
        ("nodes a  b\t c\ncut  \u{a0}a -> \"b\"", "s.txt:2:12", "a node of a b c", "\"b\""),
        ("timing heartbeet=1s", "s.txt:1:8", "heartbeat=", "heartbeet=1s"),
        ("timing promise=10s", "s.txt:1:8", "times that go together", "promise=10s"),
        ("nodes a b\ninject a -> b song", "s.txt:2:15", "heartbeat, prevote, vote, resign or timeout_now", "song"),
        ("nodes ä b\nshow ö", "s.txt:2:6", "all, brief, nothing or nodes", "ö"),
    ] {
        let said = refused(text);
        assert!(said.starts_with(&format!("{place}: expected {expected}")), "{text:?}: {said}");
        assert!(said.ends_with(&format!("found {found}")), "{text:?}: {said}");
    }
}

/// Found by fuzzing: `heal` makes two links of each pair, and a line of a few kilobytes made a million.
#[test]
fn a_story_has_no_more_nodes_than_a_cluster_has_members() {
    let nodes = |count: usize| (0..count).map(|at| format!(" n{at}")).collect::<String>();
    Story::parse("s.txt", &format!("nodes{}\nheal", nodes(64))).expect("as many as there may be");
    let said = refused(&format!("nodes{}\nheal", nodes(65)));
    assert!(said.ends_with("expected at most 64 nodes, found n64"), "{said}");
}

#[test]
fn output_in_the_script_is_dropped_and_written_anew() {
    let told = Story::parse("s", "nodes a\n| old\nshow nodes\n| lies\n\n# end\n").expect("parses").tell();
    assert_eq!(told, Told { text: "nodes a\nshow nodes\n| a  not running\n\n# end\n".to_owned(), failures: vec![] });
}

#[test]
fn what_was_told_tells_the_same_again() {
    let script = "nodes a b c\nstart a b c\nrun until leader\nrun 500ms\nshow nodes\n";
    let told = Story::parse("s", script).expect("parses").tell();
    assert_eq!(told.failures, []);
    assert_eq!(Story::parse("s", &told.text).expect("its own output").tell(), told);
}

#[test]
fn an_expectation_that_is_not_met_names_its_line_and_what_was_seen() {
    let told = Story::parse("s", "nodes a b c\n\n# two of three\nstart a b\nrun 1s\nexpect leader a\n")
        .expect("parses")
        .tell();
    let failure = Failure { line: 6, text: "expected leader a, seen: leader none".to_owned() };
    assert_eq!(told.failures, [failure]);
}

#[test]
fn a_condition_that_does_not_come_ends_the_story() {
    let script = "nodes a b c\nstart a\nrun until leader within 2s\nexpect term = 99\n";
    let told = Story::parse("s", script).expect("parses").tell();
    assert_eq!(told.failures.len(), 1, "{:?}", told.failures);
    assert_eq!(told.failures[0].text, "not reached within 2s: leader, seen: leader none");
}

#[test]
fn a_mark_counts_from_where_it_stands() {
    let script =
        "nodes a b c\nstart a b c\nrun until leader\nexpect changes = 1\nmark\nrun 1s\nexpect changes = 0 since mark\n";
    assert_eq!(Story::parse("s", script).expect("parses").tell().failures, []);
}
