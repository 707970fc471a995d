//! The little of the client's protocol that the engine needs: log in, ask in text, read the answer. Why it is no
//! driver: one that speaks TCP encrypts the password, and a server that is reached by its socket wants it as it is (decision
//! 27).
//!
//! A packet is 3 bytes of length, 1 of its number in the exchange, and content. Numbers are little-endian. What does
//! not make sense ends the connection, and so does an answer that does not come in time: the next one would be taken for
//! it. Nothing that the server sends is trusted to have a length that it says.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::hash::Plugin;

/// The longest packet that is taken or sent: one that is longer comes in parts, and nothing here needs one.
const LONGEST: usize = (1 << 24) - 2;

/// LONG_PASSWORD, LONG_FLAG, PROTOCOL_41, TRANSACTIONS, SECURE_CONNECTION, PLUGIN_AUTH.
const CAPABILITIES: u32 = 0x1 | 0x4 | 0x200 | 0x2000 | 0x8000 | 0x8_0000;
const CONNECT_WITH_DATABASE: u32 = 0x8;
/// utf8mb4_general_ci.
const CHARSET: u8 = 45;

const OK: u8 = 0x00;
const MORE: u8 = 0x01;
const NULL: u8 = 0xfb;
const END: u8 = 0xfe;
const ERROR: u8 = 0xff;

const QUIT: u8 = 0x01;
const QUERY: u8 = 0x03;

/// A value as text; none is NULL.
pub type Row = Vec<Option<String>>;

/// A connection that was let in.
pub struct Connection {
    stream: TcpStream,
    sequence: u8,
    /// Nobody knows what would come next.
    broken: bool,
}

/// Why there is no answer.
pub type Failure = berth_sdk::server::Failure<u16>;

/// Who wants in.
pub struct Login<'a> {
    pub user: &'a str,
    pub password: &'a str,
    pub database: Option<&'a str>,
}

type Result<T, E = Failure> = std::result::Result<T, E>;

impl Connection {
    pub fn open(address: SocketAddr, login: &Login<'_>, patience: Duration) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        let mut connection = Self {
            stream,
            sequence: 0,
            broken: false,
        };
        let greeting = connection.receive()?;
        let (plugin, mut challenge) = greeted(&greeting)?;
        let mut plugin = plugin.unwrap_or(Plugin::CachingSha2);
        connection.send(&response(login, plugin, &challenge))?;
        loop {
            let packet = connection.receive()?;
            let mut rest = Bytes(&packet);
            match (rest.byte()?, plugin) {
                (OK, _) => return Ok(connection),
                // The user has another plugin than was offered.
                (END, _) => {
                    let name = rest.until_nul()?;
                    plugin = named(name).ok_or(Failure::Protocol(
                        "the user is let in by a plugin that is not known here",
                    ))?;
                    challenge = challenge_of(rest.0);
                    connection.send(&plugin.answer(login.password, &challenge))?;
                }
                // It knows the password from an earlier login; OK follows.
                (MORE, Plugin::CachingSha2) if rest.0 == [3] => {}
                // It does not, and wants it: it is reached by its socket, or by what the host made of it.
                (MORE, Plugin::CachingSha2) if rest.0 == [4] => {
                    let mut password = login.password.as_bytes().to_vec();
                    password.push(0);
                    connection.send(&password)?;
                }
                _ => return Err(Failure::Protocol("the login took an unknown turn")),
            }
        }
    }

    /// Ask one statement. Without a result there are no rows.
    pub fn query(&mut self, sql: &str) -> Result<Vec<Row>> {
        if self.broken {
            return Err(Failure::Io(io::ErrorKind::NotConnected.into()));
        }
        let answer = self.exchange(sql);
        self.broken |= answer.as_ref().is_err_and(Failure::ends_connection);
        answer
    }

    fn exchange(&mut self, sql: &str) -> Result<Vec<Row>> {
        self.sequence = 0;
        let mut packet = vec![QUERY];
        packet.extend_from_slice(sql.as_bytes());
        self.send(&packet)?;
        let first = self.receive()?;
        if first.first() == Some(&OK) {
            return Ok(Vec::new());
        }
        let columns = Bytes(&first).count()?;
        let columns = usize::try_from(columns).unwrap_or(usize::MAX);
        if columns > 4096 {
            return Err(Failure::Protocol("it has too many columns"));
        }
        for _ in 0..columns {
            self.receive()?;
        }
        if !is_end(&self.receive()?) {
            return Err(Failure::Protocol("its columns have no end"));
        }
        let mut rows = Vec::new();
        loop {
            let packet = self.receive()?;
            if is_end(&packet) {
                return Ok(rows);
            }
            let mut rest = Bytes(&packet);
            rows.push((0..columns).map(|_| rest.value()).collect::<Result<_>>()?);
        }
    }

    /// Say goodbye. Whether it is heard makes no difference.
    pub fn close(mut self) {
        self.sequence = 0;
        if !self.broken {
            drop(self.send(&[QUIT]));
        }
    }

    fn send(&mut self, content: &[u8]) -> Result<()> {
        if content.len() > LONGEST {
            return Err(Failure::Protocol("a statement is too long"));
        }
        let length = u32::try_from(content.len()).unwrap_or_default();
        let mut packet = length.to_le_bytes()[..3].to_vec();
        packet.push(self.sequence);
        packet.extend_from_slice(content);
        self.sequence = self.sequence.wrapping_add(1);
        Ok(self.stream.write_all(&packet)?)
    }

    fn receive(&mut self) -> Result<Vec<u8>> {
        let mut head = [0; 4];
        self.stream.read_exact(&mut head)?;
        let length = usize::from(head[0]) | usize::from(head[1]) << 8 | usize::from(head[2]) << 16;
        if length > LONGEST {
            return Err(Failure::Protocol("an answer is too long"));
        }
        let in_order = head[3] == self.sequence;
        self.sequence = head[3].wrapping_add(1);
        let mut content = Vec::new();
        let take = u64::try_from(length).unwrap_or_default();
        (&mut self.stream).take(take).read_to_end(&mut content)?;
        if content.len() < length {
            return Err(Failure::Io(io::ErrorKind::UnexpectedEof.into()));
        }
        if content.first() == Some(&ERROR) {
            // It says so on its own as well, when it ends a session.
            self.broken |= !in_order;
            return Err(refused(&content));
        }
        if !in_order {
            return Err(Failure::Protocol("an answer is out of order"));
        }
        Ok(content)
    }
}

