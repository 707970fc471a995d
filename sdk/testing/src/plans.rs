//! What tests of a pure plan look at.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use berth_sdk::types::{Command, Member, Workload};

/// Compare with the file of this name in the folder `golden` of the crate, or write it when `BERTH_BLESS` is set. The crate's
/// folder is `env!("CARGO_MANIFEST_DIR")`.
pub fn golden(crate_dir: &str, name: &str, actual: &str) {
    let path = Path::new(crate_dir).join("golden").join(name);
    if std::env::var_os("BERTH_BLESS").is_some() {
        fs::write(&path, actual).expect("the file can be written");
    }
    let expected = fs::read_to_string(&path).expect("the file; BERTH_BLESS=1 writes it");
    assert_eq!(expected, actual, "{name} differs; BERTH_BLESS=1 renews it");
}

/// All of a workload, as text to compare.
pub fn show(workload: &Workload) -> String {
    let mut out = String::new();
    let mut say = |line: String| writeln!(out, "{line}").expect("a string takes all");
    for member in &workload.members {
        say(format!("member: {}", member.name));
        if let Some(init) = &member.init {
            let title = format!("init of {}", init.volume);
            init.tasks
                .iter()
                .for_each(|task| command(&title, task, &mut say));
        }
        command("main", &member.main, &mut say);
        let stop = &member.stop;
        say(format!("stop: {} {} ms", stop.signal, stop.grace_ms));
        for volume in &member.volumes {
            say(format!("volume: {} {}", volume.name, volume.size_bytes));
        }
        for port in &member.ports {
            say(format!(
                "port: {} {} {:?}",
                port.name, port.number, port.socket
            ));
        }
        say(format!("stale: {:?}", member.stale_files));
        for file in &member.files {
            let mark = if file.sensitive { " (sensitive)" } else { "" };
            say(format!("file: {}{mark}", file.name));
            file.content
                .lines()
                .for_each(|line| say(format!("  {line}")));
        }
    }
    for endpoint in &workload.endpoints {
        say(format!("endpoint: {endpoint:?}"));
    }
    for secret in &workload.secrets {
        say(format!("secret: {secret:?}"));
    }
    out
}

fn command(title: &str, command: &Command, say: &mut impl FnMut(String)) {
    say(format!("{title}: {} {}", command.program, command.version));
    for (name, value) in &command.env {
        say(format!("  env {name}={value}"));
    }
    command
        .args
        .iter()
        .for_each(|argument| say(format!("  {argument}")));
}

/// Fails where a plan puts a secret into an argument, the environment or a file that others can read.
pub fn no_secret_in_the_open(workload: &Workload) {
    for text in workload.members.iter().flat_map(open) {
        assert!(!text.contains("${secret:"), "{text}");
    }
}

/// What others can read of a member.
fn open(member: &Member) -> impl Iterator<Item = &String> {
    let init = member.init.iter().flat_map(|init| &init.tasks);
    let commands = init.chain([&member.main]).flat_map(|command| {
        let env = command.env.iter().map(|(_, value)| value);
        command.args.iter().chain(env)
    });
    let files = member.files.iter().filter(|file| !file.sensitive);
    commands.chain(files.map(|file| &file.content))
}

#[cfg(test)]
mod tests {
    use berth_sdk::types::{File, Stop};

    use super::*;

    fn planned(main: Command, file: File) -> Workload {
        Workload {
            members: vec![Member {
                name: "one".into(),
                main,
                init: None,
                files: vec![file],
                volumes: Vec::new(),
                ports: Vec::new(),
                stale_files: Vec::new(),
                stop: Stop {
                    signal: "TERM".into(),
                    grace_ms: 1,
                },
            }],
            endpoints: Vec::new(),
            secrets: Vec::new(),
        }
    }

    const SECRET: &str = "is ${secret:it}";

    #[test]
    fn a_secret_for_the_servers_user_alone_may_stand_there() {
        let main = Command::new("a", "1").arg("${run}");
        no_secret_in_the_open(&planned(main, File::sensitive("f", SECRET)));
    }

    #[test]
    #[should_panic(expected = "${secret:it}")]
    fn one_in_an_argument_is_found() {
        let main = Command::new("a", "1").arg(SECRET);
        no_secret_in_the_open(&planned(main, File::plain("f", "")));
    }

    #[test]
    #[should_panic(expected = "${secret:it}")]
    fn one_in_the_environment_is_found() {
        let main = Command::new("a", "1").env("A", SECRET);
        no_secret_in_the_open(&planned(main, File::plain("f", "")));
    }

    #[test]
    #[should_panic(expected = "${secret:it}")]
    fn one_in_a_file_is_found() {
        let main = Command::new("a", "1");
        no_secret_in_the_open(&planned(main, File::plain("f", SECRET)));
    }
}
