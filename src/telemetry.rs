//! Sets up the log on stderr, with a line for each panic.
//!
//! A separate thread writes the log, because stderr may be a pipe that nobody reads. A log call
//! only puts the line into a buffer. If the buffer is full, the line is dropped.

mod dropped;
mod level;
mod metric;

use std::{
    fmt::{self, Debug},
    io::{self, BufWriter, IsTerminal as _, Write},
    panic, thread,
    time::Duration,
};

use tracing::{Level, Subscriber, error, field::Field};
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{
    EnvFilter, Layer as _, Registry,
    field::MakeExt as _,
    filter::{FilterExt as _, LevelFilter, filter_fn},
    fmt::{
        format::{Writer, debug_fn},
        layer,
    },
    layer::SubscriberExt as _,
    reload,
    util::SubscriberInitExt as _,
};

pub use self::level::LogLevel;

use crate::config::telemetry::{Args, LogFormat};

/// Why the log cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `--log-level` cannot be read.
    #[error(
        "--log-level must be off, error, warn, info, debug or trace, or a filter such as \
         info,gotoassist_grpc::traffic=debug"
    )]
    Level,
    /// A log is already set up.
    #[error("the log is set up already")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
    /// There is no log any more.
    #[error("the log has ended")]
    Ended,
}

/// The greatest number of lines in the buffer. They take a few megabytes.
const BUFFERED_LINES: usize = 10_000;

/// The log of the process. When it is dropped, it writes the buffered lines, for about a second at
/// most.
#[must_use]
#[derive(Debug)]
pub struct Log {
    dropped: ErrorCounter,
    _writer: WorkerGuard,
}

impl Log {
    /// Reports dropped lines. The future never ends.
    pub fn report_dropped(&self) -> impl Future<Output = ()> + Send + use<> {
        dropped::report(self.dropped.clone())
    }

    fn new(stderr: impl Write + Send + 'static, buffered_lines: usize) -> (NonBlocking, Self) {
        let (writer, guard) = NonBlockingBuilder::default()
            .buffered_lines_limit(buffered_lines)
            .lossy(true)
            .thread_name("log")
            .finish(Gathered(BufWriter::new(stderr)));
        let dropped = writer.error_counter();
        (writer, Self { dropped, _writer: guard })
    }
}

/// Writes lines in batches. The writer's thread flushes when it has no more lines. Then it pauses,
/// so that a busy service does not wake it for each line.
struct Gathered<W: Write>(BufWriter<W>);

/// The longest time that a line waits for its batch.
const GATHERING: Duration = Duration::from_millis(10);

impl<W: Write> Write for Gathered<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()?;
        thread::sleep(GATHERING);
        Ok(())
    }
}

/// Sets up the log of the whole process.
pub fn install(args: &Args) -> Result<(Log, LogLevel), Error> {
    let (writer, log) = Log::new(io::stderr(), BUFFERED_LINES);
    let (subscriber, level) = subscriber(args, writer, io::stderr().is_terminal())?;
    subscriber.try_init()?;
    log_panics();
    Ok((log, level))
}

fn subscriber(
    args: &Args,
    writer: NonBlocking,
    is_terminal: bool,
) -> Result<(impl Subscriber + Send + Sync + use<>, LogLevel), Error> {
    let (filter, handle) = reload::Layer::new(filter(&args.log_level)?);
    // Debug lines of libraries may hold headers and addresses, and with them tokens and session
    // ids. So no filter can show these lines.
    let filter = filter.and(filter_fn(|line| is_shown(line.target(), *line.level())));
    let output = layer().with_writer(writer).with_ansi(is_terminal);
    let output = match args.log_format {
        LogFormat::Pretty if is_terminal => output.boxed(),
        // The default looks for the style of each field even without colours, which takes 4 % of the
        // instructions of a call. The text is the same.
        LogFormat::Pretty => output.fmt_fields(debug_fn(plain_field).delimited(" ")).boxed(),
        LogFormat::Json => output.json().flatten_event(true).with_span_list(false).boxed(),
    };
    let subscriber = Registry::default().with(output.with_filter(filter));
    Ok((subscriber, LogLevel::new(&args.log_level, handle)))
}

