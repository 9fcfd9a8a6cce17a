# Outside this repository, the module's source is "git::https://github.com/OWNER/NAME.git//terraform?ref=v0.1.0".

provider "aws" {
  region = var.region
}

variable "region" {
  description = "The Region of the tables, and of the bucket with the release's files."
  type        = string
}

variable "release_bucket" {
  description = "The bucket with the release's files."
  type        = string
}

variable "id_mapping_table_arns" {
  description = "The tables' ARNs, any number of them."
  type        = list(string)
}

variable "id_mapping_workflow_arns" {
  description = "The ARNs of their workflows, each once."
  type        = list(string)
}

module "id_mapping_populator" {
  source = "../.."

  release_bucket           = var.release_bucket
  id_mapping_table_arns    = var.id_mapping_table_arns
  id_mapping_workflow_arns = var.id_mapping_workflow_arns
  schedule_expression      = "cron(0 2 * * ? *)"
  schedule_timezone        = "Europe/Berlin"
  alarm_topic_arn          = aws_sns_topic.alarms.arn
  tags                     = { team = "customer-data" }
}

resource "aws_sns_topic" "alarms" {
  name = "id-mapping-populator-alarms"
}

output "function_arn" {
  value = module.id_mapping_populator.function_arn
}
