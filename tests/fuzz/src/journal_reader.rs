//! A journal: every line is told or refused, and an event that was read can be written and read again.

use hustings::observer::journal::{Line, read_from};

pub(crate) fn check(data: &[u8]) {
    let lines = data.split(|byte| *byte == b'\n').count();
    let mut told = 0;
    for line in read_from("fuzz", data) {
        told += 1;
        assert!(told <= lines, "more was told than there are lines");
        match line {
            Ok(Line::Event(event)) => {
                assert!(!event.to_string().is_empty());
                let again = format!("{{\"v\":1,\"event\":{}}}\n", serde_json::to_string(&event).expect("it was read"));
                assert_same(&again, &Line::Event(event));
            }
            Ok(Line::Run(run)) => {
                let again = format!("{{\"v\":1,\"run\":{}}}\n", serde_json::to_string(&run).expect("it was read"));
                std::hint::black_box(run.anchor().wall(run.at));
                assert_same(&again, &Line::Run(run));
            }
            Ok(Line::Dropped(_)) => {}
            Err(error) => assert!(error.to_string().starts_with("journal fuzz, line ") && !error.code().is_empty()),
        }
    }
}

fn assert_same(text: &str, line: &Line) {
    let again: Vec<Line> = read_from("again", text.as_bytes()).map(|line| line.expect("it was just written")).collect();
    assert_eq!(again, std::slice::from_ref(line));
}
