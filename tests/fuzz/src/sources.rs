//! Readers of settings that are private to the library, and need nothing of it: compiled once more, from the same files.

use address::Address;
pub(crate) use telemetry::check_settings;

#[path = "../../../src/transport/grpc/address.rs"]
#[allow(unreachable_pub, reason = "the library's file")]
mod address;
#[path = "../../../src/telemetry"]
#[allow(unreachable_pub, dead_code, unused_imports, reason = "the library's files")]
mod telemetry {
    mod settings;

    pub(crate) fn check_settings(endpoint: Option<&str>, variable: impl Fn(&str) -> Option<String>) {
        let resolved = match settings::Resolved::from("fuzz", endpoint, variable) {
            Ok(resolved) => resolved,
            Err(refused) => {
                assert!(!refused.name.is_empty() && !refused.reason.is_empty(), "{refused:?}");
                return;
            }
        };
        assert!(!resolved.to_string().is_empty() && !resolved.service().is_empty());
        if let Some(endpoint) = resolved.endpoint() {
            assert!(endpoint.contains("://"), "{endpoint}");
        }
    }
}

pub(crate) fn check_address(text: &str) {
    match Address::parse(text) {
        Ok(address) => {
            let again = Address::parse(&address.authority());
            assert_eq!(again.as_ref().ok(), Some(&address), "{again:?}");
            std::hint::black_box(address.is_loopback());
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
