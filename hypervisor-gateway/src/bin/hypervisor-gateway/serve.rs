//! Accepting connections, TLS, limits, and the end.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hypervisor_core::{Error, ErrorKind, Result};
use hypervisor_gateway::Gateway;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use crate::backend;
use crate::cli::Cli;
use crate::prompt::Prompt;

fn config_error(message: String) -> Error {
    Error::new(ErrorKind::Config, message)
}

/// What TLS needs, from two files.
fn acceptor(cert: &Path, key: &Path) -> Result<TlsAcceptor> {
    let unread = |path: &Path, error: &dyn std::fmt::Display| {
        config_error(format!("{} cannot be read: {error}", path.display()))
    };
    let chain: std::result::Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(cert).map_err(|error| unread(cert, &error))?.collect();
    let chain = chain.map_err(|error| unread(cert, &error))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unread(key, &error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let wrong = |error: rustls::Error| config_error(format!("TLS: {error}"));
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(wrong)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(wrong)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

struct Server {
    router: Router,
    tls: Option<TlsAcceptor>,
    header_timeout: Duration,
}

pub(crate) async fn serve(cli: Cli) -> Result<()> {
    let tls = match (&cli.tls_cert, &cli.tls_key) {
        (Some(cert), Some(key)) => Some(acceptor(cert, key)?),
        _ => None,
    };
    if tls.is_none() && !cli.listen.ip().is_loopback() && !cli.allow_plain_http {
        return Err(config_error(format!(
            "{} can be reached by others: give --tls-cert and --tls-key, or --allow-plain-http",
            cli.listen
        )));
    }
    let hv = backend::connect(&cli.backend).await?;
    let gateway = Gateway::open(hv, cli.config()?).await?;
    let listener = TcpListener::bind(cli.listen).await;
    let listener = listener.map_err(|error| config_error(format!("{}: {error}", cli.listen)))?;
    let at = listener.local_addr().map_err(|error| config_error(error.to_string()))?;
    let server =
        Server { router: gateway.router(), tls, header_timeout: Duration::from_secs(cli.header_timeout) };
    let graceful = GracefulShutdown::new();
    tracing::info!(address = %at, tls = server.tls.is_some(), "the gateway listens");
    // For whoever asked for port 0.
    println!("listening on {at}");
    let server = Arc::new(server);
    accept(&server, &listener, cli.connections, &graceful).await;
    drop(listener);
    tracing::info!("the gateway ends: open requests and jobs go on, nothing new is taken");
    // Handshakes that are still under way are waited for, too: no longer than they may take.
    let connections = graceful.shutdown();
    // Streams last as long as the jobs that they tell of.
    let jobs = async {
        gateway.drain().await;
        gateway.close().await;
    };
    let grace = Duration::from_secs(cli.grace);
    if tokio::time::timeout(grace, futures::future::join(connections, jobs)).await.is_err() {
        tracing::warn!(
            ?grace,
            "some requests or jobs did not end in time; the next start looks for their outcome"
        );
        gateway.close_within(Duration::ZERO).await;
    }
    tracing::info!("the gateway has ended");
    Ok(())
}

/// Takes connections until a signal comes.
async fn accept(
    server: &Arc<Server>,
    listener: &TcpListener,
    connections: usize,
    graceful: &GracefulShutdown,
) {
    let places = Arc::new(Semaphore::new(connections));
    let mut end = std::pin::pin!(signal());
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        // The signal is heard where all places are taken, too.
        let (place, accepted) = tokio::select! {
            next = next => next,
            () = &mut end => return,
        };
        let Ok(place) = place else { return };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, mostly: an endless loop would not help.
                tracing::warn!(%error, "no connection can be taken");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (server, watcher) = (Arc::clone(server), graceful.watcher());
        tokio::spawn(async move {
            if let Err(error) = handle(&server, stream, peer, watcher).await {
                tracing::debug!(%peer, %error, "a connection broke");
            }
            drop(place);
        });
    }
}

async fn handle(
    server: &Server,
    stream: TcpStream,
    peer: SocketAddr,
    watcher: Watcher,
) -> Result<(), BoxError> {
    let _ = stream.set_nodelay(true);
    match &server.tls {
        Some(tls) => {
            let shaken = tokio::time::timeout(server.header_timeout, tls.accept(stream)).await;
            let stream = shaken.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            speak(server, stream, peer, watcher).await
        }
        None => speak(server, stream, peer, watcher).await,
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

async fn speak<S>(server: &Server, stream: S, peer: SocketAddr, watcher: Watcher) -> Result<(), BoxError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let router = server.router.clone();
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        router.clone().oneshot(request)
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(server.header_timeout);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(Duration::from_secs(20)))
        .max_concurrent_streams(128);
    let stream = TokioIo::new(Prompt::new(stream, server.header_timeout));
    let connection = builder.serve_connection_with_upgrades(stream, service).into_owned();
    watcher.watch(connection).await
}

/// Waits for SIGINT or SIGTERM.
async fn signal() {
    let interrupted = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        let Ok(mut terminated) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        else {
            let _ = interrupted.await;
            return;
        };
        tokio::select! {
            _ = interrupted => {}
            _ = terminated.recv() => {}
        }
    }
    #[cfg(not(unix))]
    let _ = interrupted.await;
}
