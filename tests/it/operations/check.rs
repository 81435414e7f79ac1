//! `serve --check`.

use gotoassist_grpc::config;

use super::{binary, binary_after, run};
use crate::kit::{certificate, folder::Folder, process::Serve};

async fn check(arguments: &[&str], environment: &[(&str, &str)]) -> (i32, String, String) {
    let mut command = binary(&[&["serve", "--check"], arguments].concat());
    command.envs(environment.iter().copied());
    run(command).await
}

#[tokio::test]
async fn what_is_in_effect_is_printed_and_no_port_is_opened() {
    // Both ports are in use, so opening one would fail.
    let taken = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let [listen, admin] = taken.each_ref().map(|port| port.local_addr().unwrap().to_string());
    let (status, stdout, stderr) = check(
        &["--listen", &listen, "--admin-listen", &admin, "--resume-key", "hush"],
        &[("GOTOASSIST_UPSTREAM_RPS", "5"), ("https_proxy", "http://hush:hush@127.0.0.1:1")],
    )
    .await;
    assert_eq!((status, stderr.as_str()), (0, ""));
    for (setting, source) in [
        (&*format!("--listen {listen}"), "flag, default 127.0.0.1:50051"),
        ("--upstream-rps 5", "GOTOASSIST_UPSTREAM_RPS, default 8"),
        ("--resume-key (set)", "flag"),
        ("--https-proxy-lower-case (set)", "https_proxy"),
        ("--drain-grace 25s", "default"),
    ] {
        let is_shown = |line: &str| {
            line.split_once(" # ")
                .is_some_and(|(text, from)| (text.trim(), from) == (setting, source))
        };
        assert!(stdout.lines().any(is_shown), "{setting} # {source}: {stdout}");
    }
    assert!(!stdout.contains("hush"), "{stdout}");
    for port in taken {
        port.set_nonblocking(true).unwrap();
        assert!(port.accept().is_err(), "somebody connected");
    }
}

#[tokio::test]
async fn a_limit_on_file_descriptors_below_max_connections_is_a_warning() {
    let few = binary_after("ulimit -n 1000", &["serve", "--check"]);
    let (status, stdout, stderr) = run(few).await;
    assert_eq!(status, 0, "{stderr}");
    assert!(stdout.contains("--max-connections 10000"), "{stdout}");
    let told = "warning: The limit on file descriptors leaves room for ";
    assert!(stderr.starts_with(told) && stderr.lines().count() == 1, "{stderr}");

    let arguments = ["serve", "--check", "--max-connections", "500"];
    let (status, _, stderr) = run(binary_after("ulimit -n 1000", &arguments)).await;
    assert_eq!((status, stderr.as_str()), (0, ""));
}

#[tokio::test]
async fn tokens_that_travel_in_clear_text_are_a_warning() {
    let folder = Folder::new();
    let tokens = folder.write("tokens", format!("{:064x}\n", 1));
    let authority = certificate::Authority::new().issue("localhost");
    let certificate = folder.write("certificate.pem", authority.pem());
    let key = folder.write("key.pem", authority.key_pem());
    let secrets = ["--client-id=i", "--client-secret=s", "--refresh-token=r"];
    let service = [&["--credentials=service", "--client-tokens-file", &tokens], &secrets[..]];
    let service = service.concat();
    for (flags, is_warned) in [
        (&["--listen=0.0.0.0:0"][..], true),
        (&["--listen=127.0.0.1:0"], false),
        (&["--listen=0.0.0.0:0", "--trust-network"], false),
        (&["--listen=0.0.0.0:0", "--tls-cert", &certificate, "--tls-key", &key], false),
    ] {
        let (status, _, stderr) = check(&[&service[..], flags].concat(), &[]).await;
        assert_eq!(status, 0, "{stderr}");
        let warning = "warning: Callers send their bearer tokens in clear text";
        assert_eq!(stderr.starts_with(warning), is_warned, "{flags:?}: {stderr}");
        assert_eq!(stderr.lines().count(), usize::from(is_warned), "{stderr}");
    }
}

