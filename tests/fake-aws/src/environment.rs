//! An execution environment of the function: its services, its queues and its settings.

use std::io;

use aws_smithy_runtime_api::client::http::SharedHttpClient;
use serde_json::Value;
use time::Duration;

use crate::{FakeAws, LEDGER_TABLE, REGION, Slot};

/// The name of the waiting queue.
pub const WAITING: &str = "waiting";
/// The name of the dead-letter queue.
pub const DEAD: &str = "dead";

/// After how many receipts a message goes from the waiting queue to the dead-letter queue, as in the
/// template.
const MAX_RECEIVES: u32 = 1_000;

/// The services and the settings of one function.
#[derive(Clone, Debug)]
pub struct Environment {
    /// The services.
    pub aws: FakeAws,
    endpoint: Option<String>,
    settings: Vec<(String, String)>,
    process_first: bool,
    number: usize,
}

impl Environment {
    /// Returns a builder of an environment with no setting but the Region.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Returns the value of a setting.
    pub fn setting(&self, name: &str) -> Option<String> {
        let of_process = || std::env::var(name).ok();
        let built = || {
            let setting = self.settings.iter().rev().find(|(key, _)| key == name);
            setting.map(|(_, value)| value.clone())
        };
        let region = || (name == "AWS_REGION").then(|| REGION.to_owned());
        let replaced = self.process_first.then(of_process).flatten();
        replaced.or_else(built).or_else(region)
    }

    /// The settings of the builder. Where a name occurs twice, the later value holds.
    pub fn settings(&self) -> &[(String, String)] {
        &self.settings
    }

    /// The same services and settings in another execution environment, with further settings.
    pub fn another(&self, number: usize, settings: &[(&str, &str)]) -> Self {
        let mut another = self.clone();
        another.number = number;
        another.settings.extend(owned(settings));
        another
    }

    /// The value for `AWS_ENDPOINT_URL`.
    pub fn endpoint_url(&self) -> String {
        self.endpoint.clone().unwrap_or_else(|| self.aws.url())
    }

    /// The HTTP client of a function in this process. Returns `None` if the services are reached
    /// over HTTP.
    pub fn http_client(&self) -> Option<SharedHttpClient> {
        self.aws
            .is_in_process()
            .then(|| self.aws.http_client(self.number))
    }
}

/// What an [`Environment`] has.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    slot: Option<Slot>,
    endpoint: Option<String>,
    settings: Vec<(String, String)>,
    waiting: Option<Duration>,
    dead: bool,
    process_first: bool,
}

impl Builder {
    /// The ledger in DynamoDB.
    pub fn ledger(self) -> Self {
        self.setting("LEDGER_TABLE_NAME", LEDGER_TABLE)
    }

    /// The waiting queue, with this visibility timeout.
    pub fn queue(mut self, visibility_timeout: Duration) -> Self {
        self.waiting = Some(visibility_timeout);
        self
    }

    /// The dead-letter queue, for the function and for the redrive of the waiting queue.
    pub fn dead_letter_queue(mut self) -> Self {
        self.dead = true;
        self
    }

    /// The event bus `default`, for outcome events.
    pub fn event_bus(self) -> Self {
        self.setting("EVENT_BUS_NAME", "default")
    }

    /// Jobs are tracked to their end.
    pub fn track(self) -> Self {
        self.ledger().setting("TRACK_COMPLETION", "true")
    }

    /// What a second job gets.
    pub fn slot(mut self, slot: Slot) -> Self {
        self.slot = Some(slot);
        self
    }

    /// A setting. A later one of the same name replaces it; an empty one is unset.
    pub fn setting(self, name: &str, value: &str) -> Self {
        self.settings(&[(name, value)])
    }

    /// Several settings.
    pub fn settings(mut self, settings: &[(&str, &str)]) -> Self {
        self.settings.extend(owned(settings));
        self
    }

    /// The function looks for the services at this URL, wherever they are.
    pub fn endpoint_url(mut self, url: &str) -> Self {
        self.endpoint = Some(url.to_owned());
        self
    }

    /// The variables of this process replace settings of the same name.
    pub fn process_variables_first(mut self) -> Self {
        self.process_first = true;
        self
    }

    /// Services in this process, and no socket.
    pub fn in_process(self) -> Environment {
        self.on(&FakeAws::in_process())
    }

    /// Services over HTTP on loopback.
    pub async fn over_http(self) -> io::Result<Environment> {
        Ok(self.on(&FakeAws::start().await?))
    }

    /// These services, on which the queues are created.
    pub fn on(mut self, aws: &FakeAws) -> Environment {
        if let Some(slot) = self.slot {
            aws.set_slot(slot);
        }
        // Before the settings of the builder, which replace them.
        let mut settings = Vec::new();
        if let Some(visibility_timeout) = self.waiting {
            let redrive = self.dead.then_some((MAX_RECEIVES, DEAD));
            let url = aws.create_queue(WAITING, visibility_timeout, redrive);
            settings.push(("WAITING_QUEUE_URL".to_owned(), url));
        }
        if self.dead {
            let visibility_timeout = self.waiting.unwrap_or_default();
            let url = aws.create_queue(DEAD, visibility_timeout, None);
            settings.push(("DEAD_LETTER_QUEUE_URL".to_owned(), url));
        }
        settings.append(&mut self.settings);
        Environment {
            aws: aws.clone(),
            endpoint: self.endpoint,
            settings,
            process_first: self.process_first,
            number: 0,
        }
    }
}

fn owned(settings: &[(&str, &str)]) -> impl Iterator<Item = (String, String)> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    settings.iter().map(owned)
}

/// A batch of messages that the function was invoked with.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The event.
    pub event: Value,
    /// The function's return value. `None` if the invocation failed.
    pub answer: Option<Value>,
}

impl FakeAws {
    /// Does what Lambda's poller does with the waiting queue: receives a batch, invokes the function,
    /// and deletes what did not fail. Returns `None` if no message is visible.
    pub async fn poll(&self, invoke: impl AsyncFnOnce(&Value) -> Option<Value>) -> Option<Batch> {
        let event = self.receive(WAITING, 10)?;
        let answer = invoke(&event).await;
        self.received(WAITING, &event, answer.as_ref());
        Some(Batch { event, answer })
    }
}
