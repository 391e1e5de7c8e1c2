//! One WebSocket to the server, with TLS where the URL says so.

use std::{sync::Arc, time::Duration};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        client::IntoClientRequest,
        http::{HeaderValue, header::SEC_WEBSOCKET_PROTOCOL},
        protocol::WebSocketConfig,
    },
};

use crate::{ClientError, Config, endpoint::Endpoint};

/// The subprotocol of those who want to know how far each device is.
const STATUS_PROTOCOL: HeaderValue = HeaderValue::from_static("syncline.v1");

/// A connection, with or without TLS.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

pub(crate) type Socket = WebSocketStream<Box<dyn Stream>>;

/// Connects to a server.
pub(crate) struct Dialer {
    endpoint: Endpoint,
    tls: Option<TlsConnector>,
    received_frame_bytes: usize,
    connect_timeout: Duration,
}

impl Dialer {
    pub(crate) fn new(config: &Config) -> Result<Self, ClientError> {
        let endpoint = Endpoint::parse(config)?;
        let tls = if endpoint.secure { Some(connector(config)?) } else { None };
        Ok(Self {
            endpoint,
            tls,
            received_frame_bytes: usize::try_from(config.limits.received_frame_bytes).unwrap_or(usize::MAX),
            connect_timeout: Duration::from_millis(config.limits.connect_timeout_ms),
        })
    }

    /// Connects once; the error says why not.
    pub(crate) async fn dial(&self) -> Result<Socket, String> {
        match timeout(self.connect_timeout, self.try_dial()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("no answer within {:?}", self.connect_timeout)),
        }
    }

    async fn try_dial(&self) -> Result<Socket, String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let at = &self.endpoint;
        let tcp = TcpStream::connect((at.host.as_str(), at.port)).await.map_err(|error| text(&error))?;
        tcp.set_nodelay(true).map_err(|error| text(&error))?;
        let stream: Box<dyn Stream> = match &self.tls {
            None => Box::new(tcp),
            Some(tls) => {
                let name = ServerName::try_from(at.host.clone()).map_err(|error| text(&error))?;
                Box::new(tls.connect(name, tcp).await.map_err(|error| text(&error))?)
            }
        };
        let mut request = at.url.as_str().into_client_request().map_err(|error| text(&error))?;
        request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, STATUS_PROTOCOL);
        let limits = WebSocketConfig::default()
            .max_message_size(Some(self.received_frame_bytes))
            .max_frame_size(Some(self.received_frame_bytes));
        let upgraded = client_async_with_config(request, stream, Some(limits)).await;
        upgraded.map(|(socket, _)| socket).map_err(|error| text(&error))
    }
}

fn connector(config: &Config) -> Result<TlsConnector, ClientError> {
    let wrong = |reason: String| ClientError::Configuration(reason);
    let mut roots = RootCertStore::empty();
    match &config.root_certificates_pem {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                let certificate =
                    certificate.map_err(|error| wrong(format!("the root certificates: {error}")))?;
                roots.add(certificate).map_err(|error| wrong(format!("the root certificates: {error}")))?;
            }
        }
        None => {
            // Those that cannot be read are left out, as everywhere.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        let reason = "no certificate is trusted: hand root_certificates_pem over";
        return Err(wrong(reason.to_owned()));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(tls)))
}
