//! Reads the command line and the environment. An empty environment variable counts as unset,
//! because templates of containers and units often set every variable and leave some empty.

use std::{env, ffi::OsString, fmt};

use clap::{
    Arg, ArgAction, ArgMatches, CommandFactory as _, Error, FromArgMatches as _, Parser,
    Subcommand, builder::Resettable, parser::ValueSource,
};

use super::{
    CompletionsConfig, DemoConfig, GetConfig, HealthConfig, LinksConfig, LogLevelConfig,
    LoginConfig, ManConfig, ServeConfig, SessionDigestConfig, SessionsConfig, SimulateConfig,
    StatusConfig, WatchConfig,
};

/// The version with the commit and the target of the build.
const VERSION: &str =
    concat!(env!("CARGO_PKG_VERSION"), " (", env!("BUILD_COMMIT"), ", ", env!("BUILD_TARGET"), ")");

/// The command line.
#[derive(Debug, Parser)]
#[command(version, long_version = VERSION, about, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    /// The command to run.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands of the binary.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the gRPC API in front of the GoToAssist REST API
    Serve(Box<ServeConfig>),
    /// Simulate the GoToAssist REST API, for tests
    Simulate(SimulateConfig),
    /// Run the simulator, the service and a client in one process, without a network
    Demo(DemoConfig),
    /// Print one session
    Get(GetConfig),
    /// Print the sessions of a time, one a line
    Sessions(SessionsConfig),
    /// Print the partner-system links of a domain
    Links(LinksConfig),
    /// Print sessions and each of their changes until they are over
    Watch(WatchConfig),
    /// Ask a service whether it is serving (grpc.health.v1)
    Health(HealthConfig),
    /// Print the state of a service, from its admin port
    Status(StatusConfig),
    /// Show or change the level of a service's log, through its admin port
    LogLevel(LogLevelConfig),
    /// Sign in at GoToAssist, and keep the refresh token in the file that `serve` reads
    Login(LoginConfig),
    /// Print the digest of a session, as the log, errors and the status page have it
    SessionDigest(SessionDigestConfig),
    /// Print the completions of a shell
    Completions(CompletionsConfig),
    /// Print a manual page (roff)
    Man(ManConfig),
}

impl Cli {
    /// Parses `words`, which begin with the name of the program, and the environment. The error may
    /// also be the help or the version, if the user asked for it.
    ///
    /// `serve --help` has the everyday flags, and `serve --help advanced` all of them.
    pub fn read(words: impl IntoIterator<Item = OsString>) -> Result<Self, Error> {
        let words: Vec<_> = words.into_iter().collect();
        let command = command();
        let command = if words.windows(2).any(|pair| pair == ["--help", "advanced"]) {
            command
        } else {
            command.mut_subcommand("serve", with_everyday_flags)
        };
        Self::from_arg_matches(&command.try_get_matches_from(words)?)
    }
}

/// The flags that `serve --help` shows.
const EVERYDAY: &[&str] = &[
    "admin-listen",
    "check",
    "credentials",
    "listen",
    "log-format",
    "log-level",
    "tls-cert",
    "tls-key",
    "upstream-rps",
    "upstream-url",
    "workers",
];

const EXAMPLES: &str = "\
Examples:
  gotoassist-grpc serve
  gotoassist-grpc serve --listen 0.0.0.0:50051 --tls-cert tls.crt --tls-key tls.key
  gotoassist-grpc serve --credentials service --client-id ID --client-secret-file secret \\
      --personal-access-token-file token --client-tokens-file digests
  gotoassist-grpc serve --check --upstream-rps 4

These are the everyday flags. All flags: gotoassist-grpc serve --help advanced";

/// Hides the other flags from the help.
fn with_everyday_flags(serve: clap::Command) -> clap::Command {
    let serve = serve.mut_args(|argument| {
        let is_everyday = argument.get_long().is_none_or(|flag| EVERYDAY.contains(&flag));
        argument.hide_long_help(!is_everyday).hide_short_help(!is_everyday)
    });
    serve.after_help(EXAMPLES)
}

