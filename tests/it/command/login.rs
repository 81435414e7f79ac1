//! `login` against the simulator: the page, the redirect, the code, and the file of the refresh token.

use std::{fs, os::unix::fs::PermissionsExt as _};

use gotoassist_grpc::{config::SimulateConfig, config::simulate::SignIn, simulator::Rule};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Lines},
    process::{Child, ChildStderr},
};

use super::{Serve, binary, exit_code, run, signal, soon};
use crate::kit::{
    browser::{browser, redirected},
    folder::Folder,
    request::{session, signed},
    vendor::Vendor,
};

const SECRET: &str = "hush-client-secret";

/// A command that waits for its person.
struct Waiting {
    child: Child,
    stderr: Lines<BufReader<ChildStderr>>,
    /// The page to open.
    url: String,
}

impl Waiting {
    async fn start(vendor: &Vendor, folder: &Folder, changes: &[(&str, &str)]) -> Self {
        let words = words(vendor, folder, changes);
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let mut child = binary(&words).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
        let url = soon(async {
            loop {
                let line = stderr.next_line().await.unwrap().expect("it ended");
                if let Some(url) = line.strip_prefix("  http") {
                    break format!("http{url}");
                }
            }
        })
        .await;
        Self { child, stderr, url }
    }

    /// The exit status, and what it printed since the page.
    async fn ended(mut self) -> (Option<i32>, String) {
        let code = exit_code(&mut self.child).await;
        let mut text = String::new();
        while let Some(line) = soon(self.stderr.next_line()).await.unwrap() {
            text.extend([line, "\n".to_owned()]);
        }
        let mut stdout = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut stdout).await.unwrap();
        assert_eq!(stdout, "");
        for hushed in [SECRET, "code-"] {
            assert!(!text.contains(hushed), "{text}");
        }
        (code, text)
    }
}

/// The command line of a login, with some flags changed or added.
fn words(vendor: &Vendor, folder: &Folder, changes: &[(&str, &str)]) -> Vec<String> {
    let (secret, token) = (folder.write("secret", SECRET), folder.path("token"));
    let token = token.display().to_string();
    let flags = [
        ("--client-id", "alice"),
        ("--client-secret-file", &secret),
        ("--refresh-token-file", &token),
        ("--authorize-url", &vendor.authorize_url),
        ("--token-url", &vendor.token_url),
    ];
    let is_kept = |(flag, _): &&(&str, &str)| changes.iter().all(|(changed, _)| changed != flag);
    let flags = flags.iter().filter(is_kept).chain(changes);
    let flags = flags.map(|(flag, value)| format!("{flag}={value}"));
    std::iter::once("login".to_owned()).chain(flags).collect()
}

async fn vendor(sign_in: SignIn) -> Vendor {
    let mut config = SimulateConfig::on_free_port();
    config.settings.sign_in = sign_in;
    config.settings.only_issued_tokens = true;
    Vendor::with(&config).await
}

/// The page that the command shows to the browser after the redirect.
async fn follow(redirect: &str) -> (u16, String) {
    let answer = browser().get(redirect).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test]
async fn a_person_signs_in_and_the_service_can_use_the_refresh_token() {
    let (vendor, folder) = (vendor(SignIn::Ask).await, Folder::new());
    let login = Waiting::start(&vendor, &folder, &[]).await;
    let browser = browser();
    let page = browser.get(&login.url).send().await.unwrap();
    assert_eq!(page.status(), 200);
    let decided = browser.post(&login.url).body("decision=allow").send().await.unwrap();
    let redirect = decided.headers()["location"].to_str().unwrap();
    assert!(redirect.starts_with("http://127.0.0.1:"), "{redirect}");
    let (status, page) = follow(redirect).await;
    assert!(status == 200 && page.contains("You are signed in"), "{page}");
    let (code, printed) = login.ended().await;
    assert_eq!(code, Some(0), "{printed}");

    let path = folder.path("token");
    let token = fs::read_to_string(&path).unwrap();
    assert!(!printed.contains(token.trim()) && !page.contains(token.trim()), "{printed}");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

    let (token, secret) = (path.display().to_string(), folder.write("secret", SECRET));
    let flags = [
        "--credentials=service",
        "--client-id=alice",
        "--client-secret-file",
        &secret,
        "--refresh-token-file",
        &token,
        "--token-url",
        &vendor.token_url,
    ];
    let serve = Serve::before(&vendor, &flags).await;
    serve.client().await.get_session(signed(session("250040303"), "Bearer a")).await.unwrap();
    serve.stop().await;
}

#[tokio::test]
async fn a_refused_login_changes_no_file() {
    let (vendor, folder) = (vendor(SignIn::Deny).await, Folder::new());
    folder.write("token", "old");
    let login = Waiting::start(&vendor, &folder, &[]).await;
    let (status, page) = follow(&redirected(&browser(), &login.url).await).await;
    assert!(status == 400 && page.contains("The login failed"), "{page}");
    let (code, printed) = login.ended().await;
    assert_eq!(code, Some(1));
    assert!(printed.contains("access_denied"), "{printed}");
    assert_eq!(fs::read_to_string(folder.path("token")).unwrap(), "old");
}

