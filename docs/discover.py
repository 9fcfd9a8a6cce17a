#!/usr/bin/env python3
"""Lists the Clean Rooms memberships and ID mapping tables of an AWS account, and the Entity Resolution workflows behind
them. Writes the parameters of a deployment. It changes nothing in the account.

    docs/discover.py
    docs/discover.py --write samconfig >> samconfig.toml
    docs/discover.py --write terraform > terraform.tfvars
    docs/discover.py --write cdk > cdk.context.json

It needs Python 3.11 or later, boto3, and the permissions cleanrooms:ListMemberships, cleanrooms:ListIdMappingTables and
entityresolution:GetIdMappingWorkflow. With --write the list goes to standard error. If something could not be read, the
exit status is 1, and standard error says which permission is missing. If tables may be missing, no parameters are
written.
"""

import argparse
import json
import os
import re
import sys
from dataclasses import dataclass
from datetime import datetime

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
PLACE = "[a-z0-9-]+:[0-9]{12}"
# What is written matches these, so that it needs no escapes in any of the formats.
TABLE = re.compile(f"arn:aws[a-z-]*:cleanrooms:({PLACE}):membership/{UUID}/idmappingtable/{UUID}")
WORKFLOW = re.compile(f"arn:aws[a-z-]*:entityresolution:({PLACE}):idmappingworkflow/([a-zA-Z0-9_-]{{1,255}})")

# A stack has at most 25 tables, the function at most 100, and a parameter of CloudFormation at most 4,096 bytes.
TABLES_PER_STACK = 25
MAX_TABLES = 100
MAX_BYTES = 4096

DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}


def shown(text):
    """Text of others in quotes, with control characters and others that do not print as escapes."""
    return repr(str(text))


@dataclass(frozen=True)
class Table:
    arn: str
    name: str
    collaboration: str
    created: datetime
    workflow: str

    @property
    def membership(self):
        return self.arn.split("/idmappingtable/")[0]

    @property
    def has_readable_workflow(self):
        """Whether the function can read the workflow: it calls Entity Resolution in its own account and Region."""
        match = WORKFLOW.fullmatch(self.workflow)
        return bool(match) and match[1] == TABLE.fullmatch(self.arn)[1]


class Account:
    """What the account lists, and the problems of reading it."""

    def __init__(self, session):
        config = Config(retries={"mode": "standard", "total_max_attempts": 8})
        self.clean_rooms = session.client("cleanrooms", config=config)
        self.entity_resolution = session.client("entityresolution", config=config)
        self.region = self.clean_rooms.meta.region_name
        self.partition = self.clean_rooms.meta.partition
        self.problems = []
        # Whether tables may be missing.
        self.is_incomplete = False

    def attempt(self, action, resource, call):
        """Whether a call, or each page of a list, could be read."""
        try:
            call()
            return True
        except ClientError as error:
            code, message = (error.response.get("Error", {}).get(key, "") for key in ("Code", "Message"))
            message = shown(message[:600])
            if code in DENIED:
                self.problems.append(f"permission missing: {action} on {resource}. AWS says: {message}")
            else:
                self.problems.append(f"{action} on {resource} failed with {shown(code)}: {message}")
        except BotoCoreError as error:
            self.problems.append(f"{action} on {resource} failed: {shown(error)}")
        return False

    def listed(self, action, resource, client, operation, member, **arguments):
        """The items of a list, as far as it could be read."""
        items = []

        def read():
            for page in client.get_paginator(operation).paginate(**arguments):
                items.extend(page[member])

        if not self.attempt(action, resource, read):
            self.is_incomplete = True
        return items

    def memberships(self, only):
        """The names of the collaborations, by membership."""
        names = {}
        arguments = "cleanrooms:ListMemberships", "*", self.clean_rooms, "list_memberships", "membershipSummaries"
        for item in self.listed(*arguments, status="ACTIVE"):
            if re.fullmatch(UUID, item["id"]):
                names[item["id"]] = item["collaborationName"]
            else:
                self.problems.append(f"not the id of a membership: {shown(item['id'])}")
                self.is_incomplete = True
        if not only:
            return names
        for membership in only:
            if membership not in names and not self.is_incomplete:
                self.problems.append(f"{membership} is not an active membership of this account in {self.region}")
        # If memberships could not be listed, those of the command line are known nevertheless.
        given = {membership: names.get(membership) for membership in only if membership in names or self.is_incomplete}
        self.is_incomplete = len(given) < len(set(only))
        return given

    def tables(self, membership, collaboration):
        arn = f"arn:{self.partition}:cleanrooms:{self.region}:*:membership/{membership}"
        items = self.listed(
            "cleanrooms:ListIdMappingTables",
            f"{arn} and {arn}/idmappingtable/*",
            self.clean_rooms,
            "list_id_mapping_tables",
            "idMappingTableSummaries",
            membershipIdentifier=membership,
        )
        for item in items:
            workflow = item["inputReferenceConfig"]["inputReferenceArn"]
            if TABLE.fullmatch(item["arn"]):
                collaboration = collaboration or item["collaborationArn"]
                yield Table(item["arn"], item["name"], collaboration, item["createTime"], workflow)
            else:
                self.problems.append(f"not the ARN of an ID mapping table: {shown(item['arn'])}")
                self.is_incomplete = True

    def workflow(self, table):
        """What is known of a table's workflow."""
        match = WORKFLOW.fullmatch(table.workflow)
        if not match:
            self.problems.append(f"not the ARN of an ID mapping workflow: {shown(table.workflow)}")
            return f"{shown(table.workflow)} (not written: not an ARN of a workflow)"
        if not table.has_readable_workflow:
            return f"{table.workflow} (not written: of another account or Region, where the function cannot read it)"
        answer = {}

        def read():
            answer.update(self.entity_resolution.get_id_mapping_workflow(workflowName=match[2]))

        if not self.attempt("entityresolution:GetIdMappingWorkflow", table.workflow, read):
            return f"{table.workflow} (could not be read)"
        kind = {"PROVIDER": "provider service", "RULE_BASED": "rules"}.get(answer["idMappingTechniques"].get("idMappingType"))
        return f"{table.workflow} ({kind or 'unknown type'}{', incremental' if 'incrementalRunConfig' in answer else ''})"


