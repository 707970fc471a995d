//! Every attack, as data: what is tried, and what whoever made the call must be told. The same list in words is the
//! table in `docs/plugins/sandbox.md`.

use super::components::Component;

/// One attack.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Its row in the table.
    pub name: &'static str,
    pub attack: Attack,
    /// A part of the one error that the caller gets.
    pub says: &'static str,
}

/// What is called, and what the component is told to do then.
#[derive(Clone, Copy, Debug)]
pub enum Attack {
    Validate(&'static str),
    Plan(&'static str),
    /// A plan that names the place of another instance.
    PlanForeign(&'static str),
    Bootstrap(&'static str),
    Observe(&'static str),
    Connect(Whom),
    /// The target says that the instance's member is reached by another instance's socket.
    DialVictim,
    /// The target writes to this path below its instance's directory.
    Write(&'static str),
    /// The plan's program is one that gains rights when it runs.
    Setuid,
    /// The file is put into the plugins folder.
    Load(Component),
}

/// Who is connected to.
#[derive(Clone, Copy, Debug)]
pub enum Whom {
    /// An address as the component writes it.
    Address(&'static str),
    /// The address that another instance's server really has.
    Victim,
}

const fn case(name: &'static str, attack: Attack, says: &'static str) -> Case {
    Case { name, attack, says }
}

const DENIED: &str = "ermission denied";
const ESCAPED: &str = "cannot ";

use Attack::{
    Bootstrap, Connect, DialVictim, Load, Observe, Plan, PlanForeign, Setuid, Validate, Write,
};

pub const CASES: &[Case] = &[
    // Time, memory, and ends.
    case("endless loop", Validate("spin"), "did not answer within"),
    case(
        "hashes without end",
        Validate("hash"),
        "did not answer within",
    ),
    case("endless sleep", Validate("sleep"), "did not answer within"),
    case("unbounded memory", Validate("allocate"), "MiB of memory"),
    case("recursion without end", Validate("recurse"), "crashed"),
    case("trap", Validate("trap"), "crashed"),
    case("panic", Validate("panic"), "crashed"),
    case("ending the process", Validate("exit"), "ended itself"),
    case(
        "a table that grows without end",
        Load(Component::GrowingTable),
        "table elements",
    ),
    case(
        "many large tables",
        Load(Component::ManyTables),
        "table elements",
    ),
    case(
        "many memories",
        Load(Component::ManyMemories),
        "modules, memories or tables",
    ),
    case(
        "many instances of a module",
        Load(Component::ManyInstances),
        "modules, memories or tables",
    ),
    case(
        "instances that nest without end",
        Load(Component::NestedInstances),
        "instances of modules and components",
    ),
    case(
        "instances that are heavy",
        Load(Component::HeavyInstances),
        "functions, globals and the like",
    ),
    // Answers.
    case(
        "a reply of hundreds of megabytes",
        Plan("huge-reply"),
        "more data than is allowed",
    ),
    case(
        "a reply of very many elements",
        Plan("many-elements"),
        "more data than is allowed",
    ),
    case(
        "lists that alias one buffer",
        Plan("aliases"),
        "more data than is allowed",
    ),
    case(
        "a text longer than the memory",
        Plan("lying-length"),
        "broke the rules",
    ),
    case(
        "a text that is no text",
        Plan("not-text"),
        "broke the rules",
    ),
    case(
        "an endless error with control characters",
        Validate("long-error"),
        "x  [2Jx",
    ),
    case("hundreds of problems", Validate("many-problems"), "xxx"),
    case(
        "an absurd observation",
        Observe("absurd-observation"),
        "impossible sizes",
    ),
    // Calls of the host.
    case(
        "a hundred thousand host calls",
        Validate("call"),
        "called the host more than",
    ),
    case(
        "flooding the log",
        Validate("log"),
        "called the host more than",
    ),
    case(
        "flooding standard error",
        Validate("print"),
        "called the host more than",
    ),
    // Reaching out.
    case(
        "never returning from a socket read",
        Bootstrap("listen-for-ever"),
        "did not answer within",
    ),
    case(
        "thousands of sockets",
        Bootstrap("sockets"),
        "16 sockets were given",
    ),
    case(
        "connecting to another member",
        Connect(Whom::Address("10.0.0.2:4000")),
        DENIED,
    ),
    case(
        "connecting to another port",
        Connect(Whom::Address("10.0.0.1:22")),
        DENIED,
    ),
    case(
        "connecting to another instance",
        Connect(Whom::Victim),
        DENIED,
    ),
    case(
        "connecting to another address",
        Connect(Whom::Address("169.254.169.254:80")),
        DENIED,
    ),
    case(
        "connecting over IPv6",
        Connect(Whom::Address("[::1]:80")),
        "connect: ",
    ),
    case(
        "a dial that is another instance's socket",
        DialVictim,
        "outside of the instance's run directory",
    ),
    case("listening", Validate("listen"), "listen: "),
    case("name lookup", Validate("resolve"), "resolve: "),
    case("datagrams", Validate("datagram"), "datagram: "),
    case(
        "reading the environment",
        Validate("environment"),
        "no variable and no argument",
    ),
    case(
        "reading files",
        Validate("files"),
        "no file and no directory",
    ),
    case(
        "reading clocks",
        Validate("clocks"),
        "the clocks stand still",
    ),
    case(
        "looking for what another call left",
        Validate("leftovers"),
        "nothing is left",
    ),
    case(
        "telling a secret in an error",
        Bootstrap("tell-secret"),
        "the password is [secret]",
    ),
    // Plans.
    case("planning a shell", Plan("shell"), "manifest does not list"),
    case(
        "planning a program not in its manifest",
        Plan("unlisted-program"),
        "manifest does not list",
    ),
    case("planning a setuid file", Setuid, "may not run"),
    case(
        "a version that is a path",
        Plan("climbing-version"),
        "version that is not one",
    ),
    case(
        "another instance's path in an argument",
        PlanForeign("foreign-path"),
        "outside the instance",
    ),
    case(
        "another instance's path in a file",
        PlanForeign("foreign-include"),
        "outside the instance",
    ),
    case(
        "another instance's path in a file, by way of `..`",
        PlanForeign("climbing-include"),
        "climbs out",
    ),
    case(
        "an argument with `..`",
        Plan("climbing-argument"),
        "climbs out",
    ),
    case(
        "a file name with `..`",
        Plan("climbing-file"),
        "name that is not allowed",
    ),
    case(
        "a stale file with `..`",
        Plan("climbing-stale-file"),
        "VOLUME/PATH",
    ),
    case(
        "writing to a path with `..`",
        Write("main/../../escaped"),
        ESCAPED,
    ),
    case("writing through a link", Write("main/out/escaped"), ESCAPED),
    case(
        "a socket outside the instance",
        Plan("foreign-socket"),
        "not a file name",
    ),
    case("a variable that loads code", Plan("preload"), "LD_PRELOAD"),
    case(
        "a secret in an argument",
        Plan("secret-in-argument"),
        "show a secret",
    ),
    case(
        "a secret in the environment",
        Plan("secret-in-environment"),
        "show a secret",
    ),
    case(
        "a secret in a file that others read",
        Plan("secret-in-plain-file"),
        "show a secret",
    ),
    case("a volume of no size", Plan("no-size"), "impossible size"),
    case(
        "a volume of a negative size",
        Plan("negative-size"),
        "impossible size",
    ),
    case(
        "a secret of absurd length",
        Plan("absurd-secret"),
        "impossible size",
    ),
    case("an absurd time to stop", Plan("absurd-grace"), "ms to stop"),
    case("thousands of members", Plan("many-members"), "2000 members"),
    // Files in the plugins folder.
    case(
        "a `describe` that changes between calls",
        Load(Component::ChangingDescription),
        "changes from one call to the next",
    ),
    case(
        "a `describe` that never returns",
        Load(Component::EndlessDescription),
        "did not answer within",
    ),
    case(
        "a `describe` that panics",
        Load(Component::CrashingDescription),
        "crashed",
    ),
    case(
        "a capability that was not granted",
        Load(Component::Ungranted),
        "does not grant",
    ),
    case(
        "a capability that its manifest does not ask for",
        Load(Component::Unasked),
        "its manifest does not ask for",
    ),
    case(
        "an import that the host does not have",
        Load(Component::UnknownImport),
        "imports what it cannot have",
    ),
    case(
        "a component as an import",
        Load(Component::DynamicImport),
        "modules or components from outside",
    ),
];
