use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc;

use futures_util::future::join_all;

use super::*;

const HOME: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

#[tokio::test]
async fn i12_a_dead_name_is_asked_once_and_keeps_no_other_waiting() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let (release, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let names = Names::with(Box::new(move |name| {
        if name.starts_with("dead") {
            count.fetch_add(1, SeqCst);
            let _ = wait.lock().expect("no holder panics").recv();
            return Err(io::Error::other("no server answers"));
        }
        Ok(vec![HOME])
    }));
    let dead = (0..650).map(|_| {
        let names = Arc::clone(&names);
        tokio::spawn(async move { names.resolve("dead.test", 80).await })
    });
    let dead: Vec<_> = dead.collect();
    let good = names.resolve("good.test", 80).await.expect("it resolves");
    assert_eq!(good, [SocketAddr::new(HOME, 80)]);
    drop(release);
    for answer in join_all(dead).await {
        assert!(answer.expect("no panic").is_err());
    }
    assert_eq!(asked.load(SeqCst), 1);
    // The failure is fresh and is not asked for again.
    assert!(names.resolve("dead.test", 80).await.is_err());
    assert_eq!(asked.load(SeqCst), 1);
}

#[tokio::test]
async fn i12_names_that_failed_leave_half_of_the_threads_to_others() {
    let hangs = Arc::new(AtomicBool::new(false));
    let hanging = Arc::clone(&hangs);
    let (release, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let names = Names::with(Box::new(move |name| {
        if name.starts_with("dead") {
            if hanging.load(SeqCst) {
                let _ = wait.lock().expect("no holder panics").recv();
            }
            return Err(io::Error::other("no server answers"));
        }
        Ok(vec![HOME])
    }));
    let dead: Vec<_> = (0..THREADS_MAX * 2)
        .map(|n| format!("dead-{n}.test"))
        .collect();
    for name in &dead {
        assert!(names.resolve(name, 80).await.is_err());
    }
    hangs.store(true, SeqCst);
    for known in names.state().names.values_mut() {
        known.asked = None;
    }
    let waiting = dead.iter().cloned().map(|name| {
        let names = Arc::clone(&names);
        tokio::spawn(async move { names.resolve(&name, 80).await })
    });
    let waiting: Vec<_> = waiting.collect();
    tokio::task::yield_now().await;
    let good = names.resolve("good.test", 80).await.expect("it resolves");
    assert_eq!(good.len(), 1);
    let failed = names.state().going_on[LookupHistory::Failed as usize];
    assert!(failed <= THREADS_MAX / 2, "{failed}");
    drop(release);
    for answer in join_all(waiting).await {
        assert!(answer.expect("no panic").is_err());
    }
}

#[tokio::test]
async fn i12_new_names_delay_no_name_that_has_an_answer() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let (release, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let names = Names::with(Box::new(move |name| {
        if name.starts_with("dead") {
            let _ = wait.lock().expect("no holder panics").recv();
            return Err(io::Error::other("no server answers"));
        }
        count.fetch_add(1, SeqCst);
        Ok(vec![HOME])
    }));
    assert!(names.resolve("good.test", 80).await.is_ok());
    let waiting = (0..THREADS_MAX * 4).map(|n| {
        let names = Arc::clone(&names);
        tokio::spawn(async move { names.resolve(&format!("dead-{n}.test"), 80).await })
    });
    let waiting: Vec<_> = waiting.collect();
    let going_on = || names.state().going_on.iter().sum::<usize>();
    while going_on() < LOOKUPS_MAX[LookupHistory::New as usize] {
        tokio::task::yield_now().await;
    }
    let known = |names: &Names, change: &dyn Fn(&mut Name)| {
        change(
            names
                .state()
                .names
                .get_mut("good.test")
                .expect("it is known"),
        );
    };
    // One that is not in use: there is no answer of the last seconds.
    known(&names, &|good| {
        let (_, at) = good.good.as_mut().expect("it has an answer");
        (*at, good.asked) = (clock::now() - IN_USE, None);
    });
    assert!(names.resolve("good.test", 80).await.is_ok());
    assert_eq!(asked.load(SeqCst), 2, "it was looked up, nothing stood in");
    // Only who comes first waits for a lookup that takes its time.
    let (_open, running) = watch::channel(());
    let since = clock::now() - PATIENCE;
    known(&names, &|good| {
        (good.asked, good.running) = (None, Some((running.clone(), since)));
    });
    assert!(matches!(names.ask("good.test"), Asked::Answer(Ok(_))));
    drop(release);
    for answer in join_all(waiting).await {
        assert!(answer.expect("no panic").is_err());
    }
}

#[tokio::test]
async fn a_name_in_use_is_looked_up_in_the_background() {
    let (release, wait) = mpsc::channel::<IpAddr>();
    let wait = Mutex::new(wait);
    let names = Names::with(Box::new(move |_| {
        let answer = wait.lock().expect("no holder panics").recv();
        Ok(vec![answer.map_err(io::Error::other)?])
    }));
    release.send(HOME).expect("it is asked");
    assert!(names.resolve("a.test", 80).await.is_ok());
    names
        .state()
        .names
        .get_mut("a.test")
        .expect("it is known")
        .asked = None;
    // The resolver does not answer, and neither dial waits for it.
    for _ in 0..2 {
        let known = names.resolve("a.test", 80).await.expect("it is known");
        assert_eq!(known, [SocketAddr::new(HOME, 80)]);
    }
    let moved = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
    release.send(moved).expect("it is asked");
    loop {
        let known = names.resolve("a.test", 80).await.expect("it is known");
        if known == [SocketAddr::new(moved, 80)] {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn last_known_addresses_stand_in_for_a_resolver_that_is_gone() {
    let gone = Arc::new(AtomicBool::new(false));
    let is_gone = Arc::clone(&gone);
    let names = Names::with(Box::new(move |_| match is_gone.load(SeqCst) {
        true => Err(io::Error::other("no server answers")),
        false => Ok(vec![HOME]),
    }));
    assert!(names.resolve("a.test", 80).await.is_ok());
    gone.store(true, SeqCst);
    let forget = |names: &Names| {
        let mut state = names.state();
        state.names.get_mut("a.test").expect("it is known").asked = None;
    };
    forget(&names);
    let stands_in = names.resolve("a.test", 81).await.expect("last known");
    assert_eq!(stands_in, [SocketAddr::new(HOME, 81)]);
    assert!(names.resolve("b.test", 80).await.is_err());
    gone.store(false, SeqCst);
    forget(&names);
    assert!(names.resolve("a.test", 80).await.is_ok());
    assert_eq!(names.state().names["a.test"].failures, 0);
}
