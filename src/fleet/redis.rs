//! The account and the cells in Redis. Only this file knows the protocol of Redis.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt as _, future::BoxFuture};

use redis::{
    AsyncConnectionConfig, Client, ErrorKind, FromRedisValue, IntoConnectionInfo as _, RedisError,
    Script, TlsCertificates, ToRedisArgs, Value, aio::MultiplexedConnection, from_redis_value,
};
use secrecy::ExposeSecret as _;
use tokio::sync::Mutex;

use super::{
    account::{self, Account, AccountError, Answer, Question},
    cell::{self, Reply, Run},
    polls::{self, Messages, Store, StoreAnswer},
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
pub(super) fn account(settings: &Settings) -> Result<Account, SetUpError> {
    let server = server(settings, account::SCRIPT, settings.key_of("quota"))?;
    Ok(Arc::new(move |question| {
        let server = server.clone();
        Box::pin(async move { server.ask(&question).await })
    }))
}

/// Returns a function that runs the script of the cell with this name. Connects when it is first
/// called.
pub(super) fn cell(settings: &Settings, name: &str) -> Result<Run, SetUpError> {
    let server = server(settings, cell::SCRIPT, settings.key_of(name))?;
    Ok(Arc::new(move |arguments| {
        let server = server.clone();
        Box::pin(async move {
            let (reply, _) = server.run::<Vec<Value>>(arguments).await?;
            let mut reply = reply.into_iter();
            let mut next = || reply.next().unwrap_or(Value::Nil);
            let (number, value, age) = (next(), next(), next());
            let malformed = |_| AccountError::Malformed;
            Ok(Reply {
                number: from_redis_value(number).map_err(malformed)?,
                value: from_redis_value(value).map_err(malformed)?,
                age: from_redis_value::<Option<u64>>(age).map_err(malformed)?.unwrap_or_default(),
            })
        })
    }))
}

/// Creates the store of the shared polls. Connects later.
pub(super) fn store(settings: &Settings) -> Result<Arc<dyn Store>, SetUpError> {
    let client = client(settings).map_err(SetUpError::Address)?;
    let script = Script::new(polls::SCRIPT);
    Ok(Arc::new(PollStore(Arc::new(Commands { client, script, connection: Mutex::default() }))))
}

/// Runs the script of the shared polls. Many runs may be under way at once on the same connection.
struct PollStore(Arc<Commands>);

struct Commands {
    client: Client,
    script: Script,
    /// The connection, unless it has failed.
    connection: Mutex<Option<MultiplexedConnection>>,
}

impl Commands {
    async fn run(&self, keys: Vec<String>, arguments: Vec<Vec<u8>>) -> StoreAnswer {
        let mut connection = self.connection().await?;
        let mut invocation = self.script.prepare_invoke();
        for key in keys {
            invocation.key(key);
        }
        for argument in arguments {
            invocation.arg(argument);
        }
        let reply = invocation.invoke_async(&mut connection).await;
        if reply.is_err() {
            *self.connection.lock().await = None;
        }
        reply.map_err(|error| cause(&error))
    }

    async fn connection(&self) -> Result<MultiplexedConnection, AccountError> {
        let mut slot = self.connection.lock().await;
        if let Some(connection) = &*slot {
            return Ok(connection.clone());
        }
        let connection = connect(&self.client).await.map_err(|error| cause(&error))?;
        Ok(slot.insert(connection).clone())
    }
}

impl Store for PollStore {
    fn run(&self, keys: Vec<String>, arguments: Vec<Vec<u8>>) -> BoxFuture<'static, StoreAnswer> {
        let commands = self.0.clone();
        Box::pin(async move { commands.run(keys, arguments).await })
    }

    fn listen(&self, channel: String) -> BoxFuture<'static, Result<Messages, AccountError>> {
        let commands = self.0.clone();
        Box::pin(async move {
            let error = |error| cause(&error);
            let mut messages = commands.client.get_async_pubsub().await.map_err(error)?;
            messages.subscribe(channel).await.map_err(error)?;
            // This one may still lead to a server that has failed.
            *commands.connection.lock().await = None;
            let messages = messages.into_on_message();
            Ok(messages.map(|message| message.get_payload_bytes().to_vec()).boxed())
        })
    }
}

fn server(settings: &Settings, script: &str, key: String) -> Result<Arc<Server>, SetUpError> {
    let client = client(settings).map_err(SetUpError::Address)?;
    let script = Script::new(script);
    Ok(Arc::new(Server { client, script, key, connection: Mutex::new((None, 0)) }))
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
    async fn ask(&self, question: &Question) -> Result<Answer, AccountError> {
        let (numbers, connection) = self.run::<Vec<i64>>(question.arguments()).await?;
        Answer::read(&numbers, connection)
    }

    /// Runs the script. Returns its reply, and the number of the connection.
    async fn run<T: FromRedisValue>(
        &self,
        arguments: impl IntoIterator<Item = impl ToRedisArgs>,
    ) -> Result<(T, u64), AccountError> {
        let mut slot = self.connection.lock().await;
        let mut connection = if let Some(connection) = slot.0.take() {
            connection
        } else {
            slot.1 += 1;
            connect(&self.client).await.map_err(|error| cause(&error))?
        };
        let mut invocation = self.script.key(&self.key);
        for argument in arguments {
            invocation.arg(argument);
        }
        let reply = invocation.invoke_async(&mut connection).await;
        let reply = reply.map_err(|error| cause(&error))?;
        slot.0 = Some(connection);
        Ok((reply, slot.1))
    }
}

async fn connect(client: &Client) -> Result<MultiplexedConnection, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_LIMIT))
        .set_response_timeout(Some(ANSWER_LIMIT));
    client.get_multiplexed_async_connection_with_config(&config).await
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
