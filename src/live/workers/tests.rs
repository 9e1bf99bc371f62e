//! Fan-outs over workers that answer, are stuck, are full, or are gone.

use std::collections::BTreeMap;

use tokio::sync::mpsc::Receiver;

use super::*;

/// Passes without an answer; no test depends on how long it is.
const SHORT: Duration = Duration::from_millis(5);

/// A worker that answers every `Gather` until its handle is dropped.
fn serving() -> WorkerHandle {
    serving_slices(0)
}

/// One that has sessions, in so many slices.
fn serving_slices(slices: u64) -> WorkerHandle {
    let (handle, mut commands) = WorkerHandle::new();
    let count = slices * Slice::first(None).limit as u64;
    let sessions: BTreeMap<_, _> = (0..count).map(|n| (SessionId::new(n, 0), n)).collect();
    tokio::spawn(async move {
        while let Some(command) = commands.recv().await {
            if let WorkerCommand::Gather { slice, answer } = command {
                let _ = answer.send(slice.of(&sessions).map(|_| ()));
            }
        }
    });
    handle
}

/// A worker that takes commands and never answers.
fn stuck() -> (WorkerHandle, Receiver<WorkerCommand>) {
    WorkerHandle::new()
}

fn gone() -> WorkerHandle {
    WorkerHandle::new().0
}

/// The first slice of all.
async fn gather(workers: &Workers) -> Answers<Sliced<()>> {
    let slice = Slice::first(None);
    let command = |_, answer| Some(WorkerCommand::Gather { slice, answer });
    workers.ask_each(SHORT, command).await
}

#[tokio::test]
async fn a_worker_that_does_not_answer_costs_its_own_answer_only() {
    let (stuck, _queue) = stuck();
    let workers = Workers::from(vec![serving(), stuck, gone(), serving()]);
    let answers = gather(&workers).await;
    assert_eq!(
        answers.0,
        [Some(Sliced::whole(())), None, None, Some(Sliced::whole(()))]
    );
    assert_eq!(answers.silent().collect::<Vec<_>>(), [1, 2]);
    assert_eq!((answers.missing(), answers.into_iter().count()), (2, 2));
}

#[tokio::test]
async fn commands_for_a_full_queue_are_given_up_in_time() {
    let (stuck, mut queue) = stuck();
    let workers = Workers::from(vec![stuck]);
    for _ in 0..COMMANDS_MAX + 2 {
        assert_eq!(gather(&workers).await.missing(), 1);
    }
    // What was given up has not piled up behind the queue.
    let queued = std::iter::from_fn(|| queue.try_recv().ok());
    assert_eq!(queued.count(), COMMANDS_MAX);
}

#[tokio::test]
async fn workers_can_be_left_out() {
    let workers = Workers::from(vec![serving(), serving(), gone()]);
    let answers = workers.ask_each(SHORT, |place, answer| {
        let slice = Slice::first(None);
        (place == 1).then_some(WorkerCommand::Gather { slice, answer })
    });
    assert_eq!(answers.await.0, [None, Some(Sliced::whole(())), None]);
}

#[tokio::test]
async fn all_are_asked_the_same() {
    let workers = Workers::from(vec![serving(), serving()]);
    let slice = Slice::first(None);
    let answers = workers.ask(|answer| WorkerCommand::Gather { slice, answer });
    assert_eq!(answers.await.missing(), 0);
}

#[tokio::test]
async fn without_workers_there_are_no_answers() {
    let answers = gather(&Workers::none()).await;
    assert_eq!((answers.missing(), answers.into_iter().count()), (0, 0));
}

async fn walk(workers: &Workers, enough: impl Fn(&[()]) -> bool) -> Walked<()> {
    let command = |slice, answer| WorkerCommand::Gather { slice, answer };
    workers.walk_until(SHORT, None, command, enough).await
}

#[tokio::test]
async fn a_walk_asks_each_worker_for_all_of_its_slices() {
    let workers = Workers::from(vec![serving_slices(3), serving_slices(1), serving()]);
    let walked = walk(&workers, |_| false).await;
    assert_eq!((walked.answers.len(), walked.silent), (3 + 1 + 1, vec![]));
}

#[tokio::test]
async fn a_walk_ends_early_where_there_is_enough() {
    let workers = Workers::from(vec![serving_slices(9), serving_slices(1)]);
    let walked = walk(&workers, |found| found.len() >= 2).await;
    assert_eq!((walked.answers.len(), walked.silent), (2 + 1, vec![]));
}

#[tokio::test]
async fn a_walk_names_the_workers_that_did_not_finish() {
    let (stuck, _queue) = stuck();
    let workers = Workers::from(vec![stuck, serving_slices(2), gone()]);
    let walked = walk(&workers, |_| false).await;
    assert_eq!((walked.answers.len(), walked.silent), (2, vec![0, 2]));
}

#[tokio::test]
async fn a_stuck_worker_is_not_waited_for_without_end() {
    let (stuck, _queue) = stuck();
    let workers = Workers::from(vec![stuck, serving()]);
    let slice = Slice::first(None);
    let asked = workers.ask(|answer| WorkerCommand::Gather { slice, answer });
    let walked = workers.walk(|slice, answer| WorkerCommand::Gather { slice, answer });
    let both = async { tokio::join!(asked, walked) };
    let (asked, walked) = timeout(ANSWER_MAX * 5, both).await.expect("both give up");
    assert_eq!(asked.silent().collect::<Vec<_>>(), [0]);
    assert_eq!((walked.answers.len(), walked.silent), (1, vec![0]));
}
