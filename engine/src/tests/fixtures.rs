//! The protocol's fixtures (tests/golden/protocol), which Python's tests parse, too.

use std::path::Path;

use serde_json::Value;

use crate::control::objects;
use crate::control::wire::{Event, Request};
use crate::master;

fn each(visit: impl Fn(&str, &str)) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/protocol");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).expect("the fixtures").flatten() {
        let name = entry.file_name().into_string().unwrap();
        visit(&name, &std::fs::read_to_string(entry.path()).unwrap());
        count += 1;
    }
    assert!(count > 15, "{count} fixtures");
}

#[test]
fn every_fixture_is_understood_and_says_the_same_when_written_again() {
    each(|name, text| {
        let kind = serde_json::from_str::<Value>(text).unwrap()["type"].clone();
        let written = if name.ends_with(".event.json") {
            serde_json::to_value(serde_json::from_str::<Event>(text).unwrap_or_else(|e| panic!("{name}: {e}")))
        } else {
            serde_json::to_value(serde_json::from_str::<Request>(text).unwrap_or_else(|e| panic!("{name}: {e}")))
        };
        assert_eq!(written.unwrap()["type"], kind, "{name}");
    });
}

#[test]
fn every_object_of_the_fixtures_has_only_fields_that_are_known_here() {
    each(|name, text| match serde_json::from_str::<Request>(text) {
        Ok(Request::Structure(message)) => {
            for object in &message.listeners.0 {
                objects::parse::<objects::Listener>(object).unwrap_or_else(|refusal| panic!("{name}: {refusal:?}"));
            }
            for object in &message.routes.0 {
                objects::parse::<objects::Route>(object).unwrap_or_else(|refusal| panic!("{name}: {refusal:?}"));
            }
            for object in &message.backends.0 {
                objects::parse::<objects::Backend>(object).unwrap_or_else(|refusal| panic!("{name}: {refusal:?}"));
            }
            for object in &message.names.0 {
                objects::parse::<objects::Name>(object).unwrap_or_else(|refusal| panic!("{name}: {refusal:?}"));
            }
        }
        Ok(Request::Probes(message)) => {
            for object in &message.set.0 {
                objects::parse::<objects::Probe>(object).unwrap_or_else(|refusal| panic!("{name}: {refusal:?}"));
            }
        }
        _ => {}
    });
}

#[test]
fn the_master_keeps_what_changes_the_table_and_passes_the_rest() {
    each(|name, text| {
        if name.ends_with(".event.json") {
            return;
        }
        let mut table = master::table::Table::default();
        let changes =
            ["structure", "endpoints", "probes", "drain", "undrain"].iter().any(|kind| name == format!("{kind}.json"));
        let taken = matches!(table.merge(text.as_bytes()), master::table::Verdict::Taken { .. });
        assert_eq!(taken, changes, "{name}");
    });
}
