"""The CDK construct: its stack is that of the template with these parameters."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from samtranslator.yaml_helper import yaml_parse
from templates import ROOT, Stack, expanded, membership_arn, parsed, table, workflow
from test_terraform import DERIVED, GIVEN, PARAMETERS, REFUSED, VERSION, snake

CDK = ROOT / "cdk"
sys.path.insert(0, str(CDK))
TYPES = {"CommaDelimitedList": list[str], "Number": int, "String": str}
TABLES = [table(1), table(2)]


@pytest.fixture(scope="module")
def template_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("release")
    subprocess.run([ROOT / ".ci/release-template", VERSION, folder], check=True)
    return str(folder / "template.yaml")


@pytest.fixture(scope="module")
def cdk():
    """The construct. aws-cdk-lib runs in Node.js."""
    if shutil.which("node") is None:
        pytest.skip("aws-cdk-lib needs Node.js, and there is no node on PATH")
    import id_mapping_populator

    return id_mapping_populator


@pytest.fixture
def synthesized(cdk, template_file):
    """Makes the template of a stack that has the construct with some arguments."""
    from aws_cdk import App, CfnOutput, Stack as CdkStack
    from aws_cdk.assertions import Template

    def synthesize(region=None, **arguments):
        stack = CdkStack(App(), "populator", env={"region": region} if region else None)
        given = {"template_file": template_file, "release_bucket": "releases", "id_mapping_table_arns": TABLES}
        given = {name: value(stack) if callable(value) else value for name, value in (given | arguments).items()}
        populator = cdk.IdMappingPopulator(stack, "Populator", **given)
        CfnOutput(stack, "Found", value=populator.output("FunctionArn"))
        return Template.from_stack(stack).to_json()

    return synthesize


class ReleasedStack(Stack):
    """A stack whose nested templates are in a bucket."""

    def stack(self, logical):
        if logical not in self.nested:
            properties = self.value(self.template["Resources"][logical]["Properties"])
            template = {"Parameters": {}} | parsed(properties["TemplateURL"].rpartition("/")[2])
            given = properties.get("Parameters", {})
            self.nested[logical] = Stack(f"{self.name}-{logical}", template, given, self.region)
        return self.nested[logical]


def by_lists(node):
    """CDK writes the argument of GetAtt as one text."""
    if isinstance(node, dict):
        return {
            name: value.split(".", 1) if name == "Fn::GetAtt" and isinstance(value, str) else by_lists(value)
            for name, value in node.items()
        }
    return [by_lists(item) for item in node] if isinstance(node, list) else node


def evaluated(template, **parameters):
    given = {name: parameters[name] for name in parameters if name in template["Parameters"]}
    stack = ReleasedStack("populator", expanded(template, **given), parameters)
    for logical, resource in stack.template["Resources"].items():
        if resource["Type"] == "AWS::CloudFormation::Stack" and logical in stack.resources:
            stack.stack(logical)
    return stack


def from_cdk(template):
    """What the stack has, without what CDK adds to every stack."""
    template = by_lists(template)
    del template["Parameters"]["BootstrapVersion"], template["Rules"]["CheckBootstrapVersion"], template["Outputs"]["Found"]
    assert template["Parameters"] == {}
    return evaluated(template)


def comparable(node):
    """What CloudFormation takes alike: a number and its text, and one name to depend on and a list of it.

    The id of a function's version ends in a hash of what SAM finds for the code, a reference or a value.
    """
    if isinstance(node, dict):
        return {
            comparable(name): [value] if name == "DependsOn" and isinstance(value, str) else comparable(value)
            for name, value in node.items()
        }
    if isinstance(node, list):
        return [comparable(value) for value in node]
    return node if isinstance(node, bool) else re.sub("PopulatorVersion[0-9a-f]{10}", "PopulatorVersion", str(node))


def parameters(arguments):
    """The template's parameters for arguments of the construct."""
    given = {"ReleaseBucket": "releases", "MembershipArns": membership_arn(1), "IdMappingTableArns": ",".join(TABLES)}
    for name in PARAMETERS.keys() - DERIVED:
        if snake(name) in arguments:
            value = arguments[snake(name)]
            value = ",".join(value) if isinstance(value, list) else value
            given[name] = str(value).lower() if isinstance(value, bool) else str(value)
    return given


def test_the_arguments_and_the_parameters_are_the_same_set(cdk):
    types = cdk.Parameters.__annotations__
    assert list(types) == [snake(name) for name in PARAMETERS if name not in DERIVED]
    for name, parameter in PARAMETERS.items():
        if name not in DERIVED:
            [type_] = types[snake(name)].__args__
            is_flag = {"true", "false"} <= set(map(str, parameter.get("AllowedValues", [])))
            assert type_ == (bool if is_flag else TYPES[parameter["Type"]]), name
            assert (snake(name) in cdk.Parameters.__required_keys__) == ("Default" not in parameter), name


@pytest.mark.parametrize("arguments", [{}, GIVEN], ids=["defaults", "everything"])
def test_the_stack_is_that_of_the_template(synthesized, template_file, arguments):
    made = synthesized(**arguments)
    template = yaml_parse(Path(template_file).read_text())
    assert made["Transform"] == template["Transform"]
    assert made["Conditions"].keys() == template["Conditions"].keys()
    assert made["Rules"].keys() == template["Rules"].keys() | {"CheckBootstrapVersion"}
    found, expected = from_cdk(made), evaluated(template, **parameters(arguments))
    assert comparable(found.resources) == comparable(expected.resources)
    assert comparable(found.outputs) == comparable(expected.outputs)
    assert found.nested.keys() == expected.nested.keys() >= {"TablesStack", "MonitoringStack"}
    for logical, nested in expected.nested.items():
        assert comparable(found.nested[logical].parameters) == comparable(nested.parameters)


