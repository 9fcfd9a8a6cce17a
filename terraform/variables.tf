# The stacks. parameters.tf has the variables for the template's parameters.

variable "name" {
  description = "The name of the stack. The stacks of further tables and of the schemas have it with a suffix."
  type        = string
  default     = "id-mapping-populator"
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z][A-Za-z0-9-]{0,99}$", var.name))
    error_message = "name: letters, digits and -, at most 100, beginning with a letter."
  }
}

variable "release_bucket" {
  description = "The bucket with the release's files, under id-mapping-populator/VERSION/. It must be in the Region of the deployment."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.release_bucket))
    error_message = "release_bucket: the name of an S3 bucket."
  }
}

variable "release_version" {
  description = "The version of the release in that bucket. The module is for this one."
  type        = string
  default     = "0.1.0"
  nullable    = false

  validation {
    condition     = can(regex("^[0-9]+\\.[0-9]+\\.[0-9]+(-[0-9A-Za-z.-]+)?$", var.release_version))
    error_message = "release_version: a version such as 0.1.0, without v."
  }
}

variable "tables_per_stack" {
  description = "How many tables a stack has, at most. If names of workflows have more than 60 characters, write less than 25: a policy and a parameter of CloudFormation take only so much text."
  type        = number
  default     = 25
  nullable    = false

  validation {
    condition     = var.tables_per_stack >= 1 && var.tables_per_stack <= 25 && floor(var.tables_per_stack) == var.tables_per_stack
    error_message = "tables_per_stack: from 1 to 25."
  }
}

variable "schema_registry" {
  description = "Whether a further stack has an EventBridge schema registry with the JSON Schemas of requests and outcome events."
  type        = bool
  default     = false
  nullable    = false
}

variable "iam_role_arn" {
  description = "The role that CloudFormation assumes to change the stacks. If null, it uses the permissions of the caller."
  type        = string
  default     = null
}

variable "tags" {
  description = "Tags of the stacks. CloudFormation gives them to the resources too."
  type        = map(string)
  default     = {}
  nullable    = false
}
