//! The names of members: those that this function reads, those of a request object, and near misses of these.

use std::borrow::Cow;

/// The members of a target.
pub(super) const TARGET_MEMBERS: [&str; 4] = [
    "membershipIdentifier",
    "idMappingTableIdentifier",
    "idMappingTableArn",
    "jobType",
];

/// The members of a bare request, and of one in a message of the waiting queue (docs/payloads.md#the-request-object).
pub(super) const BARE_MEMBERS: [&str; 10] = [
    "membershipIdentifier",
    "idMappingTableIdentifier",
    "idMappingTableArn",
    "jobType",
    "targets",
    "requestId",
    "time",
    "dryRun",
    "urgent",
    "status",
];

/// The members of a request object in an event. There `urgent` and `status` are the sender's own words.
pub(super) const REQUEST_MEMBERS: &[&str] = BARE_MEMBERS.split_at(BARE_MEMBERS.len() - 2).0;

/// The names of members that this function reads anywhere in a payload, sorted. Under another name it keeps no value.
const KNOWN: [&str; 66] = [
    "ApproximateFirstReceiveTimestamp",
    "ApproximateReceiveCount",
    "Event",
    "EventSource",
    "FunctionName",
    "InvocationType",
    "Message",
    "MessageId",
    "Payload",
    "Records",
    "SentTimestamp",
    "Service",
    "Sns",
    "Timestamp",
    "Type",
    "account",
    "attributes",
    "body",
    "condition",
    "detail",
    "detail-type",
    "detailType",
    "dryRun",
    "errorCode",
    "eventName",
    "eventSource",
    "eventTime",
    "functionArn",
    "id",
    "idMappingTableArn",
    "idMappingTableIdentifier",
    "jobType",
    "membershipIdentifier",
    "messageId",
    "object",
    "offsetISO",
    "offsetInMinutes",
    "recipientAccountId",
    "rejections",
    "request",
    "requestContext",
    "requestId",
    "requestIdGiven",
    "requestPayload",
    "resources",
    "responseElements",
    "responsePayload",
    "retryOf",
    "s3",
    "sequencer",
    "source",
    "status",
    "targets",
    "theme",
    "time",
    "timeGiven",
    "timestamp",
    "timezone",
    "trigger",
    "urgent",
    "version",
    "waitingSince",
    "watch",
    "widgetContext",
    "width",
    "x-amz-request-id",
];

/// Returns the name, if this function reads members of this name.
pub(super) fn known(name: &str) -> Option<&'static str> {
    let found = KNOWN.binary_search(&name).ok()?;
    KNOWN.get(found).copied()
}

/// Returns whether a name is one that platforms add to a bare request on its way: Step Functions' instrumentation,
/// tracing headers, and the context that a CloudWatch dashboard adds to the request of a widget's button.
pub(super) fn is_of_a_platform(name: &str) -> bool {
    const NAMES: [&str; 7] = [
        "Execution",
        "State",
        "StateMachine",
        "baggage",
        "traceparent",
        "tracestate",
        "widgetContext",
    ];
    NAMES.contains(&name) || name.starts_with('_') || name.starts_with("x-")
}

/// Returns the member that a name was most likely meant to be. Returns `None` if the name is not near to any member.
///
/// A name is near if it has the same letters in another case or with other separators (`job_type`), or `Id` for
/// `Identifier` (`membershipId`), or a typing error (`dryRnu`, `memberhsipId`): see [`allowed_errors`]. Short names
/// that senders use for their own data (`type`, `times`, `requested`) are not near.
pub(super) fn near_miss(name: &str) -> Option<&'static str> {
    let name = letters(name);
    let name_short = shortened(&name);
    let is_near = |(_, member, member_short): &&(&str, &str, &str)| {
        is_near(&name, member) || is_near(&name_short, member_short)
    };
    LETTERS.iter().find(is_near).map(|(member, ..)| *member)
}

/// The members of a request object in an event: the name, its letters, and these with `id` for `identifier`. A payload may
/// have a million names, so they are not computed for each.
const LETTERS: [(&str, &str, &str); 8] = [
    (
        "membershipIdentifier",
        "membershipidentifier",
        "membershipid",
    ),
    (
        "idMappingTableIdentifier",
        "idmappingtableidentifier",
        "idmappingtableid",
    ),
    (
        "idMappingTableArn",
        "idmappingtablearn",
        "idmappingtablearn",
    ),
    ("jobType", "jobtype", "jobtype"),
    ("targets", "targets", "targets"),
    ("requestId", "requestid", "requestid"),
    ("time", "time", "time"),
    ("dryRun", "dryrun", "dryrun"),
];

fn letters(name: &str) -> String {
    // The longest member has 24 letters. A name that is much longer is not near to any.
    name.chars()
        .take(64)
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

fn shortened(letters: &str) -> Cow<'_, str> {
    match letters.contains("identifier") {
        true => Cow::Owned(letters.replace("identifier", "id")),
        false => Cow::Borrowed(letters),
    }
}

fn is_near(name: &str, member: &str) -> bool {
    let (max_errors, wrong_letter) = allowed_errors(member.len());
    name.chars().count().abs_diff(member.len()) <= max_errors
        && distance(name, member, wrong_letter) <= max_errors
}

