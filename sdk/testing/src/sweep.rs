//! The calls of an engine, cut off everywhere: what a host that dies in the midst of one leaves behind, its repetition mends.

use berth_sdk::Error;
use berth_sdk::engine::settings::Settings;
use berth_sdk::engine::users::{Permission, User, Users};
use berth_sdk::engine::{Credentials, Login, Provisioning};

use crate::relay::Lost;
use crate::server::Server;

/// The one that comes and goes.
const NAME: &str = "swept";
const FIRST: &str = "S3cret!-of-swept";
const SECOND: &str = "Other!-0f-swept";

/// What a sweep of an engine is to use.
pub struct Sweep<'a> {
    /// A database to make and remove; where there is but one, its name.
    pub database: &'a str,
    /// Whether databases can be made.
    pub makes_databases: bool,
    /// A setting that takes effect at once, and two values of it.
    pub setting: (&'a str, [&'a str; 2]),
}

impl<E: Provisioning + Credentials + Users + Settings> Server<E> {
    /// Cut every change that the engine can make at every message to the server, once before the server hears it and once
    /// before its answer comes back, and make it again. Whatever happened to the first, then it is there, whole.
    pub fn sweep(&mut self, sweep: &Sweep<'_>) {
        self.of_the_first_user();
        if sweep.makes_databases {
            self.of_databases(sweep.database);
            E::create_database(self.it(), sweep.database.into()).expect("a database");
        }
        self.of_users();
        self.of_privileges(sweep.database);
        self.of_settings(sweep.setting);
        E::delete_user(self.it(), NAME.into()).expect("its removal");
        if sweep.makes_databases {
            E::delete_database(self.it(), sweep.database.into()).expect("its removal");
        }
    }

    fn of_the_first_user(&mut self) {
        let login = self.login();
        self.cut_everywhere(
            "bootstrap",
            |_, _| {},
            |server| E::bootstrap(server.it()),
            |server, _, done| {
                done.expect("a bootstrap");
                assert!(server.lets_in(&server.login(), &server.password()));
            },
        );
        let new = |round: usize| format!("{FIRST}-{round}");
        let to = login.clone();
        let rotated = std::cell::Cell::new(0);
        self.cut_everywhere(
            "rotate",
            |_, round| rotated.set(round),
            |server| E::rotate(server.it(), to.clone(), new(rotated.get())),
            |server, round, done| {
                done.expect("a rotation");
                assert!(server.lets_in(&login, &new(round)));
                assert!(!server.lets_in(&login, &new(round + 1)));
            },
        );
        E::rotate(self.it(), to.clone(), self.password()).expect("a rotation");
    }

    fn of_databases(&mut self, name: &str) {
        let there = |server: &Self| {
            let all = E::list_databases(server.it(), false).expect("a list");
            all.into_iter().find(|database| database.name == name)
        };
        let make = |server: &Self| E::create_database(server.it(), name.into());
        let remove = |server: &Self| E::delete_database(server.it(), name.into());
        self.cut_everywhere(
            "create-database",
            |server, _| gone(remove(server)),
            make,
            |server, _, done| {
                made(done.map(drop));
                let seen = there(server).expect("the database");
                assert!(seen.managed, "{seen:?}");
            },
        );
        self.cut_everywhere(
            "delete-database",
            |server, _| made(make(server).map(drop)),
            remove,
            |server, _, done| {
                gone(done);
                assert!(there(server).is_none());
            },
        );
    }

