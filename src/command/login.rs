//! `login`: a person signs in at the vendor, and the refresh token goes to the file that `serve` reads.
//! The vendor sends the browser back to a port of this machine, with a code for the token.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use axum::{
    Router,
    extract::{Request, State},
    http::{Method, StatusCode, header},
    response::{Html, IntoResponse, Response},
};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use url::{Host, Url};

use super::{FAILED, USAGE, output, signal::Signals};
use crate::{
    admin::port::{self, Limits},
    config::{LoginConfig, UpstreamConfig},
    credential::login::{Addresses, Login, Redirect},
    file,
    wire::HttpClient,
};

/// A browser opens a few connections, and keeps some of them without a request.
const LIMITS: Limits =
    Limits { connections: 32, duration: Duration::from_secs(30), drain: Duration::from_secs(2) };

const DONE: &str = "You are signed in, and the service has its refresh token. Close this page.";
const FAILED_PAGE: &str = "The login failed. The terminal says why.";
const FOREIGN: &str = "This is not the answer to the login that runs now. Use the page that the \
    terminal shows.";

/// Signs in. `Err` is the exit status.
pub async fn run(config: &LoginConfig) -> Result<(), u8> {
    let problems = config.problems();
    for problem in &problems {
        output::fail(USAGE, problem);
    }
    if !problems.is_empty() {
        return Err(USAGE);
    }
    let failed = |error: &dyn std::error::Error| output::fail(FAILED, &output::whole(error));
    let client_secret = client_secret(config)?;
    // Otherwise the person would sign in for nothing.
    file::check(&target(&config.refresh_token_file)).map_err(|error| {
        output::fail(USAGE, &format_args!("the file of --refresh-token-file: {error}"))
    })?;
    let mut signals = Signals::new().map_err(|error| failed(&error))?;
    let (listener, redirect_url) = listen(&config.redirect_url).await.map_err(|error| {
        output::fail(FAILED, &format_args!("cannot listen on {}: {error}", config.redirect_url))
    })?;
    let addresses = Addresses {
        authorize_url: config.authorize_url.clone(),
        token_url: config.token_url.clone(),
        redirect_url: redirect_url.clone(),
    };
    let upstream = UpstreamConfig {
        route: config.route.clone(),
        ..UpstreamConfig::at(config.token_url.clone())
    };
    let http = HttpClient::new(&upstream, &config.token_url).map_err(|error| failed(&error))?;
    let login = Login::new(config.client_id.clone(), client_secret, addresses, http)
        .map_err(|error| failed(&error))?;

    output::note(&format_args!(
        "Open this page in a browser on this machine, and sign in as the user of the service:\n\n  \
         {}\n",
        login.url()
    ));
    let (sender, redirects) = mpsc::channel(1);
    let router = Router::new()
        .fallback(receive)
        .with_state(Receiver { path: redirect_url.path().to_owned(), redirects: sender });
    let stop = CancellationToken::new();
    let serving = port::serve(listener, |_| router.clone(), LIMITS, stop.cancelled());
    let signing_in = async {
        let result = tokio::select! {
            result = sign_in(&login, redirects, &config.refresh_token_file) => result,
            status = signals.next() => Err(status),
            () = sleep(config.timeout) => {
                Err(output::fail(FAILED, &"nobody has signed in within --timeout"))
            }
        };
        stop.cancel();
        result
    };
    let ((), result) = tokio::join!(serving, signing_in);
    result
}

fn client_secret(config: &LoginConfig) -> Result<SecretString, u8> {
    let secret = config.client_secret().map(|secret| secret.read());
    let secret = secret.unwrap_or_else(|| Err(io::ErrorKind::NotFound.into()));
    secret.map_err(|error| output::fail(USAGE, &format_args!("the client secret: {error}")))
}

/// Listens where the browser will be sent to. Returns the redirect URL with its port.
async fn listen(redirect_url: &Url) -> io::Result<(TcpListener, Url)> {
    let ip: IpAddr = match redirect_url.host() {
        Some(Host::Ipv4(ip)) => ip.into(),
        Some(Host::Ipv6(ip)) => ip.into(),
        // `localhost`.
        Some(Host::Domain(_)) | None => Ipv4Addr::LOCALHOST.into(),
    };
    let port = redirect_url.port_or_known_default().unwrap_or_default();
    let listener = TcpListener::bind(SocketAddr::new(ip, port)).await?;
    let mut redirect_url = redirect_url.clone();
    // A URL with a host can have a port.
    let _ = redirect_url.set_port(Some(listener.local_addr()?.port()));
    Ok((listener, redirect_url))
}

/// Waits for the redirect of this login, and exchanges its code. `Err` is the exit status.
async fn sign_in(
    login: &Login,
    mut redirects: mpsc::Receiver<Received>,
    refresh_token_file: &Path,
) -> Result<(), u8> {
    while let Some(Received { query, page }) = redirects.recv().await {
        let result = match login.redirect(&query) {
            Redirect::Foreign => {
                let _ = page.send((StatusCode::BAD_REQUEST, FOREIGN));
                continue;
            }
            Redirect::Refused(why) => {
                Err(output::fail(FAILED, &format_args!("GoToAssist refused the login: {why}")))
            }
            Redirect::Code(code) => keep(login, &code, refresh_token_file).await,
        };
        let (status, text) = match result {
            Ok(()) => (StatusCode::OK, DONE),
            Err(_) => (StatusCode::BAD_REQUEST, FAILED_PAGE),
        };
        // The browser may have gone.
        let _ = page.send((status, text));
        return result;
    }
    Err(FAILED)
}

/// Exchanges the code, and writes the refresh token.
async fn keep(login: &Login, code: &SecretString, path: &Path) -> Result<(), u8> {
    let token = login.refresh_token(code).await;
    let token = token.map_err(|error| output::fail(FAILED, &error))?;
    file::replace(&target(path), |file| writeln!(file, "{}", token.expose_secret())).map_err(
        |error| output::fail(FAILED, &format_args!("cannot write the refresh token: {error}")),
    )?;
    output::note(&format_args!("The refresh token is in {}.", path.display()));
    Ok(())
}

/// The file that is replaced. If the path is a link, this is its target.
fn target(path: &Path) -> std::path::PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// A redirect, and where its answer goes.
struct Received {
    query: String,
    page: oneshot::Sender<(StatusCode, &'static str)>,
}

#[derive(Clone)]
struct Receiver {
    path: String,
    redirects: mpsc::Sender<Received>,
}

/// Passes a redirect on, and answers when it is known what came of it.
async fn receive(State(receiver): State<Receiver>, request: Request) -> Response {
    if request.uri().path() != receiver.path {
        return StatusCode::NOT_FOUND.into_response();
    }
    if request.method() != Method::GET {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let query = request.uri().query().unwrap_or_default().to_owned();
    let (page, answer) = oneshot::channel();
    // If the login is over, its receivers are gone.
    let _ = receiver.redirects.send(Received { query, page }).await;
    let (status, text) = answer.await.unwrap_or((StatusCode::GONE, "The login is over."));
    let headers = [
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'"),
    ];
    let page = format!("<!DOCTYPE html><html lang=\"en\"><title>gotoassist-grpc</title><p>{text}");
    (status, headers, Html(page)).into_response()
}