/// Builds the clap command. Each flag has an environment variable: `--listen` of `serve` has
/// `GOTOASSIST_LISTEN`, and `--listen` of `simulate` has `GOTOASSIST_SIMULATE_LISTEN`.
pub fn command() -> clap::Command {
    Cli::command().mut_subcommands(|command| {
        // These commands listen too. The variables of `serve` must not move them.
        let prefix = match command.get_name() {
            "simulate" => "GOTOASSIST_SIMULATE_",
            "demo" => "GOTOASSIST_DEMO_",
            _ => "GOTOASSIST_",
        };
        command.mut_args(|argument| {
            // Otherwise clap would report a negative number as an unknown flag.
            let takes_value = argument.get_action().takes_values();
            let argument = argument.allow_negative_numbers(takes_value);
            let variable = match (argument.get_env(), argument.get_long()) {
                (Some(variable), _) => variable.to_owned(),
                // --check has no variable. If somebody left it set, the service would not start.
                (None, None | Some("check")) => return argument,
                (None, Some(flag)) => {
                    format!("{prefix}{}", flag.replace('-', "_").to_uppercase()).into()
                }
            };
            let is_empty = env::var_os(&variable).is_some_and(|value| value.is_empty());
            argument.env(if is_empty {
                Resettable::Reset
            } else {
                Resettable::Value(variable.into())
            })
        })
    })
}

/// A setting in effect, and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The flag with its value, such as `--upstream-rps 5`. A secret is `(set)`.
    pub text: String,
    /// The name of the flag, such as `upstream-rps`.
    pub flag: String,
    /// Where the value comes from.
    pub source: Source,
    /// The default, if the setting has one.
    pub default: Option<String>,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// It is the default.
    Default,
    /// This environment variable.
    Variable(String),
    /// The flag.
    Flag,
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<40}  # ", self.text)?;
        match &self.source {
            Source::Default => return f.write_str("default"),
            Source::Variable(name) => f.write_str(name)?,
            Source::Flag => f.write_str("flag")?,
        }
        self.default.iter().try_for_each(|default| write!(f, ", default {default}"))
    }
}

/// The effective configuration of `words` and the environment, one value each, secrets hidden.
pub fn effective(words: impl IntoIterator<Item = OsString>) -> Result<Vec<Setting>, Error> {
    let command = command();
    let matches = command.clone().try_get_matches_from(words)?;
    let Some((name, matches)) = matches.subcommand() else { return Ok(Vec::new()) };
    let arguments =
        command.find_subcommand(name).into_iter().flat_map(clap::Command::get_arguments);
    Ok(arguments.flat_map(|argument| settings(argument, matches)).collect())
}

/// The values of an argument. Usually there is one.
fn settings(argument: &Arg, matches: &ArgMatches) -> Vec<Setting> {
    let id = argument.get_id().as_str();
    let variable = || argument.get_env().unwrap_or_default().to_string_lossy().into_owned();
    let source = match matches.value_source(id) {
        Some(ValueSource::EnvVariable) => Source::Variable(variable()),
        Some(ValueSource::CommandLine) => Source::Flag,
        Some(_) | None => Source::Default,
    };
    let default = argument.get_default_values().first();
    let takes_value = argument.get_action().takes_values();
    let default = default.filter(|_| takes_value).map(|value| value.to_string_lossy().into());
    let setting = |text| Setting {
        text,
        flag: argument.get_long().unwrap_or_default().to_owned(),
        source: source.clone(),
        default: default.clone(),
    };
    texts(argument, matches).into_iter().map(setting).collect()
}

