//! Answers requests for the list of sessions. An element is written only once for each state of its
//! session, so that a list of tens of thousands of sessions costs little.

use std::{collections::HashMap, iter::repeat_n, ops::Range, time::Duration};

use jiff::Timestamp;

use super::{
    answer::Answer,
    body::{self, Object},
    chance::is_chosen,
    fault::Fault,
    life::{Life, Step},
    world::{World, may_see},
};
use crate::config::simulate::{KeyForm, PageForm, Shape};

/// The id of the first session that only the list has.
const FIRST_EXTRA_ID: usize = 800_000_000;

/// An element as JSON, and what it depends on.
#[derive(Debug)]
pub(super) struct Listed {
    /// How many steps of its script have passed.
    steps: usize,
    format: ElementFormat,
    text: String,
}

/// What the text of an element depends on besides its session.
#[derive(Clone, Copy, Debug, PartialEq)]
struct ElementFormat {
    /// What a fault asks for.
    fault: Shape,
    /// What the settings ask for.
    general: Shape,
    ids: KeyForm,
    unstarted_ids: bool,
    count: u64,
}

/// A session in the list.
struct Row<'a> {
    /// The start in whole seconds, as in `startedAt`. If the session is not started, the time of
    /// its creation.
    start: i64,
    steps: usize,
    life: &'a mut Life,
}

/// The parameters of a request. They select the sessions that start from `from` to `to`.
struct Query {
    from: Timestamp,
    to: Timestamp,
    page: usize,
}

impl World {
    /// The sessions that a token may see, sorted by start and then by id. A fault can ask for the
    /// list at another time, or for one more session.
    pub(super) fn session_list(
        &mut self,
        query: &HashMap<String, String>,
        name: &str,
        fault: &Fault,
    ) -> Answer {
        let settings = self.settings.list;
        let query = match Query::read(query, settings.pages) {
            Ok(query) => query,
            Err(message) => return self.error(400, "InvalidRequest", message),
        };
        let foreign = if let Fault::ForeignSession { id } = fault { Some(id) } else { None };
        let age = if let Fault::Stale { seconds } = fault { *seconds } else { 0.0 };
        let (seed, retention) = (self.seed, self.settings.retention);
        let format = ElementFormat {
            fault: fault.shape(),
            general: self.settings.shape,
            ids: fault.shape().session_ids.unwrap_or(settings.session_ids),
            unstarted_ids: settings.unstarted_ids,
            count: self.request_count,
        };

        let rows = self.sessions.iter_mut().filter_map(|(id, life)| {
            let is_seen = settings.foreign || may_see(life.script.visible_to.as_ref(), name);
            let is_missing = || is_chosen(seed, "missing", id, settings.missing);
            let is_in = foreign == Some(id) || (is_seen && !is_missing());
            let row = if is_in { Row::new(life, settings.lag + age, retention) } else { None };
            row.filter(|row| query.selects(row.start))
        });
        let mut rows: Vec<_> = rows.collect();
        // Sessions that start at the same time stay in the order of their ids.
        rows.sort_by_key(|row| row.start);
        let order = |(index, row): (usize, &Row)| {
            repeat_n(index, 1 + usize::from(row.is_chosen(seed, "doubled", settings.doubled)))
        };
        let order: Vec<_> = rows.iter().enumerate().flat_map(order).collect();
        let extra = settings.extra as usize;
        let total = extra + order.len();

        let mut body = format!(r#"{{"totalNumSessions":{total},"sessions":["#);
        let page = query.page(settings.page_size, total);
        for number in page.clone() {
            if number > page.start {
                body.push(',');
            }
            let Some(&index) = number.checked_sub(extra).and_then(|number| order.get(number))
            else {
                body.push_str(&extra_element(FIRST_EXTRA_ID + number, query.from));
                continue;
            };
            if rows[index].is_chosen(seed, "mixed", settings.mixed) {
                let next = &rows[(index + 1) % rows.len()];
                body.push_str(&rows[index].mixed(next, format));
            } else {
                body.push_str(rows[index].text(format));
            }
        }
        body.push_str("]}");
        let encoding = format.fault.or(format.general).encoding();
        let duration = Duration::try_from_secs_f64(settings.duration).unwrap_or_default();
        Answer { encoding, duration, ..Answer::json(body) }
    }
}

impl<'a> Row<'a> {
    /// The session as it was `age` seconds ago, if it existed then and still exists.
    fn new(life: &'a mut Life, age: f64, retention: f64) -> Option<Self> {
        let script = &life.script;
        let at = life.since.elapsed().as_secs_f64();
        let steps = script.passed(at - age);
        let first = |is: fn(&Step) -> bool| steps.iter().find(|step| is(step)).map(|step| step.at);
        if steps.is_empty() || script.is_gone(at, first(Step::ends), retention) {
            return None;
        }
        let start = first(Step::starts).unwrap_or(script.begin());
        let start = body::time(life.since_time, start).as_second();
        Some(Self { start, steps: steps.len(), life })
    }