#[tokio::test]
async fn all_problems_are_reported_together_each_in_a_line() {
    let folder = Folder::new();
    let (tokens, ca) =
        (folder.write("tokens", "no digest\n"), folder.write("ca.pem", "no certificate\n"));
    let (certificate, key) = ("no-such-certificate.pem", "no-such-key.pem");
    let secrets = ["--client-secret", "hush-secret", "--refresh-token-file", "no-such-token"];
    let given = [
        &["--credentials", "service"][..],
        &secrets,
        &["--client-tokens-file", &tokens, "--upstream-ca-file", &ca],
        &["--tls-cert", certificate, "--tls-key", key, "--resume-key-file", "no-such-resume-key"],
        &["--otlp-endpoint", "https://127.0.0.1:9", "--otlp-ca-file", "no-such-collector-ca"],
        &["--log-level", "a=b=c", "--drain-delay", "1m"],
    ];
    let (status, stdout, stderr) = check(&given.concat(), &[]).await;
    assert_eq!((status, stdout.as_str()), (2, ""), "{stderr}");
    for told in [
        "--client-id",
        "--refresh-token-file",
        "--client-tokens-file",
        &ca,
        certificate,
        key,
        "no-such-resume-key",
        "no-such-collector-ca",
        "--log-level",
        "--drain-delay",
    ] {
        let lines = stderr.lines().filter(|line| line.contains(told)).count();
        assert_eq!(lines, 1, "{told}: {stderr}");
    }
    assert_eq!(stderr.lines().count(), 10, "{stderr}");
    assert!(stderr.lines().all(|line| line.starts_with("error: ")), "{stderr}");
    assert!(!stderr.contains("hush"), "{stderr}");
}

