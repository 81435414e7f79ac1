//! What somebody can do who reads Redis or writes to it, and has no key.

use std::time::Duration;

use tokio::time::sleep;

use super::{WHOLE, World, stories};
use crate::kit::request;

#[tokio::test(start_paused = true)]
async fn who_writes_to_redis_without_the_key_makes_nobody_believe_anything() {
    let world = World::new(2).await;
    world.vendor.life("s", &[(0, "waiting"), (30, "active"), (120, "complete")]);
    let watches = world.watches("s").await;
    let stories = tokio::spawn(stories(watches));
    sleep(Duration::from_secs(5)).await;
    let before = world.store.data();
    for second in 0..100_u64 {
        sleep(Duration::from_secs(1)).await;
        let data = world.store.data();
        for (name, replies) in &data.lists {
            let name = String::from_utf8(name.clone()).unwrap();
            let session = name.rsplit(':').next().unwrap();
            let number: u64 = {
                let text = replies[0].split(|byte| *byte == b':').next().unwrap();
                String::from_utf8(text.to_vec()).unwrap().parse().unwrap()
            };
            let old = &before.lists[name.as_bytes()][0];
            let sealed = &old[old.iter().position(|byte| *byte == b':').unwrap()..];
            // A real reply again, the same one under a new number, and rubbish.
            let replayed = [&b"reply "[..], session.as_bytes(), b" a.1 1 ", old].concat();
            let head = format!("reply {session} a.1 1 {}", number + 1);
            let renumbered = [head.as_bytes(), sealed].concat();
            let forged = format!("{head}:{}", "x".repeat(300)).into_bytes();
            let released = format!("released {session} ").into_bytes();
            let mut messages = [replayed, renumbered, forged, released, b"junk".to_vec()];
            fastrand::shuffle(&mut messages);
            for message in messages {
                world.store.publish(&message);
            }
        }
        if second % 20 == 10 {
            world.store.change_data(|data| {
                for list in data.lists.values_mut() {
                    list.push_front(b"99999999999999999:rubbish".to_vec());
                }
            });
        }
        if second % 20 == 15 {
            world.store.change_data(|data| *data = before.clone());
        }
    }
    for story in stories.await.unwrap() {
        assert_eq!(story, WHOLE);
    }
}

#[tokio::test(start_paused = true)]
async fn a_forged_holder_delays_changes_and_hides_none() {
    let world = World::new(2).await;
    world.vendor.life("s", &[(0, "waiting"), (30, "active"), (120, "complete")]);
    let stories = tokio::spawn(stories(world.watches("s").await));
    let forever = (b"a.1".to_vec(), b"9000000000000000 0".to_vec());
    for _ in 0..30 {
        sleep(Duration::from_secs(5)).await;
        world.store.change_data(|data| {
            for (key, hash) in &mut data.hashes {
                if key.ends_with(b":replicas") {
                    hash.extend([forever.clone()]);
                } else {
                    hash.insert(b"holder".to_vec(), b"a.1".to_vec());
                    hash.insert(b"fence".to_vec(), b"9000000000000000".to_vec());
                }
            }
        });
    }
    for story in stories.await.unwrap() {
        assert_eq!(story, WHOLE);
    }
}

#[tokio::test(start_paused = true)]
async fn redis_holds_nothing_that_can_be_read() {
    let world = World::new(1).await;
    world.session_of_long_life("secret-session");
    world.vendor.alter("secret-session", 5, |session| {
        session.notes = Some("secret note".to_owned());
        session.customer_name = Some("Secret Name".to_owned());
    });
    let _watch =
        world.replicas[0].0.watch_as("secret-token", request::watch("secret-session")).await;
    sleep(Duration::from_secs(20)).await;
    let data = world.store.data();
    let hashes = data.hashes.into_iter().map(|(key, hash)| {
        let fields = hash.into_iter().map(|(field, text)| [field, text].concat());
        [key, fields.collect::<Vec<_>>().concat()].concat()
    });
    let lists = data.lists.into_iter().map(|(key, list)| {
        let texts: Vec<_> = list.into_iter().collect();
        assert!(texts.len() >= 2, "{}", texts.len());
        [key, texts.concat()].concat()
    });
    let all: Vec<u8> = hashes.chain(lists).flatten().collect();
    let all = String::from_utf8_lossy(&all).to_lowercase();
    assert!(all.len() > 500 && !all.contains("secret"), "{all}");
}
