"""The Terraform module: it has what the template has, and Terraform makes the stacks of it that the template takes.

AWS's provider cannot be had here, so terraform_provider_aws.py takes its place.
"""

import json
import os
import shutil
import subprocess
import sys
import tomllib

import hcl2
import pytest
from templates import REGION, ROOT, Stack, main_stack, membership_arn, parsed, table, workflow

MODULE = ROOT / "terraform"
TEMPLATE = parsed("template.yaml")
PARAMETERS = TEMPLATE["Parameters"]
VERSION = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
# The module takes it from the tables.
DERIVED = {"MembershipArns"}
# A value of each variable that is not its default.
GIVEN = {
    "id_mapping_table_arns": [table(1), table(2)],
    "id_mapping_workflow_arns": [workflow(1)],
    "allowed_accounts": "210987654321",
    "own_tables_only": True,
    "settings": "FULL_REFRESH_EVERY=156h MAX_WAIT=3d",
    "schedule_expression": "cron(0 2 * * ? *)",
    "schedule_timezone": "Europe/Berlin",
    "request_event_bus_name": "requests",
    "outcome_event_bus_name": "arn:aws:events:eu-west-1:210987654321:event-bus/central",
    "track_completion": True,
    "ledger_table_name": "ledger-of-an-earlier-stack",
    "retain_on_delete": False,
    "monitoring": "all",
    "alarm_topic_arn": "arn:aws:sns:eu-west-1:123456789012:alarms",
    "stale_after_hours": 36,
    "architecture": "x86_64",
    "reserved_concurrency": 5,
    "code_signing_config_arn": "arn:aws:lambda:eu-west-1:123456789012:code-signing-config:csc-0123456789abcdef0",
    "deployment_preference": "Canary10Percent5Minutes",
    "permissions_boundary_arn": "arn:aws:iam::123456789012:policy/boundary",
    "kms_key_arn": "arn:aws:kms:eu-west-1:123456789012:key/aaaaaaaa-0001-4000-8000-000000000001",
    "subnet_ids": ["subnet-01", "subnet-02"],
    "security_group_ids": ["sg-01"],
}
# A value of each variable that it refuses, if it refuses any. Of the others Terraform itself knows the type.
REFUSED = {
    "id_mapping_table_arns": [membership_arn(1)],
    "id_mapping_workflow_arns": [workflow(1), membership_arn(1)],
    "allowed_accounts": "21098765432",
    "settings": "MAX_WAIT=3d  SETTLE_TIME=5m",
    "schedule_expression": "rate(12 hour)",
    "schedule_timezone": "Europe / Berlin",
    "request_event_bus_name": "",
    "outcome_event_bus_name": "arn:aws:events:eu-west-1:210987654321:rule/central",
    "ledger_table_name": "ab",
    "monitoring": "some",
    "alarm_topic_arn": "alarms",
    "stale_after_hours": 8785,
    "architecture": "arm",
    "reserved_concurrency": -2,
    "code_signing_config_arn": "arn:aws:lambda:eu-west-1:123456789012:code-signing-config:csc-0",
    "deployment_preference": "Canary",
    "permissions_boundary_arn": "boundary",
    "kms_key_arn": "alias/key",
    "subnet_ids": ["subnet-01", "vpc-02"],
    "security_group_ids": ["sg-01,sg-02"],
    "name": "1",
    "release_bucket": "s3://bucket",
    "release_version": "v0.1.0",
    "tables_per_stack": 26,
}


def snake(name):
    words = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
    return words.removeprefix("_")


def blocks(kind, *files):
    options = hcl2.SerializationOptions(with_comments=False, explicit_blocks=False, strip_string_quotes=True)
    found = {}
    for file in files:
        for block in hcl2.loads((MODULE / file).read_text(), serialization_options=options).get(kind, []):
            assert not found.keys() & block.keys()
            found |= block
    return found


