//! The script of the account without Redis: a server that runs it in Lua, on paused time.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
};

use gotoassist_grpc::fleet::account::{Answer, Question, SCRIPT};
use mlua::{Function, Lua, Value, Variadic};
use tokio::time::{Duration, Instant};

type Hashes = HashMap<String, BTreeMap<String, String>>;

/// What of a server survives or not.
#[derive(Clone)]
pub struct Server(Arc<State>);

struct State {
    lua: Lua,
    script: Function,
    hashes: Arc<Mutex<Hashes>>,
    began_at: Instant,
    /// The time of the server's clock at the beginning, in microseconds.
    clock: Arc<Mutex<i64>>,
    /// Changes with each restart.
    life: Mutex<u64>,
    /// No question is answered before this.
    paused_until: Mutex<Instant>,
}

impl Server {
    /// A server whose clock shows `clock`.
    pub fn new(clock: Duration) -> Self {
        let (lua, hashes) = (Lua::new(), Arc::<Mutex<Hashes>>::default());
        let began_at = Instant::now();
        let clock = Arc::new(Mutex::new(i64::try_from(clock.as_micros()).unwrap()));
        let (data, time) = (hashes.clone(), clock.clone());
        let call = lua.create_function(move |lua, words: Variadic<String>| {
            let now = *time.lock().unwrap() + micros(began_at.elapsed());
            command(lua, &mut data.lock().unwrap(), now, &words)
        });
        let redis = lua.create_table().unwrap();
        redis.set("call", call.unwrap()).unwrap();
        lua.globals().set("redis", redis).unwrap();
        let script = format!("return function(KEYS, ARGV) {SCRIPT} end");
        let script = lua.load(script).eval().unwrap();
        let (life, paused_until) = (Mutex::new(0), Mutex::new(began_at));
        Self(Arc::new(State { lua, script, hashes, began_at, clock, life, paused_until }))
    }

    /// Runs the script.
    pub fn run(&self, question: &Question, connection: u64) -> Answer {
        let state = &self.0;
        let keys = vec!["{a}:quota".to_owned()];
        // Redis refuses global variables.
        let before = state.lua.globals().pairs::<Value, Value>().count();
        let numbers: Vec<f64> = state.script.call((keys, question.arguments())).unwrap();
        assert_eq!(state.lua.globals().pairs::<Value, Value>().count(), before);
        // Redis cuts the fraction off.
        #[expect(clippy::cast_possible_truncation, reason = "as Redis does")]
        let numbers: Vec<i64> = numbers.into_iter().map(|number| number as i64).collect();
        Answer::read(&numbers, connection).unwrap()
    }

    /// The data, for [`Server::restart`].
    pub fn data(&self) -> Hashes {
        self.0.hashes.lock().unwrap().clone()
    }

    /// Loses all data, without breaking connections.
    pub fn flush(&self) {
        self.0.hashes.lock().unwrap().clear();
    }

    /// Breaks all connections, and goes on with other data and another clock.
    pub fn restart(&self, data: Hashes, clock_jump: i64) {
        *self.0.hashes.lock().unwrap() = data;
        *self.0.clock.lock().unwrap() += clock_jump;
        *self.0.life.lock().unwrap() += 1;
    }

    pub fn life(&self) -> u64 {
        *self.0.life.lock().unwrap()
    }

    /// Answers nothing for a while, and everything after that.
    pub fn pause(&self, duration: Duration) {
        *self.0.paused_until.lock().unwrap() = Instant::now() + duration;
    }

    pub fn paused_until(&self) -> Instant {
        *self.0.paused_until.lock().unwrap()
    }

    /// The size of the account in bytes.
    pub fn size(&self) -> usize {
        let hashes = self.0.hashes.lock().unwrap();
        hashes.values().flatten().map(|(field, value)| field.len() + value.len()).sum()
    }

    pub fn age(&self) -> Duration {
        self.0.began_at.elapsed()
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap()
}

/// The commands that the script uses.
fn command(lua: &Lua, hashes: &mut Hashes, now: i64, words: &[String]) -> mlua::Result<Value> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let reply = match words[..] {
        ["TIME"] => {
            let time = [(now / 1_000_000).to_string(), (now % 1_000_000).to_string()];
            return Ok(Value::Table(lua.create_sequence_from(time)?));
        }
        ["HGETALL", key] => {
            let pairs = hashes.get(key).into_iter().flatten();
            let flat: Vec<_> =
                pairs.flat_map(|(field, value)| [field.clone(), value.clone()]).collect();
            return Ok(Value::Table(lua.create_sequence_from(flat)?));
        }
        ["HSET", key, ref pairs @ ..] => {
            let hash = hashes.entry(key.to_owned()).or_default();
            for pair in pairs.chunks(2) {
                hash.insert(pair[0].to_owned(), pair[1].to_owned());
            }
            pairs.len() / 2
        }
        ["HDEL", key, field] => {
            usize::from(hashes.get_mut(key).is_some_and(|hash| hash.remove(field).is_some()))
        }
        ["DEL", key] => usize::from(hashes.remove(key).is_some()),
        ["PEXPIRE", _, milliseconds] => {
            assert!(milliseconds.parse::<u64>().unwrap() > 0);
            1
        }
        _ => panic!("unknown command: {words:?}"),
    };
    Ok(Value::Integer(i32::try_from(reply).unwrap().into()))
}
