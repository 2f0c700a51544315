//! The messages of PostgreSQL's protocol, as far as the proxy has to know them.

use std::collections::HashMap;
use std::io;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::oneshot;

/// The first message of a connection that asks for encryption, by TLS or by GSSAPI: there is none.
const WANTS_TLS: u32 = 80_877_103;
const WANTS_GSSAPI: u32 = 80_877_104;

/// What is known of one connection.
#[derive(Default)]
pub struct Wire {
    /// The text of each prepared statement, and of what each portal executes.
    statements: HashMap<String, String>,
    portals: HashMap<String, String>,
    /// Requests that the server has not said to be ready after.
    pub outstanding: u64,
    pub armed: Option<Armed>,
}

/// An answer of this connection is to be lost.
pub struct Armed {
    /// So many answers belong to requests before.
    pub before: u64,
    /// The statement that it was waited for with.
    pub text: String,
    pub sprung: oneshot::Sender<String>,
}

/// A message as it goes over the wire: its kind (0 for the first of a connection, which has none), its length, its body.
pub struct Message {
    pub kind: u8,
    pub bytes: Vec<u8>,
}

impl Message {
    pub async fn read(from: &mut (impl AsyncRead + Unpin), first: bool) -> io::Result<Self> {
        let kind = if first { 0 } else { from.read_u8().await? };
        let length = from.read_u32().await?;
        let mut bytes = if first { Vec::new() } else { vec![kind] };
        bytes.extend(length.to_be_bytes());
        let head = bytes.len();
        bytes.resize(head + usize::try_from(length).unwrap().saturating_sub(4), 0);
        from.read_exact(&mut bytes[head..]).await?;
        Ok(Self { kind, bytes })
    }

    pub fn body(&self) -> &[u8] {
        &self.bytes[if self.kind == 0 { 4 } else { 5 }..]
    }

    /// The texts that the body begins with, each ended by a zero.
    fn texts<const N: usize>(&self) -> [String; N] {
        let mut parts = self.body().split(|byte| *byte == 0);
        std::array::from_fn(|_| String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned())
    }
}

impl Wire {
    /// Takes note of a client's message; the text of the statement that it has executed, if it does.
    pub fn hears(&mut self, message: &Message) -> Option<String> {
        match message.kind {
            b'Q' => {
                let [text] = message.texts();
                Some(text)
            }
            b'P' => {
                let [name, text] = message.texts();
                self.statements.insert(name, text);
                None
            }
            b'B' => {
                let [portal, name] = message.texts();
                let text = self.statements.get(&name).cloned().unwrap_or_default();
                self.portals.insert(portal, text);
                None
            }
            b'E' => {
                let [portal] = message.texts();
                self.portals.get(&portal).cloned()
            }
            _ => None,
        }
    }
}

/// Answers those who would encrypt, until the real first message is next.
pub async fn greeting(
    client: &mut BufReader<impl AsyncRead + Unpin>,
    answers: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    loop {
        // It is looked at and left where it is, as clients send it whole: eight bytes at least.
        let seen = client.fill_buf().await?;
        let code = seen.get(4..8).map(|code| u32::from_be_bytes(code.try_into().unwrap()));
        match code {
            Some(WANTS_TLS | WANTS_GSSAPI) => {
                client.consume(8);
                answers.write_all(b"N").await?;
            }
            Some(_) => return Ok(()),
            None => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}
