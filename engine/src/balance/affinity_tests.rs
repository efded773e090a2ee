//! Affinity under everything that happens to endpoints: compared, step by step, with a model of a few lines.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};

use super::affinity::Clients;
use super::fake::{Fake, ask, fake};
use super::random::Random;
use super::{Algorithm, Ask, Candidate, Chooser, flags};

const SECOND: u64 = 1_000_000_000;
const ALGORITHMS: [Algorithm; 5] =
    [Algorithm::RoundRobin, Algorithm::LeastRequest, Algorithm::Prequal, Algorithm::RingHash, Algorithm::Random];

fn client(number: u64) -> IpAddr {
    Ipv4Addr::from(0x0a00_0000 + number as u32).into()
}

/// Scales up, down, drains, falls ill, recovers, or changes the order.
fn something_happens(set: &mut Vec<Fake>, next: &mut u64, random: &mut Random) {
    let at = random.below(set.len() as u64) as usize;
    match random.below(6) {
        0 => {
            set.push(fake(*next, 1));
            *next += 1;
        }
        1 if set.len() > 1 => drop(set.remove(at)),
        2 => set[at].flags.set(flags::DRAINING),
        3 => set[at].flags.set(flags::EJECTED),
        4 => set[at].flags.set(0),
        _ => set.rotate_left(1),
    }
}

#[test]
fn a_client_keeps_its_endpoint_until_it_is_silent_for_the_timeout_or_the_endpoint_is_not_well() {
    let mut random = Random::new(21);
    for case in 0..60 {
        let timeout = (1 + random.below(20)) * SECOND;
        let mut set: Vec<Fake> = (0..1 + random.below(6)).map(|id| fake(id, 1)).collect();
        let mut chooser = Chooser::new(ALGORITHMS[case % ALGORITHMS.len()]);
        chooser.settle(&set);
        let (mut next, mut now) = (100, 0);
        let mut model: HashMap<IpAddr, (u64, u64)> = HashMap::new();
        for _ in 0..400 {
            now += random.below(2 * SECOND);
            if random.below(4) == 0 {
                something_happens(&mut set, &mut next, &mut random);
                chooser.settle(&set);
            }
            let who = client(random.below(5));
            let ask = Ask {
                now_nanos: now,
                hash: random.draw(),
                random: random.draw(),
                client: Some((who, timeout)),
                ..ask(&[])
            };
            let Some(found) = chooser.choose(&set, &ask).map(|i| set[i].id) else { continue };
            let well = |id: u64| set.iter().any(|e| e.id == id && e.flags() == 0);
            match model.get(&who) {
                Some((id, heard)) if now - heard <= timeout && well(*id) => assert_eq!(found, *id, "case {case}"),
                _ => {}
            }
            model.insert(who, (found, now));
        }
    }
}

#[test]
fn a_timeout_counts_from_the_last_time_the_client_was_heard() {
    let mut clients = Clients::default();
    clients.remember(client(1), 7, 0, 10);
    assert_eq!(clients.find(client(1), 10, 10), Some(7));
    assert_eq!(clients.find(client(1), 20, 10), Some(7));
    assert_eq!(clients.find(client(1), 31, 10), None);
}

#[test]
fn of_too_many_clients_the_latest_are_remembered() {
    let mut clients = Clients::default();
    let many = 200_000;
    (0..many).for_each(|n| clients.remember(client(n), n, n, u64::MAX));
    let kept: HashSet<u64> = (0..many).filter(|n| clients.find(client(*n), many, u64::MAX).is_some()).collect();
    assert!((30_000..=65_536).contains(&kept.len()), "{}", kept.len());
    assert!((many - 30_000..many).all(|n| kept.contains(&n)));
}

#[test]
fn a_cookie_survives_scaling_and_names_its_endpoint_again_when_that_returns() {
    let mut random = Random::new(4);
    for case in 0..60 {
        let mut set: Vec<Fake> = (0..3).map(|id| fake(id, 1)).collect();
        let mut chooser = Chooser::new(ALGORITHMS[case % ALGORITHMS.len()]);
        chooser.settle(&set);
        let mut next = 100;
        let mut cookies: HashMap<u64, u64> = HashMap::new();
        for _ in 0..400 {
            if random.below(4) == 0 {
                something_happens(&mut set, &mut next, &mut random);
                chooser.settle(&set);
            }
            let who = random.below(8);
            let cookie = cookies.get(&who).copied();
            let ask = Ask { identity: cookie, hash: random.draw(), random: random.draw(), ..ask(&[]) };
            let Some(found) = chooser.choose(&set, &ask) else { continue };
            let named = set.iter().find(|e| Some(e.identity()) == cookie);
            if let Some(endpoint) = named.filter(|e| e.flags() == 0) {
                assert_eq!(set[found].id, endpoint.id, "case {case}: it is there and well");
            } else if set.iter().any(|e| e.flags() == 0) {
                assert_eq!(set[found].flags(), 0, "case {case}: another that is well");
            }
            // The response names the endpoint that answered, unless the cookie's own is only unwell for a while.
            if named.is_none() {
                cookies.insert(who, set[found].identity());
            }
        }
    }
}

#[test]
fn new_endpoints_get_the_clients_without_a_cookie() {
    let set: Vec<Fake> = (0..4).map(|id| fake(id, 1)).collect();
    let mut chooser = Chooser::new(Algorithm::LeastRequest);
    chooser.settle(&set[..2]);
    (0..10).for_each(|i| assert!(chooser.choose(&set[..2], &Ask { random: i, ..ask(&[]) }).is_some()));
    chooser.settle(&set);
    let fresh: HashSet<usize> = (0..4).map(|_| chooser.choose(&set, &ask(&[])).unwrap()).collect();
    assert_eq!(fresh.len(), 4);
}
