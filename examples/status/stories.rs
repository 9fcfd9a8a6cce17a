//! The stories: what happened in a week, and what can be read of it.

use std::sync::{Arc, Mutex, PoisonError};

use fake_aws::{
    Environment, Exception, FakeAws, Fault, Job, Operation, Slot, Status, Table, WAITING,
};
use id_mapping_populator::clock::Clock;
use id_mapping_populator::handler::Populator;
use id_mapping_populator::input::Payload;
use serde_json::{Value, json};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

use crate::in_process;

/// The stories' names.
pub const STORIES: [&str; 6] = ["week", "full", "crowded", "empty", "never", "unreadable"];

const MEMBERSHIP: &str = "11111111-2222-4333-8444-555555555555";

/// When each story ends.
const NOW: OffsetDateTime = datetime!(2026-11-26 08:40 UTC);

/// The time between two tries of a waiting request.
const RETRY_INTERVAL: Duration = Duration::minutes(20);

/// The names of the tables of the made-up week.
const NAMES: [&str; 5] = [
    "app_ids",
    "crm_to_publisher",
    "loyalty_to_publisher",
    "partners",
    "web_ids",
];

/// Names that a page must not be broken by.
const HOSTILE: [&str; 6] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(2)>",
    "a_very_long_name_of_a_table_that_somebody_gave_without_a_thought_for_those_who_have_to_read_it_on_a_dashboard_every_day",
    "顧客識別子マッピングテーブル東京本番環境",
    "\u{202e}elbat gnippam\u{202c}",
    "'; DROP TABLE ids; --&amp;",
];

/// The function after a story.
pub struct Story {
    aws: FakeAws,
    populator: Populator,
    now: Arc<Mutex<OffsetDateTime>>,
    tables: usize,
    problems: usize,
    invoked: usize,
}

impl Story {
    /// Tells the story with this name.
    pub async fn tell(name: &str) -> Result<Self, String> {
        match name {
            "week" => week().await,
            "full" => full().await,
            "crowded" => Self::begin(100, Slot::Conflict, &[]).await,
            "empty" => Self::begin(0, Slot::Conflict, &[]).await,
            "never" => never().await,
            "unreadable" => unreadable().await,
            _ => Err(format!("there is no story {name}")),
        }
    }

    /// A function with so many tables, and nothing that happened.
    async fn begin(tables: usize, slot: Slot, settings: &[(&str, &str)]) -> Result<Self, String> {
        let aws = FakeAws::in_process();
        let now = Arc::new(Mutex::new(NOW));
        let clock = {
            let now = Arc::clone(&now);
            move || *now.lock().unwrap_or_else(PoisonError::into_inner)
        };
        aws.set_clock(clock.clone());
        let arns: Vec<String> = (1..=tables).map(|number| {
            format!("arn:aws:cleanrooms:eu-west-1:123456789012:membership/{MEMBERSHIP}/idmappingtable/{}", table(number))
        }).collect();
        let environment = Environment::builder()
            .track()
            .event_bus()
            .queue(RETRY_INTERVAL)
            .dead_letter_queue()
            .slot(slot)
            .setting("ID_MAPPING_TABLE_ARNS", &arns.join(","))
            .setting("DEFAULT_JOB_TYPE", "AUTO")
            .setting("FULL_REFRESH_EVERY", "7d")
            .setting("MAX_JOB_ATTEMPTS", "2")
            .settings(settings)
            .on(&aws);
        let populator = in_process::populator(&environment, Clock::new(clock)).await;
        Ok(Self {
            aws,
            populator: populator.map_err(|error| error.to_string())?,
            now,
            tables,
            problems: 0,
            invoked: 0,
        })
    }

