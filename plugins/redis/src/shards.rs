//! All servers of an instance at once: each keeps users and settings of its own, and what holds on one shall hold on all.
//! Where the data are not divided there is one.
//!
//! A change is made on one after the other. One that does not succeed on all is taken back on those that have it; when Berth
//! dies in between, its repetition finds some that have it and makes it on all of them again.

use std::collections::BTreeSet;

use berth_sdk::engine::Instance;
use berth_sdk::engine::users::Permission;
use berth_sdk::{Error, Result};

use crate::acl::{self, Before, Standing};
use crate::plan;
use crate::session::Session;

/// Sessions with the servers of an instance, in the order of its members.
pub struct Shards(Vec<Session>);

/// What is known of the users on all of them.
pub struct Everybody(Vec<acl::Users>);

/// Where a user is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    Nowhere,
    /// What is left of a change that was cut off.
    OnSome,
    OnAll,
}

impl Shards {
    /// As Berth's own user. None is changed before all are there.
    pub fn berth(instance: &Instance) -> Result<Self> {
        let members = plan::members(&instance.spec).into_iter();
        let sessions = members.map(|member| Session::berth(instance, &member));
        Ok(Self(sessions.collect::<Result<_>>()?))
    }

    pub fn each(&mut self) -> impl Iterator<Item = &mut Session> {
        self.0.iter_mut()
    }

    pub fn users(&mut self) -> Result<Everybody> {
        let users = self.each().map(acl::Users::read);
        Ok(Everybody(users.collect::<Result<_>>()?))
    }

    /// The rules that give a user this standing here.
    pub fn rules(&self, standing: Standing) -> Vec<String> {
        let is_sharded = self.0.iter().any(|session| session.is_sharded);
        standing.rules(is_sharded)
    }

    /// Write down what holds in memory.
    pub fn save(&mut self) -> Result<()> {
        self.each().try_for_each(acl::save)
    }

    /// Change a user by these rules, or make it.
    pub fn change(&mut self, name: &str, rules: &[String]) -> Result<()> {
        self.everywhere(name, |session| acl::change(session, name, rules))
    }

    /// Remove a user.
    pub fn remove(&mut self, name: &str) -> Result<()> {
        self.everywhere(name, |session| acl::remove(session, name))
    }

    fn everywhere(
        &mut self,
        name: &str,
        change: impl Fn(&mut Session) -> Result<Before>,
    ) -> Result<()> {
        let mut done: Vec<(&mut Session, Before)> = Vec::new();
        for session in &mut self.0 {
            match change(session) {
                Ok(before) => done.push((session, before)),
                Err(error) => {
                    for (session, before) in done {
                        acl::take_back(session, name, before);
                    }
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

impl Everybody {
    /// Also those that are not on all.
    pub fn names(&self) -> BTreeSet<&str> {
        let all = self.0.iter().flat_map(|users| users.entries.keys());
        all.map(String::as_str).collect()
    }

    pub fn presence(&self, name: &str) -> Presence {
        let there = |users: &&acl::Users| users.entries.contains_key(name);
        match self.0.iter().filter(there).count() {
            0 => Presence::Nowhere,
            count if count == self.0.len() => Presence::OnAll,
            _ => Presence::OnSome,
        }
    }

    /// Who is not the same everywhere may do something that Berth has no name for.
    pub fn standing(&self, name: &str) -> Standing {
        let custom = Standing::May(Permission::Custom);
        let mut standings = self.0.iter().map(|users| {
            let entry = users.entries.get(name);
            entry.map_or(custom, |entry| users.standing(entry))
        });
        let first = standings.next().unwrap_or(custom);
        if standings.all(|standing| standing == first) {
            first
        } else {
            custom
        }
    }

    /// That this user is there to be changed, and what may be done by it.
    pub fn find(&self, name: &str) -> Result<Standing> {
        match self.presence(name) {
            Presence::OnAll => Ok(self.standing(name)),
            Presence::Nowhere => Err(Error::no_user(name)),
            Presence::OnSome => Err(Error::conflict(format!(
                "the user '{name}' is not on every shard: make it again, or delete it"
            ))),
        }
    }
}