/// The plugin that the server offers, if it is known here, and its challenge.
fn greeted(packet: &[u8]) -> Result<(Option<Plugin>, Vec<u8>)> {
    let mut rest = Bytes(packet);
    if rest.byte()? != 10 {
        return Err(Failure::Protocol("it speaks another protocol"));
    }
    rest.until_nul()?;
    rest.take(4)?;
    let mut challenge = rest.take(8)?.to_vec();
    // A filler, capabilities, character set, status, capabilities, the challenge's length, and room.
    rest.take(1 + 2 + 1 + 2 + 2)?;
    let length = usize::from(rest.byte()?);
    rest.take(10)?;
    let more = rest.take(length.saturating_sub(8).max(13))?;
    challenge.extend_from_slice(more);
    Ok((named(rest.until_nul()?), challenge_of(&challenge)))
}

/// It ends with a zero, which is none of it.
fn challenge_of(bytes: &[u8]) -> Vec<u8> {
    bytes.strip_suffix(&[0]).unwrap_or(bytes).to_vec()
}

fn named(name: &[u8]) -> Option<Plugin> {
    [Plugin::CachingSha2, Plugin::Native, Plugin::Sha256]
        .into_iter()
        .find(|plugin| plugin.name().as_bytes() == name)
}

fn response(login: &Login<'_>, plugin: Plugin, challenge: &[u8]) -> Vec<u8> {
    let with_database = login.database.map_or(0, |_| CONNECT_WITH_DATABASE);
    let mut packet = (CAPABILITIES | with_database).to_le_bytes().to_vec();
    packet.extend_from_slice(&u32::try_from(LONGEST).unwrap_or_default().to_le_bytes());
    packet.push(CHARSET);
    packet.extend_from_slice(&[0; 23]);
    packet.extend_from_slice(login.user.as_bytes());
    packet.push(0);
    let answer = plugin.answer(login.password, challenge);
    packet.push(u8::try_from(answer.len()).unwrap_or_default());
    packet.extend_from_slice(&answer);
    for name in login.database.into_iter().chain([plugin.name()]) {
        packet.extend_from_slice(name.as_bytes());
        packet.push(0);
    }
    packet
}

fn refused(packet: &[u8]) -> Failure {
    let mut rest = Bytes(&packet[1..]);
    let Ok(number) = rest.take(2) else {
        return Failure::Protocol("an error has no number");
    };
    let number = u16::from_le_bytes([number[0], number[1]]);
    // A state follows, but for errors of the first packet.
    let text = match rest.0 {
        [b'#', _, _, _, _, _, text @ ..] => text,
        text => text,
    };
    Failure::Server(number, String::from_utf8_lossy(text).into_owned())
}

fn is_end(packet: &[u8]) -> bool {
    packet.first() == Some(&END) && packet.len() < 9
}

