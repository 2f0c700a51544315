//! Brains that are reached through a proxy, by the name that only the proxy knows.
#![expect(clippy::disallowed_methods, reason = "the proxy ends with the test")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::cases::{finish, task};
use crate::common::{Home, Service};
use crate::peer::Peer;
use crate::way::Way;

/// A proxy that lets everyone through to `brain`; and what it was asked.
async fn proxy(brain: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let heard = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let heard = Arc::clone(&heard);
            tokio::spawn(async move {
                let mut lines = Vec::new();
                while !lines.ends_with(b"\r\n\r\n") {
                    lines.push(stream.read_u8().await.unwrap());
                }
                heard.lock().unwrap().push(String::from_utf8(lines).unwrap());
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                let mut onward = TcpStream::connect(brain).await.unwrap();
                drop(tokio::io::copy_bidirectional(&mut stream, &mut onward).await);
            });
        }
    });
    (address, asked)
}

async fn through(way: Way, scheme: &str, variable: &'static str) {
    let peer = Peer::start(way, |_| async { finish("heard") }).await;
    let (address, asked) = proxy(peer.address()).await;
    let home = Home::new();
    let store = home.path().join("authorities.pem");
    std::fs::write(&store, peer.authority()).unwrap();
    let url = format!("{scheme}://brain.example:9");
    let service = Service::start_with(home, &url, &[], |command| {
        command.env("SSL_CERT_FILE", store).env(variable, format!("http://u:p@{address}"));
    })
    .await;
    let done = service.finish(&task("far")).await;
    assert_eq!(done["summary"], "heard", "{scheme}: {done}");
    let asked = asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(asked[0].starts_with("CONNECT brain.example:9 HTTP/1.1\r\n"), "{scheme}: {asked:?}");
    assert!(asked[0].to_ascii_lowercase().contains("proxy-authorization: basic dtpw"), "{scheme}: {asked:?}");
}

#[tokio::test]
async fn what_is_no_plain_http_goes_through_a_tunnel() {
    through(Way::Ws, "ws", "HTTP_PROXY").await;
    through(Way::Grpc, "grpc", "HTTP_PROXY").await;
    through(Way::Https, "https", "HTTPS_PROXY").await;
    through(Way::Wss, "wss", "HTTPS_PROXY").await;
    through(Way::Grpcs, "grpcs", "HTTPS_PROXY").await;
}
