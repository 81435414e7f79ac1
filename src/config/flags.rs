//! Makes settings from flags in the code. With no flags, the settings are the defaults of the
//! command line, which are defined only there.

use std::ffi::OsString;

use clap::{Args, Command, Error, builder::Resettable};

/// Parses `flags` and fills in the defaults, without the environment. If a flag is repeated, the
/// last one counts.
pub fn from_flags<A: Args>(
    flags: impl IntoIterator<Item = impl Into<OsString> + Clone>,
) -> Result<A, Error> {
    let command = A::augment_args(Command::new("").no_binary_name(true))
        .args_override_self(true)
        .mut_args(|argument| argument.env(Resettable::Reset));
    A::from_arg_matches(&command.try_get_matches_from(flags)?)
}

/// The defaults. They always parse.
pub(super) fn defaults<A: Args>() -> A {
    from_flags::<A>([""; 0]).unwrap_or_else(|error| error.exit())
}