    fn set_time(&self, time: OffsetDateTime) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = time;
    }

    fn time(&self) -> OffsetDateTime {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn invoke(&mut self, payload: &Value) -> Result<Value, String> {
        self.invoked += 1;
        let id = format!("{:08x}-0000-4000-8000-000000000000", self.invoked);
        ask(&self.populator, payload, &id, self.time()).await
    }

    /// An event that says that the data of these tables changed.
    async fn change(&mut self, tables: &[usize]) -> Result<(), String> {
        let targets: Vec<Value> = tables.iter().map(|number| target(*number)).collect();
        self.invoked += 1;
        let event = json!({
            "id": format!("event-{}", self.invoked),
            "source": "aws.example",
            "detail-type": "Data Changed",
            "account": "123456789012",
            "time": id_mapping_populator::clock::timestamp(self.time()),
            "resources": targets.iter().map(|target| &target["arn"]).collect::<Vec<_>>(),
            "detail": {},
        });
        self.invoke(&event).await.map(drop)
    }

    /// Lambda's poller empties the waiting queue.
    async fn poll(&mut self) -> Result<(), String> {
        while let Some(event) = self.aws.receive(WAITING, 10) {
            let answer = self.invoke(&event).await?;
            self.aws.received(WAITING, &event, Some(&answer));
        }
        Ok(())
    }

    /// Ends the running job after some minutes, and tries what waits.
    async fn end_after(&mut self, minutes: i64, status: Status) -> Result<(), String> {
        self.set_time(self.time() + Duration::minutes(minutes));
        self.aws.end_job(status);
        // All messages of the queue become visible in between.
        self.set_time(self.time() + RETRY_INTERVAL);
        self.poll().await
    }

    /// The page as a dashboard with this theme and width shows it.
    pub async fn page(&self, theme: &str, width: u16) -> Result<String, String> {
        let zone =
            json!({ "label": "Europe/Berlin", "offsetISO": "+01:00", "offsetInMinutes": 60 });
        let question = json!({ "widgetContext": {
            "dashboardName": "populator", "widgetId": "widget-1", "accountId": "123456789012", "locale": "en",
            "timezone": zone, "theme": theme, "width": width, "height": 600,
        } });
        match ask(&self.populator, &question, "question", self.time()).await? {
            Value::String(page) => Ok(page),
            other => Err(format!("the answer is not a page: {other}")),
        }
    }

    /// What must be on each page, by what the services know.
    pub fn expected(&self) -> Value {
        let jobs = self.aws.jobs();
        let count = |is: &dyn Fn(&Job) -> bool| jobs.iter().filter(|job| is(job)).count();
        json!({
            "rows": self.tables,
            "bars": {
                "s": count(&|job| job.status == Status::Succeeded),
                "f": count(&|job| job.status == Status::Failed),
                "r": count(&|job| job.status == Status::Running),
                "q": count(&|job| job.status == Status::Queued),
                "o": count(&|job| job.foreign),
            },
            "problems": self.problems,
        })
    }
}

async fn ask(
    populator: &Populator,
    payload: &Value,
    id: &str,
    now: OffsetDateTime,
) -> Result<Value, String> {
    let payload = Payload::from_text(&payload.to_string());
    let invocation = in_process::invocation(id, now + Duration::seconds(60));
    let response = populator.handle(&payload, &invocation).await;
    let response = response.map_err(|error| error.to_string())?;
    serde_json::to_value(response).map_err(|error| error.to_string())
}

fn table(number: usize) -> String {
    format!("aaaaaaaa-{number:04}-4000-8000-{number:012}")
}

fn target(number: usize) -> Value {
    let arn = format!(
        "arn:aws:cleanrooms:eu-west-1:123456789012:membership/{MEMBERSHIP}/idmappingtable/{}",
        table(number)
    );
    json!({ "arn": arn })
}