def test_what_is_generated_is_that_of_the_template():
    done = subprocess.run([sys.executable, ROOT / ".ci/parameters", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def default(parameter):
    """What a variable has as its default: Terraform's own types, and null where the template chooses."""
    value = parameter["Default"]
    if parameter["Type"] == "CommaDelimitedList":
        return value.split(",") if value else []
    if {"true", "false"} <= set(map(str, parameter.get("AllowedValues", []))):
        return {"true": True, "false": False, "": None}[value]
    return value


def test_the_variables_and_the_parameters_are_the_same_set_with_the_same_defaults():
    variables = blocks("variable", "parameters.tf")
    parameters = {snake(name): parameter for name, parameter in PARAMETERS.items() if name not in DERIVED}
    assert list(variables) == list(parameters)
    for name, parameter in parameters.items():
        assert ("default" in variables[name]) == ("Default" in parameter), name
        if "Default" in parameter:
            found, expected = variables[name]["default"], default(parameter)
            assert (found, type(found)) == (expected, type(expected)), name
        of_type = {"CommaDelimitedList": "list(string)", "Number": "number"}.get(parameter["Type"], "string")
        if of_type == "string" and "true" in parameter.get("AllowedValues", []):
            of_type = "bool"
        assert variables[name]["type"].strip("${}") == of_type, name
        assert ("validation" in variables[name]) == (of_type != "bool"), name
    assert GIVEN.keys() == parameters.keys()


def test_every_other_variable_is_described_and_has_a_type():
    variables = blocks("variable", "parameters.tf", "variables.tf")
    for name, variable in variables.items():
        assert variable["description"].endswith("."), name
        assert variable["type"], name
    refusing = {name for name, variable in variables.items() if "validation" in variable}
    assert refusing == REFUSED.keys()


def test_the_outputs_are_the_same_set():
    assert list(blocks("output", "outputs.tf")) == [snake(name) for name in TEMPLATE["Outputs"]]


def test_the_module_installs_its_own_version():
    assert blocks("variable", "variables.tf")["release_version"]["default"] == VERSION


class Terraform:
    def __init__(self, folder):
        self.program = shutil.which("terraform")
        if self.program is None:
            pytest.skip("there is no terraform on PATH: the module was read by python-hcl2, and not evaluated")
        self.module = folder / "terraform"
        shutil.copytree(MODULE, self.module, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*"))
        provider = folder / "provider/terraform-provider-aws"
        provider.parent.mkdir()
        script = ROOT / "tests/deployment/terraform_provider_aws.py"
        provider.write_text(f"#!/bin/sh\nexec '{sys.executable}' '{script}' \"$@\"\n")
        provider.chmod(0o755)
        overrides = f'dev_overrides {{\n    "hashicorp/aws" = {json.dumps(str(provider.parent))}\n  }}'
        (folder / "terraformrc").write_text(f"provider_installation {{\n  {overrides}\n  direct {{}}\n}}\n")
        outputs = {name: list(parsed(name)["Outputs"]) for name in ["template.yaml", "tables.yaml", "schemas.yaml"]}
        self.environment = {
            **os.environ,
            "CHECKPOINT_DISABLE": "1",
            "HOME": str(folder),
            "TEMPLATES": json.dumps(outputs),
            "TF_CLI_CONFIG_FILE": str(folder / "terraformrc"),
        }

    def run(self, *arguments, folder="."):
        command = [self.program, f"-chdir={self.module / folder}", *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)

    def succeeds(self, *arguments, folder="."):
        done = self.run(*arguments, folder=folder)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def given(self, variables, folder="."):
        (self.module / folder / "terraform.tfvars.json").write_text(json.dumps(variables))

    def applied(self, variables, folder="."):
        """The state after the stacks are created."""
        self.given(variables, folder)
        self.succeeds("apply", "-auto-approve", "-input=false", "-no-color", folder=folder)
        return json.loads(self.succeeds("show", "-json", folder=folder))["values"]

    def refusal(self, variables):
        self.given(variables)
        done = self.run("plan", "-input=false", "-no-color")
        assert done.returncode == 1, done.stdout
        return " ".join(done.stderr.replace("│", " ").split())


@pytest.fixture
def terraform(tmp_path):
    return Terraform(tmp_path)


def stacks(module):
    """The stacks of a module's state by their names."""
    resources = [resource["values"] for resource in module["resources"] if resource["type"] == "aws_cloudformation_stack"]
    return {stack["name"]: stack for stack in resources}


def test_terraform_formats_and_validates_the_module_and_its_example(terraform):
    terraform.succeeds("fmt", "-check", "-recursive", "-diff")
    terraform.succeeds("validate")
    terraform.succeeds("get", folder="examples/hundred-tables")
    terraform.succeeds("validate", folder="examples/hundred-tables")


def test_the_defaults_are_those_of_the_template(terraform):
    [(name, stack)] = stacks(
        terraform.applied({"release_bucket": "releases", "id_mapping_table_arns": [table(1)]})["root_module"]
    ).items()
    assert name == "id-mapping-populator"
    assert stack["capabilities"] == ["CAPABILITY_AUTO_EXPAND", "CAPABILITY_IAM"]
    root = f"https://releases.s3.{REGION}.amazonaws.com/id-mapping-populator/{VERSION}"
    assert stack["template_url"] == f"{root}/template.yaml"
    lists = {"IdMappingTableArns": table(1), "MembershipArns": membership_arn(1)}
    defaults = {name: str(parameter["Default"]) for name, parameter in PARAMETERS.items() if "Default" in parameter}
    assert stack["parameters"] == defaults | lists | {"ReleaseBucket": "releases"}


def test_every_variable_arrives_as_its_parameter(terraform):
    given = {
        **GIVEN,
        "name": "another",
        "release_bucket": "releases",
        "release_version": "1.2.3",
        "schema_registry": True,
        "iam_role_arn": "arn:aws:iam::123456789012:role/deployer",
        "tags": {"team": "data"},
    }
    state = terraform.applied(given)
    made = stacks(state["root_module"])
    assert made.keys() == {"another", "another-schemas"}
    for stack in made.values():
        assert stack["iam_role_arn"] == given["iam_role_arn"]
        assert stack["tags"] == given["tags"]
        assert "/1.2.3/" in stack["template_url"]
    assert made["another-schemas"]["template_url"].endswith("/schemas.yaml")
    expected = {"MembershipArns": membership_arn(1), "ReleaseBucket": "releases"}
    for name in PARAMETERS.keys() - DERIVED:
        value = GIVEN[snake(name)]
        value = ",".join(value) if isinstance(value, list) else value
        expected[name] = str(value).lower() if isinstance(value, bool) else str(value)
    found = made["another"]["parameters"]
    assert found == expected
    # The template takes these values.
    main_stack(**{name: value for name, value in found.items() if name != "ReleaseBucket"})
    outputs = {name: output["value"] for name, output in state.get("outputs", {}).items()}
    assert outputs == {snake(name): f"{name}-of-another" for name in TEMPLATE["Outputs"]}


def test_a_variable_refuses_what_the_template_refuses(terraform):
    errors = terraform.refusal({"release_bucket": "releases", **REFUSED})
    assert [name for name in REFUSED if f" {name}: " not in errors] == []


@pytest.mark.parametrize(
    ("variables", "error"),
    [
        ({"id_mapping_table_arns": []}, "id_mapping_table_arns: at least one."),
        ({"id_mapping_table_arns": [table(number) for number in range(101)]}, "id_mapping_table_arns: at most 100."),
        ({"id_mapping_table_arns": [table(number) for number in range(51)], "tables_per_stack": 10}, "at most five"),
        ({"reserved_concurrency": 1.5}, "reserved_concurrency: at least -1 and a whole number."),
        ({"id_mapping_table_arns": [table(1), table(1)]}, "id_mapping_table_arns: each once."),
        ({"id_mapping_workflow_arns": [workflow(1), workflow(1)]}, "id_mapping_workflow_arns: each once."),
        ({"id_mapping_workflow_arns": [workflow(number) for number in range(26)]}, "each table has one"),
        (
            {"id_mapping_table_arns": [table(1), table(2)], "tables_per_stack": 1, "own_tables_only": True},
            "own_tables_only is not for stacks with further tables",
        ),
    ],
)
def test_values_are_refused_that_no_stack_could_have(terraform, variables, error):
    given = {"release_bucket": "releases", "id_mapping_table_arns": [table(1)], **variables}
    assert error in terraform.refusal(given)


def taken(made, name):
    """The lists of the stacks, after the templates took the parameters."""
    main = {key: value for key, value in made[name]["parameters"].items() if key != "ReleaseBucket"}
    main_stack(**main)
    further = [stack["parameters"] for other, stack in made.items() if other != name]
    for parameters in further:
        Stack("further", parsed("tables.yaml"), parameters | {"TablesPath": "/id-mapping-populator/STACK/"})
    return [
        {key: parameters[key].split(",") for key in ["IdMappingTableArns", "MembershipArns", "IdMappingWorkflowArns"]}
        for parameters in [main, *further]
    ]


def test_a_hundred_tables_are_four_stacks(terraform):
    """Through the example, whose topic has no ARN before it is created."""
    tables = [table(number, 1 + number // 2) for number in range(100)]
    workflows = [workflow(number) for number in range(100)]
    given = {"id_mapping_table_arns": tables, "id_mapping_workflow_arns": workflows, "region": REGION}
    folder = "examples/hundred-tables"
    terraform.succeeds("get", folder=folder)
    state = terraform.applied({**given, "release_bucket": "releases"}, folder)
    [module] = state["root_module"]["child_modules"]
    made, name = stacks(module), "id-mapping-populator"
    assert made.keys() == {name, *(f"{name}-tables-{number}" for number in (2, 3, 4))}
    lists = taken(made, name)
    assert sorted(arn for group in lists for arn in group["IdMappingTableArns"]) == sorted(tables)
    assert sorted(arn for group in lists for arn in group["IdMappingWorkflowArns"]) == sorted(workflows)
    for group in lists:
        assert len(group["IdMappingTableArns"]) == 25
        assert group["MembershipArns"] == list(
            dict.fromkeys(arn.split("/idmappingtable/")[0] for arn in group["IdMappingTableArns"])
        )
    assert made[name]["parameters"]["AlarmTopicArn"].endswith(":id-mapping-populator-alarms")
    for number in (2, 3, 4):
        further = made[f"{name}-tables-{number}"]
        assert further["template_url"].endswith("/tables.yaml")
        assert further["capabilities"] == ["CAPABILITY_IAM"]
        for output in ["PopulatorRoleName", "StatusRoleName", "TablesPath"]:
            assert further["parameters"][output] == f"{output}-of-{name}"
    assert state["outputs"]["function_arn"]["value"] == f"FunctionArn-of-{name}"
