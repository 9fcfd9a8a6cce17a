"""Lambda's Runtime API for one Python function: python runtime.py MODULE

It does less than AWS's own client (awslambdaric): no X-Ray, no log pipe, no traceback in the answer. This
favours the peers.
"""

import http.client
import importlib
import json
import os
import sys
import time

INVOCATION = "/2018-06-01/runtime/invocation"


class Context:
    function_name = os.environ["AWS_LAMBDA_FUNCTION_NAME"]
    memory_limit_in_mb = int(os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"])

    def __init__(self, headers):
        self.aws_request_id = headers["Lambda-Runtime-Aws-Request-Id"]
        self.invoked_function_arn = headers["Lambda-Runtime-Invoked-Function-Arn"]
        self.deadline_ms = int(headers["Lambda-Runtime-Deadline-Ms"])

    def get_remaining_time_in_millis(self):
        return max(0, self.deadline_ms - int(time.time() * 1000))


def main():
    handler = importlib.import_module(sys.argv[1]).handler
    # The connection is kept open.
    api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])

    def call(method, path, body=None):
        api.request(method, f"{INVOCATION}/{path}", body)
        response = api.getresponse()
        return response.headers, response.read()

    while True:
        headers, event = call("GET", "next")
        context = Context(headers)
        try:
            answer, kind = handler(json.loads(event), context), "response"
        except Exception as error:
            answer = {"errorType": type(error).__name__, "errorMessage": str(error)}
            kind = "error"
        call("POST", f"{context.aws_request_id}/{kind}", json.dumps(answer))


main()
