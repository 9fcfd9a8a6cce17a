"""docs/discover.py as a process, against the stand-ins over HTTP, whose pages have three items."""

import json
import os
import re
import subprocess
import sys
import tomllib

import boto3
import hcl2
import pytest
from botocore import UNSIGNED, xform_name
from botocore.config import Config
from botocore.exceptions import ClientError
from policy_sentry.querying.actions import get_action_data
from samcli.cli.types import CfnParameterOverridesType
from test_template import PARAMETERS, ROOT
from test_tools import services

NAMES = ["IdMappingTableArns", "MembershipArns", "IdMappingWorkflowArns"]
OTHERS_WORKFLOW = "arn:aws:entityresolution:eu-west-1:210987654321:idmappingworkflow/workflow-theirs"
NOTHING_IS_WRITTEN = "discover.py: no parameters are written, because tables may be missing"


def membership_id(number):
    return f"11111111-0000-4000-8000-{number:012}"


def membership_arn(number):
    return f"arn:aws:cleanrooms:eu-west-1:123456789012:membership/{membership_id(number)}"


def table_id(number):
    return f"aaaaaaaa-0000-4000-8000-{number:012}"


def table_arn(membership, number):
    return f"{membership_arn(membership)}/idmappingtable/{table_id(number)}"


def workflow_arn(name):
    return f"arn:aws:entityresolution:eu-west-1:123456789012:idmappingworkflow/{name}"


def own_workflow(number):
    return workflow_arn(f"workflow-{table_id(number)}")


def membership(number, tables, name="Campaigns", status="ACTIVE"):
    listed = {"id": membership_id(number), "collaborationName": name, "status": status}
    return {**listed, "idMappingTables": [{"id": table_id(table)} if isinstance(table, int) else table for table in tables]}


@pytest.fixture
def discover(tmp_path):
    """Runs the script in an account."""

    def run(memberships, *options, denied=()):
        file = tmp_path / "account.json"
        file.write_text(json.dumps({"memberships": memberships, "denied": list(denied)}))
        # A person's own configuration does not matter.
        nothing = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull, "PATH": os.environ["PATH"]}
        with services("--account", file) as environment:
            command = [sys.executable, ROOT / "docs/discover.py", *options]
            return subprocess.run(command, env={**nothing, **environment}, capture_output=True, encoding="utf-8", timeout=60)

    return run


def required(value, shape, path):
    """The members that the API model requires and a value does not have."""
    match shape.type_name:
        case "structure":
            for name in shape.required_members:
                if name not in value:
                    yield f"{path}.{name}"
            for name, item in value.items():
                if name in shape.members:
                    yield from required(item, shape.members[name], f"{path}.{name}")
        case "list":
            for item in value:
                yield from required(item, shape.member, path)


def test_the_stand_ins_answer_as_the_api_model_says(tmp_path):
    file = tmp_path / "account.json"
    file.write_text(json.dumps({"memberships": [membership(1, range(5)), membership(2, []), membership(3, [])]}))
    with services("--account", file) as environment:
        keys = {"aws_access_key_id": "local", "aws_secret_access_key": "local"}
        where = {"endpoint_url": environment["AWS_ENDPOINT_URL"], "region_name": environment["AWS_REGION"]}
        client = boto3.client("cleanrooms", **keys, **where)
        table = {"membershipIdentifier": membership_id(1)}
        for operation, member, given in [
            ("ListMemberships", "membershipSummaries", {}),
            ("ListIdMappingTables", "idMappingTableSummaries", table),
        ]:
            call = getattr(client, xform_name(operation))
            shape = client.meta.service_model.operation_model(operation).output_shape
            for size in (1, 2, 100):
                seen, token = [], {}
                while token is not None:
                    page = call(**given, **token, maxResults=size)
                    assert 1 <= len(page[member]) <= size
                    assert not list(required(page, shape, operation))
                    seen += [item["arn"] for item in page[member]]
                    token = {"nextToken": page["nextToken"]} if "nextToken" in page else None
                assert len(seen) == len(set(seen)) == (5 if given else 3)
            with pytest.raises(client.exceptions.ValidationException):
                call(**given, nextToken="x")
            with pytest.raises(ClientError, match="MissingAuthenticationToken"):
                unsigned = boto3.client("cleanrooms", **where, config=Config(signature_version=UNSIGNED))
                getattr(unsigned, xform_name(operation))(**given)
        shown = client.get_id_mapping_table(**table, idMappingTableIdentifier=table_id(4))["idMappingTable"]
        [*_, last] = client.list_id_mapping_tables(**table, maxResults=5)["idMappingTableSummaries"]
        assert last == {**{key: shown[key] for key in last}, "createTime": last["createTime"]}
        with pytest.raises(client.exceptions.ResourceNotFoundException):
            client.list_id_mapping_tables(membershipIdentifier=membership_id(9))
        with pytest.raises(client.exceptions.ValidationException):
            client.list_id_mapping_tables(membershipIdentifier="X" * 36)