/// 25 jobs, of which one failed and one is its retry, one job that others started, a waiting request, and a permission that
/// is missing.
async fn week() -> Result<Story, String> {
    let mut story = Story::begin(NAMES.len(), Slot::Conflict, &[("MIN_INTERVAL", "6h")]).await?;
    {
        let state = &mut *story.aws.state();
        for (number, name) in (1..).zip(NAMES) {
            state.names.insert(table(number), name.to_owned());
        }
        let with = |provider, incremental| Table {
            provider,
            incremental,
            ..Table::default()
        };
        state.tables.insert(table(1), with(false, false));
        state.tables.insert(table(5), with(true, false));
    }
    for day in 0..7 {
        let night = datetime!(2026-11-20 01:30 UTC) + Duration::days(day);
        story.set_time(night);
        story.change(&[2, 3, 5]).await?;
        story.end_after(70 + day * 5, Status::Succeeded).await?;
        let status = if day == 4 {
            Status::Failed
        } else {
            Status::Succeeded
        };
        story
            .end_after(if day == 4 { 6 } else { 95 }, status)
            .await?;
        story.end_after(50, Status::Succeeded).await?;
        if day == 4 {
            story.end_after(100, Status::Succeeded).await?;
        }
        if day == 2 {
            story.aws.start_foreign_job(&table(5));
            story.end_after(120, Status::Succeeded).await?;
        }
        if day == 1 {
            story.change(&[1]).await?;
            story.end_after(45, Status::Succeeded).await?;
        }
        if day == 5 {
            story.change(&[4]).await?;
            story.end_after(240, Status::Succeeded).await?;
        }
    }
    story.set_time(NOW - Duration::minutes(50));
    story.change(&[1]).await?;
    story.set_time(NOW - Duration::minutes(20));
    story.change(&[4]).await?;
    story.set_time(NOW);
    let denied = Fault::Refuse(Exception::access_denied());
    story.aws.fail_next(Operation::GetSchema, denied);
    story.problems = 1;
    Ok(story)
}

/// 25 tables with names that nobody hopes for, and 200 jobs.
async fn full() -> Result<Story, String> {
    let untracked = [("TRACK_COMPLETION", ""), ("MAX_JOB_ATTEMPTS", "")];
    let mut story = Story::begin(25, Slot::Unlimited, &untracked).await?;
    for number in 1..=25 {
        let name = match HOSTILE.get(number - 1) {
            Some(name) => (*name).to_owned(),
            None => format!("table_{number}"),
        };
        story.aws.state().names.insert(table(number), name);
    }
    for job in 0..200_i64 {
        let number = usize::try_from(job % 25).unwrap_or(0) + 1;
        story.set_time(datetime!(2026-11-19 09:00 UTC) + Duration::minutes(job * 50));
        match job % 9 {
            4 => story.aws.start_foreign_job(&table(number)),
            _ => story.change(&[number]).await?,
        }
        story.set_time(story.time() + Duration::minutes(3 + job % 40));
        let status = if job % 7 == 0 {
            Status::Failed
        } else {
            Status::Succeeded
        };
        if job < 199 {
            story.aws.end_job(status);
        }
    }
    story.set_time(NOW);
    // The tables whose last job, of those that this function started, failed.
    story.problems = 0;
    let jobs = story.aws.jobs();
    for number in 1..=25 {
        let mut own = jobs
            .iter()
            .filter(|job| job.table == table(number) && !job.foreign);
        let failed = own
            .next_back()
            .is_some_and(|job| job.status == Status::Failed);
        story.problems += usize::from(failed);
    }
    Ok(story)
}

/// Tables that were never populated.
async fn never() -> Result<Story, String> {
    let story = Story::begin(3, Slot::Conflict, &[]).await?;
    for number in 1..=3 {
        let table_state = Table {
            populated: false,
            ..Table::default()
        };
        story.aws.set_table(&table(number), table_state);
    }
    Ok(story)
}

/// Nothing can be read.
async fn unreadable() -> Result<Story, String> {
    let mut story = Story::begin(4, Slot::Conflict, &[]).await?;
    for operation in [
        Operation::GetIdMappingTable,
        Operation::GetItem,
        Operation::GetQueueAttributes,
    ] {
        let denied = Fault::Refuse(Exception::access_denied());
        story.aws.fail_always(operation, denied);
    }
    // The ledger, two queues, and one permission for all tables.
    story.problems = 4;
    Ok(story)
}
