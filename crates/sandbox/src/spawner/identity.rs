//! Which users sandboxes run as.
//!
//! A spawner with the host's root gives every sandbox two user ids that nothing else uses: one for its init,
//! one for the function. With user namespaces they appear inside as 0 and 1000: even the init, which must hold
//! rights over its namespaces, is then nobody on the host. Without, the function simply runs as its id. An
//! ordinary user has one id only; sandboxes then share it and are kept apart by their namespaces.

use crate::inside::confine::USER_INSIDE;
use std::{fs, io};

/// The most sandboxes that live at once.
pub(crate) const MOST: u32 = 8192;

/// Hands out user ids.
#[derive(Debug)]
pub(crate) struct Identities {
    /// The first of the ids that are ours; `None`: there is one for all.
    base: Option<u32>,
    shared: u32,
    free: Vec<u32>,
    next: u32,
    most: u32,
}

/// One sandbox's user ids, as the spawner sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    index: u32,
    pub(crate) init: u32,
    pub(crate) user: u32,
    /// They are this sandbox's own.
    pub(crate) own: bool,
}

impl Identities {
    /// Ids of our own, out of those that `uid_map` and `gid_map` know.
    pub(crate) fn own(uid_map: &str, gid_map: &str, pid: u32) -> Option<Self> {
        let (base, count) = range(uid_map, pid)?;
        (range(gid_map, pid)? == (base, count)).then(|| Self {
            base: Some(base),
            shared: 0,
            free: Vec::new(),
            next: 0,
            most: count / 2,
        })
    }

    /// One id for all: the spawner's own.
    pub(crate) fn shared(user: u32) -> Self {
        Self { base: None, shared: user, free: Vec::new(), next: 0, most: MOST }
    }

    pub(crate) fn take(&mut self) -> io::Result<Identity> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.next < self.most => {
                self.next += 1;
                self.next - 1
            }
            None => return Err(io::Error::other(format!("{} sandboxes live already", self.most))),
        };
        Ok(match self.base {
            Some(base) => Identity { index, init: base + 2 * index, user: base + 2 * index + 1, own: true },
            None => Identity { index, init: self.shared, user: self.shared, own: false },
        })
    }

    pub(crate) fn give_back(&mut self, identity: Identity) {
        self.free.push(identity.index);
    }
}

impl Identity {
    /// Maps this identity into a process's new user namespace.
    pub(crate) fn map(self, pid: i32) -> io::Result<()> {
        let map = match self.own {
            true => format!("0 {} 1\n{USER_INSIDE} {} 1\n", self.init, self.user),
            false => {
                fs::write(format!("/proc/{pid}/setgroups"), "deny")?;
                format!("{USER_INSIDE} 0 1\n")
            }
        };
        fs::write(format!("/proc/{pid}/uid_map"), &map)?;
        fs::write(format!("/proc/{pid}/gid_map"), &map)
    }
}

/// The ids that we take for sandboxes: on a host, where there are four thousand million, a block far from
/// those in use, another for each spawner; in a container, the end of what it was given.
fn range(map: &str, pid: u32) -> Option<(u32, u32)> {
    const EVERYTHING: u32 = 1 << 31;
    const FIRST: u32 = 0x2000_0000;
    let extents = map.lines().filter_map(|line| {
        let mut fields = line.split_whitespace().map(|field| field.parse::<u32>().ok());
        let (first, _, count) = (fields.next()??, fields.next()??, fields.next()??);
        Some((first, count))
    });
    let (first, count) = extents.max_by_key(|extent| extent.1)?;
    let wanted = 2 * MOST;
    if count >= EVERYTHING {
        Some((FIRST + (pid & 0xffff) * wanted, wanted))
    } else {
        let wanted = wanted.min(count / 4) & !1;
        (wanted >= 64).then(|| (first + count - wanted, wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_lie_within_what_is_mapped() {
        assert_eq!(range("0 0 4294967295", 1), Some((0x2000_4000, 16_384)));
        assert_eq!(range("0 0 4294967295", 0xffff).map(|(base, count)| base + count), Some(0x6000_0000));
        assert_eq!(range("0 100000 65536\n", 9), Some((65_536 - 16_384, 16_384)));
        assert_eq!(range("0 1000 1\n", 9), None);
        assert_eq!(range("nonsense", 9), None);
    }

    #[test]
    fn ids_are_used_again_and_never_twice_at_once() {
        let mut ids = Identities::own("0 0 300", "0 0 300", 1).unwrap();
        let all: Vec<_> = std::iter::from_fn(|| ids.take().ok()).collect();
        let users: std::collections::HashSet<_> = all.iter().flat_map(|id| [id.init, id.user]).collect();
        assert_eq!((all.len(), users.len()), (37, 74));
        assert!(users.iter().all(|user| (225..300).contains(user)));
        ids.give_back(all[3]);
        assert_eq!(ids.take().unwrap(), all[3]);
    }
}