def test_a_hundred_tables_are_four_stacks(synthesized):
    tables = [table(number, 1 + number // 2) for number in range(100)]
    workflows = [workflow(number) for number in range(100)]
    made = synthesized(id_mapping_table_arns=tables, id_mapping_workflow_arns=workflows, region="eu-west-1")
    stack = from_cdk(made)
    lists = [
        [one.parameters[name] for name in ["IdMappingTableArns", "MembershipArns", "IdMappingWorkflowArns"]]
        for logical, one in stack.nested.items()
        if "Tables" in logical
    ]
    assert sorted(arn for group in lists for arn in group[0]) == sorted(tables)
    assert sorted(arn for group in lists for arn in group[2]) == sorted(workflows)
    for of_tables, memberships, _ in lists:
        assert len(of_tables) == 25
        assert memberships == list(dict.fromkeys(arn.split("/idmappingtable/")[0] for arn in of_tables))
    url = f"https://releases.s3.eu-west-1.amazonaws.com/id-mapping-populator/{VERSION}/tables.yaml"
    further = {logical: resource["Properties"] for logical, resource in stack.resources.items() if "PopulatorTables" in logical}
    assert len(further) == 3
    for properties in further.values():
        assert properties["TemplateURL"] == url
        for name in ["PopulatorRoleName", "StatusRoleName", "TablesPath"]:
            assert properties["Parameters"][name] == stack.outputs[name]


def test_the_schemas_are_a_nested_stack(synthesized):
    stack = from_cdk(synthesized(schema_registry=True))
    [schemas] = [resource for logical, resource in stack.resources.items() if "Schemas" in logical]
    assert schemas["Properties"]["TemplateURL"].endswith(f".amazonaws.com/id-mapping-populator/{VERSION}/schemas.yaml")


@pytest.mark.parametrize("name", [name for name in PARAMETERS if snake(name) in REFUSED and name not in DERIVED])
def test_an_argument_refuses_what_the_template_refuses(synthesized, name):
    with pytest.raises(ValueError, match=f"^{name} is .*, and must be "):
        synthesized(**{snake(name): REFUSED[snake(name)]})


def topic(stack):
    from aws_cdk import aws_sns

    return aws_sns.Topic(stack, "Topic").topic_arn


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"id_mapping_table_arns": []}, "has 0 ARNs, and must have 1 to 100"),
        ({"id_mapping_table_arns": [table(number) for number in range(101)]}, "has 101 ARNs, and must have 1 to 100"),
        ({"id_mapping_table_arns": [table(number) for number in range(51)], "tables_per_stack": 10}, "may be 5 stacks"),
        ({"id_mapping_table_arns": [table(1), table(1)]}, "id_mapping_table_arns must have each ARN once"),
        ({"id_mapping_workflow_arns": [workflow(1), workflow(1)]}, "id_mapping_workflow_arns must have each ARN once"),
        ({"id_mapping_workflow_arns": [workflow(number) for number in range(26)]}, "each table has one"),
        ({"tables_per_stack": 1, "own_tables_only": True}, "own_tables_only is not for stacks with further tables"),
        ({"tables_per_stack": 26}, "tables_per_stack must be from 1 to 25"),
        ({"alarm_topic_arn": topic}, "AlarmTopicArn refers to a resource"),
        ({"template_file": str(ROOT / "template.yaml")}, "is not the template of a release"),
    ],
)
def test_arguments_are_refused_that_no_stack_could_have(synthesized, arguments, error):
    with pytest.raises(ValueError, match=error):
        synthesized(**arguments)


def test_a_misspelt_argument_is_refused(synthesized):
    with pytest.raises(TypeError, match="unknown arguments: alarm_topic"):
        synthesized(alarm_topic="arn:aws:sns:eu-west-1:123456789012:alarms")


def test_an_argument_may_refer_to_the_region_and_the_account(synthesized):
    made = synthesized(alarm_topic_arn=lambda stack: f"arn:aws:sns:{stack.region}:{stack.account}:alarms")
    assert from_cdk(made).nested["MonitoringStack"].parameters["AlarmTopicArn"] == "arn:aws:sns:eu-west-1:123456789012:alarms"


def test_the_app_deploys_the_arguments_of_its_context(cdk, template_file, tmp_path):
    given = {"template_file": template_file, "release_bucket": "releases", "id_mapping_table_arns": TABLES, "monitoring": "all"}
    environment = {
        **os.environ,
        "CDK_CONTEXT_JSON": json.dumps({"id-mapping-populator": given}),
        "CDK_OUTDIR": str(tmp_path),
        "PYTHONPATH": str(CDK),
    }
    done = subprocess.run([sys.executable, CDK / "app.py"], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # CfnInclude drops the name of a function whose short form it does not know, with only this warning.
    assert "YAMLWarning" not in done.stderr
    assert "ERROR" not in done.stderr
    made = json.loads((tmp_path / "id-mapping-populator.template.json").read_text())
    assert made["Conditions"]["HasDashboard"] == {"Fn::Equals": ["all", "all"]}


def test_the_package_has_the_version_of_the_release():
    project = tomllib.loads((CDK / "pyproject.toml").read_text())
    assert project["project"]["version"] == VERSION
    assert all((CDK / package).is_dir() for package in project["tool"]["setuptools"]["packages"])