def from_samconfig(text):
    """What `sam deploy` takes for each stack, after the text was appended to samconfig.toml."""
    config = tomllib.loads((ROOT / "samconfig.toml").read_text() + text)
    stacks = [config.pop("default")["deploy"]["parameters"]]
    for number, (name, environment) in enumerate(config.items(), 1):
        if number > 1:
            parameters = environment["deploy"]["parameters"]
            assert name == f"tables-{number}" and parameters["template_file"] == "tables.yaml"
            assert parameters["stack_name"] == f"id-mapping-populator-{name}"
            stacks.append(parameters)
    for parameters in stacks:
        values = CfnParameterOverridesType().convert((parameters["parameter_overrides"],), None, None)
        assert list(values) == NAMES and values.keys() <= PARAMETERS.keys()
        yield [values[name].split(",") if values[name] else [] for name in NAMES]


def from_terraform(text):
    def plain(value):
        match value:
            case dict():
                return {plain(key): plain(item) for key, item in value.items() if not key.startswith("__")}
            case list():
                return [plain(item) for item in value]
            case str():
                return json.loads(value) if value.startswith('"') else value

    variables = plain(hcl2.loads(text + "\n"))
    yield undivided(variables)


def from_cdk(text):
    [(key, context)] = json.loads(text).items()
    assert key == "id-mapping-populator"
    assert (context.pop("template_file"), context.pop("release_bucket")) == ("release/template.yaml", "BUCKET")
    yield undivided(context)


def undivided(values):
    """The lists of a tool that divides the tables itself, with the memberships that it takes from them."""
    assert list(values) == ["id_mapping_table_arns", "id_mapping_workflow_arns"]
    tables, workflows = values.values()
    return [tables, list(dict.fromkeys(arn.split("/idmappingtable/")[0] for arn in tables)), workflows]


READERS = {"samconfig": from_samconfig, "terraform": from_terraform, "cdk": from_cdk}


@pytest.fixture(params=READERS)
def tool(request):
    return request.param


def test_it_lists_what_the_account_has(discover):
    # Seven tables and four memberships are more than a page has.
    tables = [*range(1, 7), {"id": table_id(7), "name": "Hashed e-mails", "workflowArn": workflow_arn("workflow-shared")}]
    gone = [membership(8, [81], status="REMOVED"), membership(9, [91], status="COLLABORATION_DELETED")]
    others = [membership(number, []) for number in (2, 3)]
    done = discover([*gone, membership(1, tables), *others, membership(4, [41], "Überblick 概要")])
    assert (done.returncode, done.stderr) == (0, "")
    expected = [f"membership {membership_id(1)}, collaboration 'Campaigns'"]
    for number in range(1, 7):
        expected += [f"  'table-{table_id(number)}'", f"    {table_arn(1, number)}"]
        expected += [f"    {own_workflow(number)} (rules, incremental)"]
    expected += ["  'Hashed e-mails'", f"    {table_arn(1, 7)}"]
    expected += [f"    {workflow_arn('workflow-shared')} (rules, incremental)"]
    expected += [f"membership {membership_id(number)}, collaboration 'Campaigns'" for number in (2, 3)]
    expected += [f"membership {membership_id(4)}, collaboration 'Überblick 概要'", f"  'table-{table_id(41)}'"]
    expected += [f"    {table_arn(4, 41)}", f"    {own_workflow(41)} (rules, incremental)"]
    assert done.stdout.splitlines() == expected


def test_it_writes_the_parameters(discover, tool):
    shared = {"id": table_id(3), "workflowArn": own_workflow(1)}
    theirs = {"id": table_id(4), "workflowArn": OTHERS_WORKFLOW}
    account = [membership(1, [1, 2, shared, theirs]), membership(2, [5])]
    done = discover(account, "--write", tool)
    assert done.returncode == 0
    [stack] = READERS[tool](done.stdout)
    tables = [table_arn(1, 1), table_arn(2, 5), *(table_arn(1, number) for number in (2, 3, 4))]
    # The oldest are first. The workflow of another account is not among them.
    assert stack == [tables, [membership_arn(1), membership_arn(2)], [own_workflow(number) for number in (1, 5, 2)]]
    assert f"    {OTHERS_WORKFLOW} (not written: of another account or Region" in done.stderr
    # What is listed is the same as without the option.
    assert done.stderr == discover(account).stdout

    one = discover(account, "--write", tool, "--membership", membership_id(2))
    assert one.returncode == 0
    assert list(READERS[tool](one.stdout)) == [[[table_arn(2, 5)], [membership_arn(2)], [own_workflow(5)]]]


