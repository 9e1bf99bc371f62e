//! The thread that writes. What it cannot write is counted, and the next batch is another attempt.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, SystemTime};

use crate::base::clock;
use crate::telemetry::events::event::{Class, Event};
use crate::telemetry::events::files::folder::{Folder, Segment, SegmentName};
use crate::telemetry::events::files::state::State;

/// Events that are written together.
const BATCH_MAX: usize = 256;
/// Between two looks at the age of files.
const TICK: Duration = Duration::from_secs(30);
/// Files of a class, however small they are.
const SEGMENTS_MAX: usize = 256;
/// A file takes events for this part of their age at most.
const AGE_PARTS: u32 = 8;

/// A file that this process writes.
struct Current {
    name: SegmentName,
    file: File,
    bytes: u64,
}

pub(super) struct Writer {
    state: Arc<State>,
    folder: Option<Folder>,
    current: [Option<Current>; Class::ALL.len()],
}

impl Writer {
    pub(super) fn new(state: Arc<State>) -> Self {
        Self {
            state,
            folder: None,
            current: Default::default(),
        }
    }

    #[cfg(test)]
    pub(super) fn state_of_tests(&self) -> &State {
        &self.state
    }

    /// Writes until the other end of the queue is closed and nothing waits any more.
    pub(super) fn run(mut self, waiting: &Receiver<Arc<Event>>) {
        self.tick(clock::wall());
        loop {
            match waiting.recv_timeout(TICK) {
                Ok(first) => {
                    let more = waiting.try_iter().take(BATCH_MAX - 1);
                    let batch: Vec<_> = [first].into_iter().chain(more).collect();
                    self.write(&batch, clock::wall());
                }
                Err(RecvTimeoutError::Timeout) => self.tick(clock::wall()),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        for current in self.current.iter().flatten() {
            // The last ones have reached the file; a machine that loses its power now is bad luck.
            let _ = current.file.sync_data();
        }
    }

    /// Writes a batch, each class to its file.
    pub(super) fn write(&mut self, batch: &[Arc<Event>], now: SystemTime) {
        for class in Class::ALL {
            let events = batch.iter().filter(|event| event.kind.class() == class);
            let (mut lines, mut long) = (Vec::new(), 0);
            for event in events {
                match event.line() {
                    Some(line) => lines.push(line),
                    None => long += 1,
                }
            }
            self.state.unwritten(class, long);
            if lines.is_empty() {
                continue;
            }
            let mut left = &*lines;
            match self.append(class, &mut left, now) {
                Ok(()) => self.state.succeeded(),
                Err(error) => {
                    self.state.unwritten(class, left.len() as u64);
                    self.failed(&error);
                }
            }
        }
    }

    /// Appends lines; `left` are those that are not written yet.
    fn append(&mut self, class: Class, left: &mut &[Vec<u8>], now: SystemTime) -> io::Result<()> {
        while let [first, ..] = *left {
            let most = self.state.segment_bytes(class);
            let current = self.writable(class, first.len() as u64, now)?;
            let mut after = current.bytes;
            let fits = left.iter().take_while(|line| {
                after += line.len() as u64;
                after <= most
            });
            let (now_written, later) = left.split_at(fits.count().max(1));
            let bytes = now_written.concat();
            current.file.write_all(&bytes)?;
            current.bytes += bytes.len() as u64;
            *left = later;
        }
        if class == Class::Changes
            && let Some(current) = &self.current[class as usize]
        {
            // Changes are few and worth a wait of this thread.
            current.file.sync_data()?;
        }
        Ok(())
    }

    /// The file of a class in which `more` bytes have room.
    fn writable(&mut self, class: Class, more: u64, now: SystemTime) -> io::Result<&mut Current> {
        let place = class as usize;
        let usable = match &self.current[place] {
            None => false,
            Some(current) => {
                let has_room = self.has_room(class, current.name, current.bytes, more, now);
                // It may have been removed by hand.
                has_room && current.file.metadata()?.nlink() > 0
            }
        };
        if !usable {
            self.close(class);
            let opened = self.open(class, more, now)?;
            self.state.set_writing(class, Some(opened.name));
            self.current[place] = Some(opened);
        }
        Ok(self.current[place].as_mut().expect("it was just opened"))
    }

    fn has_room(
        &self,
        class: Class,
        name: SegmentName,
        bytes: u64,
        more: u64,
        now: SystemTime,
    ) -> bool {
        let fits = bytes == 0 || bytes + more <= self.state.segment_bytes(class);
        fits && !self.is_over(name, now)
    }

    /// Whether a file is too old to take more events.
    fn is_over(&self, name: SegmentName, now: SystemTime) -> bool {
        let part = (self.state.age() / AGE_PARTS).as_millis();
        u128::from(clock::unix_millis(now).saturating_sub(name.began)) >= part
    }

    /// Goes on with the newest file of a class, or begins another.
    fn open(&mut self, class: Class, more: u64, now: SystemTime) -> io::Result<Current> {
        let folder = match self.folder.take() {
            Some(folder) => folder,
            None => Folder::open(&self.state.state_dir)?,
        };
        let segments = self.prune(&folder, now)?;
        let newest = segments.iter().rfind(|one| one.name.is_of(class)).copied();
        let goes_on = newest.filter(|one| self.has_room(class, one.name, one.bytes, more, now));
        if let Some(Segment { name, bytes, .. }) = goes_on
            && let Ok(Some((mut file, whole))) = folder.append(name)
        {
            self.folder = Some(folder);
            if !whole {
                // The last line was torn by a crash or a full disk; it ends here.
                file.write_all(b"\n")?;
            }
            return Ok(Current { name, file, bytes });
        }
        let after = newest.map_or(0, |one| one.name.began + 1);
        let name = SegmentName::new(class, clock::unix_millis(now).max(after));
        let file = folder.create(name)?;
        self.folder = Some(folder);
        let bytes = 0;
        Ok(Current { name, file, bytes })
    }

    /// Removes what is too old or has no room; returns what is left.
    fn prune(&self, folder: &Folder, now: SystemTime) -> io::Result<Vec<Segment>> {
        let mut segments = folder.list()?;
        let oldest = now.checked_sub(self.state.age());
        for class in Class::ALL {
            // The file that begins next has room, too.
            let most = self.state.room(class) - self.state.segment_bytes(class);
            let of_class = || segments.iter().filter(|one| one.name.is_of(class));
            let mut bytes: u64 = of_class().map(|one| one.bytes).sum();
            let mut files = of_class().count();
            let mut gone = Vec::new();
            for one in of_class() {
                let old = oldest.is_some_and(|oldest| one.written < oldest);
                let crowded = bytes > most || files > SEGMENTS_MAX;
                if (old || crowded)
                    && !self.state.is_writing(one.name)
                    && folder.remove(one.name)?
                {
                    (bytes, files) = (bytes - one.bytes, files - 1);
                    gone.push(one.name);
                }
            }
            segments.retain(|one| !gone.contains(&one.name));
        }
        self.state
            .set_bytes(segments.iter().map(|one| one.bytes).sum());
        Ok(segments)
    }

    /// Ends files that are over, and removes what is too old.
    pub(super) fn tick(&mut self, now: SystemTime) {
        for class in Class::ALL {
            let current = self.current[class as usize].as_ref();
            if current.is_some_and(|current| self.is_over(current.name, now)) {
                self.close(class);
            }
        }
        let folder = match self.folder.take() {
            Some(folder) => Ok(folder),
            None => Folder::open(&self.state.state_dir),
        };
        let pruned = folder.and_then(|folder| {
            self.prune(&folder, now)?;
            Ok(folder)
        });
        match pruned {
            Ok(folder) => self.folder = Some(folder),
            Err(error) => self.failed(&error),
        }
    }

    fn close(&mut self, class: Class) {
        self.current[class as usize] = None;
        self.state.set_writing(class, None);
    }

    /// The next attempt opens everything anew.
    fn failed(&mut self, error: &io::Error) {
        Class::ALL.into_iter().for_each(|class| self.close(class));
        self.folder = None;
        self.state.failed(error);
    }
}