/// What is left of a packet.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self
            .0
            .split_at_checked(count)
            .ok_or(Failure::Protocol("a packet is too short"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    fn until_nul(&mut self) -> Result<&'a [u8]> {
        let end = self.0.iter().position(|byte| *byte == 0);
        let taken = self.take(end.unwrap_or(self.0.len()))?;
        self.0 = self.0.get(1..).unwrap_or_default();
        Ok(taken)
    }

    /// A number in one, three, four or nine bytes.
    fn count(&mut self) -> Result<u64> {
        let width = match self.byte()? {
            small @ 0..=0xfa => return Ok(small.into()),
            0xfc => 2,
            0xfd => 3,
            0xfe => 8,
            NULL | ERROR => return Err(Failure::Protocol("a length is none")),
        };
        let mut number = [0; 8];
        number[..width].copy_from_slice(self.take(width)?);
        Ok(u64::from_le_bytes(number))
    }

    fn value(&mut self) -> Result<Option<String>> {
        if self.0.first() == Some(&NULL) {
            self.byte()?;
            return Ok(None);
        }
        let length = usize::try_from(self.count()?).unwrap_or(usize::MAX);
        let text = self.take(length)?;
        Ok(Some(String::from_utf8_lossy(text).into_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_greeting_says_plugin_and_challenge() {
        let mut packet = vec![10];
        packet.extend_from_slice(b"9.7.4\0\x08\0\0\0abcdefgh\0\xff\xff\xff\x02\0\xff\xdf\x15");
        packet.extend_from_slice(&[0; 10]);
        packet.extend_from_slice(b"ijklmnopqrst\0caching_sha2_password\0");
        let (plugin, challenge) = greeted(&packet).unwrap();
        assert_eq!(plugin, Some(Plugin::CachingSha2));
        assert_eq!(challenge, b"abcdefghijklmnopqrst");
        for length in 0..packet.len() - 24 {
            assert!(greeted(&packet[..length]).is_err(), "{length}");
        }
    }

    /// Far more than an answer takes.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// A connection to somebody who says this to the first two statements.
    fn connected(first: &'static [u8], second: &'static [u8], patience: Duration) -> Connection {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        stream.set_read_timeout(Some(patience)).unwrap();
        std::thread::spawn(move || {
            let (mut server, _) = listener.accept().unwrap();
            let mut asked = [0; 64];
            for answer in [first, second] {
                if server.read(&mut asked).unwrap() > 0 {
                    server.write_all(answer).unwrap();
                }
            }
        });
        Connection {
            stream,
            sequence: 0,
            broken: false,
        }
    }

    const FINE: &[u8] = b"\x03\0\0\x01\0\0\0";

    #[test]
    fn an_answer_that_comes_late_is_none_to_the_next_question() {
        let mut connection = connected(b"", FINE, Duration::from_millis(100));
        for sql in ["DO 1", "DO 2"] {
            assert!(
                matches!(connection.query(sql), Err(Failure::Io(_))),
                "{sql}"
            );
        }
    }

    #[test]
    fn an_answer_out_of_order_is_none() {
        let mut connection = connected(b"\x03\0\0\x02\0\0\0", FINE, PATIENCE);
        let answer = connection.query("DO 1");
        assert!(matches!(answer, Err(Failure::Protocol(_))), "{answer:?}");
        assert!(matches!(connection.query("DO 2"), Err(Failure::Io(_))));
        // The server's last word, and nothing is asked after it.
        let mut connection = connected(b"\x09\0\0\0\xff\x1d\x04#08S01", FINE, PATIENCE);
        let answer = connection.query("DO 1");
        assert!(
            matches!(answer, Err(Failure::Server(1053, _))),
            "{answer:?}"
        );
        assert!(matches!(connection.query("DO 2"), Err(Failure::Io(_))));
    }

    #[test]
    fn values_are_text_or_nothing() {
        let mut rest = Bytes(b"\x02ab\xfb\x00\xfc\x01\x00z");
        assert_eq!(rest.value().unwrap().as_deref(), Some("ab"));
        assert_eq!(rest.value().unwrap(), None);
        assert_eq!(rest.value().unwrap().as_deref(), Some(""));
        assert_eq!(rest.value().unwrap().as_deref(), Some("z"));
        assert!(rest.value().is_err());
        for wrong in [
            &b"\x05ab"[..],
            b"\xff",
            b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff",
        ] {
            assert!(Bytes(wrong).value().is_err());
        }
    }

    #[test]
    fn an_error_has_a_number_and_a_text() {
        let Failure::Server(number, text) = refused(b"\xff\x15\x04#28000Access denied") else {
            panic!("no error of the server");
        };
        assert_eq!((number, &*text), (1045, "Access denied"));
        assert!(matches!(refused(b"\xff\x15"), Failure::Protocol(_)));
    }
}
