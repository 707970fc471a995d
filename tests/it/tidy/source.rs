//! Rust source as the checks see it: with its path, without its comments and string literals where they
//! would mislead, and with its unit tests told apart.

use std::fs;
use std::path::{Path, PathBuf};

/// A text file of the repository.
pub struct Source {
    /// From the root, with `/`.
    pub path: String,
    pub text: String,
    /// Nothing in it but tests.
    tests: bool,
}

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests are a folder of the repository")
        .to_owned()
}

impl Source {
    #[track_caller]
    pub fn read(path: &str) -> Self {
        let text = fs::read_to_string(root().join(path))
            .unwrap_or_else(|error| panic!("cannot read {path}: {error}"));
        Self::sample(path, &text)
    }

    pub fn sample(path: &str, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            tests: path.starts_with("tests/")
                || path.contains("/tests/")
                || path.ends_with("/tests.rs"),
        }
    }

    /// Every Rust file below these folders, in order. A folder that is not there is a defect of the check.
    pub fn below(folders: &[&str]) -> Vec<Self> {
        let mut paths = Vec::new();
        for folder in folders {
            collect(&root().join(folder), "rs", &mut paths);
        }
        paths.sort();
        let mut sources: Vec<Self> = paths
            .iter()
            .map(|path| Self::read(&relative(path)))
            .collect();
        let of_tests: Vec<String> = sources.iter().flat_map(Self::modules_of_tests).collect();
        for source in &mut sources {
            let inner = |module: &String| source.path.starts_with(&format!("{module}/"));
            source.tests |= of_tests
                .iter()
                .any(|module| source.path == format!("{module}.rs") || inner(module));
        }
        sources
    }

    /// The code, with comments and string literals blanked out; lines stay where they were.
    pub fn code(&self) -> String {
        blank(&self.text, Literals::Blanked)
    }

    /// The code without its unit tests, which stand last in a file. Empty in a file that is nothing but tests.
    pub fn code_without_tests(&self) -> String {
        self.without_tests(self.code())
    }

    /// The same with its string literals.
    pub fn code_and_literals_without_tests(&self) -> String {
        self.without_tests(blank(&self.text, Literals::Kept))
    }

    /// The code of tests: the whole of a test file, otherwise its unit tests.
    pub fn code_of_tests(&self) -> String {
        let code = self.code();
        if self.tests {
            return code;
        }
        match unit_tests_at(&code) {
            Some(at) => {
                let lines_before = code[..at].matches('\n').count();
                "\n".repeat(lines_before) + &code[at..]
            }
            None => String::new(),
        }
    }

    fn without_tests(&self, mut code: String) -> String {
        if self.tests {
            return String::new();
        }
        if let Some(at) = unit_tests_at(&self.code()) {
            code.truncate(at);
        }
        code
    }

    /// Where the modules are that this file declares for tests only, without `.rs`.
    fn modules_of_tests(&self) -> Vec<String> {
        let (folder, file) = self.path.rsplit_once('/').unwrap_or(("", &self.path));
        let folder = match file.trim_end_matches(".rs") {
            "mod" | "lib" | "main" => folder.to_owned(),
            stem => format!("{folder}/{stem}"),
        };
        test_modules(&self.code())
            .filter(|(_, _, ends_with)| *ends_with == ';')
            .map(|(_, name, _)| format!("{folder}/{name}"))
            .collect()
    }
}

/// Files with this extension below a folder, but for what was built.
pub fn collect(folder: &Path, extension: &str, into: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("cannot list {}: {error}", folder.display()));
    for entry in entries {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            if !path.ends_with("target") {
                collect(&path, extension, into);
            }
        } else if path.extension().is_some_and(|found| found == extension) {
            into.push(path);
        }
    }
}

pub fn relative(path: &Path) -> String {
    path.strip_prefix(root())
        .expect("below the root")
        .to_string_lossy()
        .into_owned()
}

/// Where a file's own module of unit tests begins.
fn unit_tests_at(code: &str) -> Option<usize> {
    test_modules(code).find_map(|(at, _, ends_with)| (ends_with == '{').then_some(at))
}

