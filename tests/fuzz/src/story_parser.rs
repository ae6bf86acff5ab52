//! A story: read or refused with a place that exists. It is not told, which may take for ever.

use hustings::sim::story::Story;

pub(crate) fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Err(error) = Story::parse("fuzz", &text) {
        let line = text.lines().nth(error.line - 1).expect("a line of the text");
        assert!(error.column >= 1 && error.column <= line.chars().count() + 1, "{error}");
        assert!(!error.expected.is_empty() && !error.found.is_empty(), "{error}");
    }
}
