//! How one signal leaves: where to, in which protocol, and under whose certificates.

use std::fmt;
use std::time::Duration;

use hyper::Uri;

use super::environment::{Environment, Unusable};

/// How long one batch may take, with all its attempts.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

/// What is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Signal {
    Traces,
    Metrics,
}

impl Signal {
    /// As it stands in the names of variables.
    pub(super) fn name(self) -> &'static str {
        match self {
            Signal::Traces => "TRACES",
            Signal::Metrics => "METRICS",
        }
    }

    /// What HTTP appends to an endpoint for all signals.
    fn path(self) -> &'static str {
        match self {
            Signal::Traces => "v1/traces",
            Signal::Metrics => "v1/metrics",
        }
    }
}

/// The protocols that are built in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Protocol {
    Grpc,
    /// Protobuf by HTTP/1.1.
    Http,
}

/// How one signal leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Route {
    pub(in super::super) protocol: Protocol,
    /// With its scheme; by HTTP with the whole path.
    pub(in super::super) endpoint: String,
    pub(in super::super) timeout: Duration,
    pub(in super::super) gzip: bool,
    /// Names of headers: their values are often secrets.
    headers: Vec<String>,
    /// A file of certificates to trust in place of the system's, with the variable that says so.
    pub(in super::super) trusted: Option<(String, String)>,
    /// The files of a certificate and its key to show, each with its variable.
    pub(in super::super) identity: Option<[(String, String); 2]>,
}

impl Route {
    /// The route of that signal; an endpoint that is given goes before the environment's.
    pub(super) fn of(signal: Signal, given: Option<&str>, env: &mut Environment<'_>) -> Result<Route, Unusable> {
        let (protocol, chosen) = protocol(signal, env);
        let trusted = env.of_signal(signal.name(), "CERTIFICATE");
        let identity = identity(signal, env)?;
        let of_certificates = trusted.is_some() || identity.is_some();
        let (endpoint, secure) = endpoint(signal, protocol, given, of_certificates, env)?;
        if !chosen {
            hint_at_protocol(protocol, &endpoint, env);
        }
        let mut route = Route {
            protocol,
            endpoint,
            timeout: timeout(signal, env),
            gzip: gzip(signal, env),
            headers: headers(signal, env),
            trusted,
            identity,
        };
        if !secure {
            route.forget_certificates(env);
        }
        Ok(route)
    }

    /// Whether it goes by TLS.
    pub(in super::super) fn is_secure(&self) -> bool {
        self.endpoint.starts_with("https://")
    }

    fn forget_certificates(&mut self, env: &mut Environment<'_>) {
        let identity = self.identity.take().into_iter().flatten();
        for (name, _) in self.trusted.take().into_iter().chain(identity) {
            env.note(format!("{name} is not used: {} is plaintext (https:// works)", self.endpoint));
        }
    }
}

/// The protocol, and whether somebody chose it.
fn protocol(signal: Signal, env: &mut Environment<'_>) -> (Protocol, bool) {
    match env.of_signal(signal.name(), "PROTOCOL") {
        None => (Protocol::Grpc, false),
        Some((_, value)) if value == "grpc" => (Protocol::Grpc, true),
        Some((_, value)) if value == "http/protobuf" => (Protocol::Http, true),
        Some((name, value)) => {
            env.note(format!("{name}={value} is not built in (grpc and http/protobuf are): grpc is used"));
            (Protocol::Grpc, false)
        }
    }
}

fn identity(signal: Signal, env: &Environment<'_>) -> Result<Option<[(String, String); 2]>, Unusable> {
    let certificate = env.of_signal(signal.name(), "CLIENT_CERTIFICATE");
    let key = env.of_signal(signal.name(), "CLIENT_KEY");
    let alone = |(name, value): (String, String), other: &str| {
        Err(Unusable { name, value, reason: format!("works only together with OTEL_EXPORTER_OTLP_{other}") })
    };
    match (certificate, key) {
        (Some(certificate), Some(key)) => Ok(Some([certificate, key])),
        (None, None) => Ok(None),
        (Some(certificate), None) => alone(certificate, "CLIENT_KEY"),
        (None, Some(key)) => alone(key, "CLIENT_CERTIFICATE"),
    }
}

