//! A message made by hand: `inject FROM -> TO KIND`, and what it claims.

use super::words::Words;
use super::{Parsed, Parser};
use crate::message::RequestBody;
use crate::record::RecordId;
use crate::sim::story::command::Inject;
use crate::types::{ClusterId, NodeId, Term, TraceContext};

impl Parser {
    pub(super) fn inject(&self, words: &mut Words<'_>) -> Parsed<Inject> {
        const KINDS: &str = "heartbeat, prevote, vote, resign or timeout_now";
        let from = self.node(words)?;
        words.keyword("->")?;
        let way = (from, self.node(words)?);
        let body = match words.word(KINDS)? {
            "heartbeat" => RequestBody::AppendEntries {
                promise: self.setting.timing.promise,
                record: None,
                committed: None,
                rank: None,
                election: TraceContext::NONE,
            },
            "prevote" => RequestBody::PreVote { last: None },
            "vote" => RequestBody::RequestVote { last: None, transfer: None },
            "resign" => RequestBody::Resign,
            "timeout_now" => RequestBody::TimeoutNow,
            _ => return Err(words.unread(KINDS)),
        };
        let mut inject = Inject {
            way,
            body,
            term: Term::default(),
            from: None,
            cluster: None,
            incarnation: None,
            last: None,
            members: Vec::new(),
        };
        while !words.is_over() {
            const KEYS: &str = "term=, last=TERM.INDEX, members=NAME,.., from=, cluster= or incarnation=";
            let (key, value) = words.pair(KEYS)?;
            set_claim(&mut inject, key, value).ok_or_else(|| words.unread(KEYS))?;
        }
        Ok(inject)
    }
}

/// What a message made by hand claims to be.
fn set_claim(inject: &mut Inject, key: &str, value: &str) -> Option<()> {
    let number = |text: &str| text.parse::<u64>().ok();
    match key {
        "term" => inject.term = Term(if value == "max" { u64::MAX } else { number(value)? }),
        "incarnation" => inject.incarnation = Some(number(value)?),
        "last" => {
            let (term, index) = value.split_once('.')?;
            inject.last = Some(RecordId { term: Term(number(term)?), index: number(index)? });
        }
        "members" => inject.members = value.split(',').map(NodeId::new).collect::<Result<_, _>>().ok()?,
        "from" => inject.from = NodeId::new(value).ok().map(|_| value.to_owned()),
        "cluster" => inject.cluster = ClusterId::new(value).ok().map(|_| value.to_owned()),
        _ => return None,
    }
    Some(())
}
