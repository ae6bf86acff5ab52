//! One target under libFuzzer: `./run TARGET` names it in `HUSTINGS_FUZZ`.

#![no_main]

use std::sync::OnceLock;

use hustings_fuzz::{Target, target};

static CHOSEN: OnceLock<Target> = OnceLock::new();

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let chosen = CHOSEN.get_or_init(|| {
        let name = std::env::var("HUSTINGS_FUZZ").unwrap_or_default();
        target(&name).unwrap_or_else(|| panic!("HUSTINGS_FUZZ={name} is no target"))
    });
    chosen.run(data);
});
