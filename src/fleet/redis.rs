//! The account in Redis. Only this file knows the protocol of Redis.

use std::{sync::Arc, time::Duration};

use redis::{
    AsyncConnectionConfig, Client, ErrorKind, IntoConnectionInfo as _, RedisError, Script,
    TlsCertificates, aio::MultiplexedConnection,
};
use secrecy::ExposeSecret as _;
use tokio::sync::Mutex;

use super::{
    account::{Account, AccountError, Answer, Question, SCRIPT},
    settings::{SetUpError, Settings},
};

/// The longest time to connect, with TLS and the password.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);

/// The longest wait for an answer. The caller usually waits less.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

struct Server {
    client: Client,
    script: Script,
    key: String,
    /// The connection, unless a question uses it, and the number of connections so far. A connection
    /// whose question failed or was dropped is not used again.
    connection: Mutex<(Option<MultiplexedConnection>, u64)>,
}

/// Creates the account. Connects with the first question.
pub(super) fn account(settings: Settings) -> Result<Account, SetUpError> {
    let client = client(&settings).map_err(SetUpError::Address)?;
    let (script, key) = (Script::new(SCRIPT), settings.quota_key);
    let server = Arc::new(Server { client, script, key, connection: Mutex::new((None, 0)) });
    Ok(Arc::new(move |question| {
        let server = server.clone();
        Box::pin(async move { server.ask(&question).await })
    }))
}

fn client(settings: &Settings) -> Result<Client, RedisError> {
    let info = settings.url.as_str().into_connection_info()?;
    let mut redis = info.redis_settings().clone().set_skip_set_lib_name();
    if let Some(user) = &settings.user {
        redis = redis.set_username(user);
    }
    if let Some(password) = &settings.password {
        redis = redis.set_password(password.expose_secret());
    }
    let info = info.set_redis_settings(redis);
    match &settings.authority {
        Some(authority) => {
            let certificates =
                TlsCertificates { client_tls: None, root_cert: Some(authority.clone()) };
            Client::build_with_tls(info, certificates)
        }
        None => Client::open(info),
    }
}

impl Server {
    async fn connect(&self) -> Result<MultiplexedConnection, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_LIMIT))
            .set_response_timeout(Some(ANSWER_LIMIT));
        self.client.get_multiplexed_async_connection_with_config(&config).await
    }

    async fn ask(&self, question: &Question) -> Result<Answer, AccountError> {
        let mut slot = self.connection.lock().await;
        let mut connection = if let Some(connection) = slot.0.take() {
            connection
        } else {
            slot.1 += 1;
            self.connect().await.map_err(|error| cause(&error))?
        };
        let mut invocation = self.script.key(&self.key);
        for argument in question.arguments() {
            invocation.arg(argument);
        }
        let numbers: Result<Vec<i64>, _> = invocation.invoke_async(&mut connection).await;
        let numbers = numbers.map_err(|error| cause(&error))?;
        slot.0 = Some(connection);
        Answer::read(&numbers, slot.1)
    }
}

fn cause(error: &RedisError) -> AccountError {
    if matches!(error.code(), Some("NOAUTH" | "NOPERM" | "WRONGPASS"))
        || error.kind() == ErrorKind::AuthenticationFailed
    {
        AccountError::Refused
    } else if error.is_timeout() {
        AccountError::Timeout
    } else if error.kind() == ErrorKind::UnexpectedReturnType {
        AccountError::Malformed
    } else {
        AccountError::Connection
    }
}
