//! The plain line of the log, letter by letter as tracing-subscriber's own `Full` writes it without
//! colours, which looks at each character of each value: a seventh of what a call costs that the
//! vendor is not asked for (docs/performance.md).

use std::{
    cell::RefCell,
    error::Error,
    fmt::{self, Write},
    iter::successors,
};

use jiff::Timestamp;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

/// `<time> <level> <target>: <message> <field>=<value> …`. Spans are not named: there are none.
pub(super) struct Plain;

impl<S, N> FormatEvent<S, N> for Plain
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        write_time(&mut writer)?;
        writer.write_str(match *event.metadata().level() {
            Level::ERROR => " ERROR ",
            Level::WARN => "  WARN ",
            Level::INFO => "  INFO ",
            Level::DEBUG => " DEBUG ",
            Level::TRACE => " TRACE ",
        })?;
        writer.write_str(event.metadata().target())?;
        writer.write_char(':')?;
        let mut fields = Fields { writer: &mut writer, result: Ok(()) };
        event.record(&mut fields);
        fields.result?;
        writer.write_char('\n')
    }
}

/// The time as RFC 3339 has it, in UTC, with microseconds. What only a new second changes is kept.
fn write_time(writer: &mut Writer<'_>) -> fmt::Result {
    thread_local! {
        static LATEST: RefCell<(i64, String)> = const { RefCell::new((0, String::new())) };
    }
    let now = Timestamp::now();
    LATEST.with_borrow_mut(|(second, text)| {
        if *second != now.as_second() {
            *second = now.as_second();
            *text = Timestamp::from_second(*second).unwrap_or_default().to_string();
        }
        write!(writer, "{}.{:06}Z", text.trim_end_matches('Z'), now.subsec_microsecond())
    })
}

struct Fields<'a, 'w> {
    writer: &'a mut Writer<'w>,
    result: fmt::Result,
}

impl Fields<'_, '_> {
    fn write(&mut self, field: &Field, value: impl FnOnce(&mut Writer<'_>, bool) -> fmt::Result) {
        let is_message = field.name() == "message";
        let name = field.name().strip_prefix("r#").unwrap_or(field.name());
        self.result = self.result.and_then(|()| {
            self.writer.write_char(' ')?;
            if !is_message {
                self.writer.write_str(name)?;
                self.writer.write_char('=')?;
            }
            value(self.writer, is_message)
        });
    }
}

impl Visit for Fields<'_, '_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.write(field, |writer, is_message| {
            if is_message {
                return Harmless(writer).write_str(value);
            }
            let is_as_quoted =
                |byte: u8| (b' '..0x7f).contains(&byte) && byte != b'"' && byte != b'\\';
            if !value.bytes().all(is_as_quoted) {
                return write!(writer, "{value:?}");
            }
            writer.write_char('"')?;
            writer.write_str(value)?;
            writer.write_char('"')
        });
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.write(field, |writer, is_message| {
            if is_message {
                write!(Harmless(writer), "{value:?}")
            } else {
                write!(writer, "{value:?}")
            }
        });
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.write(field, |writer, _| {
            write!(Harmless(writer), "{value}")?;
            let Some(source) = value.source() else { return Ok(()) };
            write!(writer, " {}.sources=[", field.name())?;
            for (number, error) in successors(Some(source), |&error| error.source()).enumerate() {
                let comma = if number == 0 { "" } else { ", " };
                write!(Harmless(writer), "{comma}{error}")?;
            }
            writer.write_char(']')
        });
    }
}

/// Writes text so that a terminal takes none of it for a command.
struct Harmless<'a, 'w>(&'a mut Writer<'w>);

impl Write for Harmless<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let is_plain = |byte: u8| byte == b'\n' || (b' '..0x7f).contains(&byte);
        if text.bytes().all(is_plain) {
            return self.0.write_str(text);
        }
        for letter in text.chars() {
            match letter {
                '\x1b' | '\x07' | '\x08' | '\x0c' | '\x7f' => {
                    write!(self.0, "\\x{:02x}", u32::from(letter))?;
                }
                '\u{80}'..='\u{9f}' => write!(self.0, "\\u{{{:x}}}", u32::from(letter))?,
                _ => self.0.write_char(letter)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use tracing::{debug, event, info, trace};
    use tracing_subscriber::{Registry, layer::SubscriberExt as _};

    use super::*;

    #[derive(Clone, Default)]
    struct Output(Arc<Mutex<Vec<u8>>>);

    impl Output {
        fn lines(&self) -> Vec<String> {
            let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
            text.split_inclusive('\n').map(str::to_owned).collect()
        }

        fn writer(&self) -> impl Fn() -> Self + Send + Sync + 'static {
            let this = self.clone();
            move || this.clone()
        }
    }

    impl io::Write for Output {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[derive(Debug, thiserror::Error)]
    #[error("the \x1b[31mouter")]
    struct Outer(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("the inner")]
    struct Inner(#[source] io::Error);

    #[test]
    fn a_line_is_what_the_library_would_write() {
        let (ours, theirs) = (Output::default(), Output::default());
        let layer = tracing_subscriber::fmt::layer::<Registry>;
        let plain = layer().with_ansi(false).with_writer(ours.writer()).event_format(Plain);
        let subscriber = Registry::default()
            .with(plain)
            .with(tracing_subscriber::fmt::layer().with_ansi(false).with_writer(theirs.writer()));
        tracing::subscriber::with_default(subscriber, || {
            let outer = Outer(Inner(io::Error::other("the \u{9b}innermost")));
            info!("message only");
            info!(seconds = 0.000_123, attempts = 1, code = "OK", peer = %"::1", "call ended");
            event!(
                Level::WARN,
                none = None::<u64>,
                some = Some("tab\t\"quote\" \x1b"),
                flag = true,
                "ö\x1b[0m"
            );
            event!(Level::ERROR, error = &outer as &dyn Error, "failed: {}", "\x07\u{85}");
            event!(Level::ERROR, error = &io::Error::other("alone") as &dyn Error, debug = ?outer, "failed");
            debug!(r#type = "raw", "two\nlines");
            trace!(only = "a field");
        });
        let (ours, theirs) = (ours.lines(), theirs.lines());
        assert_eq!(ours.len(), 8);
        for (ours, theirs) in ours.iter().zip(&theirs) {
            let of_line = |line: &str| line.split_once("Z ").map(|(_, rest)| rest.to_owned());
            assert_eq!(of_line(ours), of_line(theirs));
        }
        for line in ours.iter().filter(|line| line.contains("gotoassist_grpc")) {
            let time = line.split(' ').next().unwrap();
            assert_eq!(time.len(), "2026-11-24T06:00:00.000000Z".len());
            let age = Timestamp::now().duration_since(time.parse().unwrap());
            assert!(age.as_secs() < 60 && !age.is_negative(), "{line}");
        }
    }
}