    fn is_chosen(&self, seed: u64, what: &str, share: f64) -> bool {
        is_chosen(seed, what, &self.life.script.id, share)
    }

    /// The element as JSON.
    fn text(&mut self, mut format: ElementFormat) -> &str {
        if format.shape(self.life).new_join_url != Some(true) {
            format.count = 0;
        }
        let steps = self.steps;
        let listed = self.life.listed.take();
        let listed = listed.filter(|listed| listed.steps == steps && listed.format == format);
        let write = || {
            let text = self.object(format).text(format.shape(self.life));
            Listed { steps, format, text }
        };
        let listed = listed.unwrap_or_else(write);
        &self.life.listed.insert(listed).text
    }

    /// The element with the content of the next one.
    fn mixed(&self, next: &Self, format: ElementFormat) -> String {
        let mut object = self.object(format);
        object.mix(next.object(format));
        object.text(format.shape(self.life))
    }

    fn object(&self, format: ElementFormat) -> Object {
        let Life { script, since_time, start_token, .. } = &*self.life;
        let steps = script.steps.get(..self.steps).unwrap_or_default();
        let moment = script.after(steps).unwrap_or_default();
        let has_id = format.unstarted_ids || moment.status != "notStarted";
        let shape = format.shape(self.life);
        let mut object = body::session(script, &moment, shape, *since_time, format.count);
        object.make_list_element(start_token, format.ids, has_id);
        object
    }
}

impl ElementFormat {
    /// The shape of an element. The fault wins over the script, and the script over the settings.
    fn shape(&self, life: &Life) -> Shape {
        self.fault.or(life.script.shape).or(self.general)
    }
}

impl Query {
    fn read(query: &HashMap<String, String>, pages: PageForm) -> Result<Self, &'static str> {
        let parameter = |name: &str| query.get(name).map(String::as_str).unwrap_or_default();
        if !parameter("sessionType").eq_ignore_ascii_case("SCREEN_SHARING") {
            return Err("sessionType must be SCREEN_SHARING");
        }
        let time = |name: &str| parameter(name).parse::<Timestamp>();
        let from =
            time("fromTime").map_err(|_| "fromTime must be a time such as 2016-10-31T08:30:00Z")?;
        let to =
            time("toTime").map_err(|_| "toTime must be a time such as 2016-10-31T08:30:00Z")?;
        let page = match (pages, query.get("page")) {
            (PageForm::Numbered, Some(page)) => {
                page.parse().map_err(|_| "page must be a number")?
            }
            (PageForm::Numbered, None) | (PageForm::Ignored, _) => 1,
        };
        Ok(Self { from, to, page })
    }

    fn selects(&self, start: i64) -> bool {
        // This compares whole seconds, because the answer has no fractions of a second either.
        self.from.as_second() <= start && start <= self.to.as_second()
    }

    /// The numbers of the elements on the page, of `total` elements.
    fn page(&self, size: usize, total: usize) -> Range<usize> {
        let size = if size == 0 { total } else { size };
        let start = self.page.saturating_sub(1).saturating_mul(size).min(total);
        start..start.saturating_add(size).min(total)
    }
}

/// The element of a session that only the list has.
fn extra_element(id: usize, start: Timestamp) -> String {
    let start = start.strftime("%Y-%m-%dT%H:%M:%SZ");
    format!(
        r#"{{"sessionStartToken":{id},"sessionId":{id},"sessionType":"screen_sharing","status":"complete","startedAt":"{start}","customerJoinedAt":"{start}","endedAt":"{start}","expertName":"Erika Expert","expertEmail":"erika.expert@example.com","expertUserKey":"9999982253621659654","customerName":"Carl Customer","customerEmail":"carl.customer@example.com","accountKey":1842200297248054807}}"#
    )
}
