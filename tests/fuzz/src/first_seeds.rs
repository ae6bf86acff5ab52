//! The seeds that are made, not found, and libFuzzer's words: `cargo run -p hustings-fuzz --bin first_seeds` writes them anew.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hustings::config::Timing;
use hustings::event::{Event, EventKind};
use hustings::message::{
    Hearsay, Holder, Identity, PROTOCOL_VERSION, Reason, Reply, ReplyBody, Request, RequestBody, RequestId,
    RequestKind, Verdict,
};
use hustings::record::{HardState, Member, Record, RecordId};
use hustings::sim::story::Story;
use hustings::sim::{Cluster, Death, Detail};
use hustings::storage::file::slot::{Owner, encode};
use hustings::types::{ClusterId, DiskId, Founding, GroupId, Incarnation, NodeId, Term, TraceContext};
use hustings::wire::{encode_reply, encode_request};

fn main() {
    write("wire_decode", messages());
    write("journal_reader", lines());
    write("story_parser", stories());
    write("slot_recovery", slots());
    write("configuration", configurations());
    write("decode_then_step", lives());
    words("journal_reader", lines());
    words("story_parser", stories());
}

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn write(target: &str, seeds: Vec<Vec<u8>>) {
    let directory = here().join("seeds").join(target);
    fs::create_dir_all(&directory).expect("a directory");
    for (at, seed) in seeds.iter().enumerate() {
        fs::write(directory.join(format!("first-{at:02}")), seed).expect("written");
    }
}

/// The words of the seeds, for libFuzzer to put in: it does not guess long ones.
fn words(target: &str, seeds: Vec<Vec<u8>>) {
    let mut words = BTreeSet::new();
    for seed in seeds {
        let text = String::from_utf8(seed).expect("text");
        let ends = |c: char| c.is_whitespace() || ",:{}[]=".contains(c);
        words.extend(text.split(ends).filter(|word| (2..40).contains(&word.len())).map(str::to_owned));
    }
    let plain = |word: &String| !word.trim_matches('"').is_empty() && !word.contains('\\');
    let line = |word: &String| format!("\"{}\"\n", word.replace('"', "\\x22"));
    let text: String = words.iter().filter(|word| plain(word)).map(line).collect();
    fs::create_dir_all(here().join("words")).expect("a directory");
    fs::write(here().join("words").join(format!("{target}.txt")), text).expect("written");
}

fn node(name: &str) -> NodeId {
    NodeId::new(name).expect("a name")
}

fn record() -> Arc<Record> {
    let members = [("a", 1), ("b", 2), ("c", 3)].map(|(name, disk)| Member {
        node: node(name),
        disk: DiskId(disk),
        voter: name != "c",
    });
    let (id, parent) = (RecordId { term: Term(2), index: 5 }, RecordId { term: Term(1), index: 4 });
    Arc::new(Record { id, parent, members: members.to_vec(), proclaimed: Bytes::from_static(b"x") })
}

fn messages() -> Vec<Vec<u8>> {
    let from = Arc::new(Identity {
        version: PROTOCOL_VERSION,
        cluster: ClusterId::new("fuzz").expect("a name"),
        founding: Founding(9),
        group: GroupId::default(),
        node: node("a"),
        disk: DiskId(1 << 70 | 5),
        incarnation: Incarnation(3),
        timing: 77,
        priority: 100,
        amnesiac: true,
    });
    let election = TraceContext { trace_id: 1 << 80 | 7, span_id: 5, flags: 1 };
    let last = Some(RecordId { term: Term(2), index: 5 });
    let promise = Duration::from_millis(150);
    let questions = [
        RequestBody::PreVote { last },
        RequestBody::RequestVote { last, transfer: Some((from.holder(), Term(4))) },
        RequestBody::AppendEntries { promise, record: Some(record()), committed: last, rank: Some(1), election },
        RequestBody::AppendEntries { promise, record: None, committed: None, rank: None, election },
        RequestBody::TimeoutNow,
        RequestBody::Resign,
    ];
    let answers = [
        ReplyBody::None,
        ReplyBody::Vote {
            remainder: promise,
            record: Some(record()),
            hearsay: Some(Hearsay { leader: node("b"), term: Term(3), age: promise }),
        },
        ReplyBody::Append { promised: promise, durable: last, contention: hustings::message::Contention::Contends },
        ReplyBody::TimeoutNow { election },
    ];
    let request = |body| {
        let mut bytes = Vec::new();
        let request = Request { from: from.clone(), to: node("b"), id: RequestId(300), term: Term(5), body };
        encode_request(&request, &mut bytes);
        bytes
    };
    let reply = |body| {
        let mut bytes = Vec::new();
        let reply = Reply {
            from: from.clone(),
            to: Holder { node: node("b"), disk: DiskId(2), incarnation: Incarnation(1) },
            id: RequestId(300),
            kind: RequestKind::RequestVote,
            term: Term(5),
            verdict: Verdict::Refused(Reason::RecordBehind),
            worked: Duration::from_micros(80),
            body,
        };
        encode_reply(&reply, &mut bytes);
        bytes
    };
    questions.into_iter().map(request).chain(answers.into_iter().map(reply)).collect()
}