/// The address, and whether it is reached by TLS.
fn endpoint(
    signal: Signal,
    protocol: Protocol,
    given: Option<&str>,
    of_certificates: bool,
    env: &mut Environment<'_>,
) -> Result<(String, bool), Unusable> {
    let own = format!("OTEL_EXPORTER_OTLP_{}_ENDPOINT", signal.name());
    let found = match given {
        Some(given) => Some(("endpoint".to_owned(), given.trim().to_owned())),
        None => env.of_signal(signal.name(), "ENDPOINT"),
    };
    let (name, value) = found.unwrap_or_else(|| {
        let port = if protocol == Protocol::Grpc { 4317 } else { 4318 };
        ("endpoint".to_owned(), format!("http://localhost:{port}"))
    });
    // Without a scheme it is a host and a port, as people write them.
    let mut address = value.clone();
    if !value.contains("://") {
        let insecure = env.of_signal(signal.name(), "INSECURE").map(|(name, _)| name);
        let insecure = insecure.and_then(|name| env.truth(&name)).unwrap_or(!of_certificates);
        address = format!("{}://{value}", if insecure { "http" } else { "https" });
    }
    let unusable = |reason: &str| Unusable {
        name: name.clone(),
        value: value.clone(),
        reason: format!("{reason}: http://HOST:PORT and https://HOST:PORT work"),
    };
    let uri: Uri = address.parse().map_err(|_| unusable("is not an address"))?;
    let scheme = uri.scheme_str().unwrap_or_default();
    if !["http", "https"].contains(&scheme) {
        return Err(unusable(&format!("{scheme}:// cannot be spoken")));
    }
    if uri.host().is_none_or(str::is_empty) {
        return Err(unusable("names no host"));
    }
    // What stands behind the host's colon and is no port is not looked at by the parser.
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    if uri.port_u16().is_none() && !authority.ends_with(uri.host().unwrap_or_default()) {
        return Err(unusable("names no port behind its colon"));
    }
    // The variable of one signal holds the whole address; one for all signals is where their paths begin.
    if protocol == Protocol::Http && name != own {
        address = format!("{}/{}", address.trim_end_matches('/'), signal.path());
    }
    Ok((address, scheme == "https"))
}

/// The commonest mistake: the right host and the wrong port.
fn hint_at_protocol(protocol: Protocol, endpoint: &str, env: &mut Environment<'_>) {
    let Ok(uri) = endpoint.parse::<Uri>() else { return };
    let why = match uri.port_u16() {
        _ if protocol == Protocol::Http => return,
        Some(4318) => "4318 is the port of OTLP over HTTP",
        _ if uri.path().len() > 1 => "gRPC has no use for a path",
        _ => return,
    };
    env.note(format!("{endpoint}: {why} (OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf works)"));
}

fn timeout(signal: Signal, env: &mut Environment<'_>) -> Duration {
    let Some((name, _)) = env.of_signal(signal.name(), "TIMEOUT") else { return TIMEOUT_DEFAULT };
    match env.number(&name, "a number of milliseconds", 10_000) {
        Some(0) => {
            env.note(format!("{name}=0 would lose everything: 10000 is used"));
            TIMEOUT_DEFAULT
        }
        milliseconds => milliseconds.map_or(TIMEOUT_DEFAULT, Duration::from_millis),
    }
}

fn gzip(signal: Signal, env: &mut Environment<'_>) -> bool {
    match env.of_signal(signal.name(), "COMPRESSION") {
        Some((_, value)) if value.eq_ignore_ascii_case("gzip") => true,
        None => false,
        Some((_, value)) if value.eq_ignore_ascii_case("none") => false,
        Some((name, value)) => {
            env.note(format!("{name}={value} is not built in (gzip and none are): none is used"));
            false
        }
    }
}

/// The exporter reads them by itself, and says nothing of what it leaves out.
fn headers(signal: Signal, env: &mut Environment<'_>) -> Vec<String> {
    let Some((name, value)) = env.of_signal(signal.name(), "HEADERS") else { return Vec::new() };
    let mut headers = Vec::new();
    for (at, pair) in value.split_terminator(',').enumerate() {
        match pair.split_once('=') {
            Some((key, _)) if !key.trim().is_empty() => headers.push(key.trim().to_owned()),
            // Its text may be a secret.
            _ => env.note(format!("{name}: entry {} is not of the form key=value, and is left out", at + 1)),
        }
    }
    headers
}

/// What is said of it beside its address.
impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.protocol {
            Protocol::Grpc => "OTLP over gRPC",
            Protocol::Http => "OTLP over HTTP",
        })?;
        if self.gzip {
            f.write_str(", gzip")?;
        }
        if self.timeout != TIMEOUT_DEFAULT {
            write!(f, ", at most {} ms", self.timeout.as_millis())?;
        }
        if !self.headers.is_empty() {
            write!(f, ", headers {}", self.headers.join(" "))?;
        }
        if let Some((_, file)) = &self.trusted {
            write!(f, ", trusts {file}")?;
        }
        if let Some([(_, certificate), _]) = &self.identity {
            write!(f, ", shows {certificate}")?;
        }
        Ok(())
    }
}