def test_no_workflow_is_an_empty_list(discover, tool):
    done = discover([membership(1, [{"id": table_id(1), "workflowArn": OTHERS_WORKFLOW}])], "--write", tool)
    assert (done.returncode, list(READERS[tool](done.stdout))) == (0, [[[table_arn(1, 1)], [membership_arn(1)], []]])


def test_further_stacks_get_what_is_too_much_for_one(discover, tool):
    account = [membership(number, range(number * 100, number * 100 + 15)) for number in range(1, 5)]
    done = discover(account, "--write", tool)
    assert done.returncode == 0
    stacks = list(READERS[tool](done.stdout))
    assert [len(tables) for tables, _, _ in stacks] == ([25, 25, 10] if tool == "samconfig" else [60])
    everything = sum((tables for tables, _, _ in stacks), [])
    assert sorted(everything) == sorted(table_arn(m, m * 100 + number) for m in range(1, 5) for number in range(15))
    for tables, memberships, workflows in stacks:
        assert sorted(memberships) == sorted({arn.split("/idmappingtable/")[0] for arn in tables})
        assert workflows == [workflow_arn(f"workflow-{arn.rsplit('/', 1)[1]}") for arn in tables]


def test_no_parameter_is_longer_than_cloudformation_takes(discover):
    def long(number):
        return {"id": table_id(number), "workflowArn": workflow_arn(f"workflow-{number:246}".replace(" ", "_"))}

    done = discover([membership(1, map(long, range(20)))], "--write", "samconfig")
    stacks = list(from_samconfig(done.stdout))
    # 320 bytes and a comma are of each workflow.
    assert [len(tables) for tables, _, _ in stacks] == [12, 8]
    assert all(len(",".join(arns)) <= 4096 for stack in stacks for arns in stack)


HOSTILE = [
    'a\n[default.deploy.parameters]\nstack_name = "mine"',
    'quotes " \' """ \'\'\' \\',
    "${file(\"/etc/passwd\")} %{ if true } $$",
    "\x1b]0;title\x07\x1b[2J\x7f\x9b31m\r",
    "*/ # // <!-- \u202e\u2028\u2029\u200b\x85\x0b\x0c",
    "ID,Evil=x }] } ]",
    "",
]


def test_more_tables_than_the_function_takes_are_not_written(discover, tool):
    account = [membership(1, list(range(1, 102)))]
    done = discover(account, "--write", tool)
    assert (done.returncode, done.stdout) == (1, "")
    assert "101 tables are too many for one function, which takes 100: use --membership" in done.stderr
    # Without `--write` it only lists them.
    assert discover(account).returncode == 0


def test_a_name_is_only_text(discover, tool):
    def account(names):
        tables = [{"id": table_id(number), "name": name} for number, name in enumerate(names)]
        return [membership(1, tables, "".join(names)), membership(2, [20])]

    done = discover(account(HOSTILE), "--write", tool)
    plain = discover(account(["name"] * len(HOSTILE)), "--write", tool)
    assert done.returncode == plain.returncode == 0
    assert list(READERS[tool](done.stdout)) == list(READERS[tool](plain.stdout))
    for text in [done.stdout, done.stderr]:
        assert all(line.isprintable() for line in text.split("\n"))
    # No name makes a line of its own.
    for one, other in [(done.stdout, plain.stdout), (done.stderr, plain.stderr)]:
        assert len(one.split("\n")) == len(other.split("\n"))
    if tool == "samconfig":
        lines = [line for line in done.stdout.splitlines() if not line.startswith("# '") and not line.startswith('# "')]
        assert [line.split(" = ")[0] for line in lines] == ["parameter_overrides"]