/// One line of each kind of event that a cluster with troubles brings about.
fn lines() -> Vec<Vec<u8>> {
    let mut told = BTreeSet::new();
    let mut lines = vec![
        br#"{"v":1,"dropped":12}"#.to_vec(),
        br#"{"v":1,"run":{"library":"0.1.0","protocol":1,"cluster":"c","founding":7,"group":"main","node":"a","disk":"00000000000000000000000000000005","incarnation":2,"wall_unix_ns":1700000000000000000,"at":5}}"#.to_vec(),
    ];
    for event in troubles() {
        let kind = serde_json::to_value(&event.kind).expect("an event");
        let kind = kind["event"].as_str().expect("a name").to_owned();
        let rare = matches!(&event.kind, EventKind::ElectionStarted { waited: Some(_), .. });
        if told.insert((kind, rare)) {
            lines.push(format!("{{\"v\":1,\"event\":{}}}\n", serde_json::to_string(&event).expect("an event")).into());
        }
    }
    lines
}

fn troubles() -> Vec<Event> {
    use hustings::node::Input;
    let mut cluster = Cluster::new(3, &["a", "b", "c"], &Timing::default(), Detail::Events).expect("names");
    let second = Duration::from_secs(1);
    (0..3).for_each(|at| cluster.start(at));
    cluster.run_for(second);
    let leads = |cluster: &Cluster| (0..3).find(|at| cluster.is_exclusive(*at));
    for trouble in 0..8 {
        let Some(leader) = leads(&cluster) else {
            cluster.run_for(second);
            continue;
        };
        match trouble {
            0 => cluster.input(leader, Input::Transfer(None)),
            1 => cluster.input(leader, Input::Resign),
            2 => cluster.input(leader, Input::Proclaim(Bytes::from_static(b"x"))),
            3 => cluster.crash(leader, Death::Killed),
            4 => cluster.pause(leader, second),
            5 => cluster.wipe((leader + 1) % 3),
            6 => cluster.disk(leader).fail = 1.0,
            _ => cluster.input(leader, Input::Shutdown),
        }
        cluster.run_for(second);
        (0..3)
            .filter(|at| cluster.node(*at).is_none())
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|at| cluster.start(at));
        cluster.run_for(second);
    }
    cluster.events().to_vec()
}

/// The library's own stories, without what was told and as far as they fit.
fn stories() -> Vec<Vec<u8>> {
    let directory = here().join("../stories");
    let mut files: Vec<PathBuf> =
        fs::read_dir(directory).expect("stories").map(|e| e.expect("an entry").path()).collect();
    files.sort();
    let script = |file: &PathBuf| {
        let text = fs::read_to_string(file).expect("a story");
        let mut script = String::new();
        for line in text.lines().filter(|line| !line.starts_with(['|', '#']) && !line.is_empty()) {
            if script.len() + line.len() < 700 {
                script.push_str(line);
                script.push('\n');
            }
        }
        Story::parse("seed", &script).expect("a story");
        script.into_bytes()
    };
    files.iter().step_by(3).map(script).collect()
}

fn slots() -> Vec<Vec<u8>> {
    let owner = Owner { cluster: ClusterId::new("fuzz").expect("a name"), group: GroupId::default(), node: node("a") };
    let mut state = HardState::new(DiskId(5), Duration::from_millis(150));
    let empty = encode(&owner, 1, &state);
    state.record = Some(record());
    state.voted_for = Some(node("b"));
    state.named = Some(Term(1));
    let full = encode(&owner, 2, &state);
    let plain = |first: &[u8], second: &[u8]| {
        let len = u16::try_from(first.len()).expect("short").to_le_bytes();
        [&[0], &len[..], first, second].concat()
    };
    // Version, two sequences, whether the owner is written for it; then the state.
    let sealed = [&[1, 0, 3, 2, 1], &full[28 + 4 + 1 + 5 + 2..]].concat();
    vec![
        plain(&full, &empty),
        plain(&full, &full),
        plain(b"", &full),
        sealed,
        vec![2, 67, 131, 195, 40, 0],
        vec![2, 67, 131, 195, 40, 0, 1, 60, 0, 7, 0],
        vec![3, 3, 4, 5, 255, 255, 0, 9, 0, 255, 0, 1, 9, 0, 255, 0],
    ]
}

fn configurations() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> =
        vec![vec![0], vec![0, 3, 0, 1, 2, 0, 0, 1], vec![0, 1, 0, 0, 2, 49, 0, 100, 0, 0, 5, 7]];
    for text in
        ["planner-0", "http://planner-0:7300/", "[::1]:7300", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"]
    {
        seeds.push([&[2], text.as_bytes()].concat());
    }
    seeds.push([&[3, 2, 0, 6][..], b"host:1", &[6, 12], b"b3,none,none", &[1], b"http://b:4317"].concat());
    seeds
}

/// Three members, founded, past the quarantine, elected: then one act after another.
fn lives() -> Vec<Vec<u8>> {
    let elected = [2, 2, 4 | 8 | 16];
    let lives: [&[u8]; 8] = [
        &[],
        &[37, 1, 33, 37, 0, 18, 15],
        &[34, 1, 1, 18, 18],
        &[35, 7, 7, 7, 7, 18],
        &[24, 1, 15, 19, 19],
        &[23, 15],
        &[41, 225, 18, 18],
        &[39, 3, 18, 18, 18, 40, 1, 18, 18],
    ];
    let mut seeds: Vec<Vec<u8>> = lives.iter().map(|acts| [&elected[..], acts].concat()).collect();
    seeds.extend([
        vec![2, 0, 0, 15, 18, 15, 18],
        vec![0, 0, 0, 15, 21, 15, 21, 15],
        vec![4, 3, 4, 19, 0, 0, 0, 0, 3, 0, 3],
    ]);
    seeds
}
