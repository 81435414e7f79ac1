//! Writes the lines of the log some at a time, not with a system call for each: the line is a part of
//! what a call costs (docs/performance.md).

use std::{
    io::{self, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// How long a line waits for others.
const PATIENCE: Duration = Duration::from_millis(50);
/// How many bytes are enough to wait no longer.
const ENOUGH: usize = 32 * 1024;

/// Takes lines, and writes them within 50 ms. What is worth a warning does not wait, nor does what
/// came before it.
#[derive(Clone)]
pub(super) struct Gather(Arc<Shared>);

struct Shared {
    lines: Mutex<Lines>,
    /// Told of the first line that waits.
    first: Condvar,
}

struct Lines {
    waiting: Vec<u8>,
    output: Box<dyn Write + Send>,
}

/// Writes what still waits when dropped.
#[must_use]
pub struct Guard(Gather);

impl Gather {
    /// One that writes to `output`, on a thread of its own.
    pub fn new(output: impl Write + Send + 'static) -> io::Result<(Self, Guard)> {
        let lines = Mutex::new(Lines { waiting: Vec::new(), output: Box::new(output) });
        let gather = Self(Arc::new(Shared { lines, first: Condvar::new() }));
        let writer = gather.clone();
        thread::Builder::new().name("log".to_owned()).spawn(move || writer.run())?;
        Ok((gather.clone(), Guard(gather)))
    }

    fn run(&self) {
        loop {
            let lines = self.lines();
            let is_idle = |lines: &mut Lines| lines.waiting.is_empty();
            drop(self.0.first.wait_while(lines, is_idle).unwrap_or_else(PoisonError::into_inner));
            thread::sleep(PATIENCE);
            self.lines().write();
        }
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.0.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    /// A log that cannot be written has nowhere to complain.
    fn write(&mut self) {
        let _ = self.output.write_all(&self.waiting).and_then(|()| self.output.flush());
        self.waiting.clear();
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.lines().write();
    }
}

/// Takes one line.
pub(super) struct Line<'a> {
    gather: &'a Gather,
    is_urgent: bool,
}

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut lines = self.gather.lines();
        let is_first = lines.waiting.is_empty();
        lines.waiting.extend_from_slice(line);
        if self.is_urgent || lines.waiting.len() >= ENOUGH {
            lines.write();
        } else if is_first {
            self.gather.0.first.notify_one();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Gather {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { gather: self, is_urgent: true }
    }

    fn make_writer_for(&'a self, line: &Metadata<'_>) -> Line<'a> {
        Line { gather: self, is_urgent: *line.level() <= Level::WARN }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Sends on what is written, one message a write.
    struct Output(mpsc::Sender<String>);

    impl Write for Output {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(String::from_utf8(bytes.to_vec()).unwrap()).unwrap();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn gather() -> (Gather, Guard, mpsc::Receiver<String>) {
        let (output, written) = mpsc::channel();
        let (gather, guard) = Gather::new(Output(output)).unwrap();
        (gather, guard, written)
    }

    fn line(gather: &Gather, text: &str, is_urgent: bool) {
        Line { gather, is_urgent }.write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn lines_are_written_soon_and_in_their_order() {
        let (gather, _guard, written) = gather();
        for texts in [&["a\n", "b\n", "c\n"][..], &["d\n"]] {
            for text in texts {
                line(&gather, text, false);
            }
            let mut all = String::new();
            while all != texts.concat() {
                all += &written.recv_timeout(Duration::from_secs(10)).expect(&all);
            }
        }
    }

    #[test]
    fn a_warning_does_not_wait_nor_does_what_came_before() {
        let (gather, _guard, written) = gather();
        line(&gather, "a\n", false);
        line(&gather, "warning\n", true);
        let all: String = written.try_iter().collect();
        assert_eq!(all, "a\nwarning\n");
    }

    #[test]
    fn much_does_not_wait_and_nothing_is_lost_at_the_end() {
        let (gather, guard, written) = gather();
        line(&gather, &"x".repeat(ENOUGH), false);
        assert_eq!(written.try_recv().unwrap().len(), ENOUGH);
        line(&gather, "last\n", false);
        drop(guard);
        assert_eq!(written.recv().unwrap(), "last\n");
    }
}