def lists(tables):
    """The ARNs of some tables by the names of Terraform's variables, each ARN once."""
    return {
        "id_mapping_table_arns": [table.arn for table in tables],
        "membership_arns": list(dict.fromkeys(table.membership for table in tables)),
        "id_mapping_workflow_arns": list(dict.fromkeys(table.workflow for table in tables if table.has_readable_workflow)),
    }


def groups(tables):
    """The tables of each stack."""
    result = []
    for table in tables:
        grown = [*(result[-1] if result else []), table]
        fits = len(grown) <= TABLES_PER_STACK and all(len(",".join(arns)) <= MAX_BYTES for arns in lists(grown).values())
        if result and fits:
            result[-1] = grown
        else:
            result.append([table])
    return result


def parameter(name):
    return "".join(word.capitalize() for word in name.split("_"))


def comment(table):
    return f"# {shown(table.name)} in {shown(table.collaboration)}"


def samconfig(tables):
    lines = []
    for number, tables in enumerate(groups(tables), 1):
        if number > 1:
            lines += [
                "",
                f"# A further stack: sam deploy --config-env tables-{number}",
                f"[tables-{number}.deploy.parameters]",
                f'stack_name = "id-mapping-populator-tables-{number}"',
                'template_file = "tables.yaml"',
                'capabilities = "CAPABILITY_IAM"',
                "confirm_changeset = true",
                "resolve_s3 = true",
                "# Add PopulatorRoleName, StatusRoleName and TablesPath, which are outputs of the main stack.",
            ]
        lines += [f"{comment(table)}: {table.arn.rsplit('/', 1)[1]}" for table in tables]
        values = [f'{parameter(name)}="{",".join(arns)}"' for name, arns in lists(tables).items()]
        lines.append(f"parameter_overrides = {json.dumps(' '.join(values))}")
    return "\n".join(lines)


def undivided(tables):
    """The ARNs for the tools that divide the tables among stacks themselves, and know their memberships."""
    arns = lists(tables)
    return {name: arns[name] for name in ("id_mapping_table_arns", "id_mapping_workflow_arns")}


def terraform(tables):
    comments = {table.arn: f" {comment(table)}" for table in tables}
    lines = []
    for name, arns in undivided(tables).items():
        lines += [f"{name} = [", *(f"  {json.dumps(arn)},{comments.get(arn, '')}" for arn in arns), "]"]
    return "\n".join(lines)


def cdk(tables):
    release = {"template_file": "release/template.yaml", "release_bucket": "BUCKET"}
    return json.dumps({"id-mapping-populator": release | undivided(tables)}, indent=2)


FORMATS = {"samconfig": samconfig, "terraform": terraform, "cdk": cdk}


def membership(text):
    if not re.fullmatch(UUID, text):
        raise ValueError
    return text


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--membership", action="append", type=membership, metavar="ID", help="only this one; repeatable")
    parser.add_argument("--region", help="the Region of the tables")
    parser.add_argument("--profile", help="a profile of the AWS CLI")
    parser.add_argument("--write", choices=FORMATS, help="write parameters for this tool to standard output")
    return parser.parse_args()


def main():
    options = arguments()
    sys.stdout.reconfigure(encoding="utf-8" if options.write else None, errors="backslashreplace")
    listing = sys.stderr if options.write else sys.stdout
    # The AWS CLI reads AWS_REGION, and boto3 does not.
    region = options.region or os.environ.get("AWS_REGION")
    try:
        account = Account(boto3.Session(profile_name=options.profile, region_name=region))
    except BotoCoreError as error:
        sys.exit(f"discover.py: {error}")

    tables, workflows = {}, {}
    for membership, collaboration in account.memberships(options.membership).items():
        print(f"membership {membership}, collaboration {shown(collaboration or 'unknown')}", file=listing)
        for table in account.tables(membership, collaboration):
            tables[table.arn] = table
            if table.workflow not in workflows:
                workflows[table.workflow] = account.workflow(table)
            print(f"  {shown(table.name)}\n    {table.arn}\n    {workflows[table.workflow]}", file=listing)
    if not tables:
        account.problems.append(f"no ID mapping table was found in {account.region}")
    if options.write and len(tables) > MAX_TABLES:
        account.problems.append(f"{len(tables)} tables are too many for one function, which takes {MAX_TABLES}: use --membership")
    for problem in account.problems:
        print(f"discover.py: {problem}", file=sys.stderr)
    if options.write and account.is_incomplete:
        print("discover.py: no parameters are written, because tables may be missing", file=sys.stderr)
    elif options.write and 0 < len(tables) <= MAX_TABLES:
        # The oldest are first, so that a new table moves no other one to another stack.
        oldest_first = sorted(tables.values(), key=lambda table: (table.created, table.arn))
        print(FORMATS[options.write](oldest_first))
    return 1 if account.problems else 0


if __name__ == "__main__":
    sys.exit(main())
