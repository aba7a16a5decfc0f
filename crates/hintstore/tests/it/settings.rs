//! Settings: documented, and exchanged while the store is at work.

use std::{fs, path::Path, time::Duration};

use hintstore::{Bytes, Cap, Config, Durability, End, Error, Refusal};

use hintstore_sim::Crash;

use crate::harness::{World, small_config};

#[test]
fn every_setting_is_documented_with_its_default() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let text = fs::read_to_string(path).unwrap();
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    for setting in Config::new("/x").settings() {
        let (name, default) = (format!("`{}`", setting.name), setting.value);
        let row = rows.iter().find(|row| row[1] == name).unwrap_or_else(|| {
            panic!("docs/configuration.md has no row for {name}, which is {default}")
        });
        assert_eq!(row[2], default, "{name}");
        assert_eq!(row[3], if setting.is_live { "yes" } else { "no" }, "{name}");
        assert!(row[4].len() > 20, "{name} is not argued");
    }
    let extra = ["`directory`", "`gc_grace_now`", "`last_write_wins`"].len();
    assert_eq!(rows.len(), Config::new("/x").settings().count() + extra);
}

#[test]
fn settings_change_while_the_store_is_at_work() {
    let mut world = World::opened(small_config());
    assert!(world.append(0, 500, Durability::Os));
    let was = world.store().config();
    // A fixed one is refused by name, and nothing else of the call is taken.
    let refused = was.clone().with(|config| {
        config.hint_window = Some(Duration::from_secs(1));
        config.memory = Bytes::mib(2);
    });
    let Err(Error::Config(error)) = world.store().reconfigure(|config| *config = refused) else {
        panic!("it was taken");
    };
    assert_eq!(error.key, "memory");
    assert_eq!(world.store().config().hint_window, None);
    // A cap that is below what is there already: nothing goes, nothing comes.
    let tight = was
        .clone()
        .with(|config| config.disk.total = Some(Bytes::kib(16)));
    let tight = tight.with(|config| config.disk.target = Some(Bytes::kib(16)));
    world.store().reconfigure(|config| *config = tight).unwrap();
    world.append(0, 60_000, Durability::Os);
    assert!(!world.append(0, 60_000, Durability::Os));
    let full = Refusal::Full { cap: Cap::Total };
    assert!(world.store().snapshot().refused.get(full) > 0);
    world
        .store()
        .reconfigure(|config| *config = was.clone())
        .unwrap();
    world.runner.advance(Duration::from_secs(1));
    assert!(world.append(0, 60_000, Durability::Os));
    // A shorter life counts for what is stored.
    let short = was.with(|config| config.max_lifetime = Some(Duration::from_secs(2)));
    world.store().reconfigure(|config| *config = short).unwrap();
    world.runner.advance(Duration::from_secs(3));
    assert_eq!(world.deliver(0, |_| false, |_| false), 0);
    world.checkpoint();
    let books = world.store().ledger();
    assert_eq!(books.ended(End::Expired), books.accepted);
}

#[test]
fn a_shorter_interval_counts_at_once() {
    let hour = Duration::from_hours(1);
    let short = small_config();
    let long = short.clone().with(|config| {
        config.checkpoint_interval = hour;
        config.sweep_interval = hour;
        config.flush_interval = hour;
        config.sync_interval = hour;
    });
    let mut world = World::opened(long);
    assert!(world.append(0, 50, Durability::Durable));
    assert!(world.append(1, 50, Durability::Os));
    assert!(world.append(2, 50, Durability::Buffered));
    assert_eq!(world.deliver(0, |_| false, |_| false), 1);
    world.runner.advance(Duration::from_mins(1));
    let before = world.store().snapshot();
    assert!(before.unflushed_since.is_some() && before.unsynced_since.is_some());
    world.store().reconfigure(|config| *config = short).unwrap();
    world.runner.advance(Duration::from_secs(12));
    let after = world.store().snapshot();
    assert_eq!((after.unflushed_since, after.unsynced_since), (None, None));
    // And what was acknowledged is in a checkpoint.
    world.crash(Crash::Kill);
    world.open().unwrap();
    assert_eq!(world.deliver(0, |_| false, |_| false), 0);
}
