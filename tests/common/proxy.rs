//! What lies between a service and its PostgreSQL, and fails when it is told to: a loopback port before a Unix socket.
//!
//! ```text
//!   client ── TCP ──► requests ──► statements by name, transactions ──► Unix socket ──► postgres
//!          ◄───────── answers  ◄── held back where one is to be lost ◄──
//!
//!   cut()           all connections, now              refuse(true)   new ones are closed at once
//!   stall(true)     nothing goes either way           lose(word, what)   the next transaction with that word in it:
//!                                                     the request, or the answer that it is committed
//! ```
//!
//! An answer is lost when the server has committed: the client cannot know whether it has. That is so for a statement by
//! itself as for a COMMIT, and the status that ends each of the server's answers tells when a transaction is over.

#[path = "proxy/wire.rs"]
mod wire;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use wire::{Armed, Message, Wire, greeting};

/// A proxy that serves until it is dropped.
pub struct Proxy {
    pub port: u16,
    state: Arc<State>,
    serving: tokio::task::JoinHandle<()>,
}

/// What is lost of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The statement that was waited for: the server never hears of it.
    Request,
    /// The answer that the transaction is committed, and the connection with it.
    Answer,
}

struct State {
    server: PathBuf,
    cut: Mutex<CancellationToken>,
    refuse: watch::Sender<bool>,
    stall: watch::Sender<bool>,
    traps: Mutex<Vec<Trap>>,
    cuts: AtomicU64,
}

/// What a statement is waited for with.
struct Trap {
    word: String,
    /// So many statements with that word are let through before.
    others: usize,
    what: What,
    sprung: oneshot::Sender<String>,
}

impl Proxy {
    /// Before the server that has this socket.
    pub async fn before(server: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            server,
            cut: Mutex::default(),
            refuse: watch::Sender::new(false),
            stall: watch::Sender::new(false),
            traps: Mutex::default(),
            cuts: AtomicU64::new(0),
        });
        let serving = tokio::spawn(serve(listener, Arc::clone(&state)));
        Self { port, state, serving }
    }

    /// Cuts all connections.
    pub fn cut(&self) {
        let before = std::mem::take(&mut *self.state.cut.lock().unwrap());
        before.cancel();
    }

    /// New connections are closed at once, or no longer.
    pub fn refuse(&self, refuse: bool) {
        self.state.refuse.send_replace(refuse);
    }

    /// Nothing goes through either way, and nobody is told; or what has gathered goes on.
    pub fn stall(&self, stall: bool) {
        self.state.stall.send_replace(stall);
    }

    /// Loses something of the next transaction one of whose statements has `word` in it; tells which when it has.
    pub fn lose(&self, word: &str, what: What) -> oneshot::Receiver<String> {
        self.lose_after(word, 0, what)
    }

    /// The same after so many other statements with that word.
    pub fn lose_after(&self, word: &str, others: usize, what: What) -> oneshot::Receiver<String> {
        let (sprung, told) = oneshot::channel();
        self.state.traps.lock().unwrap().push(Trap { word: word.to_owned(), others, what, sprung });
        told
    }

    /// Loses nothing that has not been lost yet.
    pub fn lose_nothing(&self) {
        self.state.traps.lock().unwrap().clear();
    }

    /// How many connections were cut, for whatever reason of the proxy's.
    pub fn cuts(&self) -> u64 {
        self.state.cuts.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
        self.cut();
    }
}

