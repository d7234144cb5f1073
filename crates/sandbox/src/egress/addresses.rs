//! What the way out must know of the host: its own addresses, and whom it asks about names.

use super::policy;
use crate::spawner::network::RESOLVER;
use parking_lot::Mutex;
use std::{
    fs,
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

/// How long what was found out is believed.
const FRESH: Duration = Duration::from_secs(2);
const DNS: u16 = 53;

/// What is known of the host, shared by all sandboxes.
#[derive(Debug, Default)]
pub(super) struct Host {
    known: Mutex<Option<Known>>,
    /// Resolvers are asked in turn: who gets no answer asks again, and then another one.
    turn: AtomicUsize,
}

#[derive(Clone, Debug)]
struct Known {
    since: Instant,
    own: Vec<IpAddr>,
    resolvers: Vec<IpAddr>,
}

impl Host {
    /// Where a flow to `destination` goes; `None`: nowhere.
    pub(super) fn route(&self, destination: SocketAddr) -> Option<SocketAddr> {
        let mut known = self.known.lock();
        let known = match &mut *known {
            Some(known) if known.since.elapsed() < FRESH => known,
            stale => stale.insert(Known::find_out()),
        };
        if destination.ip() == IpAddr::V4(RESOLVER) {
            // Ours is the server's own question, so a resolver on its loopback is fine.
            let turn = self.turn.fetch_add(1, Ordering::Relaxed);
            let resolver = known.resolvers.get(turn % known.resolvers.len().max(1))?;
            return (destination.port() == DNS).then(|| SocketAddr::new(*resolver, DNS));
        }
        policy::allows(destination.ip(), &known.own).then_some(destination)
    }
}

impl Known {
    fn find_out() -> Self {
        let own = nix::ifaddrs::getifaddrs().into_iter().flatten().filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
        });
        let resolvers = resolvers(&fs::read_to_string("/etc/resolv.conf").unwrap_or_default());
        Self { since: Instant::now(), own: own.collect(), resolvers }
    }
}

/// The name servers of a `resolv.conf`.
fn resolvers(text: &str) -> Vec<IpAddr> {
    let servers = text.lines().filter_map(|line| {
        let address = line.trim_start().strip_prefix("nameserver")?.trim();
        // Without the zone that a link-local one may have.
        address.split(['%', ' ', '\t']).next()?.parse().ok()
    });
    let found: Vec<_> = servers.collect();
    if found.is_empty() { vec![IpAddr::from([127, 0, 0, 1])] } else { found }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_are_read_as_the_c_library_does() {
        let text = "# comment\nnameserver 10.0.0.1\n nameserver\tfe80::1%eth0\nsearch nameserver.example\n";
        assert_eq!(resolvers(text), ["10.0.0.1", "fe80::1"].map(|it| it.parse::<IpAddr>().unwrap()));
        assert_eq!(resolvers(""), [IpAddr::from([127, 0, 0, 1])]);
    }

    #[test]
    fn the_host_itself_is_nowhere() {
        let host = Host::default();
        let own =
            nix::ifaddrs::getifaddrs().unwrap().filter_map(|it| Some(it.address?.as_sockaddr_in()?.ip()));
        for own in own {
            assert_eq!(host.route(SocketAddr::from((own, 80))), None, "{own}");
        }
        assert_eq!(host.route(SocketAddr::from((RESOLVER, 80))), None, "nothing but names is answered there");
        assert!(host.route(SocketAddr::from((RESOLVER, DNS))).is_some());
    }
}
