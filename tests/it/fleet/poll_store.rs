//! The script of the shared polls without Redis: a server that runs it in Lua, on paused time, and the
//! network between it and the replicas.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::{
    FutureExt as _, StreamExt as _,
    future::{BoxFuture, pending},
};
use gotoassist_grpc::fleet::{
    account::AccountError,
    polls::{Messages, SCRIPT, SharedPolls, Store, StoreAnswer},
};
use mlua::{Function, Lua, Table, Value, Variadic};
use ring::hmac;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};
use tokio_stream::wrappers::UnboundedReceiverStream;

type Text = Vec<u8>;

/// The data of the server.
#[derive(Clone, Default)]
pub struct Data {
    pub hashes: HashMap<Text, BTreeMap<Text, Text>>,
    pub lists: HashMap<Text, VecDeque<Text>>,
}

/// A server that may be stopped, emptied and restarted.
#[derive(Clone)]
pub struct Server(Arc<State>);

struct State {
    lua: Lua,
    script: Function,
    data: Arc<Mutex<Data>>,
    /// The messages of the script that runs.
    published: Arc<Mutex<Vec<Text>>>,
    listeners: Mutex<Vec<(Network, mpsc::UnboundedSender<Text>)>>,
    began_at: Instant,
    /// The time of the server's clock at the beginning, in microseconds.
    clock: Arc<Mutex<i64>>,
    /// Changes with each restart.
    life: Mutex<u64>,
    is_down: Mutex<bool>,
    /// No question is answered before this.
    paused_until: Mutex<Instant>,
}

/// The network between a replica and the server.
#[derive(Clone, Default)]
pub struct Network(Arc<Mutex<Way>>);

#[derive(Default)]
pub struct Way {
    pub is_cut: bool,
    /// The longest delay of a message.
    pub delay: Duration,
    /// The share of published messages that are lost.
    pub loss: f64,
    life: u64,
}

impl Network {
    pub fn change(&self, change: impl FnOnce(&mut Way)) {
        change(&mut self.0.lock().unwrap());
    }

    /// Waits until a message has crossed. Never, if the network is cut.
    async fn cross(&self) {
        let (is_cut, delay) = {
            let way = self.0.lock().unwrap();
            (way.is_cut, way.delay.mul_f64(fastrand::f64()))
        };
        if is_cut {
            pending::<()>().await;
        }
        sleep(delay).await;
    }
}

impl Server {
    /// A server whose clock shows `clock`.
    pub fn new(clock: Duration) -> Self {
        let (lua, data) = (Lua::new(), Arc::<Mutex<Data>>::default());
        let published = Arc::<Mutex<Vec<Text>>>::default();
        let began_at = Instant::now();
        let clock = Arc::new(Mutex::new(micros(clock)));
        let (kept, time, sent) = (data.clone(), clock.clone(), published.clone());
        let call = lua.create_function(move |lua, words: Variadic<Value>| {
            let now = *time.lock().unwrap() + micros(began_at.elapsed());
            let words: Vec<Text> = words.iter().map(text).collect();
            command(lua, &mut kept.lock().unwrap(), &mut sent.lock().unwrap(), now, &words)
        });
        let redis = lua.create_table().unwrap();
        redis.set("call", call.unwrap()).unwrap();
        lua.globals().set("redis", redis).unwrap();
        let script = lua.load(format!("return function(KEYS, ARGV) {SCRIPT} end")).eval().unwrap();
        Self(Arc::new(State {
            lua,
            script,
            data,
            published,
            listeners: Mutex::default(),
            began_at,
            clock,
            life: Mutex::new(0),
            is_down: Mutex::new(false),
            paused_until: Mutex::new(began_at),
        }))
    }

    pub fn polls_with_key(
        &self,
        key: &str,
        network: &Network,
        clock: gotoassist_grpc::clock::Clock,
    ) -> SharedPolls {
        let store = Arc::new(Client { server: self.clone(), network: network.clone() });
        let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
        let process = fastrand::u64(1..1 << 48);
        SharedPolls::new(store, "{a}:polls".to_owned(), key, "scope".to_owned(), process, clock)
    }

    fn run(&self, keys: &[String], arguments: &[Text]) -> Vec<Text> {
        let state = &self.0;
        let arguments = arguments.iter().map(|text| state.lua.create_string(text).unwrap());
        let arguments: Vec<_> = arguments.collect();
        // Redis refuses global variables.
        let before = state.lua.globals().pairs::<Value, Value>().count();
        let answer: Table = state.script.call((keys.to_vec(), arguments)).unwrap();
        assert_eq!(state.lua.globals().pairs::<Value, Value>().count(), before);
        let published: Vec<Text> = std::mem::take(&mut *state.published.lock().unwrap());
        for message in published {
            self.publish(&message);
        }
        answer.sequence_values::<Value>().map(|value| text(&value.unwrap())).collect()
    }

    /// Sends a message to all replicas, as any client of the server can.
    pub fn publish(&self, message: &[u8]) {
        self.0.listeners.lock().unwrap().retain(|(_, listener)| !listener.is_closed());
        for (network, listener) in &*self.0.listeners.lock().unwrap() {
            let loss = network.0.lock().unwrap().loss;
            if fastrand::f64() < loss {
                continue;
            }
            let (network, listener, message) =
                (network.clone(), listener.clone(), message.to_vec());
            tokio::spawn(async move {
                network.cross().await;
                let _ = listener.send(message);
            });
        }
    }

    /// The data, for [`Server::restart`] and for forgeries.
    pub fn data(&self) -> Data {
        self.0.data.lock().unwrap().clone()
    }

