//! Makes requests of a request object and of what is around it: the event, the message, the invocation, the settings.

use std::cell::Cell;
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;

use time::{Duration, OffsetDateTime};

use super::delivery::Arrival;
use super::faults::Faults;
use super::members::Placed;
use super::request::{Form, Reader, RequestObject};
use super::text::Path;
use crate::config::Settings;
use crate::job_type::{RequestedType, TypeSource};
use crate::request::{Request, Trigger};
use crate::target::Target;

/// What is around a payload, or around a message's body.
#[derive(Clone)]
pub(super) struct Surroundings<'a> {
    pub(super) arrival: &'a Arrival<'a>,
    /// The id of the record around the payload, if there is one: of the innermost, which stays the same however often that
    /// record is delivered or moved.
    pub(super) key: Option<String>,
    /// The event around the payload, if it is a record in an event.
    pub(super) event: Option<Trigger>,
    /// The message of SQS or SNS around the payload, if there is one.
    pub(super) message: Option<EnclosingMessage>,
    /// The time of a payload that has none of its own, before the message's.
    pub(super) time: Option<OffsetDateTime>,
    /// Whether it is the request of a button in a dashboard's widget.
    pub(super) is_of_widget: bool,
    /// Whether the payload is an item of a list.
    pub(super) is_in_list: bool,
    /// In how many texts the payload is: bodies, notifications, dead letters of a schedule.
    pub(super) texts: usize,
    /// What the payload or message asks for so far.
    pub(super) spent: Rc<Cell<usize>>,
}

impl<'a> Surroundings<'a> {
    /// What is around a payload of an invocation.
    pub(super) fn of(arrival: &'a Arrival<'a>) -> Self {
        Self {
            arrival,
            key: None,
            event: None,
            message: None,
            time: None,
            is_of_widget: false,
            is_in_list: false,
            texts: 0,
            spent: Rc::default(),
        }
    }
}

impl Surroundings<'_> {
    /// Counts what a part of the payload asks for.
    pub(super) fn spend(&self, weight: usize) {
        self.spent.set(self.spent.get().saturating_add(weight));
    }

    /// Returns whether a request of this form may be urgent. A caller of the function may say so, and the waiting queue
    /// keeps it. Publishers of events and notifications may not.
    fn may_be_urgent(&self, form: Form) -> bool {
        let Self {
            key,
            event,
            message,
            is_in_list,
            texts,
            ..
        } = self;
        let is_bare = event.is_none() && !is_in_list;
        match message {
            Some(message) => is_bare && form == Form::Queued && message.is_of_queue,
            None => is_bare && key.is_none() && *texts == 0,
        }
    }

    /// Returns whether the payload asks for too much. A small one may ask for more than there is memory for, because a
    /// list may be in each of many notifications.
    pub(super) fn is_too_much(&self) -> bool {
        self.spent.get() > MOST
    }
}

/// The most that a payload, a message, or all messages of a batch may ask for. A request for a table counts 2.
pub(super) const MOST: usize = 20_000;

/// What is known of the message around a payload.
#[derive(Clone, Copy, Default)]
pub(super) struct EnclosingMessage {
    /// Whether it is a message of SQS, and no notification of SNS.
    pub(super) is_of_queue: bool,
    pub(super) sent_at: Option<OffsetDateTime>,
    /// How long the message was invisible after each receive, on average.
    pub(super) retry_interval: Option<Duration>,
}

/// What an EventBridge event has besides its detail. For a bare request it is empty.
#[derive(Default)]
pub(super) struct Envelope {
    /// The ID mapping tables among its `resources`.
    pub(super) resources: Vec<Target>,
    /// Whether its `resources` name a table, which may have a fault.
    pub(super) names_targets: bool,
    pub(super) time: Option<OffsetDateTime>,
    pub(super) trigger: Option<Trigger>,
    /// Whether the event records deletion requests.
    pub(super) deletes: bool,
    /// Whether a `DELETE_ONLY` may be this function's own choice, which `ALLOWED_JOB_TYPES` does not limit.
    pub(super) may_have_chosen_deletion: bool,
}

const NO_CONFIGURED_TABLE: &str =
    "has no ID mapping table: set ID_MAPPING_TABLE_ARNS, or send a request that names a table";