impl State {
    /// Takes the trap that a statement springs. One whose setter has gone springs no more.
    fn trap(&self, text: &str) -> Option<Trap> {
        let mut traps = self.traps.lock().unwrap();
        traps.retain(|trap| !trap.sprung.is_closed());
        let mut sprung = None;
        for (at, trap) in traps.iter_mut().enumerate().filter(|(_, trap)| text.contains(&trap.word)) {
            match trap.others.checked_sub(1) {
                Some(others) => trap.others = others,
                None => sprung = sprung.or(Some(at)),
            }
        }
        sprung.map(|at| traps.remove(at))
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    loop {
        let (client, _) = listener.accept().await.unwrap();
        if *state.refuse.borrow() {
            continue;
        }
        let cut = state.cut.lock().unwrap().clone();
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            if cut.run_until_cancelled(connection(client, &state)).await.is_none() {
                state.cuts.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
}

/// Ends when either side does, or something was lost.
async fn connection(client: TcpStream, state: &State) {
    // A connection that does not come through is none to the server, which would wait for its first word, a minute long.
    flows(state).await;
    let Ok(server) = UnixStream::connect(&state.server).await else { return };
    let _ = client.set_nodelay(true);
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let wire = Mutex::new(Wire::default());
    let (mut from_client, mut to_client) = (BufReader::new(from_client), to_client);
    if greeting(&mut from_client, &mut to_client).await.is_err() {
        return;
    }
    tokio::select! {
        _ = requests(from_client, to_server, &wire, state) => {}
        _ = answers(BufReader::new(from_server), to_client, &wire, state) => {}
    }
}

async fn requests(
    mut client: BufReader<impl AsyncRead + Unpin>,
    mut server: impl AsyncWrite + Unpin,
    wire: &Mutex<Wire>,
    state: &State,
) -> io::Result<()> {
    let (mut first, mut gathered) = (true, Vec::new());
    loop {
        let message = Message::read(&mut client, first).await?;
        first = false;
        {
            let mut wire = wire.lock().unwrap();
            let text = wire.hears(&message);
            if wire.armed.is_none()
                && let Some((text, trap)) = text.and_then(|text| state.trap(&text).map(|trap| (text, trap)))
            {
                if trap.what == What::Request {
                    let _ = trap.sprung.send(text);
                    state.cuts.fetch_add(1, Ordering::Relaxed);
                    return Ok(());
                }
                wire.armed = Some(Armed { before: wire.outstanding, text, sprung: trap.sprung });
            }
            // The greeting, a simple query and the end of an extended one are each answered by "ready".
            wire.outstanding += u64::from(matches!(message.kind, 0 | b'Q' | b'S'));
        }
        gathered.extend(message.bytes);
        if client.buffer().is_empty() {
            pass(&mut server, &mut gathered, state).await?;
        }
    }
}

async fn answers(
    mut server: BufReader<impl AsyncRead + Unpin>,
    mut client: impl AsyncWrite + Unpin,
    wire: &Mutex<Wire>,
    state: &State,
) -> io::Result<()> {
    let mut gathered = Vec::new();
    loop {
        let message = Message::read(&mut server, false).await?;
        let holds_back = {
            let mut wire = wire.lock().unwrap();
            if message.kind == b'Z' {
                wire.outstanding = wire.outstanding.saturating_sub(1);
                let over = message.body() == b"I";
                match &mut wire.armed {
                    Some(armed) if armed.before > 0 => armed.before -= 1,
                    Some(_) if over => {
                        let Armed { text, sprung, .. } = wire.armed.take().unwrap();
                        let _ = sprung.send(text);
                        state.cuts.fetch_add(1, Ordering::Relaxed);
                        return Ok(());
                    }
                    _ => {}
                }
                false
            } else {
                // Whether this is the answer that is to be lost shows at its end.
                wire.armed.as_ref().is_some_and(|armed| armed.before == 0)
            }
        };
        gathered.extend(message.bytes);
        if !holds_back && server.buffer().is_empty() {
            pass(&mut client, &mut gathered, state).await?;
        }
    }
}

/// Sends what has gathered, as soon as anything goes through.
async fn pass(to: &mut (impl AsyncWrite + Unpin), gathered: &mut Vec<u8>, state: &State) -> io::Result<()> {
    flows(state).await;
    to.write_all(gathered).await?;
    gathered.clear();
    Ok(())
}

async fn flows(state: &State) {
    let mut stall = state.stall.subscribe();
    // The sender lives in the state.
    let _ = stall.wait_for(|stall| !stall).await;
}
