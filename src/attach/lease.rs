//! Who of the clients that stay may steer: one at a time, the first that wants to; others watch until they take over or it leaves.

use std::collections::BTreeMap;

use super::protocol::Attached;
use crate::task::Text;

/// More of a name is no name.
const LONGEST_NAME: usize = 60;

/// The clients that said who they are, by number; a lower number came earlier.
#[derive(Debug, Default)]
pub(super) struct Lease {
    roles: BTreeMap<u64, Role>,
    lead: Option<u64>,
}

#[derive(Debug)]
struct Role {
    who: Text,
    wants: bool,
}

impl Lease {
    /// A client says who it is; it leads where it wants to and nobody else does.
    pub(super) fn attach(&mut self, client: u64, who: &Text, wants: bool) {
        let name: String = who.as_str().replace('\n', " ").chars().take(LONGEST_NAME).collect();
        self.roles.insert(client, Role { who: Text::new(&name), wants });
        if !wants && self.lead == Some(client) {
            self.lead = None;
        }
        self.settle();
    }

    /// A client takes the lead, whoever has it.
    pub(super) fn take(&mut self, client: u64) -> Result<(), String> {
        match self.roles.get(&client) {
            Some(role) if role.wants => {
                self.lead = Some(client);
                Ok(())
            }
            Some(_) => Err("it attached read-only and may not steer".to_owned()),
            None => Err("it has not said who it is".to_owned()),
        }
    }

    /// A client is gone; whether it was one that stays.
    pub(super) fn leave(&mut self, client: u64) -> bool {
        let known = self.roles.remove(&client).is_some();
        if self.lead == Some(client) {
            self.lead = None;
        }
        self.settle();
        known
    }

    /// Who steers instead of this client; `None` where it may. A client without a role is a command from the shell.
    pub(super) fn other_lead(&self, client: u64) -> Option<&Text> {
        let role = self.roles.get(&client)?;
        match self.lead.filter(|lead| *lead != client) {
            Some(lead) => self.roles.get(&lead).map(|role| &role.who),
            // It only watches, and nobody else steers.
            None if !role.wants => Some(&role.who),
            None => None,
        }
    }

    pub(super) fn clients(&self) -> Vec<Attached> {
        self.roles.iter().map(|(id, role)| Attached { who: role.who.clone(), steers: self.lead == Some(*id) }).collect()
    }

    /// A free lead goes to whoever has wanted it longest.
    fn settle(&mut self) {
        if self.lead.is_none() {
            self.lead = self.roles.iter().find(|(_, role)| role.wants).map(|(id, _)| *id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lead(lease: &Lease) -> Option<String> {
        lease.clients().into_iter().find(|c| c.steers).map(|c| c.who.to_string())
    }

    #[test]
    fn one_leads_at_a_time_and_the_longest_wait_is_next() {
        let mut lease = Lease::default();
        lease.attach(1, &"watcher".into(), false);
        assert_eq!(lead(&lease), None);
        for (client, who) in [(2, "a"), (3, "b"), (4, "c")] {
            lease.attach(client, &who.into(), true);
        }
        assert_eq!(lead(&lease).as_deref(), Some("a"));
        assert!(lease.other_lead(2).is_none() && lease.other_lead(3).is_some() && lease.other_lead(1).is_some());
        lease.take(4).unwrap();
        assert_eq!(lead(&lease).as_deref(), Some("c"));
        assert!(lease.take(1).is_err() && lease.take(9).is_err());
        assert!(lease.leave(4));
        assert_eq!(lead(&lease).as_deref(), Some("a"));
        assert!(!lease.leave(9), "a command from the shell has no role");
    }

    #[test]
    fn a_command_from_the_shell_may_always_steer_and_a_reader_never() {
        let mut lease = Lease::default();
        lease.attach(1, &"reader".into(), false);
        assert_eq!(lease.other_lead(1), Some(&"reader".into()));
        assert_eq!(lease.other_lead(7), None);
        lease.attach(2, &"\u{1b}[31mx".repeat(50).as_str().into(), true);
        assert!(lease.clients()[1].who.as_str().chars().count() <= LONGEST_NAME);
        assert!(!lease.clients()[1].who.as_str().contains('\u{1b}'));
    }
}
