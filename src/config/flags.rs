//! Settings from flags that are written in the code, such as none: the defaults are those of the
//! command line, and stand nowhere else.

use std::ffi::OsString;

use clap::{Args, Command, Error, builder::Resettable};

/// The configuration that `flags` and the defaults give, whatever the environment holds. Of several
/// flags of one name, the last one counts.
pub fn from_flags<A: Args>(
    flags: impl IntoIterator<Item = impl Into<OsString> + Clone>,
) -> Result<A, Error> {
    let command = A::augment_args(Command::new("").no_binary_name(true))
        .args_override_self(true)
        .mut_args(|argument| argument.env(Resettable::Reset));
    A::from_arg_matches(&command.try_get_matches_from(flags)?)
}

/// The defaults, which can always be read.
pub(super) fn defaults<A: Args>() -> A {
    from_flags::<A>([""; 0]).unwrap_or_else(|error| error.exit())
}