@pytest.mark.parametrize(
    "table",
    [
        {"id": 'x" Evil="y'},
        {"id": f"{table_id(2)}\n"},
        {"id": f"{table_id(2)}/../{table_id(3)}"},
        {"id": table_id(2), "workflowArn": workflow_arn('x" Evil="y')},
        {"id": table_id(2), "workflowArn": workflow_arn("x,y")},
        {"id": table_id(2), "workflowArn": workflow_arn("x\n\x1b")},
    ],
    ids=repr,
)
def test_an_arn_of_another_form_is_not_written(discover, table):
    done = discover([membership(1, [1, table])], "--write", "samconfig")
    assert done.returncode == 1
    what = "workflow" if "workflowArn" in table else "table"
    value = table.get("workflowArn", f"{membership_arn(1)}/idmappingtable/{table['id']}")
    assert f"discover.py: not the ARN of an ID mapping {what}: {value!r}" in done.stderr
    assert all(line.isprintable() for line in done.stderr.split("\n"))
    if what == "table":
        assert done.stdout == "" and NOTHING_IS_WRITTEN in done.stderr
    else:
        stack = [[table_arn(1, 1), table_arn(1, 2)], [membership_arn(1)], [own_workflow(1)]]
        assert list(from_samconfig(done.stdout)) == [stack]


def missing(done):
    """The actions that are missing, with their resources."""
    found = re.findall(r"^discover\.py: permission missing: (\S+) on (.+)\. AWS says: '.+'$", done.stderr, re.MULTILINE)
    for action, resources in found:
        service, name = action.split(":")
        [data] = get_action_data(service, name).values()
        # One of the resources that the Service Authorization Reference has for the action, or all of them.
        assert len(resources.split(" and ")) == len(data), data
    return found


def test_a_membership_whose_tables_may_not_be_listed(discover):
    account = [membership(1, [1]), membership(2, [2]), membership(3, [3])]
    denied = [f"/memberships/{membership_id(2)}/idmappingtables"]
    done = discover(account, denied=denied)
    assert done.returncode == 1
    assert table_arn(1, 1) in done.stdout and table_arn(3, 3) in done.stdout and table_arn(2, 2) not in done.stdout
    arn = membership_arn(2).replace("123456789012", "*")
    assert missing(done) == [("cleanrooms:ListIdMappingTables", f"{arn} and {arn}/idmappingtable/*")]
    written = discover(account, "--write", "cdk", denied=denied)
    assert (written.returncode, written.stdout) == (1, "")
    assert NOTHING_IS_WRITTEN in written.stderr
    # The others can be asked for.
    options = [word for number in (1, 3) for word in ("--membership", membership_id(number))]
    others = discover(account, "--write", "cdk", *options, denied=denied)
    assert others.returncode == 0
    [[tables, _, _]] = from_cdk(others.stdout)
    assert tables == [table_arn(1, 1), table_arn(3, 3)]


def test_memberships_that_may_not_be_listed(discover):
    done = discover([membership(1, [1])], "--write", "cdk", denied=["/memberships"])
    assert (done.returncode, done.stdout) == (1, "")
    assert missing(done) == [("cleanrooms:ListMemberships", "*")]
    assert NOTHING_IS_WRITTEN in done.stderr
    known = discover([membership(1, [1])], "--write", "cdk", "--membership", membership_id(1), denied=["/memberships"])
    assert known.returncode == 1
    assert list(from_cdk(known.stdout)) == [[[table_arn(1, 1)], [membership_arn(1)], [own_workflow(1)]]]
    assert missing(known) == [("cleanrooms:ListMemberships", "*")]


def test_a_workflow_that_may_not_be_read_or_does_not_exist(discover):
    deleted = {"id": table_id(2), "workflowArn": workflow_arn("deleted")}
    account = [membership(1, [1, deleted, {"id": table_id(3), "workflowArn": own_workflow(1)}])]
    done = discover(account, "--write", "cdk", denied=[f"/idmappingworkflows/workflow-{table_id(1)}"])
    assert done.returncode == 1
    assert missing(done) == [("entityresolution:GetIdMappingWorkflow", own_workflow(1))]
    assert done.stderr.count(f"    {own_workflow(1)} (could not be read)") == 2
    failed = f"entityresolution:GetIdMappingWorkflow on {workflow_arn('deleted')} failed with 'ResourceNotFoundException'"
    assert f"discover.py: {failed}" in done.stderr
    # The function's role may read what this caller may not.
    [[_, _, workflows]] = from_cdk(done.stdout)
    assert workflows == [own_workflow(1), workflow_arn("deleted")]


def test_a_membership_that_does_not_exist(discover):
    account = [membership(1, [1]), membership(2, [2], status="REMOVED")]
    for number in (2, 3):
        done = discover(account, "--write", "cdk", "--membership", membership_id(1), "--membership", membership_id(number))
        assert (done.returncode, done.stdout) == (1, "")
        assert f"{membership_id(number)} is not an active membership of this account in eu-west-1" in done.stderr


def test_an_account_without_tables(discover):
    done = discover([membership(1, [])], "--write", "cdk")
    assert (done.returncode, done.stdout) == (1, "")
    assert "no ID mapping table was found in eu-west-1" in done.stderr
