//! A Table made change by change is that of the objects.

use serde_json::{Value, json};

use super::*;
use crate::balance::random::Random;

fn store() -> Store {
    let (report, _) = tokio::sync::mpsc::unbounded_channel();
    Store::new(Arc::default(), report)
}

fn apply(store: &mut Store, message: &Value) -> Table {
    let message: wire::Structure = serde_json::from_value(message.clone()).unwrap();
    store.apply_structure(&message);
    store.table()
}

fn route(id: u64, version: u64) -> Value {
    let hosts = ["a.test", "*.test", "**.test", "b.test"];
    let kinds = ["exact", "prefix", "starts", "regex"];
    let paths = ["/", "/x", "/x/y"];
    let path = json!({"type": kinds[(version % 4) as usize], "value": paths[(version % 3) as usize]});
    let listeners = [json!([]), json!(["l0"]), json!(["l0", "l1"])];
    json!({
        "id": format!("r{id}"), "order": id % 3, "match": {"path": path},
        "hosts": hosts.iter().take((version % 3) as usize).skip((version % 2) as usize).collect::<Vec<_>>(),
        "listeners": listeners[(version % 5).min(2) as usize],
        "backends": [{"backend": format!("b{}", version % 4)}, {"backend": "b0", "weight": 2}],
    })
}

/// Everything that a Table says, in an order of its own.
fn told(table: &Table) -> Vec<String> {
    let entry = |e: &Arc<Entry>| {
        let backends: Vec<_> = e.backends.iter().map(|(b, w)| (b.as_ref().map(|b| b.spec.clone()), *w)).collect();
        format!("{:?} {backends:?} {}", e.route.spec, e.total_weight)
    };
    let mut lines: Vec<_> = table
        .by_socket
        .iter()
        .flat_map(|(socket, l)| {
            let places = l.router.listing().into_iter();
            places.map(move |(place, paths)| {
                format!("{socket} {:?} {place} {:?}", l.spec, paths.iter().map(&entry).collect::<Vec<_>>())
            })
        })
        .collect();
    lines.extend(table.virtuals.by_address.iter().map(|(place, e)| format!("{place} {}", entry(e))));
    lines.sort();
    lines
}

#[test]
fn after_any_changes_the_table_is_that_of_the_objects() {
    let mut random = Random::new(7);
    for _ in 0..60 {
        let (mut grown, mut objects) = (store(), [HashMap::new(), HashMap::new(), HashMap::new()]);
        for step in 0..12 {
            let names = ["listeners", "routes", "backends"];
            let mut message = json!({"epoch": 1, "seq": step, "removed": {}});
            for _ in 0..=(random.draw() % 3) {
                let (kind, id, version) = ((random.draw() % 3) as usize, random.draw() % 30, random.draw() % 60);
                let object = match kind {
                    0 => {
                        json!({"id": format!("l{}", id % 3), "protocol": "http", "sockets": [format!("s{}", id % 3)]})
                    }
                    1 => route(id, version),
                    _ => {
                        json!({"id": format!("b{}", id % 4), "virtual": [{"address": format!("10.0.0.{version}"), "port": 80}]})
                    }
                };
                let name = object["id"].as_str().unwrap().to_owned();
                let named = |v: &Value| {
                    v.as_array().is_some_and(|l| l.iter().any(|o| *o == json!(name) || o["id"] == json!(name)))
                };
                if named(&message[names[kind]]) || named(&message["removed"][names[kind]]) {
                    continue;
                }
                let (section, object) = if random.draw().is_multiple_of(4) {
                    objects[kind].remove(&name);
                    (&mut message["removed"][names[kind]], json!(name))
                } else {
                    objects[kind].insert(name, object.clone());
                    (&mut message[names[kind]], object)
                };
                if section.is_null() {
                    *section = json!([]);
                }
                section.as_array_mut().unwrap().push(object);
            }
            let now = apply(&mut grown, &message);
            let mut whole = json!({"epoch": 1, "seq": 0, "full": true});
            for (name, objects) in names.iter().zip(&objects) {
                whole[name] = objects.values().cloned().collect();
            }
            assert_eq!(told(&now), told(&apply(&mut store(), &whole)), "{message}");
        }
    }
}

#[test]
fn what_does_not_change_is_the_same() {
    let mut store = store();
    let at = |n: u64| json!({"id": format!("r{n}"), "hosts": [format!("h{n}.test")], "listeners": ["l"], "backends": [{"backend": "b"}]});
    let before = apply(
        &mut store,
        &json!({"epoch": 1, "seq": 1, "full": true, "backends": [{"id": "b"}],
        "listeners": [{"id": "l", "protocol": "http", "sockets": ["s"]}, {"id": "o", "protocol": "tcp", "sockets": ["t"]}],
        "routes": (0..50).map(at).collect::<Vec<_>>()}),
    );
    let entries = store.assembly.entries.clone();
    let after = apply(
        &mut store,
        &json!({"epoch": 1, "seq": 2, "routes": [{"id": "r7", "hosts": ["new.test"], "listeners": ["l"]}]}),
    );
    let same = entries.iter().filter(|(id, entry)| Arc::ptr_eq(entry, &store.assembly.entries[*id])).count();
    assert_eq!(same, 49);
    assert!(Arc::ptr_eq(&before.by_socket["t"], &after.by_socket["t"]));
    assert!(!Arc::ptr_eq(&before.by_socket["s"], &after.by_socket["s"]));
    let hosts = |table: &Table| table.by_socket["s"].router.listing().len();
    assert_eq!((hosts(&before), hosts(&after)), (50, 50));
}
