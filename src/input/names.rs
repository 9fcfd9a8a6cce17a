//! Names of members: ours, and what was meant to be one of ours.

/// Members of a request object that make a target.
pub(super) const TARGET_MEMBERS: [&str; 4] = [
    "membershipIdentifier",
    "idMappingTableIdentifier",
    "idMappingTableArn",
    "jobType",
];

/// All members of a request object (contract section 1).
pub(super) const REQUEST_MEMBERS: [&str; 8] = [
    "membershipIdentifier",
    "idMappingTableIdentifier",
    "idMappingTableArn",
    "jobType",
    "targets",
    "requestId",
    "time",
    "dryRun",
];

/// The member that a name was most likely meant to be, if it is none but near to one.
///
/// Near is: the same letters in another case or with other separators (`job_type`), `Id` for
/// `Identifier` (`membershipId`), or a slip: one wrong, missing or surplus letter in a name of at
/// least six, two in one of at least twelve. Short names of other people's facts (`type`, `times`)
/// stay theirs.
pub(super) fn near_miss(name: &str) -> Option<&'static str> {
    // The longest name of ours has 24 letters; much longer ones are not worth the comparison.
    if name.len() > 64 {
        return None;
    }
    let name = letters(name);
    REQUEST_MEMBERS.into_iter().find(|ours| {
        let ours = letters(ours);
        let near = |name: &str, ours: &str| {
            let slips = match ours.len() {
                0..6 => 0,
                6..12 => 1,
                _ => 2,
            };
            distance(name, ours) <= slips
        };
        near(&name, &ours) || near(&shortened(&name), &shortened(&ours))
    })
}

fn letters(name: &str) -> String {
    name.chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

fn shortened(letters: &str) -> String {
    letters.replace("identifier", "id")
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut above_left = i;
        let mut left = i + 1;
        for (to, above) in b.chars().zip(row.iter_mut().skip(1)) {
            let cost = if from == to {
                above_left
            } else {
                1 + above_left.min(left).min(*above)
            };
            above_left = std::mem::replace(above, cost);
            left = cost;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_misses_have_the_right_name() {
        for (name, ours) in [
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
        ] {
            assert_eq!(near_miss(name), Some(ours), "{name}");
        }
    }

    #[test]
    fn other_peoples_names_are_no_near_misses() {
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
    fn distance_counts_single_letters() {
        assert_eq!(distance("", ""), 0);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("abc", "abc"), 0);
    }
}