const NO_TARGET: &str = "names no ID mapping table, and neither do the event's resources or ID_MAPPING_TABLE_ARNS: write \
                         membershipIdentifier and idMappingTableIdentifier, or idMappingTableArn, or targets, or set \
                         ID_MAPPING_TABLE_ARNS";

/// Makes the requests, one per target. `object` is `None` for an event without a request object.
pub(super) fn requests(
    object: Option<Placed<'_, '_>>,
    path: Path<'_>,
    form: Form,
    envelope: Envelope,
    around: &Surroundings<'_>,
    faults: &mut Faults,
) -> Vec<Request> {
    let Arrival { at, settings, .. } = around.arrival;
    let reader = Reader {
        form,
        arrival: around.arrival,
        is_of_widget: around.is_of_widget,
        may_have_chosen_deletion: envelope.may_have_chosen_deletion,
    };
    let mut parsed =
        object.map_or_else(RequestObject::default, |object| reader.read(object, faults));
    let targets = targets(&mut parsed, &envelope, settings);
    if targets.is_empty() && !parsed.names_targets && !envelope.names_targets {
        faults.add_last(path, object.map_or(NO_CONFIGURED_TABLE, |_| NO_TARGET));
    }
    let EnclosingMessage {
        sent_at,
        retry_interval,
        ..
    } = around.message.unwrap_or_default();
    let trigger = envelope.trigger.as_ref().or(around.event.as_ref());
    let event_id = trigger.and_then(|trigger| trigger.id.clone());
    let trigger = trigger.cloned().map(Arc::new);
    let given_key = parsed.request_id.or(event_id);
    let key_is_given = given_key.is_some();
    let idempotency_key: Arc<str> = given_key.unwrap_or_else(|| key_of_delivery(around)).into();
    let urgent = parsed.urgent && around.may_be_urgent(form);
    let given_time = parsed.time.or(envelope.time).or(around.time);
    let time = given_time.or(sent_at).unwrap_or(*at).min(*at);
    let request = |(target, (requested_type, type_source))| Request {
        target,
        requested_type,
        type_source,
        idempotency_key: idempotency_key.clone(),
        key_is_given,
        time,
        // A time after the arrival says nothing.
        time_is_given: given_time.is_some_and(|given| given <= *at),
        dry_run: parsed.dry_run,
        urgent,
        trigger: trigger.clone(),
        waiting_since: None,
        sent_at,
        rejections: 0,
        retry_of: None,
        retry_interval,
    };
    targets.into_iter().map(request).collect()
}

/// The idempotency key of a request that has no id of its own: it is the same when the request is delivered again.
fn key_of_delivery(around: &Surroundings<'_>) -> String {
    let key = around.key.as_deref();
    key.unwrap_or(around.arrival.request_id).to_owned()
}

/// The targets: those of the request, otherwise the event's, otherwise the configured ones. The same target twice with the
/// same requested type is one.
fn targets(
    parsed: &mut RequestObject,
    envelope: &Envelope,
    settings: &Settings,
) -> Vec<(Target, (RequestedType, TypeSource))> {
    let mut named = std::mem::take(&mut parsed.targets);
    if named.is_empty() {
        let configured = settings.id_mapping_table_arns.iter();
        let configured = configured.map(|arn| &arn.target);
        let others: Vec<&Target> = match envelope.resources.is_empty() {
            false => envelope.resources.iter().collect(),
            true => configured.collect(),
        };
        let with_type = |target: &Target| (target.clone(), parsed.requested_type);
        named = others.into_iter().map(with_type).collect();
    }
    let with_type = |(target, named)| {
        let requested_type = requested_type(named, envelope.deletes, settings.default_job_type);
        (target, requested_type)
    };
    let mut seen = HashSet::new();
    let is_new = |(target, (requested_type, _)): &(Target, (RequestedType, _))| {
        seen.insert((target.clone(), *requested_type))
    };
    named.into_iter().map(with_type).filter(is_new).collect()
}

fn requested_type(
    named: Option<RequestedType>,
    deletes: bool,
    default: RequestedType,
) -> (RequestedType, TypeSource) {
    match (named, default) {
        (Some(named), _) => (named, TypeSource::Request),
        (None, RequestedType::Auto) if deletes => {
            (RequestedType::DELETE_ONLY, TypeSource::DeleteRequest)
        }
        (None, default) => (default, TypeSource::Setting),
    }
}
