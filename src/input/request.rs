//! The request object.

use time::OffsetDateTime;

use super::delivery::Arrival;
use super::faults::Faults;
use super::members::{MAX_ID, Placed, check_target_count, is_id, table_arn};
use super::names::{BARE_MEMBERS, REQUEST_MEMBERS, TARGET_MEMBERS, is_of_a_platform};
use super::text::{Object, Raw};
use crate::config::MAX_TARGETS;
use crate::job_type::RequestedType;
use crate::target::{Identifier, Target};

/// Where a request object is. This decides which members it may have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// It is the payload. Any unknown member is refused, except for those that platforms add.
    Bare,
    /// It is an event's `detail`. Unknown members belong to the sender. Only near misses of the known ones are refused.
    Detail,
    /// It is in a message of the waiting queue, which another version may have written. Unknown members are ignored as in
    /// an event.
    Queued,
}

impl Form {
    /// The members that it may have.
    fn members(self) -> &'static [&'static str] {
        match self {
            Self::Bare | Self::Queued => &BARE_MEMBERS,
            Self::Detail => REQUEST_MEMBERS,
        }
    }
}

/// A parsed request object.
#[derive(Default)]
pub(super) struct RequestObject {
    /// The targets that the object names, each with its requested type if it has one.
    pub(super) targets: Vec<(Target, Option<RequestedType>)>,
    /// Whether the object names a target, which may have a fault.
    pub(super) names_targets: bool,
    /// The requested type of targets that the event's resources or the settings name.
    pub(super) requested_type: Option<RequestedType>,
    pub(super) request_id: Option<String>,
    pub(super) time: Option<OffsetDateTime>,
    pub(super) dry_run: bool,
    pub(super) urgent: bool,
}

const WRITE_A_TARGET: &str =
    "write membershipIdentifier and idMappingTableIdentifier, or idMappingTableArn";

/// Finds members that the object may not have, and members that are there twice.
fn check_names(placed: Placed<'_, '_>, form: Form, allowed: &[&str], faults: &mut Faults) {
    placed.check_repeated(form.members(), faults);
    let object = placed.object;
    // One of several unknown members is told what is known.
    let mut known = Some(allowed);
    for (name, place, is_null) in object.known() {
        let path = placed.path.member(name, place);
        if allowed.contains(&name) || is_of_a_platform(name) {
            continue;
        }
        match form.members().contains(&name) {
            true if is_null => {}
            true => faults.add(
                path,
                "is inside a target and belongs beside `targets`: move it there",
            ),
            false if form != Form::Bare => {}
            false => match part_of_an_event(name) {
                Some(_) if is_null => {}
                Some(fault) => faults.add_first(placed.path, path, fault),
                None => faults.add(path, unknown_member(name, known.take())),
            },
        }
    }
    for ((name, member), place) in &object.near_misses.first {
        let path = placed.path.member(name, *place);
        faults.add(path, format!("is not known: write `{member}`"));
    }
    let near = &object.near_misses;
    faults.add_more(near.count - near.first.len());
    if form == Form::Bare {
        let is_near = |place: usize| near.first.iter().any(|(_, near)| *near == place);
        let mut listed = 0;
        for (name, place) in &object.unknown.first {
            if !is_near(*place) {
                let path = placed.path.member(name, *place);
                faults.add(path, unknown_member(name, known.take()));
                listed += 1;
            }
        }
        faults.add_more((object.unknown.count - near.count).saturating_sub(listed));
    }
}

/// Returns the fault of a member that an EventBridge event has, in an object that is not an event.
fn part_of_an_event(name: &str) -> Option<String> {
    const ENVELOPE: &str =
        "is only a part of an EventBridge event, which has `source`, `detail-type` and `detail`";
    let remedy = match name {
        "detailType" => "write `detail-type`",
        "source" => "add `detail-type`, or remove it",
        "detail-type" => "add `source`, or remove it",
        _ => return None,
    };
    Some(format!("{ENVELOPE}: {remedy}"))
}

fn unknown_member(name: &str, known: Option<&[&str]>) -> String {
    match (name, known) {
        ("Records", _) => {
            "is not a list of records of SQS, SNS or S3: send the records as the service delivers them".to_owned()
        }
        (_, Some(known)) => format!("is not known: remove it, or write one of {}", known.join(", ")),
        (_, None) => "is not known: remove it".to_owned(),
    }
}

