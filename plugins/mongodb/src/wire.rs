//! The little of the client's protocol that the engine needs: a command, and its answer (OP_MSG with one section). Why it
//! is no driver, decision 28 says.
//!
//! A message is its length, a number, the number that it answers, an operation, flags, and a section of kind 0 with a BSON
//! document. Numbers are little-endian. Nothing that the server sends is trusted to have a length that it says.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bson::{Bson, Document};

/// As long as the server allows a message to be.
const LONGEST: usize = 48_000_000;
/// Four numbers.
const HEAD: usize = 16;
/// Flags and the kind of the section.
const PREFIX: usize = 5;
const MESSAGE: i32 = 2013;
const BODY: u8 = 0;

/// A connection, and whoever it was let in as.
pub struct Connection {
    stream: TcpStream,
    asked: i32,
    /// Nobody knows what would come next.
    broken: bool,
}

/// Why there is no answer.
pub type Failure = berth_sdk::server::Failure<i32>;

type Result<T, E = Failure> = std::result::Result<T, E>;

impl Connection {
    pub fn open(address: SocketAddr, patience: Duration) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        Ok(Self {
            stream,
            asked: 0,
            broken: false,
        })
    }

    /// Have a command carried out in a database. One that the server says no to, in whichever way, is a failure.
    pub fn ask(&mut self, database: &str, command: Document) -> Result<Document> {
        if self.broken {
            return Err(Failure::Io(io::ErrorKind::NotConnected.into()));
        }
        let answer = self.exchange(database, command);
        self.broken = answer.as_ref().is_err_and(Failure::ends_connection);
        answer
    }

    fn exchange(&mut self, database: &str, mut command: Document) -> Result<Document> {
        command.insert("$db", database);
        self.asked = self.asked.wrapping_add(1);
        let message = message(self.asked, &command)?;
        self.stream.write_all(&message)?;
        let answer = self.receive()?;
        refusal(&answer).map_or(Ok(answer), Err)
    }

    fn receive(&mut self) -> Result<Document> {
        let mut head = [0; HEAD];
        self.stream.read_exact(&mut head)?;
        let length = answered(&head, self.asked)?;
        let mut content = Vec::new();
        let take = u64::try_from(length).unwrap_or_default();
        (&mut self.stream).take(take).read_to_end(&mut content)?;
        if content.len() < length {
            return Err(Failure::Io(io::ErrorKind::UnexpectedEof.into()));
        }
        document(&content)
    }
}

/// A number in a document, whichever kind of number it is.
pub fn number(value: &Bson) -> Option<f64> {
    match value {
        Bson::Int32(number) => Some((*number).into()),
        #[allow(clippy::cast_precision_loss)]
        // Sizes and counts: nobody misses the last bytes of a petabyte.
        Bson::Int64(number) => Some(*number as f64),
        Bson::Double(number) => Some(*number),
        _ => None,
    }
}

fn message(number: i32, command: &Document) -> Result<Vec<u8>> {
    let body = command
        .to_vec()
        .map_err(|_| Failure::Protocol("a command cannot be written"))?;
    let length = HEAD + PREFIX + body.len();
    let length = i32::try_from(length)
        .ok()
        .filter(|_| length <= LONGEST)
        .ok_or(Failure::Protocol("a command is too long"))?;
    let mut bytes = Vec::new();
    for number in [length, number, 0, MESSAGE, 0] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.push(BODY);
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

/// How many bytes follow the head of an answer to this message.
fn answered(head: &[u8; HEAD], asked: i32) -> Result<usize> {
    let number = |at: usize| {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&head[at..at + 4]);
        i32::from_le_bytes(bytes)
    };
    if number(8) != asked || number(12) != MESSAGE {
        return Err(Failure::Protocol("it answered something else"));
    }
    let length = usize::try_from(number(0)).unwrap_or_default();
    if !(HEAD + PREFIX..=LONGEST).contains(&length) {
        return Err(Failure::Protocol("an answer has an impossible length"));
    }
    Ok(length - HEAD)
}