fn texts(argument: &Arg, matches: &ArgMatches) -> Vec<String> {
    let id = argument.get_id().as_str();
    let (Some(flag), Some(values)) = (argument.get_long(), matches.get_raw(id)) else {
        return Vec::new();
    };
    // The value of a flag that --help does not show is hidden too. Such a flag is `--https-proxy`,
    // which may hold a password.
    if argument.is_hide_env_values_set() || argument.is_hide_set() {
        let is_set = matches.value_source(id) != Some(ValueSource::DefaultValue);
        return is_set.then(|| format!("--{flag} (set)")).into_iter().collect();
    }
    let values = values.map(|value| value.to_string_lossy());
    if matches!(argument.get_action(), ArgAction::SetTrue) {
        return values.filter(|value| value == "true").map(|_| format!("--{flag}")).collect();
    }
    values.map(|value| format!("--{flag} {value}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(words: &[&str]) -> Vec<Setting> {
        let words = ["gotoassist-grpc", "serve"].into_iter().chain(words.iter().copied());
        effective(words.map(OsString::from)).unwrap()
    }

    fn shown(words: &[&str]) -> Vec<String> {
        settings(words).into_iter().map(|setting| setting.text).collect()
    }

    #[test]
    fn given_values_and_defaults_are_shown_with_their_sources() {
        let words = ["--listen", "[::1]:1", "--allow-client", "a,b", "--trust-network"];
        let lines: Vec<_> = settings(&words).iter().map(ToString::to_string).collect();
        for (text, source) in [
            ("--listen [::1]:1", "flag, default 127.0.0.1:50051"),
            ("--poll-waiting 3s", "default"),
            ("--max-calls 2000", "default"),
            ("--allow-client a", "flag"),
            ("--allow-client b", "flag"),
            ("--trust-network", "flag"),
        ] {
            let line = format!("{text:<40}  # {source}");
            assert!(lines.contains(&line), "{line}: {lines:#?}");
        }
        assert!(shown(&[]).iter().all(|line| line != "--trust-network"));
    }

    #[test]
    fn variables_are_named_as_documented() {
        let command = command();
        let variable = |name, flag| {
            let mut arguments = command.find_subcommand(name).unwrap().get_arguments();
            let argument = arguments.find(|argument| argument.get_long() == Some(flag)).unwrap();
            argument.get_env().map(|name| name.to_str().unwrap().to_owned())
        };
        for (name, flag, expected) in [
            ("serve", "listen", "GOTOASSIST_LISTEN"),
            ("serve", "upstream-ca-file", "GOTOASSIST_UPSTREAM_CA_FILE"),
            ("simulate", "listen", "GOTOASSIST_SIMULATE_LISTEN"),
            ("demo", "listen", "GOTOASSIST_DEMO_LISTEN"),
            ("demo", "admin-listen", "GOTOASSIST_DEMO_ADMIN_LISTEN"),
            ("simulate", "rate-limit-retry-after", "GOTOASSIST_SIMULATE_RATE_LIMIT_RETRY_AFTER"),
            ("health", "service", "GOTOASSIST_HEALTH_SERVICE"),
        ] {
            assert_eq!(variable(name, flag).as_deref(), Some(expected), "{name} --{flag}");
        }
        assert_eq!(variable("serve", "check"), None);
    }

    #[test]
    fn every_value_has_a_name_in_capitals() {
        let mut command = command();
        command.build();
        let shown = command.get_subcommands().filter(|command| command.get_name() != "help");
        let shown = shown.flat_map(clap::Command::get_arguments);
        for argument in shown.filter(|argument| !argument.is_hide_set()) {
            let names = argument.get_value_names().into_iter().flatten();
            let small = names.filter(|name| name.contains(char::is_lowercase)).count();
            let takes_value = argument.get_action().takes_values();
            assert!(small == 0 || !takes_value, "{argument}");
        }
    }

    #[test]
    fn no_secret_is_shown() {
        let secrets = [
            "--client-secret",
            "--refresh-token",
            "--personal-access-token",
            "--resume-key",
            "--upstream-proxy",
            "--https-proxy",
        ];
        let words: Vec<_> = secrets.iter().flat_map(|flag| [*flag, "hush"]).collect();
        let lines = shown(&words);
        for flag in secrets {
            assert!(lines.contains(&format!("{flag} (set)")), "{flag}: {lines:#?}");
        }
        assert!(!lines.concat().contains("hush"), "{lines:#?}");
    }
}
