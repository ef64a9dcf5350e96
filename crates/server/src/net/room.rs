//! How many connections there may be: in all, and from one address.
//!
//! A connection that finds no room is closed at once. So whoever is connected is served as before, a flood cannot
//! use up the file descriptors that the store and the log need, and who is turned away knows it right away.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// Connections at a time, however many file descriptors the process may have: each costs some twenty kilobytes.
pub(super) const CONNECTIONS_MAX: usize = 10_000;
/// Connections at a time from one address (IPv6: from one /64 network, which one subscriber has to itself), and never
/// more than a quarter of all. Loopback is exempt: behind it are proxies, tunnels and tests that connect for many.
pub(super) const CONNECTIONS_PER_ADDRESS_MAX: usize = 1_024;
/// File descriptors that connections leave for the store, the log and what is opened in passing; half of what the
/// process may have if that is less.
const FILES_RESERVED: u64 = 128;

/// How many connections of a server there are, and may be.
#[derive(Debug)]
pub(super) struct Room {
    max: usize,
    per_address_max: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

impl Room {
    /// As much as the file descriptors of this process allow.
    pub(super) fn of_this_process() -> Self {
        let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        Self::of(for_files(files))
    }

    fn of(max: usize) -> Self {
        Self::new(max, CONNECTIONS_PER_ADDRESS_MAX.min(max.div_ceil(4)))
    }

    fn new(max: usize, per_address_max: usize) -> Self {
        Self { max, per_address_max, taken: Mutex::default() }
    }

    /// A place, if there is one.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let source = source(address);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.all >= self.max {
            return None;
        }
        if let Some(source) = source {
            let from_there = taken.by_address.entry(source).or_default();
            if *from_there >= self.per_address_max {
                return None;
            }
            *from_there += 1;
        }
        taken.all += 1;
        Some(Place { room: Arc::clone(self), source })
    }

    fn leave(&self, source: Option<IpAddr>) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        let Some(source) = source else { return };
        if let Some(from_there) = taken.by_address.get_mut(&source) {
            *from_there -= 1;
            if *from_there == 0 {
                taken.by_address.remove(&source);
            }
        }
    }
}

/// The place of one connection, free again when dropped.
#[derive(Debug)]
pub(super) struct Place {
    room: Arc<Room>,
    source: Option<IpAddr>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.leave(self.source);
    }
}

/// Connections for a process that may have so many files open.
fn for_files(limit: Option<u64>) -> usize {
    let left = limit.map_or(u64::MAX, |limit| limit - FILES_RESERVED.min(limit / 2));
    usize::try_from(left).unwrap_or(usize::MAX).min(CONNECTIONS_MAX)
}

/// What connections are counted by; none for loopback.
fn source(address: IpAddr) -> Option<IpAddr> {
    match address.to_canonical() {
        address if address.is_loopback() => None,
        address @ IpAddr::V4(_) => Some(address),
        IpAddr::V6(address) => Some(Ipv6Addr::from(u128::from(address) >> 64 << 64).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn enter(room: &Arc<Room>, count: usize, from: &str) -> Vec<Place> {
        (0..count).map(|_| room.enter(address(from)).expect("a place")).collect()
    }

    #[test]
    fn there_are_places_up_to_the_limit_and_again_when_one_is_left() {
        let room = Arc::new(Room::new(3, 100));
        let mut places = enter(&room, 3, "127.0.0.1");
        assert!(room.enter(address("192.0.2.1")).is_none());
        places.pop();
        drop(enter(&room, 1, "192.0.2.1"));
        places.clear();
        let taken = room.taken.lock().unwrap();
        assert_eq!((taken.all, taken.by_address.len()), (0, 0), "nothing is remembered of who has left");
    }

    #[test]
    fn one_address_has_so_many_places_and_others_are_not_concerned() {
        let room = Arc::new(Room::of(CONNECTIONS_MAX));
        let mut places = enter(&room, CONNECTIONS_PER_ADDRESS_MAX, "192.0.2.1");
        assert!(room.enter(address("192.0.2.1")).is_none());
        assert!(room.enter(address("::ffff:192.0.2.1")).is_none(), "the same, written otherwise");
        enter(&room, 1, "192.0.2.2");
        places.pop();
        enter(&room, 1, "192.0.2.1");
    }

    #[test]
    fn where_there_are_few_places_one_address_has_a_quarter_of_them() {
        for (max, of_one) in [(1, 1), (32, 8), (33, 9), (4_096, 1_024), (4_100, 1_024)] {
            assert_eq!(Room::of(max).per_address_max, of_one, "{max}");
        }
    }

    #[test]
    fn an_ipv6_network_counts_as_one_address_and_loopback_not_at_all() {
        let room = Arc::new(Room::new(100, 1));
        let _place = enter(&room, 1, "2001:db8::1");
        assert!(room.enter(address("2001:db8::ffff:1")).is_none());
        enter(&room, 1, "2001:db8:0:1::1");
        for local in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(enter(&room, 2, local).len(), 2);
        }
    }

    #[test]
    fn connections_leave_files_for_everything_else() {
        let cases = [
            (Some(64), 32),
            (Some(256), 128),
            (Some(257), 129),
            (Some(1024), 896),
            (Some(10_128), 10_000),
            (Some(10_129), CONNECTIONS_MAX),
            (None, CONNECTIONS_MAX),
        ];
        for (files, connections) in cases {
            assert_eq!(for_files(files), connections, "{files:?}");
        }
    }
}
