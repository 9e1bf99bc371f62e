use super::*;
use crate::base::clock;

#[test]
fn an_id_is_new_once_in_a_window() {
    let (mut seen, now) = (DedupWindow::default(), clock::now());
    let (one, other) = ("one".into(), "other".into());
    assert_eq!(seen.insert(&one, true, now), DedupResult::New);
    assert_eq!(
        seen.insert(&other, true, now + WINDOW / 2),
        DedupResult::New
    );
    assert_eq!(
        seen.insert(&one, true, now + WINDOW / 2),
        DedupResult::Known
    );
    let later = now + WINDOW;
    assert_eq!(
        seen.insert(&one, true, later),
        DedupResult::New,
        "its window is over"
    );
    assert_eq!(seen.insert(&other, true, later), DedupResult::Known);
    assert_eq!((seen.ids.len(), seen.order.len()), (2, 2));
}

#[test]
fn a_message_that_was_not_carried_may_come_again() {
    let (mut seen, now) = (DedupWindow::default(), clock::now());
    let id = "one".into();
    assert_eq!(seen.insert(&id, false, now), DedupResult::New);
    assert_eq!(seen.insert(&id, false, now), DedupResult::NotCarried);
    seen.set_carried("one");
    seen.set_carried("another");
    assert_eq!(seen.insert(&id, false, now), DedupResult::Known);
    assert_eq!(seen.ids.len(), 1);
}

#[test]
fn i8_ids_are_bounded() {
    let (mut seen, now) = (DedupWindow::default(), clock::now());
    for number in 0..=IDS_MAX {
        assert_eq!(
            seen.insert(&number.to_string().into(), false, now),
            DedupResult::New
        );
    }
    assert_eq!((seen.ids.len(), seen.order.len()), (IDS_MAX, IDS_MAX));
    assert_eq!(
        seen.insert(&"0".into(), true, now),
        DedupResult::New,
        "the oldest was forgotten"
    );
}

/// A publisher with many ids loses its own, and not those of another one.
#[test]
fn i12_no_publisher_takes_the_place_of_another_ones_ids() {
    let (mut seen, now) = (DedupWindow::default(), clock::now());
    let id = |publisher: &str, number: usize| Arc::<str>::from(format!("{publisher}:{number}"));
    assert_eq!(seen.insert(&id("small", 1), true, now), DedupResult::New);
    for number in 0..IDS_MAX + 10 {
        assert_eq!(
            seen.insert(&id("greedy", number), true, now),
            DedupResult::New
        );
    }
    assert_eq!(seen.insert(&id("small", 1), true, now), DedupResult::Known);
    assert!(!seen.contains("greedy:0", now), "its own oldest");
    assert!(seen.contains(&id("greedy", IDS_MAX + 9), now));
    assert_eq!(seen.ids.len(), IDS_MAX);
    let later = now + WINDOW;
    assert!(!seen.contains("small:1", later));
    assert!(seen.order.is_empty() && seen.publishers.is_empty() && seen.sizes.is_empty());
}

#[test]
fn ids_go_along_to_another_process_with_the_time_that_they_have_left() {
    let (mut old, mut new) = (DedupWindow::default(), DedupWindow::default());
    let (began, half) = (clock::now(), WINDOW / 2);
    let now = began + half;
    let ids: [Arc<str>; 4] = ["a:1", "a:2", "b:1", "b:2"].map(Into::into);
    old.insert(&ids[0], true, began);
    old.insert(&ids[1], false, now);
    new.insert(&ids[2], true, now);
    old.insert(&ids[2], false, now);
    let (mut after, mut parts) = (None, 0);
    while let Some((part, last)) = old.part(after, 1, now) {
        new.adopt(&part, now);
        (after, parts) = (Some(last), parts + 1);
    }
    assert_eq!(parts, 3, "each part is bounded");
    old.insert(&ids[3], true, now);
    let (part, last) = old.part(after, 1, now).expect("one more");
    new.adopt(&part, now);
    assert_eq!(old.part(Some(last), 1, now), None);
    // Nothing that is not whole is read.
    new.adopt(&part[..part.len() - 1], now);
    let known = |id: &Arc<str>| new.ids.get(id).copied();
    assert_eq!(
        ids.each_ref().map(known),
        [Some(true), Some(false), Some(true), Some(true)]
    );
    let later = began + WINDOW;
    assert_eq!(
        new.insert(&ids[0], true, later),
        DedupResult::New,
        "its time is over"
    );
    assert_eq!(new.insert(&ids[3], true, later), DedupResult::Known);
}
