//! A terminal that a command of the program runs in.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::eventually;

/// A command in a terminal of its own.
pub struct Terminal {
    master: File,
    child: Child,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Runs the program in a terminal of so many rows and columns, in a directory.
    pub fn run(arguments: &[&str], directory: &Path, size: (u16, u16), no_color: bool) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .expect("a terminal");
        grantpt(&master).expect("it is ours");
        unlockpt(&master).expect("it opens");
        let name = ptsname(&master, Vec::new()).expect("a name");
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let slave = rustix::fs::open(name, flags, Mode::empty()).expect("the other end");
        let size = Winsize {
            ws_row: size.0,
            ws_col: size.1,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&slave, size).expect("a size");
        let slave = File::from(slave);
        let end = || slave.try_clone().expect("a descriptor");
        let mut command = Command::new(env!("CARGO_BIN_EXE_sessile"));
        command
            .args(arguments)
            .current_dir(directory)
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR")
            .stdin(end())
            .stdout(end())
            .stderr(end());
        if no_color {
            command.env("NO_COLOR", "1");
        }
        let child = command.spawn().expect("it starts");
        drop((slave, command));
        let master = File::from(master);
        let shown: Arc<Mutex<Vec<u8>>> = Arc::default();
        let (mut reader, seen) = (
            master.try_clone().expect("a descriptor"),
            Arc::clone(&shown),
        );
        // Ends with an error when the other end is closed.
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                seen.lock().expect("no panic").extend(&bytes[..count]);
            }
        });
        Self {
            master,
            child,
            shown,
        }
    }

    /// Everything that was written to it, control sequences included.
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().expect("no panic")).into_owned()
    }

    /// Waits until it was shown this.
    pub async fn shows(&self, text: &str) {
        eventually(text, async || self.shown().contains(text)).await;
    }

    /// Presses keys.
    pub fn press(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).expect("it reads");
    }

    /// Waits for its end.
    pub async fn end(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("its end", async || {
            status = self.child.try_wait().expect("it is a child");
            status.is_some()
        })
        .await;
        status.expect("it ended")
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // One that has ended already is no matter.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
