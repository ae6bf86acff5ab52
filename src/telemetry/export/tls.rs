//! TLS to a collector: whom to trust, and what to show.

use std::fs;
use std::sync::Arc;

use opentelemetry_http::HttpError;
use opentelemetry_otlp::WithTonicConfig;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use super::http::Stream;
use crate::telemetry::settings::{Route, Unusable};

/// The certificates of one route, read once.
pub(in crate::telemetry) struct Trust {
    grpc: ClientTlsConfig,
    http: Arc<ClientConfig>,
}

impl Trust {
    /// What that route needs; `None` where it goes in the clear.
    pub(in crate::telemetry) fn of(route: &Route) -> Result<Option<Trust>, Unusable> {
        if !route.is_secure() {
            return Ok(None);
        }
        let mut grpc = ClientTlsConfig::new();
        let mut roots = RootCertStore::empty();
        if let Some(setting) = &route.trusted {
            let pem = read(setting)?;
            for certificate in certificates(setting, &pem)? {
                roots.add(certificate).map_err(|error| unusable(setting, &error.to_string()))?;
            }
            grpc = grpc.ca_certificate(Certificate::from_pem(pem));
        } else {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                let setting = ("endpoint".to_owned(), route.endpoint.clone());
                let reason = "this system has no certificates to trust: OTEL_EXPORTER_OTLP_CERTIFICATE names a file";
                return Err(unusable(&setting, reason));
            }
            grpc = grpc.with_native_roots();
        }
        // Named, and not the process's: two providers in one tree leave none.
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(&("endpoint".to_owned(), route.endpoint.clone()), &error.to_string()))?
            .with_root_certificates(roots);
        let config = match &route.identity {
            None => config.with_no_client_auth(),
            Some([shown, secret]) => {
                let (certificate_pem, key_pem) = (read(shown)?, read(secret)?);
                let key = PrivateKeyDer::from_pem_slice(&key_pem)
                    .map_err(|_| unusable(secret, "holds no private key in PEM"))?;
                let config = config
                    .with_client_auth_cert(certificates(shown, &certificate_pem)?, key)
                    .map_err(|error| unusable(secret, &format!("does not fit {}: {error}", shown.1)))?;
                grpc = grpc.identity(Identity::from_pem(certificate_pem, key_pem));
                config
            }
        };
        Ok(Some(Trust { grpc, http: Arc::new(config) }))
    }

    /// A builder of a gRPC exporter, with these certificates.
    pub(super) fn equip<B: WithTonicConfig>(&self, builder: B) -> B {
        builder.with_tls_config(self.grpc.clone())
    }

    /// The handshake with that host.
    pub(super) async fn greet(&self, host: &str, stream: TcpStream) -> Result<Box<dyn Stream>, HttpError> {
        let name = ServerName::try_from(host.to_owned())?;
        Ok(Box::new(TlsConnector::from(Arc::clone(&self.http)).connect(name, stream).await?))
    }
}

type Setting = (String, String);

fn read(setting: &Setting) -> Result<Vec<u8>, Unusable> {
    fs::read(&setting.1).map_err(|error| unusable(setting, &format!("cannot be read: {error}")))
}

fn certificates(setting: &Setting, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    found.ok().filter(|found| !found.is_empty()).ok_or_else(|| unusable(setting, "holds no certificate in PEM"))
}

fn unusable((name, value): &Setting, reason: &str) -> Unusable {
    Unusable { name: name.clone(), value: value.clone(), reason: reason.to_owned() }
}
