//! Connections: accepted, met as their manner is, and cut.

use std::sync::Arc;

use axum::Router;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{Manner, Manners, Mind, over_grpc, over_http, over_ws};
use crate::way::Way;

/// What a handler knows of the connection it serves.
#[derive(Clone)]
pub struct Line {
    pub mind: Mind,
    pub connection: usize,
    /// Cuts it.
    pub cut: CancellationToken,
}

pub async fn serve(
    listener: TcpListener,
    way: Way,
    acceptor: Option<TlsAcceptor>,
    mind: Mind,
    manners: Arc<Manners>,
    stop: CancellationToken,
) {
    for connection in 0.. {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted.unwrap(),
            () = stop.cancelled() => return,
        };
        let (stream, _) = accepted;
        let line = Line { mind: mind.clone(), connection, cut: stop.child_token() };
        let (acceptor, manner) = (acceptor.clone(), manners(connection));
        tokio::spawn(async move {
            let cut = line.cut.clone();
            let served = async {
                match acceptor {
                    // A client that does not trust us goes away in the handshake.
                    Some(acceptor) => {
                        if let Ok(stream) = acceptor.accept(stream).await {
                            meet(stream, way, manner, line).await;
                        }
                    }
                    None => meet(stream, way, manner, line).await,
                }
            };
            tokio::select! {
                () = served => {}
                () = cut.cancelled() => {}
            }
        });
    }
}

async fn meet<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(mut stream: S, way: Way, manner: Manner, line: Line) {
    let mut bytes = [0; 4096];
    match manner {
        Manner::Good => speak(stream, way, line).await,
        Manner::Silent => while stream.read(&mut bytes).await.is_ok_and(|count| count > 0) {},
        Manner::Garbage => {
            drop(stream.read(&mut bytes).await);
            drop(stream.write_all(&[0xa5; 600]).await);
            drop(stream.shutdown().await);
        }
        Manner::HalfClosed => {
            drop(stream.read(&mut bytes).await);
            drop(stream.shutdown().await);
            while stream.read(&mut bytes).await.is_ok_and(|count| count > 0) {}
        }
    }
}

async fn speak<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(stream: S, way: Way, line: Line) {
    let router: Router = match way {
        Way::Http | Way::Https | Way::OpenAi => over_http::router(way, line),
        Way::Ws | Way::Wss => over_ws::router(line),
        Way::Grpc | Way::Grpcs => over_grpc::router(line),
    };
    let (io, service) = (TokioIo::new(stream), TowerToHyperService::new(router));
    if way.is_http2() {
        drop(http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await);
    } else {
        drop(http1::Builder::new().serve_connection(io, service).with_upgrades().await);
    }
}
