//! Without the feature `otlp-tls`: collectors are reached in the clear, and what asks for more is refused.

use opentelemetry_http::HttpError;
use tokio::net::TcpStream;

use super::http::Stream;
use crate::telemetry::settings::{Route, Unusable};

/// There is none.
pub(in crate::telemetry) enum Trust {}

impl Trust {
    pub(in crate::telemetry) fn of(route: &Route) -> Result<Option<Trust>, Unusable> {
        if !route.is_secure() {
            return Ok(None);
        }
        Err(Unusable {
            name: "endpoint".to_owned(),
            value: route.endpoint.clone(),
            reason: "needs the feature otlp-tls: http:// works without".to_owned(),
        })
    }

    pub(super) fn equip<B>(&self, _: B) -> B {
        match *self {}
    }

    #[expect(clippy::unused_async, reason = "as with TLS")]
    pub(super) async fn greet(&self, _: &str, _: TcpStream) -> Result<Box<dyn Stream>, HttpError> {
        match *self {}
    }
}