    pub fn change_data(&self, change: impl FnOnce(&mut Data)) {
        change(&mut self.0.data.lock().unwrap());
    }

    /// Breaks all connections, and goes on with other data and another clock.
    pub fn restart(&self, data: Data, clock_jump: i64) {
        *self.0.data.lock().unwrap() = data;
        *self.0.clock.lock().unwrap() += clock_jump;
        self.break_connections();
    }

    fn break_connections(&self) {
        *self.0.life.lock().unwrap() += 1;
        self.0.listeners.lock().unwrap().clear();
    }

    /// Refuses connections from now on, or accepts them again.
    pub fn set_down(&self, is_down: bool) {
        *self.0.is_down.lock().unwrap() = is_down;
        if is_down {
            self.break_connections();
        }
    }

    /// Answers nothing for a while, and everything after that.
    pub fn pause(&self, duration: Duration) {
        *self.0.paused_until.lock().unwrap() = Instant::now() + duration;
    }

    pub fn age(&self) -> Duration {
        self.0.began_at.elapsed()
    }
}

/// The connections of a replica.
struct Client {
    server: Server,
    network: Network,
}

impl Store for Client {
    fn run(&self, keys: Vec<String>, arguments: Vec<Text>) -> BoxFuture<'static, StoreAnswer> {
        let (server, network) = (self.server.clone(), self.network.clone());
        let life = network.0.lock().unwrap().life;
        async move {
            network.cross().await;
            let paused_until = *server.0.paused_until.lock().unwrap();
            sleep_until(paused_until).await;
            if *server.0.is_down.lock().unwrap() || *server.0.life.lock().unwrap() != life {
                return Err(AccountError::Connection);
            }
            let answer = server.run(&keys, &arguments);
            network.cross().await;
            Ok(answer)
        }
        .boxed()
    }

    fn listen(&self, _: String) -> BoxFuture<'static, Result<Messages, AccountError>> {
        let (server, network) = (self.server.clone(), self.network.clone());
        async move {
            network.cross().await;
            if *server.0.is_down.lock().unwrap() {
                return Err(AccountError::Connection);
            }
            let (sender, receiver) = mpsc::unbounded_channel();
            network.0.lock().unwrap().life = *server.0.life.lock().unwrap();
            server.0.listeners.lock().unwrap().push((network, sender));
            Ok(UnboundedReceiverStream::new(receiver).boxed())
        }
        .boxed()
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap()
}

fn text(value: &Value) -> Text {
    match value {
        Value::String(text) => text.as_bytes().to_vec(),
        Value::Integer(number) => number.to_string().into_bytes(),
        Value::Number(number) => number.to_string().into_bytes(),
        other => panic!("no text: {other:?}"),
    }
}

/// The commands that the script uses.
fn command(
    lua: &Lua,
    data: &mut Data,
    published: &mut Vec<Text>,
    now: i64,
    words: &[Text],
) -> mlua::Result<Value> {
    let texts = |texts: Vec<Text>| {
        let texts: Result<Vec<_>, _> = texts.iter().map(|text| lua.create_string(text)).collect();
        Ok(Value::Table(lua.create_sequence_from(texts?)?))
    };
    let index = |text: &[u8]| std::str::from_utf8(text).unwrap().parse::<usize>().unwrap();
    let (name, words) = words.split_first().unwrap();
    let reply = match (&**name, words) {
        (b"TIME", []) => {
            let time = [(now / 1_000_000).to_string(), (now % 1_000_000).to_string()];
            return texts(time.map(String::into_bytes).to_vec());
        }
        (b"HGETALL", [key]) => {
            let pairs = data.hashes.get(key).into_iter().flatten();
            return texts(pairs.flat_map(|(name, text)| [name.clone(), text.clone()]).collect());
        }
        (b"HGET", [key, field]) => {
            return match data.hashes.get(key).and_then(|hash| hash.get(field)) {
                Some(text) => Ok(Value::String(lua.create_string(text)?)),
                None => Ok(Value::Boolean(false)),
            };
        }
        (b"HSET", [key, pairs @ ..]) => {
            let hash = data.hashes.entry(key.clone()).or_default();
            for pair in pairs.chunks(2) {
                hash.insert(pair[0].clone(), pair[1].clone());
            }
            pairs.len() / 2
        }
        (b"HDEL", [key, field]) => {
            usize::from(data.hashes.get_mut(key).is_some_and(|hash| hash.remove(field).is_some()))
        }
        (b"LRANGE", [key, first, last]) => {
            let all = data.lists.get(key).into_iter().flatten();
            let count = index(last) + 1 - index(first);
            return texts(all.skip(index(first)).take(count).cloned().collect());
        }
        (b"LLEN", [key]) => data.lists.get(key).map_or(0, VecDeque::len),
        (b"LPUSH", [key, text]) => {
            data.lists.entry(key.clone()).or_default().push_front(text.clone());
            1
        }
        (b"LSET", [key, place, text]) => {
            data.lists.get_mut(key).unwrap()[index(place)].clone_from(text);
            1
        }
        (b"LTRIM", [key, first, last]) => {
            assert_eq!(index(first), 0);
            data.lists.get_mut(key).unwrap().truncate(index(last) + 1);
            1
        }
        (b"PEXPIRE", [_, milliseconds]) => {
            assert!(index(milliseconds) > 0);
            1
        }
        (b"PUBLISH", [_, message]) => {
            published.push(message.clone());
            1
        }
        _ => panic!("unknown command: {}", String::from_utf8_lossy(name)),
    };
    Ok(Value::Integer(i32::try_from(reply).unwrap().into()))
}
