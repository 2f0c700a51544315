//! A brain that costs next to nothing, as a process of its own: one thread, no parsing beyond what it has to know.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The file that every step reads.
pub const FILE: &str = "file.txt";

/// What it says to each task.
#[derive(Clone, Copy)]
pub enum Script {
    /// So many times `read_file`, each after this time, then `finish`.
    Reads(u32, Duration),
    /// Nothing, ever.
    Silence,
}

/// A running brain; it ends with this process.
pub struct Brain {
    pub url: String,
    child: Ended,
}

/// A program that ends when this goes out of scope.
pub struct Ended(pub Child);

impl Brain {
    pub fn start(script: Script) -> Self {
        let (reads, millis) = match script {
            Script::Reads(reads, pause) => (reads.to_string(), pause.as_millis().to_string()),
            Script::Silence => ("silence".to_owned(), "0".to_owned()),
        };
        let (child, first) = again(&["brain", &reads, &millis]);
        Self { url: format!("http://{first}"), child }
    }

    pub fn pid(&self) -> u32 {
        self.child.0.id()
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts this program again in another part; it ends when its stdin does. Returns its first line.
pub fn again(part: &[&str]) -> (Ended, String) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg("as").args(part).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = Ended(command.spawn().unwrap());
    let mut first = String::new();
    let mut byte = [0];
    let out = child.0.stdout.as_mut().unwrap();
    while out.read(&mut byte).unwrap() == 1 && byte != *b"\n" {
        first.push(char::from(byte[0]));
    }
    (child, first)
}

/// Ends this process when the one that started it is gone.
pub fn end_with_stdin() {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
}

/// What the process does.
pub fn main(arguments: &[&str]) {
    end_with_stdin();
    let [reads, millis] = arguments else { panic!("brain READS MILLISECONDS") };
    let script = match *reads {
        "silence" => Script::Silence,
        reads => Script::Reads(reads.parse().unwrap(), Duration::from_millis(millis.parse().unwrap())),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let here = tokio::task::LocalSet::new();
    here.block_on(&runtime, async {
        // Ten thousand tasks may come at once.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener: TcpListener = socket.listen(4096).unwrap();
        println!("{}", listener.local_addr().unwrap());
        let turns = Rc::new(RefCell::new(HashMap::new()));
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            tokio::task::spawn_local(answer(stream, script, Rc::clone(&turns)));
        }
    });
}

/// Serves one connection to its end.
async fn answer(mut stream: TcpStream, script: Script, turns: Rc<RefCell<HashMap<String, u32>>>) {
    let reply = |body: &str| {
        let length = body.len();
        format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
    };
    let call = reply(&format!(r#"{{"event":"tool_call","name":"read_file","arguments":{{"file_path":"{FILE}"}}}}"#));
    let finish = reply(r#"{"event":"finish","summary":"done"}"#);
    let mut buffer = Vec::with_capacity(1024);
    loop {
        let Some(end) = request(&mut stream, &mut buffer).await else { return };
        let Script::Reads(reads, pause) = script else { return std::future::pending().await };
        let turn = turn(&buffer[..end], &mut turns.borrow_mut(), reads);
        buffer.drain(..end);
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        let reply = if turn < reads { &call } else { &finish };
        if stream.write_all(reply.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Reads until a whole request is in the buffer; where it ends. `None`: the client has gone.
async fn request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<usize> {
    loop {
        if let Some(head) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
            let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
            let end = head + 4 + length.map_or(0, |length| length.trim().parse::<usize>().unwrap());
            while buffer.len() < end {
                if stream.read_buf(buffer).await.ok()? == 0 {
                    return None;
                }
            }
            return Some(end);
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

/// How many times this task has been told to read before; the notes' program has no key that would say it.
fn turn(request: &[u8], turns: &mut HashMap<String, u32>, reads: u32) -> u32 {
    if reads == 0 {
        return 0;
    }
    let find = |word: &[u8]| request.windows(word.len()).position(|here| here == word);
    let id = find(b"\"task_id\"").map(|at| &request[at + 9..]).unwrap_or_default();
    let id = id.split(|byte| *byte == b'"').nth(1).unwrap_or_default();
    let id = String::from_utf8_lossy(id).into_owned();
    let starts = [&b"\"event\":\"start\""[..], b"\"event\": \"start\""].iter().any(|word| find(word).is_some());
    let turn = if starts { 0 } else { turns.get(&id).map_or(0, |turn| turn + 1) };
    if turn < reads {
        turns.insert(id, turn);
    } else {
        turns.remove(&id);
    }
    turn
}