/// Returns how many typing errors a name of this length may have, and how many errors a wrong letter counts for.
///
/// A missing letter, a surplus letter, or two swapped letters count as one error. In a short name a wrong letter often
/// makes another word, so it counts as two.
fn allowed_errors(letters: usize) -> (usize, usize) {
    match letters {
        0..6 => (0, 2),
        6..12 => (1, 2),
        12..16 => (2, 2),
        _ => (2, 1),
    }
}

/// Returns the distance of two words in typing errors (optimal string alignment).
fn distance(a: &str, b: &str, wrong_letter: usize) -> usize {
    let b: Vec<char> = b.chars().collect();
    let (mut above_two, mut above) = (Vec::new(), (0..=b.len()).collect::<Vec<usize>>());
    let mut before = None;
    for (i, letter) in a.chars().enumerate() {
        let mut row = vec![i + 1];
        for (j, other) in b.iter().enumerate() {
            let at = |row: &[usize], j: usize| row.get(j).copied().unwrap_or(usize::MAX / 2);
            let replaced = at(&above, j) + if letter == *other { 0 } else { wrong_letter };
            let mut least = replaced.min(at(&above, j + 1) + 1).min(at(&row, j) + 1);
            if j > 0 && before == Some(*other) && b.get(j - 1) == Some(&letter) {
                least = least.min(at(&above_two, j - 1) + 1);
            }
            row.push(least);
        }
        before = Some(letter);
        above_two = std::mem::replace(&mut above, row);
    }
    above.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_miss_is_reported_with_the_right_name() {
        for (name, member) in [
            ("membershipId", "membershipIdentifier"),
            ("membership_id", "membershipIdentifier"),
            ("membership", "membershipIdentifier"),
            ("MembershipIdentifier", "membershipIdentifier"),
            ("memberShipIdentifer", "membershipIdentifier"),
            ("idMappingTableID", "idMappingTableIdentifier"),
            ("idMappingTableId", "idMappingTableIdentifier"),
            ("IdMappingTableIdentifer", "idMappingTableIdentifier"),
            ("id-mapping-table-arn", "idMappingTableArn"),
            ("idMappingTableARN", "idMappingTableArn"),
            ("job_type", "jobType"),
            ("JobType", "jobType"),
            ("jobtyp", "jobType"),
            ("target", "targets"),
            ("Targets", "targets"),
            ("request_id", "requestId"),
            ("requestID", "requestId"),
            ("requestIdentifier", "requestId"),
            ("dry_run", "dryRun"),
            ("dry-run", "dryRun"),
            ("Time", "time"),
            ("dryRnu", "dryRun"),
            ("dyrRun", "dryRun"),
            ("jobTpye", "jobType"),
            ("jboType", "jobType"),
            ("tagrets", "targets"),
            ("requsetId", "requestId"),
            ("memberhsipId", "membershipIdentifier"),
            ("membershipIdentifyer", "membershipIdentifier"),
            ("idMappingTableIdentifiers", "idMappingTableIdentifier"),
        ] {
            assert_eq!(near_miss(name), Some(member), "{name}");
        }
    }

    #[test]
    fn other_names_are_not_near_misses() {
        for name in [
            "",
            "id",
            "type",
            "times",
            "timestamp",
            "eventTime",
            "name",
            "table",
            "tables",
            "tableName",
            "bucket",
            "object",
            "key",
            "status",
            "state",
            "job",
            "jobId",
            "jobName",
            "jobRunId",
            "request",
            "requester",
            "requested",
            "requestIp",
            "dayRun",
            "memberships",
            "membershipNo",
            "membershipName",
            "idMappingTableName",
            "requestTime",
            "requestParameters",
            "member",
            "membershipArn",
            "memberAccountId",
            "targetTable",
            "collaborationId",
            "workflowName",
            "workflowArn",
            "version",
            "detail",
            "source",
            "reason",
            "dryer",
            "\u{0}",
            "🙂",
        ] {
            assert_eq!(near_miss(name), None, "{name}");
        }
        assert_eq!(near_miss(&"jobType".repeat(1000)), None);
    }

    #[test]
    fn the_letters_are_those_of_the_members() {
        assert_eq!(LETTERS.map(|(member, ..)| member), REQUEST_MEMBERS);
        for (member, of_it, short) in LETTERS {
            assert_eq!((&*letters(member), &*shortened(of_it)), (of_it, short));
        }
    }

    #[test]
    fn distance_counts_typing_errors() {
        for (a, b, with_wrong_double, with_wrong_single) in [
            ("", "", 0, 0),
            ("", "abc", 3, 3),
            ("abc", "", 3, 3),
            ("abc", "abc", 0, 0),
            ("abc", "axc", 2, 1),
            ("abc", "acb", 1, 1),
            ("abcd", "badc", 2, 2),
            ("kitten", "sitting", 5, 3),
        ] {
            assert_eq!(distance(a, b, 2), with_wrong_double, "{a} {b}");
            assert_eq!(distance(a, b, 1), with_wrong_single, "{a} {b}");
        }
    }
}