fn names_a_target(object: &Object<'_>) -> bool {
    [
        "membershipIdentifier",
        "idMappingTableIdentifier",
        "idMappingTableArn",
    ]
    .iter()
    .any(|name| object.has(name))
}

/// The membership beside `targets`, which is the default of each.
enum DefaultMembership {
    Missing,
    Faulty,
    Is(Identifier),
}

/// Reads request objects.
pub(super) struct Reader<'a> {
    pub(super) form: Form,
    pub(super) arrival: &'a Arrival<'a>,
    /// Whether it is the request of a button in a dashboard's widget.
    pub(super) is_of_widget: bool,
    /// Whether `ALLOWED_JOB_TYPES` does not limit `DELETE_ONLY`.
    pub(super) may_have_chosen_deletion: bool,
}

impl Reader<'_> {
    /// Reads a request object.
    pub(super) fn read(&self, request: Placed<'_, '_>, faults: &mut Faults) -> RequestObject {
        check_names(request, self.form, self.form.members(), faults);
        if self.form != Form::Detail {
            self.check_question(request, faults);
        }
        let requested_type = self.requested_type(request, faults);
        let (targets, names_targets) = match request.object.get("targets") {
            Some((list, _)) => (self.list(request, list, requested_type, faults), true),
            None => {
                let target = self.target(request, faults);
                let targets = target.into_iter().map(|target| (target, requested_type));
                (targets.collect(), names_a_target(request.object))
            }
        };
        RequestObject {
            targets,
            names_targets,
            requested_type,
            request_id: request_id(request, faults),
            time: request.time("time", faults),
            dry_run: request.flag("dryRun", faults),
            urgent: self.form != Form::Detail && request.flag("urgent", faults),
        }
    }

    /// Refuses a question for status that is not the payload of a direct invocation, or not alone.
    fn check_question(&self, request: Placed<'_, '_>, faults: &mut Faults) {
        const CONTEXT: &str = "widgetContext";
        const REMEDY: &str = "asks for a status report, which is no request: send it alone, as the payload of a direct invocation";
        if request.flag("status", faults) {
            faults.add(request.path_of("status"), REMEDY);
        }
        if request.object.has(CONTEXT) && !self.is_of_widget {
            faults.add(request.path_of(CONTEXT), REMEDY);
        }
    }

    /// Reads `targets`. The job type and the membership beside it are the defaults of each.
    fn list(
        &self,
        request: Placed<'_, '_>,
        list: Raw<'_>,
        default_type: Option<RequestedType>,
        faults: &mut Faults,
    ) -> Vec<(Target, Option<RequestedType>)> {
        let path = request.path_of("targets");
        let default = self.beside_targets(request, faults);
        let Some(items) = list.items(MAX_TARGETS) else {
            faults.add(path, "must be a list: write a list of targets");
            return Vec::new();
        };
        if items.count == 0 {
            faults.add(path, "is empty: name at least one target, or leave it out");
        }
        check_target_count(items.count, path, faults);
        let mut targets = Vec::new();
        for (index, item) in items.first.into_iter().enumerate() {
            let path = path.item(index);
            let Some(object) = item.object() else {
                faults.add(path, format!("must be an object: {WRITE_A_TARGET}, in one"));
                continue;
            };
            let item = Placed {
                object: &object,
                path,
            };
            check_names(item, self.form, &TARGET_MEMBERS, faults);
            let job_type = self.requested_type(item, faults).or(default_type);
            let has_own = object.has("membershipIdentifier") || object.has("idMappingTableArn");
            let target = match &default {
                DefaultMembership::Is(membership) if !has_own => {
                    self.target_of(item, membership, faults)
                }
                DefaultMembership::Faulty if !has_own => {
                    identifier(item, "idMappingTableIdentifier", faults);
                    None
                }
                _ => self.target(item, faults),
            };
            if !names_a_target(&object) {
                faults.add(path, format!("names no table: {WRITE_A_TARGET}"));
            }
            targets.extend(target.map(|target| (target, job_type)));
        }
        targets
    }

    /// Reads what is beside `targets`: only a membership may be.
    fn beside_targets(&self, request: Placed<'_, '_>, faults: &mut Faults) -> DefaultMembership {
        const MEMBERSHIP: &str = "membershipIdentifier";
        for name in ["idMappingTableIdentifier", "idMappingTableArn"] {
            if request.object.has(name) {
                let fault = "is beside `targets`: write it in a target, or leave out `targets`";
                faults.add(request.path_of(name), fault);
            }
        }
        identifier(request, "idMappingTableIdentifier", faults);
        self.arn(request, faults);
        match identifier(request, MEMBERSHIP, faults) {
            Some(membership) => DefaultMembership::Is(membership),
            None if request.object.has(MEMBERSHIP) => DefaultMembership::Faulty,
            None if request.object.has_near_miss_of(MEMBERSHIP) => DefaultMembership::Faulty,
            None => DefaultMembership::Missing,
        }
    }

    /// Reads a target whose membership is named beside `targets`.
    fn target_of(
        &self,
        item: Placed<'_, '_>,
        membership: &Identifier,
        faults: &mut Faults,
    ) -> Option<Target> {
        let table = identifier(item, "idMappingTableIdentifier", faults)?;
        let membership = membership.clone();
        self.allowed(Target { membership, table }, item, faults)
    }

    /// Reads the target of an object: two identifiers, or one ARN, or both if they agree.
    fn target(&self, placed: Placed<'_, '_>, faults: &mut Faults) -> Option<Target> {
        const NAMES: [&str; 2] = ["membershipIdentifier", "idMappingTableIdentifier"];
        let [membership, table] = NAMES.map(|name| identifier(placed, name, faults));
        if placed.object.has("idMappingTableArn") {
            let target = self.arn(placed, faults)?;
            for (name, given, in_arn) in [
                ("membershipIdentifier", membership, &target.membership),
                ("idMappingTableIdentifier", table, &target.table),
            ] {
                if given.is_some_and(|given| given != *in_arn) {
                    let fault = "differs from the one in idMappingTableArn: write only one of them";
                    faults.add(placed.path_of(name), fault);
                }
            }
            return Some(target);
        }
        for (missing, present) in [(NAMES[0], NAMES[1]), (NAMES[1], NAMES[0])] {
            let is_half = placed.object.has(present) && !placed.object.has(missing);
            if is_half && !placed.object.has_near_miss_of(missing) {
                let fault = format!(
                    "is missing, and {present} is given: a target needs both, or idMappingTableArn alone"
                );
                faults.add(placed.path.missing(missing), fault);
            }
        }
        let target = Target {
            membership: membership?,
            table: table?,
        };
        self.allowed(target, placed, faults)
    }

    fn arn(&self, placed: Placed<'_, '_>, faults: &mut Faults) -> Option<Target> {
        let text = placed.string("idMappingTableArn", "write an ARN", faults)?;
        let path = placed.path_of("idMappingTableArn");
        table_arn(&text, path, self.arrival, faults)
    }

    /// Checks a target that two identifiers name.
    fn allowed(
        &self,
        target: Target,
        placed: Placed<'_, '_>,
        faults: &mut Faults,
    ) -> Option<Target> {
        let checked = self.arrival.settings.allowed.check_table(&target);
        let path = placed.path_of("idMappingTableIdentifier");
        checked.map_err(|fault| faults.add(path, fault)).ok()?;
        Some(target)
    }

    fn requested_type(&self, placed: Placed<'_, '_>, faults: &mut Faults) -> Option<RequestedType> {
        let text = placed.text("jobType", "write a job type such as BATCH", faults)?;
        let requested = RequestedType::parse(&text).and_then(|requested| {
            if !(self.may_have_chosen_deletion && requested == RequestedType::DELETE_ONLY) {
                self.arrival.settings.allowed.check_job_type(requested)?;
            }
            Ok(requested)
        });
        requested
            .map_err(|fault| faults.add(placed.path_of("jobType"), fault))
            .ok()
    }
}

fn identifier(placed: Placed<'_, '_>, name: &str, faults: &mut Faults) -> Option<Identifier> {
    let text = placed.string(name, "write a lower-case UUID of 36 characters", faults)?;
    let identifier = Identifier::parse(&text);
    identifier
        .map_err(|fault| faults.add(placed.path_of(name), fault))
        .ok()
}

fn request_id(placed: Placed<'_, '_>, faults: &mut Faults) -> Option<String> {
    let (value, _) = placed.object.get("requestId")?;
    let text = value.string();
    if text.as_ref().is_some_and(String::is_empty) {
        return None;
    }
    let id = text.filter(|text| is_id(text));
    if id.is_none() {
        let fault = format!(
            "must be a string of 1 to {MAX_ID} characters: write an id of the request's own"
        );
        faults.add(placed.path_of("requestId"), fault);
    }
    id
}
