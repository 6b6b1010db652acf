//! Connections to a server, in plaintext or over TLS; and what is wrong with one, in words.
//!
//! The files are read anew for every connection, so that a certificate that was renewed is used
//! without a restart. Must never: go on in plaintext where TLS was asked for.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{
    self, AlertDescription, CertificateError, ClientConfig, InvalidMessage, RootCertStore,
};
use tower::Service as _;

use super::CONNECT_LIMIT;
use crate::tls::{self, ALPN};

/// How long the first word of a server is waited for.
const VERDICT: Duration = Duration::from_secs(1);
/// Most of it that is taken.
const EARLY_BYTES: usize = 1_024;

/// What the text of everything that is wrong with TLS begins with.
pub(super) const MARK: &str = "TLS: ";

/// The first byte of an alert of TLS. No connection of HTTP/2 begins with it: its first frame would be
/// one of more than a megabyte.
const ALERT: u8 = 0x15;

/// The files that a client needs to talk over TLS, all PEM.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientTls {
    /// The certificates of who may sign the server's; needed with `https://`.
    pub ca: Option<PathBuf>,
    /// The client's own certificate, with what leads to the CA that the server knows.
    pub certificate: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
}

/// A file is of no use, or one is missing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsFault {
    /// `https://` without a CA.
    #[error("https:// needs --ca FILE: the certificates of who may sign the server's")]
    NoCa,
    /// A certificate without its key, or a key without its certificate.
    #[error("--client-certificate and --client-key go together: one of them is missing")]
    HalfIdentity,
    /// A file.
    #[error("{} {problem}", .file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// What is wrong with it.
        problem: tls::FileProblem,
    },
    /// A certificate that is none, or that is of another key.
    #[error("{}: {problem}", .file.display())]
    Unusable {
        /// Which.
        file: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

impl ClientTls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsFault`].
    pub fn load(&self) -> Result<ClientConfig, TlsFault> {
        let ca = self.ca.as_ref().ok_or(TlsFault::NoCa)?;
        let mut roots = RootCertStore::empty();
        for certificate in certificates(ca)? {
            roots.add(certificate).map_err(|error| unusable(ca, &error))?;
        }
        let config = ClientConfig::builder_with_provider(tls::provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(ca, &error))?
            .with_root_certificates(roots);
        let mut config = match (&self.certificate, &self.key) {
            (None, None) => config.with_no_client_auth(),
            (Some(certificate), Some(key)) => {
                let chain = certificates(certificate)?;
                let pem = tls::read(key).map_err(|problem| in_file(key, problem))?;
                let secret = tls::private_key(&pem).map_err(|problem| in_file(key, problem))?;
                config
                    .with_client_auth_cert(chain, secret)
                    .map_err(|error| unusable(key, &error))?
            }
            _ => return Err(TlsFault::HalfIdentity),
        };
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(config)
    }
}

fn certificates(file: &Path) -> Result<Vec<rustls::pki_types::CertificateDer<'static>>, TlsFault> {
    let pem = tls::read(file).map_err(|problem| in_file(file, problem))?;
    tls::certificates(&pem).map_err(|problem| in_file(file, problem))
}

fn in_file(file: &Path, problem: tls::FileProblem) -> TlsFault {
    TlsFault::File { file: file.to_owned(), problem }
}

fn unusable(file: &Path, error: &rustls::Error) -> TlsFault {
    let problem = match error {
        rustls::Error::InconsistentKeys(_) => {
            "is not the key of the client's certificate".to_owned()
        }
        other => other.to_string(),
    };
    TlsFault::Unusable { file: file.to_owned(), problem }
}

/// Makes connections; a cheap handle.
#[derive(Clone)]
pub(super) struct Dialer {
    tcp: HttpConnector,
    tls: Option<Arc<ClientTls>>,
}

impl Dialer {
    /// One for TLS with these files, or for plaintext.
    pub(super) fn new(tls: Option<ClientTls>) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_LIMIT));
        Self { tcp, tls: tls.map(Arc::new) }
    }

    /// A connection to the server of a URL.
    pub(super) async fn dial(mut self, to: Uri) -> Result<TokioIo<Connection>, BoxError> {
        let host = to.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let tcp = self.tcp.call(to).await?.into_inner();
        let Some(files) = self.tls else {
            return Ok(TokioIo::new(Connection::Plain { tcp, heard: false }));
        };
        let config = tokio::task::spawn_blocking(move || files.load()).await?;
        let config = config.map_err(|fault| io::Error::other(format!("{MARK}{fault}")))?;
        let name = ServerName::try_from(host.clone())
            .map_err(|_| io::Error::other(format!("{MARK}`{host}` is no name of a server")))?;
        let stream = TlsConnector::from(Arc::new(config)).connect(name, tcp).await;
        let mut stream = Box::new(stream.map_err(|error| in_words(error, &host))?);
        let early = verdict(&mut stream).await.map_err(|error| in_words(error, &host))?;
        Ok(TokioIo::new(Connection::Tls { stream, host, early }))
    }
}

/// What the server says first. To the client a handshake of TLS 1.3 is over before the server has looked
/// at the client's certificate; whoever goes on at once may lose its refusal to the end of the connection.
/// A server of HTTP/2 speaks first, so this waits half a round trip.
async fn verdict(stream: &mut TlsStream<TcpStream>) -> io::Result<Bytes> {
    let mut early = vec![0; EARLY_BYTES];
    match tokio::time::timeout(VERDICT, stream.read(&mut early)).await {
        Ok(Ok(0)) => Err(io::Error::other(format!("{MARK}the server ended the connection"))),
        Ok(Ok(read)) => {
            early.truncate(read);
            Ok(early.into())
        }
        Ok(Err(error)) => Err(error),
        // One that is slow may still serve.
        Err(_) => Ok(Bytes::new()),
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// One connection.
pub(super) enum Connection {
    Plain {
        tcp: TcpStream,
        heard: bool,
    },
    Tls {
        stream: Box<TlsStream<TcpStream>>,
        host: String,
        /// What was read while the server's verdict was waited for.
        early: Bytes,
    },
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain { tcp, heard } => {
                let before = buffer.filled().len();
                ready!(Pin::new(tcp).poll_read(context, buffer))?;
                let first = buffer.filled().get(before).copied().filter(|_| !*heard);
                *heard |= first.is_some();
                Poll::Ready(match first {
                    Some(ALERT) => Err(io::Error::other(format!(
                        "{MARK}the server speaks TLS: give https:// and --ca"
                    ))),
                    _ => Ok(()),
                })
            }
            Self::Tls { early, .. } if !early.is_empty() => {
                let taken = early.split_to(early.len().min(buffer.remaining()));
                buffer.put_slice(&taken);
                Poll::Ready(Ok(()))
            }
            Self::Tls { stream, host, .. } => Pin::new(&mut **stream)
                .poll_read(context, buffer)
                .map_err(|error| in_words(error, host)),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain { tcp, .. } => Pin::new(tcp).poll_write(context, bytes),
            Self::Tls { stream, .. } => Pin::new(&mut **stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain { tcp, .. } => Pin::new(tcp).poll_flush(context),
            Self::Tls { stream, .. } => Pin::new(&mut **stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain { tcp, .. } => Pin::new(tcp).poll_shutdown(context),
            Self::Tls { stream, .. } => Pin::new(&mut **stream).poll_shutdown(context),
        }
    }
}

/// What TLS says, with what to do about it.
fn in_words(error: io::Error, host: &str) -> io::Error {
    let Some(cause) = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>())
    else {
        return error;
    };
    let words = match cause {
        rustls::Error::InvalidCertificate(problem) => of_server(problem, host),
        rustls::Error::AlertReceived(alert) => of_client(*alert),
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "the server does not speak TLS there: give http://, or the port that does".to_owned()
        }
        other => other.to_string(),
    };
    io::Error::new(error.kind(), format!("{MARK}{words}"))
}

/// What is wrong with the server's certificate.
fn of_server(problem: &CertificateError, host: &str) -> String {
    use CertificateError as E;
    match problem {
        E::NotValidForName | E::NotValidForNameContext { .. } => format!(
            "the server's certificate is not for `{host}`: give a name that stands in it, or have \
             one made for this name"
        ),
        E::UnknownIssuer | E::BadSignature => "the server's certificate is not signed by the \
             CA of --ca: give the CA that signed it"
            .to_owned(),
        E::Expired | E::ExpiredContext { .. } => "the server's certificate has expired: renew it \
             there, or put the clock of this machine right"
            .to_owned(),
        E::NotValidYet | E::NotValidYetContext { .. } => "the server's certificate is not valid \
             yet: put the clock of this machine right"
            .to_owned(),
        other => format!("the server's certificate is of no use: {other}"),
    }
}

/// What the server says is wrong with the client's.
fn of_client(alert: AlertDescription) -> String {
    use AlertDescription as A;
    match alert {
        A::CertificateRequired => "the server wants a client certificate: give \
             --client-certificate and --client-key"
            .to_owned(),
        A::UnknownCA | A::DecryptError | A::AccessDenied => "the server does not know the CA of \
             the client certificate: give one that its client_ca signed"
            .to_owned(),
        A::CertificateExpired => "the client certificate has expired: renew it".to_owned(),
        A::BadCertificate | A::UnsupportedCertificate | A::CertificateUnknown => {
            "the server refuses the client certificate".to_owned()
        }
        other => format!("the server ended the handshake: {other:?}"),
    }
}
