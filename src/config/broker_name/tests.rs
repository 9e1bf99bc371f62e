//! Patterns and values, good and bad, for each kind of broker.

use super::*;

fn filled(pattern: &str, room: &str) -> Result<String, FillFault> {
    let pattern: BrokerName = pattern.parse().expect(pattern);
    let value = |name: &str| (name == "room").then_some(room);
    pattern.fill("sessile", value).map(|name| name.to_string())
}

#[test]
fn patterns_are_read_and_written_alike() {
    for text in [
        "nats:chat.{room}",
        "nats:chat.{room}.{path:user-id}",
        "nats:{room}",
        "redis:chat:{room}",
        "redis:prices",
        "redis:{room}x{claim:team}",
        "rabbitmq:amq.topic/chat.{room}.in",
        "rabbitmq:news/",
        "kafka:prices",
        "kafka:prices/{room}",
        "memory:chat.{room}",
    ] {
        let pattern: BrokerName = text.parse().expect(text);
        assert_eq!(pattern.to_string(), text);
    }
    let pattern: BrokerName = "nats:a.{room}.{claim:sub}".parse().unwrap();
    assert_eq!(pattern.kind(), BrokerKind::Nats);
    assert_eq!(
        pattern.placeholders().collect::<Vec<_>>(),
        ["room", "claim:sub"]
    );
}

#[test]
fn what_is_no_pattern_is_refused() {
    let long = format!("kafka:{}", "x".repeat(250));
    let many = format!("redis:{}", "{a}-".repeat(9));
    for text in [
        "",
        "chat.{room}",
        "NATS:chat",
        "nats:",
        "nats:chat.{room",
        "nats:chat.room}",
        "nats:chat.{}",
        "nats:chat.{a b}",
        "nats:chat.{{room}}",
        "nats:chat.*",
        "nats:chat.>",
        "nats:chat..{room}",
        "redis:{claim:team}{query:room}",
        "nats:.chat",
        "nats:chat room",
        "redis:a\r\nb",
        "rabbitmq:chat",
        "rabbitmq:/chat",
        "rabbitmq:{room}/chat",
        "rabbitmq:amq.topic/chat.#",
        "kafka:chat-{room}",
        "kafka:{room}/x",
        "kafka:chat/",
        "kafka:ch at",
        "memory:",
        "memory:a b",
        "kafka:..",
        &long,
        &many,
    ] {
        assert!(text.parse::<BrokerName>().is_err(), "{text}");
    }
}

#[test]
fn values_that_are_one_part_of_a_name_fill_it() {
    for (pattern, room, expected) in [
        ("nats:chat.{room}", "lobby", "chat.lobby"),
        ("nats:chat.{room}", "a:b/c|d", "chat.a:b/c|d"),
        ("nats:chat.{room}", "größe-7", "chat.größe-7"),
        ("redis:chat:{room}", "a.b*?[c]", "chat:a.b*?[c]"),
        ("redis:chat-{room}", "7:admin", "chat-7:admin"),
        (
            "rabbitmq:amq.topic/chat.{room}",
            "lobby",
            "amq.topic/chat.lobby",
        ),
        ("kafka:chat/{room}", "a_b.c:ü", "chat/a_b.c:ü"),
        ("memory:chat/{room}", "a_b", "chat/a_b"),
        ("redis:{room}", "sessiles", "sessiles"),
    ] {
        assert_eq!(
            filled(pattern, room).as_deref(),
            Ok(expected),
            "{pattern} {room}"
        );
    }
}

#[test]
fn i12_values_cannot_change_the_meaning_of_a_name() {
    let long = "x".repeat(129);
    for (pattern, rooms) in [
        (
            "nats:chat.{room}",
            &[
                "",
                "a.b",
                "*",
                ">",
                "a b",
                "a\tb",
                "a\r\nPUB x 0",
                "\u{2028}",
            ][..],
        ),
        ("nats:{room}.in", &["$SYS", "$JS", "_INBOX"]),
        ("redis:chat:{room}", &["7:admin", "", "a\nb", "\0"]),
        (
            "redis:{room}",
            &["sessile.fleet", "sessile", "sessile.group.x"],
        ),
        (
            "rabbitmq:amq.topic/chat.{room}",
            &["a.b", "*", "#", "a/b", ""],
        ),
        ("kafka:chat/{room}", &["a/b", "a b", "", "\n"]),
        ("memory:chat:{room}", &["7:admin", "", "a\nb"]),
    ] {
        for room in rooms.iter().copied().chain([long.as_str()]) {
            assert!(filled(pattern, room).is_err(), "{pattern} {room:?}");
        }
    }
    let pattern: BrokerName = "nats:chat.{room}".parse().unwrap();
    let missing = pattern.fill("sessile", |_| None);
    assert_eq!(missing, Err(FillFault::Missing("room".into())));
    for own in [
        "nats:sessile.{room}",
        "redis:sessile",
        "rabbitmq:sessile/{room}",
        "kafka:sessile",
        "kafka:sessile/{room}",
    ] {
        assert_eq!(filled(own, "x"), Err(FillFault::Own), "{own}");
    }
}

#[test]
fn i12_one_value_cannot_take_a_part_of_another_ones_place() {
    let filled = |pattern: &str, values: &[&str]| {
        let pattern: BrokerName = pattern.parse().expect(pattern);
        let places: Vec<_> = pattern.placeholders().map(str::to_owned).collect();
        let value = |name: &str| {
            let place = places.iter().position(|one| one == name);
            place.and_then(|place| values.get(place).copied())
        };
        pattern.fill("sessile", value).map(|name| name.to_string())
    };
    let two = "redis:{claim:team}-{query:room}";
    assert_eq!(filled(two, &["a", "b"]).as_deref(), Ok("a-b"));
    assert_eq!(filled("redis:x-{room}", &["a-b"]).as_deref(), Ok("x-a-b"));
    assert_eq!(
        filled("redis:{a}--{b}", &["x-y", "z-"]).as_deref(),
        Ok("x-y--z-")
    );
    for (pattern, values) in [
        (two, &["a", "b-c"][..]),
        (two, &["a-b", "c"]),
        ("redis:{a}--{b}", &["x-", "y"]),
        ("redis:{a}--{b}", &["x", "-y"]),
        ("redis:{a}--{b}", &["x", "y--z"]),
        ("redis:{a}-in-{b}", &["x-in", "y"]),
        ("redis:{a}-in-{b}", &["x", "in-y"]),
        ("nats:chat.{a}_{b}-{c}", &["x", "y", "z_w"]),
        ("nats:chat.{a}_{b}-{c}", &["x", "y_w", "z"]),
        ("nats:chat.{a}_{b}-{c}", &["x-y", "w", "z"]),
        ("memory:{a}ab{b}", &["x", "bab"]),
        ("memory:{a}aba{b}", &["xab", "y"]),
        ("memory:{a}aba{b}", &["x", "ba"]),
    ] {
        let refused = filled(pattern, values);
        assert!(
            matches!(refused, Err(FillFault::Value(..))),
            "{pattern} {values:?} {refused:?}"
        );
    }
}
