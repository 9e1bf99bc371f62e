//! Fan-outs over workers that answer, are stuck, are full, or are gone.

use tokio::sync::mpsc::Receiver;

use super::*;

/// Passes without an answer; no test depends on how long it is.
const SHORT: Duration = Duration::from_millis(5);

/// A worker that answers every `Gather` until its handle is dropped.
fn serving() -> WorkerHandle {
    let (handle, mut commands) = WorkerHandle::new();
    tokio::spawn(async move {
        while let Some(command) = commands.recv().await {
            if let WorkerCommand::Gather { answer } = command {
                let _ = answer.send(());
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

async fn gather(workers: &Workers) -> Answers<()> {
    let command = |_, answer| Some(WorkerCommand::Gather { answer });
    workers.ask_each(SHORT, command).await
}

#[tokio::test]
async fn a_worker_that_does_not_answer_costs_its_own_answer_only() {
    let (stuck, _queue) = stuck();
    let workers = Workers::from(vec![serving(), stuck, gone(), serving()]);
    let answers = gather(&workers).await;
    assert_eq!(answers.0, [Some(()), None, None, Some(())]);
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
        (place == 1).then_some(WorkerCommand::Gather { answer })
    });
    assert_eq!(answers.await.0, [None, Some(()), None]);
}

#[tokio::test]
async fn all_are_asked_the_same() {
    let workers = Workers::from(vec![serving(), serving()]);
    let answers = workers.ask(|answer| WorkerCommand::Gather { answer });
    assert_eq!(answers.await.missing(), 0);
}

#[tokio::test]
async fn without_workers_there_are_no_answers() {
    let answers = gather(&Workers::none()).await;
    assert_eq!((answers.missing(), answers.into_iter().count()), (0, 0));
}
