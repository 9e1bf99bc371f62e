//! Objects of one kind: how many are kept, which, and how large.

use super::*;

/// The year 2000 and so many seconds.
fn at(second: usize) -> String {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(946_684_800 + second as u64);
    humantime::format_rfc3339(time).to_string()
}

fn listed(items: &[Value]) -> Objects {
    let list = json!({ "metadata": { "resourceVersion": "9" }, "items": items });
    let mut objects = Objects::default();
    objects.page(list.to_string().as_bytes()).expect("a list");
    objects
}

fn numbered(namespace: &str, number: usize, created: usize, spec: Value) -> Value {
    let mut one = object("SessilePolicy", (namespace, &format!("p{number:04}")), spec);
    one["metadata"]["creationTimestamp"] = at(created).into();
    one
}

#[test]
fn i12_objects_that_are_too_many_displace_none_that_is_older() {
    let many = |namespace: &str, created: usize| -> Vec<_> {
        let all = 0..collection::OBJECTS_MAX;
        all.map(|number| numbered(namespace, number, created + number, json!({})))
            .collect()
    };
    // The younger ones come first in a list.
    let mut all = many("a", 10_000);
    all.extend(many("z", 0));
    let mut objects = listed(&all);
    assert_eq!(objects.objects().len(), collection::OBJECTS_MAX);
    assert!(
        objects
            .objects()
            .keys()
            .all(|(namespace, _)| &**namespace == "z")
    );
    assert!(objects.left_out().contains("a") && objects.left_out().len() == 1);
    // When one goes, everything is listed again, since another has its place.
    let gone = json!({ "type": "DELETED", "object": all.last() });
    let happened = objects.event(gone.to_string().as_bytes());
    assert_eq!(happened, Ok(crate::core::kubernetes::Happened::Gone));
}

#[test]
fn i12_objects_that_are_too_large_together_displace_none_that_is_older() {
    let large = json!({ "targetRef": {}, "route": "x".repeat(60 << 10) });
    let old = (0..4).map(|number| numbered("z", number, number, large.clone()));
    let young = (0..400).map(|number| numbered("a", number, 1000 + number, large.clone()));
    let objects = listed(&young.chain(old).collect::<Vec<_>>());
    let kept = objects.objects();
    assert!(kept.len() * (60 << 10) <= 16 << 20, "{}", kept.len());
    assert!(kept.len() > 200, "{}", kept.len());
    let old = kept.keys().filter(|(namespace, _)| &**namespace == "z");
    assert_eq!(old.count(), 4);
    assert!(objects.left_out().contains("a"));
}

#[test]
fn an_object_that_changes_is_counted_once() {
    let mut objects = listed(&[]);
    for number in 0..400 {
        let spec = json!({ "n": number, "route": "x".repeat(60 << 10) });
        let event = json!({ "type": "MODIFIED", "object": numbered("a", 1, 1, spec) });
        objects
            .event(event.to_string().as_bytes())
            .expect("an event");
    }
    assert_eq!(objects.objects().len(), 1);
    assert!(objects.left_out().is_empty());
}