/// Modules for tests only: where they are declared, their names, and `{` or `;`.
fn test_modules(code: &str) -> impl Iterator<Item = (usize, &str, char)> {
    const MARK: &str = "#[cfg(test)]";
    code.match_indices(MARK).filter_map(|(at, _)| {
        let after = code[at + MARK.len()..].trim_start();
        let after = after
            .trim_start_matches("pub ")
            .trim_start_matches("pub(crate) ");
        let (name, _) = after.strip_prefix("mod ")?.split_once(['{', ';'])?;
        let ends_with = after[4 + name.len()..].chars().next()?;
        Some((at, name.trim(), ends_with))
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Literals {
    Kept,
    Blanked,
}

/// Blank out comments, and literals if wanted. Knows nested block comments, raw strings, escapes, and that
/// `'a` is a lifetime.
fn blank(text: &str, literals: Literals) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let (end, is_comment) = match bytes[at] {
            b'/' if bytes.get(at + 1) == Some(&b'/') => (line_end(bytes, at), true),
            b'/' if bytes.get(at + 1) == Some(&b'*') => (block_end(bytes, at), true),
            b'"' => (string_end(bytes, at), false),
            b'r' if starts_raw(bytes, at) => (raw_end(bytes, at), false),
            b'\'' => (char_end(bytes, at), false),
            _ => {
                at += 1;
                continue;
            }
        };
        let end = end.min(bytes.len());
        let is_lifetime = bytes[at] == b'\'' && end == at + 1;
        if is_lifetime || (!is_comment && literals == Literals::Kept) {
            at = end;
            continue;
        }
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    let rest = bytes[at..].iter().position(|b| *b == b'\n');
    rest.map_or(bytes.len(), |length| at + length)
}

fn block_end(bytes: &[u8], at: usize) -> usize {
    let mut depth = 0_usize;
    let mut here = at;
    while here < bytes.len() {
        if bytes[here..].starts_with(b"/*") {
            depth += 1;
            here += 2;
        } else if bytes[here..].starts_with(b"*/") {
            depth -= 1;
            here += 2;
            if depth == 0 {
                return here;
            }
        } else {
            here += 1;
        }
    }
    bytes.len()
}

fn string_end(bytes: &[u8], at: usize) -> usize {
    let mut here = at + 1;
    while here < bytes.len() {
        match bytes[here] {
            b'\\' => here += 2,
            b'"' => return here + 1,
            _ => here += 1,
        }
    }
    bytes.len()
}

fn starts_raw(bytes: &[u8], at: usize) -> bool {
    let inside_a_word = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    // `br"…"` is raw too.
    let byte_string =
        at > 0 && bytes[at - 1] == b'b' && (at < 2 || !bytes[at - 2].is_ascii_alphanumeric());
    if inside_a_word && !byte_string {
        return false;
    }
    let hashes = bytes[at + 1..].iter().take_while(|b| **b == b'#').count();
    bytes.get(at + 1 + hashes) == Some(&b'"')
}

fn raw_end(bytes: &[u8], at: usize) -> usize {
    let hashes = bytes[at + 1..].iter().take_while(|b| **b == b'#').count();
    let closing = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
    let inside = at + 2 + hashes;
    let rest = bytes[inside..]
        .windows(closing.len())
        .position(|window| window == closing);
    rest.map_or(bytes.len(), |length| inside + length + closing.len())
}

/// The end of a character literal; of a lifetime, only its quote.
fn char_end(bytes: &[u8], at: usize) -> usize {
    let quote = |from: usize| {
        bytes[from..]
            .iter()
            .take(12)
            .position(|b| *b == b'\'')
            .map_or(at + 1, |length| from + length + 1)
    };
    match bytes.get(at + 1) {
        Some(b'\\') => quote(at + 3),
        Some(first) => {
            let width = match first {
                0..=0x7f => 1,
                0x80..=0xdf => 2,
                0xe0..=0xef => 3,
                0xf0..=0xff => 4,
            };
            if bytes.get(at + 1 + width) == Some(&b'\'') {
                at + 2 + width
            } else {
                at + 1
            }
        }
        None => at + 1,
    }
}

#[test]
fn comments_and_literals_are_blanked() {
    let text = "use a; // use b\n/* use /* c */ d */ \"use \\\" e\" r#\"use \" f\"# 'x' '\\'' fn g<'a>(v: &'a str)";
    let code = blank(text, Literals::Blanked);
    assert_eq!(code.len(), text.len());
    for gone in ["use b", "c", "d", "e\"", "use \" f", "x"] {
        assert!(!code.contains(gone), "{gone} in {code}");
    }
    for kept in ["use a;", "fn g<'a>(v: &'a str)"] {
        assert!(code.contains(kept), "{kept} not in {code}");
    }
    let kept = blank(text, Literals::Kept);
    assert!(
        kept.contains("use \\\" e") && !kept.contains("use b"),
        "{kept}"
    );
}

#[test]
fn unit_tests_are_told_apart() {
    let source = Source::sample(
        "host/src/x.rs",
        "fn a() {}\n#[cfg(test)]\nmod far;\n#[cfg(test)]\nmod tests {\n fn b() {}\n}\n",
    );
    assert!(source.code_without_tests().contains("mod far"));
    assert!(!source.code_without_tests().contains("fn b"));
    assert!(source.code_of_tests().contains("fn b"));
    assert!(!source.code_of_tests().contains("fn a"));
    assert_eq!(source.modules_of_tests(), ["host/src/x/far"]);
    let parent = Source::sample(
        "host/src/x/mod.rs",
        "#[cfg(test)]\npub(crate) mod y;\nmod z;",
    );
    assert_eq!(parent.modules_of_tests(), ["host/src/x/y"]);
    let whole = Source::sample("tests/it/x.rs", "fn a() {}");
    assert!(whole.code_of_tests().contains("fn a"));
    assert!(whole.code_without_tests().is_empty());
}