#[tokio::test]
async fn a_redirect_of_another_login_neither_succeeds_nor_ends_the_login() {
    let (vendor, folder) = (vendor(SignIn::WrongState).await, Folder::new());
    let login = Waiting::start(&vendor, &folder, &[]).await;
    let foreign = redirected(&browser(), &login.url).await;
    let address = foreign.split("/callback").next().unwrap().to_owned();
    let denied = format!("{address}/callback?error=access_denied&state=guess");
    for foreign in [&foreign, &denied, &format!("{address}/callback")] {
        let (status, page) = follow(foreign).await;
        assert!(status == 400 && page.contains("not the answer"), "{page}");
    }
    assert_eq!(follow(&format!("{address}/favicon.ico")).await.0, 404);
    let head = browser().head(&foreign).send().await.unwrap();
    assert_eq!(head.status(), 405);
    assert_eq!(vendor.counters().token_requests, 0);

    vendor.change_settings(|settings| settings.sign_in = SignIn::Allow);
    assert_eq!(follow(&redirected(&browser(), &login.url).await).await.0, 200);
    assert_eq!(login.ended().await.0, Some(0));
}

#[tokio::test]
async fn a_code_that_is_used_or_expired_gives_no_token() {
    let folder = Folder::new();
    let vendor = vendor(SignIn::Allow).await;
    let login = Waiting::start(&vendor, &folder, &[]).await;
    let redirect = redirected(&browser(), &login.url).await;
    let code = redirect.split("code=").nth(1).unwrap().split('&').next().unwrap();
    // Without the verifier of the login, the code gives no token either, and is used up.
    let stolen = browser()
        .post(&vendor.token_url)
        .basic_auth("alice", Some(SECRET))
        .body(format!("grant_type=authorization_code&code={code}"));
    assert_eq!(stolen.send().await.unwrap().status(), 400);
    assert_eq!(follow(&redirect).await.0, 400);
    let (status, printed) = login.ended().await;
    assert_eq!(status, Some(1));
    assert!(printed.contains("the token endpoint refused: invalid_grant"), "{printed}");

    vendor.change_settings(|settings| settings.code_lifetime = 0.0);
    let login = Waiting::start(&vendor, &folder, &[]).await;
    assert_eq!(follow(&redirected(&browser(), &login.url).await).await.0, 400);
    assert!(login.ended().await.1.contains("invalid_grant"));
    assert!(!folder.path("token").exists());
}

#[tokio::test]
async fn an_answer_without_a_refresh_token_is_told() {
    let (vendor, folder) = (vendor(SignIn::Allow).await, Folder::new());
    for (fault, told) in [
        (r#"{"kind":"body","text":"{\"access_token\":\"hush\"}"}"#, "sent no refresh token"),
        (r#"{"kind":"status","status":503}"#, "status 503"),
        (r#"{"kind":"html"}"#, "could not be read"),
        (r#"{"kind":"reset"}"#, "no connection to the token endpoint"),
    ] {
        vendor.clear_faults();
        let rule = format!(r#"{{"fault":{fault},"route":"token"}}"#);
        vendor.add_fault(rule.parse::<Rule>().unwrap());
        let login = Waiting::start(&vendor, &folder, &[]).await;
        assert_eq!(follow(&redirected(&browser(), &login.url).await).await.0, 400, "{told}");
        let (status, printed) = login.ended().await;
        assert_eq!(status, Some(1), "{printed}");
        assert!(printed.contains(told) && !printed.contains("hush"), "{printed}");
    }
    assert!(!folder.path("token").exists());
}

#[tokio::test]
async fn nobody_signs_in_for_nothing() {
    let (vendor, folder) = (vendor(SignIn::Allow).await, Folder::new());
    let nowhere = folder.path("none/token").display().to_string();
    for (flag, value, code, told) in [
        ("--refresh-token-file", &*nowhere, 2, "the file of --refresh-token-file"),
        ("--client-secret-file", &nowhere, 2, "the client secret"),
        ("--redirect-url", "http://example.com/", 2, "must be http on 127.0.0.1"),
        ("--token-url", "http://example.com/", 2, "--token-url must be https"),
        ("--authorize-url", "http://example.com/", 2, "--authorize-url must be https"),
        ("--client-id", "", 2, "--client-id is empty"),
        ("--timeout", "1ms", 1, "within --timeout"),
    ] {
        let words = words(&vendor, &folder, &[(flag, value)]);
        let (status, _, stderr) = run(&words.iter().map(String::as_str).collect::<Vec<_>>()).await;
        assert_eq!(status, code, "{stderr}");
        assert!(stderr.contains(told), "{told}: {stderr}");
    }
    let login = Waiting::start(&vendor, &folder, &[]).await;
    signal(&login.child, "-INT").await;
    assert_eq!(login.ended().await.0, Some(130));
}

#[tokio::test]
async fn a_given_redirect_url_is_used_as_it_is() {
    let (vendor, folder) = (vendor(SignIn::Allow).await, Folder::new());
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let url = format!("http://localhost:{port}/back");
    let login = Waiting::start(&vendor, &folder, &[("--redirect-url", &url)]).await;
    let redirect = redirected(&browser(), &login.url).await;
    assert!(redirect.starts_with(&format!("{url}?code=")), "{redirect}");
    assert_eq!(follow(&redirect).await.0, 200);
    assert_eq!(login.ended().await.0, Some(0));
}
