//! Words that must not stand somewhere: the name of an engine in the host, a sleep in a test.

use super::source::Source;

/// A line of code, as a finding names it.
pub struct Line<'a> {
    pub number: usize,
    pub text: &'a str,
}

/// What an engine's name looks like, in whatever spelling, also inside an identifier.
const ENGINES: [&str; 8] = [
    "postgre", "pgsql", "psql", "mysql", "mariadb", "mongo", "valkey", "redis",
];
/// English that happens to hold one.
const NOT_ENGINES: [&str; 4] = ["redistribut", "rediscover", "redisplay", "humongous"];

/// Lines that name an engine: comments, literals, tests and the file's own name included.
pub fn engine_names(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(engine) = engine_in(&source.path) {
        found.push(format!(
            "{} is named after an engine ({engine})",
            source.path
        ));
    }
    for (number, line) in source.text.lines().enumerate() {
        if let Some(engine) = engine_in(line) {
            found.push(format!(
                "{}:{} names an engine ({engine}…)",
                source.path,
                number + 1
            ));
        }
    }
    found
}

fn engine_in(text: &str) -> Option<&'static str> {
    text.split(|c: char| !c.is_ascii_alphabetic())
        .map(str::to_ascii_lowercase)
        .filter(|word| !NOT_ENGINES.iter().any(|other| word.contains(other)))
        .find_map(|word| ENGINES.into_iter().find(|engine| word.contains(engine)))
}

/// Tests that let time pass instead of waiting for a condition.
pub fn sleeps_in_tests(source: &Source) -> Vec<String> {
    let code = source.code_of_tests();
    let mut found = Vec::new();
    for word in ["sleep", "sleep_until", "sleep_ms"] {
        for line in lines_with_word(&code, word) {
            found.push(format!(
                "{}:{} sleeps: wait for the condition (berth_tests::wait_for)",
                source.path, line.number
            ));
        }
    }
    found
}

/// Lines that hold this whole word.
pub fn lines_with_word<'a>(code: &'a str, word: &str) -> Vec<Line<'a>> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    code.lines()
        .enumerate()
        .filter(|(_, line)| line.split(|c: char| !is_part(c)).any(|part| part == word))
        .map(|(index, text)| Line {
            number: index + 1,
            text,
        })
        .collect()
}

#[test]
fn an_engine_is_found() {
    for bad in [
        "// as PostgreSQL does",
        "let x = \"redis\";",
        "struct MySqlPool;",
        "MONGODB_PORT",
    ] {
        let source = Source::sample("host/src/x.rs", bad);
        assert_eq!(engine_names(&source).len(), 1, "{bad}");
    }
    assert_eq!(
        engine_names(&Source::sample("host/src/redis.rs", "")).len(),
        1
    );
    let good = "// among others, redistributed\nlet sql = \"sql\";";
    assert_eq!(
        engine_names(&Source::sample("host/src/x.rs", good)),
        Vec::<String>::new()
    );
}

#[test]
fn a_sleep_is_found() {
    let bad = "fn f() { sleep(1) }\n#[cfg(test)]\nmod tests {\n tokio::time::sleep(D).await;\n}";
    let found = sleeps_in_tests(&Source::sample("host/src/x.rs", bad));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("host/src/x.rs:4 "), "{found:?}");
    let good = "#[cfg(test)]\nmod tests {\n // never sleep\n psql(\"select pg_sleep(1)\");\n}";
    assert_eq!(
        sleeps_in_tests(&Source::sample("host/src/x.rs", good)),
        Vec::<String>::new()
    );
}
