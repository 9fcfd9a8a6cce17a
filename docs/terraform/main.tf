# Deploys the release zip with the defaults of template.yaml.

terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.0"
    }
  }
}

variable "id_mapping_table_arns" { type = list(string) }

# AUTO reads both to choose the job type. Without them it leaves the choice to the service.
variable "id_mapping_workflow_arns" {
  type    = list(string)
  default = []
}

variable "collaboration_arns" {
  type    = list(string)
  default = []
}

# If empty, the schedule is created but disabled.
variable "schedule_expression" {
  type    = string
  default = ""
}

variable "name" {
  type    = string
  default = "id-mapping-populator"
}

locals {
  zip             = "${path.module}/../../target/lambda/id-mapping-populator/bootstrap.zip"
  membership_arns = distinct([for arn in var.id_mapping_table_arns : split("/idmappingtable/", arn)[0]])
  permissions = [
    { Action = ["cleanrooms:GetIdMappingTable", "cleanrooms:PopulateIdMappingTable"], Resource = concat(var.id_mapping_table_arns, local.membership_arns) },
    { Action = ["entityresolution:GetIdMappingJob", "entityresolution:GetIdMappingWorkflow", "entityresolution:ListIdMappingJobs"], Resource = var.id_mapping_workflow_arns },
    { Action = ["cleanrooms:GetSchema"], Resource = var.collaboration_arns },
    { Action = ["dynamodb:GetItem", "dynamodb:PutItem"], Resource = [aws_dynamodb_table.ledger_table.arn] },
    { Action = ["sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage", "sqs:SendMessage"], Resource = [aws_sqs_queue.waiting_queue.arn] },
    {
      Action    = ["events:PutEvents"], Resource = [data.aws_cloudwatch_event_bus.default.arn],
      Condition = { StringEquals = { "events:source" = "id-mapping-populator" } }
    },
    { Action = ["sqs:GetQueueAttributes", "sqs:SendMessage"], Resource = [aws_sqs_queue.dead_letter_queue.arn] },
    { Action = ["logs:CreateLogStream", "logs:PutLogEvents"], Resource = ["${aws_cloudwatch_log_group.log_group.arn}:*"] },
  ]
}

data "aws_cloudwatch_event_bus" "default" { name = "default" }

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

resource "aws_lambda_function" "populator" {
  function_name    = var.name
  filename         = local.zip
  source_code_hash = filebase64sha256(local.zip)
  handler          = "bootstrap"
  runtime          = "provided.al2023"
  architectures    = ["arm64"]
  memory_size      = 128
  timeout          = 120
  role             = aws_iam_role.populator_role.arn

  logging_config {
    log_format            = "JSON"
    application_log_level = "INFO"
    log_group             = aws_cloudwatch_log_group.log_group.name
  }

  environment {
    variables = {
      ID_MAPPING_TABLE_ARNS = join(",", var.id_mapping_table_arns)
      ALLOW_OTHER_TABLES    = "false"
      ALLOWED_JOB_TYPES     = ""
      ALLOWED_ACCOUNTS      = ""
      DEFAULT_JOB_TYPE      = "AUTO"
      FULL_REFRESH_EVERY    = ""
      EVENT_BUS_NAME        = data.aws_cloudwatch_event_bus.default.name
      EVENT_SOURCE          = "id-mapping-populator"
      LEDGER_TABLE_NAME     = aws_dynamodb_table.ledger_table.name
      WAITING_QUEUE_URL     = aws_sqs_queue.waiting_queue.url
      DEAD_LETTER_QUEUE_URL = aws_sqs_queue.dead_letter_queue.url
      MAX_WAIT              = "72h"
      SETTLE_TIME           = ""
      TRACK_COMPLETION      = "false"
      MIN_INTERVAL          = ""
      MAX_JOB_ATTEMPTS      = "1"
    }
  }

  # Lambda checks the permissions when the event source and the destination are created.
  depends_on = [aws_iam_role_policy.populator_role]
}

resource "aws_lambda_function_event_invoke_config" "populator_event_invoke_config" {
  function_name                = aws_lambda_function.populator.function_name
  maximum_retry_attempts       = 2
  maximum_event_age_in_seconds = 21600

  destination_config {
    on_failure { destination = aws_sqs_queue.dead_letter_queue.arn }
  }
}

resource "aws_iam_role" "populator_role" {
  name_prefix = "${var.name}-"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow", Principal = { Service = "lambda.amazonaws.com" }, Action = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.current.account_id } }
    }]
  })
}

resource "aws_iam_role_policy" "populator_role" {
  role = aws_iam_role.populator_role.name
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [for permission in local.permissions : merge({ Effect = "Allow" }, permission) if length(permission.Resource) > 0]
  })
}