fn plain_field(writer: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> fmt::Result {
    match field.name() {
        "message" => write!(writer, "{value:?}"),
        name => write!(writer, "{name}={value:?}"),
    }
}

/// Checks whether the filter is valid, before the service starts.
pub fn check(args: &Args) -> Result<(), Error> {
    filter(&args.log_level).map(drop)
}

fn filter(filter: &str) -> Result<EnvFilter, Error> {
    // An empty text would be the level `error`.
    if filter.trim().is_empty() {
        return Err(Error::Level);
    }
    // A single word that is not a level would be a target, and would hide all other lines.
    let level = match filter.parse::<LevelFilter>() {
        Ok(level) => level,
        Err(_) if filter.contains('=') => {
            return EnvFilter::builder().parse(filter).map_err(|_| Error::Level);
        }
        Err(_) => return Err(Error::Level),
    };
    let most = if level == LevelFilter::TRACE { LevelFilter::INFO } else { LevelFilter::WARN };
    let libraries = level.min(most);
    let filter = format!("gotoassist_grpc={level},{libraries}");
    EnvFilter::builder().parse(filter).map_err(|_| Error::Level)
}

/// Whether the log may show a line.
fn is_shown(target: &str, level: Level) -> bool {
    let is_ours = target.split("::").next() == Some("gotoassist_grpc");
    is_ours || level <= Level::INFO
}

/// Logs the location of panics. The message is left out, because it may hold secrets.
fn log_panics() {
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        error!(place, "panic: this is a bug");
    }));
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, Mutex, mpsc},
        time::Instant,
    };

    use tokio::time::timeout;

    use super::*;

    fn args(log_level: &str) -> Args {
        Args { log_format: LogFormat::Json, log_level: log_level.to_owned(), log_ok_calls: 1.0 }
    }

    #[test]
    fn libraries_stay_quiet_unless_asked() {
        for (level, directives) in [
            ("off", "gotoassist_grpc=off,off"),
            ("error", "gotoassist_grpc=error,error"),
            ("debug", "gotoassist_grpc=debug,warn"),
            ("trace", "gotoassist_grpc=trace,info"),
        ] {
            assert_eq!(filter(level).unwrap().to_string(), directives);
        }
    }

    #[test]
    fn inner_lines_of_libraries_are_never_shown() {
        assert!(is_shown("gotoassist_grpc::traffic::upstream", Level::TRACE));
        assert!(is_shown("hyper::proto", Level::INFO));
        assert!(!is_shown("hyper::proto", Level::DEBUG));
        assert!(!is_shown("gotoassist_grpc_else", Level::TRACE));
    }

    #[test]
    fn a_filter_of_ones_own_is_taken_as_it_is_or_refused() {
        let own = "info,gotoassist_grpc::traffic=debug";
        let filter = filter(own).unwrap().to_string();
        assert!(filter.contains("gotoassist_grpc::traffic=debug") && filter.contains("info"));
        for bad in ["info=no=filter", "loud", "inof", "", " "] {
            assert!(check(&args(bad)).is_err(), "{bad}");
        }
    }

    /// A stderr whose reader may stop: writes wait for `gate`.
    struct Stderr {
        gate: Arc<Mutex<()>>,
        /// Gets a message before each write waits.
        began: mpsc::Sender<()>,
        lines: mpsc::Sender<String>,
    }

    impl Write for Stderr {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Some tests drop the receiver.
            let _ = self.began.send(());
            let _open = self.gate.lock().unwrap();
            self.lines.send(String::from_utf8(bytes.to_vec()).unwrap()).unwrap();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_beyond_the_buffer_are_dropped_and_counted_and_reported_once_it_flows_again() {
        const BUFFERED: usize = 8;
        /// Time for several checks.
        const ROUNDS: Duration = Duration::from_secs(10);
        let gate = Arc::new(Mutex::new(()));
        let ((lines, written), (began, first_write)) = (mpsc::channel(), mpsc::channel());
        let (writer, log) = Log::new(Stderr { gate: gate.clone(), began, lines }, BUFFERED);
        let args = Args { log_format: LogFormat::Pretty, ..args("info") };
        let (subscriber, _level) = subscriber(&args, writer, false).unwrap();
        // With only one subscriber, tracing caches the interest of the first thread that logs a
        // line, which may be a thread of another test. A second subscriber prevents that.
        let _second = tracing::Dispatch::new(tracing_subscriber::registry());
        let _guard = tracing::subscriber::set_default(subscriber);
        tracing::callsite::rebuild_interest_cache();

        let stalled = gate.lock().unwrap();
        for number in 0..100 {
            error!(number, "a line");
            if number == 0 {
                first_write.recv_timeout(Duration::from_secs(10)).unwrap();
            }
        }
        // The writer has taken one line out of the buffer. The write of this line is blocked.
        let dropped = log.dropped.dropped_lines();
        assert!((99 - BUFFERED..=100 - BUFFERED).contains(&dropped), "{dropped}");
        assert!(written.try_recv().is_err());

        // The writer is blocked, so there is no report.
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        let report = || runtime.block_on(async { timeout(ROUNDS, log.report_dropped()).await });
        assert!(report().is_err());
        assert!(log.dropped.dropped_lines() > dropped, "the report was dropped as well");

        drop(stalled);
        let mut text = String::new();
        while !text.contains("number=8") && !text.contains("number=7") {
            text += &written.recv_timeout(Duration::from_secs(10)).expect(&text);
        }
        let dropped = log.dropped.dropped_lines();
        assert!(report().is_err());
        let report = format!("lines of the log were dropped lines={dropped}");
        while !text.contains(&report) {
            text += &written.recv_timeout(Duration::from_secs(10)).expect(&text);
        }
        drop(log);
        text.extend(written.try_iter());
        assert_eq!(text.matches("were dropped").count(), 1, "{text}");
    }

    #[test]
    fn what_waits_is_written_at_the_end_unless_nobody_reads_it() {
        let gate = Arc::new(Mutex::new(()));
        let (lines, written) = mpsc::channel();
        let (began, _) = mpsc::channel();
        let stderr = Stderr { gate: gate.clone(), began: began.clone(), lines };
        let (mut writer, log) = Log::new(stderr, 8);
        writer.write_all(b"last").unwrap();
        drop(log);
        assert_eq!(written.try_recv().unwrap(), "last");

        let (lines, _written) = mpsc::channel();
        let (mut writer, log) = Log::new(Stderr { gate: gate.clone(), began, lines }, 8);
        let _stalled = gate.lock().unwrap();
        let start = Instant::now();
        for _ in 0..20 {
            writer.write_all(b"line").unwrap();
        }
        drop(log);
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    }
}
