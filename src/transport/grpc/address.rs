//! Where a member is: `host:port`, with or without `http://`.

use std::net::IpAddr;

use crate::transport::TransportError;

/// An address, as it was written; its name is resolved again at each connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    /// Without brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

impl Address {
    /// Reads `host:port`, `[::1]:7300`, `http://host:port`.
    ///
    /// # Errors
    /// [`TransportError::Address`] says what is wrong.
    pub(super) fn parse(text: &str) -> Result<Address, TransportError> {
        let wrong = |reason: &str| TransportError::Address { address: text.to_owned(), reason: reason.to_owned() };
        if text.starts_with("https://") {
            return Err(wrong("https needs TLS, which is not set up: write http://"));
        }
        let plain = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
        let (host, port) = plain.rsplit_once(':').ok_or_else(|| wrong("a port is missing: host:port"))?;
        let port = port.parse().map_err(|_| wrong("its port is not a number up to 65535"))?;
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = bracketed.unwrap_or(host);
        if bracketed.is_none() && host.contains(':') {
            return Err(wrong("an IPv6 address is written in brackets: [::1]:7300"));
        }
        let fine = |c: char| c.is_ascii_alphanumeric() || "-_.:%".contains(c);
        if host.is_empty() || !host.chars().all(fine) {
            return Err(wrong("its host is not a name or an IP address"));
        }
        Ok(Address { host: host.to_owned(), port })
    }

    /// Whether nobody outside this machine can be there. A name other than `localhost` may resolve to anything.
    pub(super) fn is_loopback(&self) -> bool {
        let literal = self.host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback());
        literal || self.host.eq_ignore_ascii_case("localhost")
    }

    /// `host:port`, an IPv6 address in brackets.
    pub(super) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_and_without_a_scheme() {
        for text in ["localhost:1", "127.0.0.9:1", "[::1]:1", "http://localhost:1/", "http://[::1]:1", "LOCALHOST:1"] {
            assert!(Address::parse(text).expect(text).is_loopback(), "{text}");
        }
        for text in ["0.0.0.0:1", "[::]:1", "planner-0:1", "http://planner-0.ns.svc:1", "10.0.0.1:1", "localhost.x:1"] {
            assert!(!Address::parse(text).expect(text).is_loopback(), "{text}");
        }
        assert_eq!(Address::parse("http://[::1]:7300").expect("an address").authority(), "[::1]:7300");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in
            ["", "localhost", ":1", "localhost:port", "localhost:65536", "::1:7", "a b:1", "https://a:1", "a/b:1"]
        {
            assert!(matches!(Address::parse(text), Err(TransportError::Address { .. })), "{text}");
        }
    }
}