resource "aws_dynamodb_table" "ledger_table" {
  name         = "${var.name}-ledger"
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "idMappingTableArn"

  attribute {
    name = "idMappingTableArn"
    type = "S"
  }

  server_side_encryption { enabled = true }
  point_in_time_recovery { enabled = true }

  # The ledger is kept when the function is destroyed. Before `terraform destroy`, run
  # `terraform state rm aws_dynamodb_table.ledger_table`.
  lifecycle { prevent_destroy = true }
}

resource "aws_sqs_queue" "waiting_queue" {
  name                       = "${var.name}-waiting"
  message_retention_seconds  = 1209600
  visibility_timeout_seconds = 1200
  sqs_managed_sse_enabled    = true
  redrive_policy             = jsonencode({ deadLetterTargetArn = aws_sqs_queue.dead_letter_queue.arn, maxReceiveCount = 1000 })
}

resource "aws_lambda_event_source_mapping" "waiting_queue_source" {
  function_name                      = aws_lambda_function.populator.arn
  event_source_arn                   = aws_sqs_queue.waiting_queue.arn
  batch_size                         = 10
  maximum_batching_window_in_seconds = 10
  function_response_types            = ["ReportBatchItemFailures"]

  scaling_config { maximum_concurrency = 2 }
}

resource "aws_cloudwatch_log_group" "log_group" {
  name              = "/aws/lambda/${var.name}"
  retention_in_days = 90
}

resource "aws_sqs_queue" "dead_letter_queue" {
  name                      = "${var.name}-dead-letters"
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = true
}

resource "aws_sqs_queue_policy" "dead_letter_queue_policy" {
  queue_url = aws_sqs_queue.dead_letter_queue.url
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "events.amazonaws.com" }
      Action    = "sqs:SendMessage"
      Resource  = aws_sqs_queue.dead_letter_queue.arn
      Condition = { ArnEquals = { "aws:SourceArn" = aws_cloudwatch_event_rule.populator_requested.arn } }
    }]
  })
}

resource "aws_cloudwatch_event_rule" "populator_requested" {
  name          = "${var.name}-requested"
  event_pattern = jsonencode({ account = [data.aws_caller_identity.current.account_id], "detail-type" = ["ID Mapping Population Requested"] })
}

resource "aws_cloudwatch_event_target" "populator_requested" {
  rule = aws_cloudwatch_event_rule.populator_requested.name
  arn  = aws_lambda_function.populator.arn

  dead_letter_config { arn = aws_sqs_queue.dead_letter_queue.arn }
}

resource "aws_lambda_permission" "populator_requested_permission" {
  function_name = aws_lambda_function.populator.function_name
  action        = "lambda:InvokeFunction"
  principal     = "events.amazonaws.com"
  source_arn    = aws_cloudwatch_event_rule.populator_requested.arn
}

resource "aws_scheduler_schedule" "populator_schedule" {
  name                         = var.name
  state                        = var.schedule_expression == "" ? "DISABLED" : "ENABLED"
  schedule_expression          = var.schedule_expression == "" ? "rate(365 days)" : var.schedule_expression
  schedule_expression_timezone = "UTC"

  flexible_time_window { mode = "OFF" }

  target {
    arn      = aws_lambda_function.populator.arn
    role_arn = aws_iam_role.populator_schedule_role.arn
    # jsonencode would write \u003c for <, and then Scheduler would not find the placeholders.
    input = <<-JSON
      {"requestId": "<aws.scheduler.schedule-arn>/<aws.scheduler.scheduled-time>", "time": "<aws.scheduler.scheduled-time>"}
    JSON

    dead_letter_config { arn = aws_sqs_queue.dead_letter_queue.arn }
  }
}

resource "aws_iam_role" "populator_schedule_role" {
  name_prefix = "${var.name}-schedule-"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect = "Allow", Principal = { Service = "scheduler.amazonaws.com" }, Action = "sts:AssumeRole"
      Condition = { StringEquals = {
        "aws:SourceAccount" = data.aws_caller_identity.current.account_id
        "aws:SourceArn"     = "arn:${data.aws_partition.current.partition}:scheduler:${data.aws_region.current.region}:${data.aws_caller_identity.current.account_id}:schedule-group/default"
      } }
    }]
  })
}

resource "aws_iam_role_policy" "populator_schedule_role" {
  role = aws_iam_role.populator_schedule_role.name
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      { Effect = "Allow", Action = "lambda:InvokeFunction", Resource = aws_lambda_function.populator.arn },
      { Effect = "Allow", Action = "sqs:SendMessage", Resource = aws_sqs_queue.dead_letter_queue.arn },
    ]
  })
}

output "function_arn" { value = aws_lambda_function.populator.arn }
output "dead_letter_queue_arn" { value = aws_sqs_queue.dead_letter_queue.arn }
output "dead_letter_queue_url" { value = aws_sqs_queue.dead_letter_queue.url }
output "waiting_queue_arn" { value = aws_sqs_queue.waiting_queue.arn }
output "waiting_queue_url" { value = aws_sqs_queue.waiting_queue.url }
