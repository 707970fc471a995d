//! Components that attack when they are loaded. Some are the hostile fixture with a part grafted on that runs each time
//! it is instantiated, or with one byte string altered; some no compiler would make.

use std::fmt::Write;

use wasmparser::{Parser, Payload};

use crate::fixture;

#[derive(Clone, Copy, Debug)]
pub enum Component {
    GrowingTable,
    ManyTables,
    ManyMemories,
    ManyInstances,
    NestedInstances,
    HeavyInstances,
    ChangingDescription,
    EndlessDescription,
    CrashingDescription,
    Ungranted,
    Unasked,
    UnknownImport,
    DynamicImport,
}

impl Component {
    pub fn bytes(self) -> Vec<u8> {
        match self {
            Self::GrowingTable => grafted(
                "(component
                  (core module $m
                    (table $t 1 funcref)
                    (func $grow
                      (loop $again
                        (br_if $again
                          (i32.ne (table.grow $t (ref.null func) (i32.const 10000)) (i32.const -1))))
                      unreachable)
                    (start $grow))
                  (core instance (instantiate $m)))",
            ),
            Self::ManyTables => grafted(&format!(
                "(component (core module $m {}) (core instance (instantiate $m)))",
                "(table 10000 funcref)".repeat(60)
            )),
            Self::ManyMemories => grafted(&format!(
                "(component (core module $m (memory 1)) {})",
                "(core instance (instantiate $m))".repeat(40)
            )),
            Self::ManyInstances => grafted(&format!(
                "(component (core module $m) {})",
                "(core instance (instantiate $m))".repeat(500)
            )),
            Self::NestedInstances => grafted(&nested(40)),
            Self::HeavyInstances => grafted(&format!(
                "(component (core module $m {}) {})",
                "(global i32 (i32.const 0))".repeat(5000),
                "(core instance (instantiate $m))".repeat(300)
            )),
            Self::ChangingDescription => altered(b"changing"),
            Self::EndlessDescription => altered(b"for-ever"),
            Self::CrashingDescription => altered(b"crashing"),
            Self::Ungranted => fixture::target(),
            Self::Unasked => made("(component (import \"berth:plugin/process@0.1.0\" (instance)))"),
            Self::UnknownImport => made(
                "(component (import \"wasi:http/outgoing-handler@0.2.0\"
                  (instance (export \"handle\" (func)))))",
            ),
            Self::DynamicImport => made("(component (import \"part\" (component)))"),
        }
    }
}

/// A component whose instances double with each level: a few bytes that stand for 2^levels.
fn nested(levels: usize) -> String {
    let mut text = "(component $c (core module $m) (core instance (instantiate $m)))".to_owned();
    for _ in 0..levels {
        text = format!(
            "(component $c {text} (instance (instantiate $c)) (instance (instantiate $c)))"
        );
    }
    text
}

/// The hostile engine with a part more, which is instantiated whenever the engine is.
fn grafted(part: &str) -> Vec<u8> {
    let mut bytes = fixture::hostile();
    let index = components(&bytes);
    let part = wat::parse_str(part).expect("the part's source is sound");
    append(&mut bytes, 4, &part);
    let mut instance = vec![1, 0];
    leb(&mut instance, index);
    instance.push(0);
    append(&mut bytes, 5, &instance);
    bytes
}

/// The hostile engine, whose description behaves otherwise.
fn altered(how: &[u8; 8]) -> Vec<u8> {
    const MARK: &[u8] = b"hostile-describes:-";
    let mut bytes = fixture::hostile();
    let found: Vec<usize> = bytes
        .windows(MARK.len())
        .enumerate()
        .filter(|(at, window)| *window == MARK && bytes[at + MARK.len()..].starts_with(b"steadily"))
        .map(|(at, _)| at + MARK.len())
        .collect();
    let [at] = found[..] else {
        panic!("the mark stands there {} times", found.len());
    };
    bytes[at..at + how.len()].copy_from_slice(how);
    bytes
}

/// A component of its own, with a manifest that asks for nothing.
fn made(source: &str) -> Vec<u8> {
    let mut bytes = wat::parse_str(source).expect("the source is sound");
    let mut manifest = String::new();
    for (key, value) in [
        ("kind", "target"),
        ("name", "made"),
        ("version", "1"),
        ("contract", "0.1.0"),
    ] {
        writeln!(manifest, "{key} = \"{value}\"").expect("writing to a string");
    }
    let name = b"berth:manifest";
    let mut section = Vec::new();
    leb(&mut section, name.len());
    section.extend(name);
    section.extend(manifest.as_bytes());
    append(&mut bytes, 0, &section);
    bytes
}

/// How many components the component itself has inside.
fn components(bytes: &[u8]) -> usize {
    let (mut depth, mut count) = (0, 0);
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.expect("a component") {
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::ComponentSection { .. } if depth == 1 => count += 1,
            _ => {}
        }
    }
    count
}

fn append(bytes: &mut Vec<u8>, id: u8, section: &[u8]) {
    bytes.push(id);
    leb(bytes, section.len());
    bytes.extend(section);
}

fn leb(bytes: &mut Vec<u8>, mut number: usize) {
    while number > 0x7f {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}
