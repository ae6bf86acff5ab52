//! A life of one node, spelled in bytes: how it starts, what reaches it, what its disk does, when it ticks and dies.
//!
//! Every message passes through the wire's form, both ways. The disk is honest: what is `Persisted` is there after a crash,
//! so that the properties that a single node can break are asserted for the whole life, across restarts.

mod bench;
mod messages;

use crate::cursor::Cursor;
use bench::Bench;

pub(crate) fn check(data: &[u8]) {
    let mut bytes = Cursor::new(data);
    let mut bench = Bench::start(&mut bytes);
    while !bytes.is_over() && !bench.is_over() {
        bench.act(&mut bytes);
    }
    bench.finish();
}