fn document(content: &[u8]) -> Result<Document> {
    match content {
        // A checksum or more messages come only if they are asked for.
        [0, 0, 0, 0, BODY, body @ ..] => {
            Document::from_reader(body).map_err(|_| Failure::Protocol("it sent no document"))
        }
        _ => Err(Failure::Protocol("it sent something else than a document")),
    }
}

/// An error, or one of the errors of a command that is partly carried out.
fn refusal(answer: &Document) -> Option<Failure> {
    let error = |of: &Document| {
        let code = of.get("code").and_then(number).unwrap_or_default();
        #[allow(clippy::cast_possible_truncation)] // Codes are small.
        let code = code as i32;
        Failure::Server(code, of.get_str("errmsg").unwrap_or("no reason").to_owned())
    };
    if answer.get("ok").and_then(number) != Some(1.0) {
        return Some(error(answer));
    }
    let of_writes = answer.get_array("writeErrors").ok();
    let first = of_writes.and_then(|errors| errors.first()?.as_document());
    let of_concern = answer.get_document("writeConcernError").ok();
    first.or(of_concern).map(error)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use bson::doc;

    use super::*;

    #[test]
    fn an_answer_that_comes_late_is_none_to_the_next_question() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut server, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            server.read_to_end(&mut asked).unwrap();
            asked.len()
        });
        let mut connection = Connection::open(address, Duration::from_millis(50)).unwrap();
        for _ in 0..2 {
            let answer = connection.ask("admin", doc! {"ping": 1});
            assert!(matches!(answer, Err(Failure::Io(_))), "{answer:?}");
        }
        drop(connection);
        let one = message(1, &doc! {"ping": 1, "$db": "admin"}).unwrap().len();
        assert_eq!(server.join().unwrap(), one, "nothing is asked any more");
    }

    #[test]
    fn a_message_says_its_length_and_holds_the_command() {
        let bytes = message(7, &doc! {"ping": 1}).unwrap();
        assert_eq!(bytes[..8], [bytes.len() as u8, 0, 0, 0, 7, 0, 0, 0]);
        assert_eq!(bytes[12..21], [0xdd, 7, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(document(&bytes[16..]).unwrap(), doc! {"ping": 1});
        for end in 16..bytes.len() {
            assert!(document(&bytes[16..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn an_answer_to_something_else_is_none() {
        let mut head = [0; 16];
        head[0] = 26;
        head[8] = 7;
        head[12..14].copy_from_slice(&[0xdd, 7]);
        assert_eq!(answered(&head, 7).unwrap(), 10);
        assert!(answered(&head, 8).is_err());
        for length in [[0, 0, 0, 0], [20, 0, 0, 0], [0, 0, 0, 0x7f], [0xff; 4]] {
            let mut wrong = head;
            wrong[..4].copy_from_slice(&length);
            assert!(answered(&wrong, 7).is_err(), "{length:?}");
        }
        head[12] = 1;
        assert!(answered(&head, 7).is_err());
    }

    #[test]
    fn whatever_was_not_done_is_an_error() {
        let code = |answer: Document| match refusal(&answer) {
            Some(Failure::Server(code, _)) => Some(code),
            _ => None,
        };
        assert_eq!(code(doc! {"ok": 1.0}), None);
        assert_eq!(code(doc! {"ok": 1, "n": 1}), None);
        assert_eq!(code(doc! {"ok": 0.0, "code": 18, "errmsg": "no"}), Some(18));
        assert_eq!(code(doc! {}), Some(0));
        let partly = doc! {"ok": 1, "writeErrors": [{"index": 0, "code": 11000, "errmsg": "dup"}]};
        assert_eq!(code(partly), Some(11000));
        let late = doc! {"ok": 1, "writeConcernError": {"code": 64, "errmsg": "late"}};
        assert_eq!(code(late), Some(64));
    }
}