#[tokio::test]
async fn a_value_that_cannot_be_read_is_one_line_wherever_it_comes_from() {
    for (arguments, variable, expected) in [
        (&["--upstream-rps", "abc"][..], None, "'abc' for '--upstream-rps"),
        (&["--poll-activ", "1s"], None, "'--poll-active'"),
        (&["--max-calls=0"], None, "'--max-calls <COUNT>': must be at least 1"),
        (&["--max-watches", "-1"], None, "--max-watches <COUNT>"),
        (&["--drain-grace", "soon"], None, "'soon' for '--drain-grace"),
        (&["--upstream-proxy"], None, "--upstream-proxy <URL>"),
        (&["serve"], None, "'serve'"),
        (&[], Some(("GOTOASSIST_POLL_ACTIVE", "often")), "'often' for '--poll-active"),
        (&[], Some(("GOTOASSIST_POLL_ENDED", "0s")), "must be longer than zero"),
        (&[], Some(("GOTOASSIST_QUOTA_SCOPE", "planet")), "'planet' for '--quota-scope"),
    ] {
        let (status, stdout, stderr) = check(arguments, variable.as_slice()).await;
        assert_eq!((status, stdout.as_str()), (2, ""), "{stderr}");
        assert!(stderr.starts_with("error: ") && stderr.contains(expected), "{expected}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
}

#[tokio::test]
async fn a_variable_that_is_no_setting_fails_the_check_and_serve_warns() {
    let misspelt = [("GOTOASSIST_UPSTREAM_RSP", "hush"), ("GOTOASSIST_CHECK", "true")];
    let (status, stdout, stderr) = check(&[], &misspelt).await;
    assert_eq!((status, stdout.as_str()), (2, ""), "{stderr}");
    assert_eq!(stderr.lines().count(), 2, "{stderr}");
    assert!(stderr.contains("GOTOASSIST_CHECK") && !stderr.contains("hush"), "{stderr}");
    let meant = "GOTOASSIST_UPSTREAM_RSP is no setting; did you mean GOTOASSIST_UPSTREAM_RPS?";
    assert!(stderr.contains(meant), "{stderr}");
    let (status, _, stderr) = check(&[], &[("GOTOASSIST_UPSTREAM_RSP", "")]).await;
    assert_eq!((status, stderr.as_str()), (0, ""), "an empty variable is not set");

    let serve = Serve::start_after("export GOTOASSIST_UPSTREAM_RSP=hush", &[]).await;
    let log = serve.stop().await;
    let mut lines =
        log.lines().filter(|line| line.contains("an environment variable is no setting"));
    let line = lines.next().unwrap_or_else(|| panic!("{log}"));
    assert!(line.contains("WARN") && line.contains("GOTOASSIST_UPSTREAM_RPS"), "{line}");
    assert!(lines.next().is_none() && !log.contains("hush"), "{log}");
}

#[tokio::test]
async fn the_log_begins_with_what_is_not_the_default() {
    let serve = Serve::start(&["--upstream-rps=5", "--resume-key=hush"]).await;
    let log = serve.stop().await;
    let line = log.lines().find(|line| line.contains("starting")).unwrap();
    for told in [
        "version=\"",
        "credentials=\"caller\"",
        "tls=false",
        "requests_per_second=5",
        "changed=\"listen admin-listen upstream-rps",
        " resume-key ",
    ] {
        assert!(line.contains(told), "{told}: {line}");
    }
    assert!(!log.contains("hush"), "{log}");
}

#[tokio::test]
async fn the_help_begins_with_what_everybody_needs() {
    let (status, help, _) = run(binary(&["serve", "--help"])).await;
    assert_eq!(status, 0);
    let (lines, all) = (help.lines().count(), "gotoassist-grpc serve --help advanced");
    assert!(lines < 120 && help.contains("Examples:") && help.contains(all), "{lines}: {help}");
    assert!(help.contains("--listen") && !help.contains("--poll-ended"), "{help}");
    let (status, advanced, _) = run(binary(&["serve", "--help", "advanced"])).await;
    assert_eq!(status, 0);
    let command = config::command();
    let flags = command.find_subcommand("serve").unwrap().get_arguments();
    for flag in flags.filter(|flag| !flag.is_hide_set()).filter_map(clap::Arg::get_long) {
        assert!(advanced.contains(&format!("--{flag}")), "{flag}");
    }
}

#[tokio::test]
async fn flags_that_need_others_are_all_told() {
    let environment = [
        ("GOTOASSIST_OTLP_CA_FILE", "no-such-ca"),
        ("GOTOASSIST_DRAIN_DELAY", "1h"),
        ("GOTOASSIST_CALLBACK_LISTEN", "127.0.0.1:0"),
    ];
    let (status, stdout, stderr) = check(&["--tls-cert", "missing.pem"], &environment).await;
    assert_eq!((status, stdout.as_str()), (2, ""), "{stderr}");
    for told in [
        "--tls-cert needs --tls-key",
        "--otlp-ca-file needs --otlp-endpoint",
        "--drain-delay",
        "--callback-listen needs --callback-secret-file",
    ] {
        assert_eq!(
            stderr.lines().filter(|line| line.contains(told)).count(),
            1,
            "{told}: {stderr}"
        );
    }
    assert!(stderr.lines().all(|line| line.starts_with("error: ")), "{stderr}");
}

#[tokio::test]
async fn a_machine_without_authorities_is_told_where_one_is_needed() {
    let folder = Folder::new();
    let empty = folder.write("empty", "");
    let without = [("SSL_CERT_FILE", empty.as_str()), ("SSL_CERT_DIR", "")];
    let (status, _, stderr) = check(&[], &without).await;
    assert_eq!(status, 2);
    assert!(stderr.contains("the system has no certificate authorities"), "{stderr}");
    let plain = ["--upstream-url", "http://127.0.0.1:1"];
    let (status, _, stderr) = check(&plain, &without).await;
    assert_eq!((status, stderr.as_str()), (0, ""));
    let behind = [&plain[..], &["--upstream-proxy", "https://127.0.0.1:1"]].concat();
    let (status, _, _) = check(&behind, &without).await;
    assert_eq!(status, 2, "the proxy speaks TLS");
}
