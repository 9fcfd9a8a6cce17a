data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  release = "https://${var.release_bucket}.s3.${data.aws_region.current.region}.${data.aws_partition.current.dns_suffix}/id-mapping-populator/${var.release_version}"

  # All policies are attached to the same roles, so a workflow need not be in the stack of its tables.
  tables    = chunklist(var.id_mapping_table_arns, var.tables_per_stack)
  workflows = chunklist(var.id_mapping_workflow_arns, var.tables_per_stack)
  groups = [for number, tables in local.tables : {
    IdMappingTableArns    = join(",", tables)
    MembershipArns        = join(",", distinct([for arn in tables : split("/idmappingtable/", arn)[0]]))
    IdMappingWorkflowArns = join(",", try(local.workflows[number], []))
  }]
  further_groups = { for number, group in local.groups : number + 1 => group if number > 0 }
}

resource "aws_cloudformation_stack" "populator" {
  name         = var.name
  template_url = "${local.release}/template.yaml"
  capabilities = ["CAPABILITY_AUTO_EXPAND", "CAPABILITY_IAM"]
  parameters   = merge(local.parameters, local.groups[0], { ReleaseBucket = var.release_bucket })
  iam_role_arn = var.iam_role_arn
  tags         = var.tags

  lifecycle {
    precondition {
      condition     = length(local.workflows) <= length(local.tables)
      error_message = "There are too many workflows for these tables: each table has one."
    }

    precondition {
      condition     = length(local.tables) <= 5
      error_message = "There are too many stacks with tables: at most five, because a role takes ten managed policies. Raise tables_per_stack."
    }

    precondition {
      condition     = length(local.tables) == 1 || !var.own_tables_only
      error_message = "own_tables_only is not for stacks with further tables."
    }
  }
}

resource "aws_cloudformation_stack" "further_tables" {
  for_each = local.further_groups

  name         = "${var.name}-tables-${each.key}"
  template_url = "${local.release}/tables.yaml"
  capabilities = ["CAPABILITY_IAM"]
  parameters = merge(each.value, {
    PopulatorRoleName = aws_cloudformation_stack.populator.outputs["PopulatorRoleName"]
    StatusRoleName    = aws_cloudformation_stack.populator.outputs["StatusRoleName"]
    TablesPath        = aws_cloudformation_stack.populator.outputs["TablesPath"]
  })
  iam_role_arn = var.iam_role_arn
  tags         = var.tags
}

resource "aws_cloudformation_stack" "schemas" {
  count = var.schema_registry ? 1 : 0

  name         = "${var.name}-schemas"
  template_url = "${local.release}/schemas.yaml"
  iam_role_arn = var.iam_role_arn
  tags         = var.tags
}
