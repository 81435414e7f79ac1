//! The page where a person signs in, and its codes.

use std::time::Duration;

use gotoassist_grpc::{
    config::{SimulateConfig, simulate::SignIn},
    simulator::BAD_CLIENT,
};

use super::Running;
use crate::kit::browser::redirected;

/// The challenge of RFC 7636, appendix B, and its verifier.
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const BACK: &str = "http://127.0.0.1:1/back";

async fn running(sign_in: SignIn) -> Running {
    let mut config = SimulateConfig::on_free_port();
    config.settings.sign_in = sign_in;
    Running::with(config).await
}

impl Running {
    fn page(&self, more: &str) -> String {
        let page = &self.authorize_url;
        format!("{page}?client_id=alice&response_type=code&redirect_uri={BACK}&state=s{more}")
    }

    /// A code, by the page.
    async fn code(&self, more: &str) -> String {
        let location = redirected(&self.client, &self.page(more)).await;
        let code = location.strip_prefix("http://127.0.0.1:1/back?code=").unwrap();
        code.strip_suffix("&state=s").unwrap().to_owned()
    }

    /// The status of the exchange of a code.
    async fn exchange(&self, client: &str, code: &str, more: &str) -> u16 {
        let form = format!("grant_type=authorization_code&code={code}{more}");
        self.grant(client, &form).await.0
    }
}

#[tokio::test]
async fn the_page_asks_and_redirects_as_it_is_told() {
    let simulator = running(SignIn::Ask).await;
    let page = simulator.client.get(simulator.page("")).send().await.unwrap();
    assert_eq!(page.status(), 200);
    assert!(page.text().await.unwrap().contains("value=\"allow\""));
    for (body, location) in [
        ("decision=allow", "http://127.0.0.1:1/back?code=code-"),
        ("decision=deny", "http://127.0.0.1:1/back?error=access_denied&state=s"),
        ("", "http://127.0.0.1:1/back?error=access_denied&state=s"),
    ] {
        let answer = simulator.client.post(simulator.page("")).body(body).send().await.unwrap();
        assert_eq!(answer.status(), 302);
        assert!(answer.headers()["location"].to_str().unwrap().starts_with(location), "{body}");
    }
    for (rule, part) in
        [(SignIn::Deny, "error=access_denied&state=s"), (SignIn::WrongState, "&state=another")]
    {
        simulator.change_settings(|settings| settings.sign_in = rule);
        assert!(redirected(&simulator.client, &simulator.page("")).await.contains(part));
    }
    let token = format!("{}&response_type=token", simulator.authorize_url.clone() + "?client_id=a");
    let token = format!("{token}&redirect_uri={BACK}");
    let location = redirected(&simulator.client, &token).await;
    assert!(location.contains("error=unsupported_response_type"), "{location}");
    for query in [
        format!("?client_id={BAD_CLIENT}&response_type=code&redirect_uri={BACK}"),
        "?client_id=alice&response_type=code".to_owned(),
    ] {
        let url = format!("{}{query}", simulator.authorize_url);
        assert_eq!(simulator.client.get(url).send().await.unwrap().status(), 400, "{query}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_code_is_good_once_for_its_client_and_redirect_and_for_a_minute() {
    let simulator = running(SignIn::Allow).await;
    let right = format!("&redirect_uri={BACK}");
    let code = simulator.code("").await;
    assert_eq!(simulator.exchange("alice", &code, &right).await, 200);
    assert_eq!(simulator.exchange("alice", &code, &right).await, 400, "used");
    let code = simulator.code("").await;
    assert_eq!(simulator.exchange("bob", &code, &right).await, 400, "another client");
    assert_eq!(simulator.exchange("alice", &code, &right).await, 400, "used up");
    let code = simulator.code("").await;
    assert_eq!(simulator.exchange("alice", &code, "").await, 400, "another redirect");
    let code = simulator.code("").await;
    tokio::time::advance(Duration::from_mins(1)).await;
    assert_eq!(simulator.exchange("alice", &code, &right).await, 400, "expired");
}

#[tokio::test]
async fn a_code_with_a_challenge_needs_its_verifier() {
    let simulator = running(SignIn::Allow).await;
    let challenge = format!("&code_challenge={CHALLENGE}&code_challenge_method=S256");
    for (verifier, status) in [(VERIFIER, 200), ("another", 400), ("", 400)] {
        let code = simulator.code(&challenge).await;
        let more = format!("&redirect_uri={BACK}&code_verifier={verifier}");
        assert_eq!(simulator.exchange("alice", &code, &more).await, status, "{verifier}");
    }
}