    fn of_users(&mut self) {
        let login = self.login_of(NAME);
        let there = |server: &Self| -> Option<User> {
            let all = E::list_users(server.it()).expect("a list");
            all.into_iter().find(|user| user.name == NAME)
        };
        let make = |server: &Self| E::create_user(server.it(), NAME.into(), FIRST.into(), true);
        let remove = |server: &Self| E::delete_user(server.it(), NAME.into());
        self.cut_everywhere(
            "create-user",
            |server, _| gone(remove(server)),
            make,
            |server, _, done| {
                made(done.map(drop));
                assert_eq!(there(server).map(|user| user.admin), Some(true));
                assert!(server.lets_in(&login, FIRST));
            },
        );
        let change = |server: &Self, password: &str, admin| {
            E::change_user(server.it(), NAME.into(), Some(password.into()), Some(admin))
        };
        for admin in [false, true] {
            self.cut_everywhere(
                "change-user",
                |server, _| {
                    change(server, FIRST, !admin).expect("a change");
                },
                |server| change(server, SECOND, admin),
                |server, _, done| {
                    done.expect("a change");
                    assert_eq!(there(server).map(|user| user.admin), Some(admin));
                    assert!(server.lets_in(&login, SECOND));
                    assert!(!server.lets_in(&login, FIRST));
                },
            );
        }
        self.cut_everywhere(
            "delete-user",
            |server, _| made(make(server).map(drop)),
            remove,
            |server, _, done| {
                gone(done);
                assert!(there(server).is_none());
                assert!(!server.lets_in(&login, FIRST));
            },
        );
    }

    fn of_privileges(&mut self, database: &str) {
        E::create_user(self.it(), NAME.into(), FIRST.into(), false).expect("a user");
        let set = |server: &Self, permission| {
            E::set_privilege(server.it(), NAME.into(), database.into(), permission)
        };
        let mut before = Permission::None;
        // More, and less.
        for permission in [Permission::Readwrite, Permission::Readonly] {
            self.cut_everywhere(
                "set-privilege",
                |server, _| {
                    set(server, before).expect("a privilege");
                },
                |server| set(server, permission),
                |server, _, done| {
                    assert_eq!(done.expect("a privilege").permission, permission);
                    let (name, database) = (Some(NAME.into()), Some(database.into()));
                    let seen = E::list_privileges(server.it(), name, database);
                    assert_eq!(seen.expect("a list")[0].permission, permission);
                },
            );
            before = permission;
        }
    }

    fn of_settings(&mut self, (name, values): (&str, [&str; 2])) {
        self.cut_everywhere(
            "reload",
            |server, round| server.configure(&[(name, values[round % 2])]),
            |server| E::reload(server.it()),
            |_, _, done| assert_eq!(done.expect("a reload"), [""; 0]),
        );
        self.configure(&[]);
        E::reload(self.it()).expect("a reload");
    }

    /// `before`, `call` cut off, and `after` with what `call` says again; for each place to cut it.
    fn cut_everywhere<T: std::fmt::Debug>(
        &mut self,
        what: &str,
        before: impl Fn(&mut Self, usize),
        call: impl Fn(&Self) -> Result<T, Error>,
        after: impl Fn(&Self, usize, Result<T, Error>),
    ) {
        for message in 0.. {
            for (half, lost) in [Lost::Request, Lost::Answer].into_iter().enumerate() {
                let round = 2 * message + half;
                before(self, round);
                self.gate().cut(message, lost);
                let said = call(self);
                if !self.gate().reopen() {
                    said.unwrap_or_else(|error| panic!("{what}: {error:?}\n{}", self.log()));
                    println!("{what}: cut at {message} messages");
                    assert!(message > 0, "{what} says nothing to the server");
                    return;
                }
                // What is lost may be the goodbye.
                let waits = matches!(said, Ok(_) | Err(Error::RetryAfter(_)));
                assert!(waits, "{what}, {lost:?} {message} lost: {said:?}");
                after(self, round, call(self));
            }
        }
    }

    fn it(&self) -> berth_sdk::engine::Instance {
        self.instance.clone()
    }

    fn login_of(&self, user: &str) -> Login {
        Login {
            user: Some(user.into()),
            ..self.login()
        }
    }

    fn lets_in(&self, login: &Login, password: &str) -> bool {
        E::verify(self.it(), login.clone(), password.into()).expect("a verdict")
    }
}

fn made(done: Result<(), Error>) {
    let whole = matches!(done, Ok(()) | Err(Error::AlreadyExists(_)));
    assert!(whole, "{done:?}");
}

fn gone(done: Result<(), Error>) {
    let whole = matches!(done, Ok(()) | Err(Error::NotFound(_)));
    assert!(whole, "{done:?}");
}
