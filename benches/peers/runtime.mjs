// Lambda's Runtime API for one function of Node.js: node runtime.mjs ./MODULE.mjs
//
// It does less than AWS's own client (aws-lambda-ric): no X-Ray, no log pipe, no callbacks, no native
// addon to load. This favours the peers.

import http from "node:http";

const INVOCATION = `http://${process.env.AWS_LAMBDA_RUNTIME_API}/2018-06-01/runtime/invocation`;
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });

function call(method, path, body = "") {
  return new Promise((resolve, reject) => {
    const options = { agent, method, headers: { "content-length": Buffer.byteLength(body) } };
    const request = http.request(`${INVOCATION}/${path}`, options, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (part) => (text += part));
      response.on("end", () => resolve({ headers: response.headers, text }));
      response.on("error", reject);
    });
    request.on("error", reject);
    request.end(body);
  });
}

function contextOf(headers) {
  return {
    functionName: process.env.AWS_LAMBDA_FUNCTION_NAME,
    memoryLimitInMB: process.env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
    invokedFunctionArn: headers["lambda-runtime-invoked-function-arn"],
    awsRequestId: headers["lambda-runtime-aws-request-id"],
    getRemainingTimeInMillis: () => headers["lambda-runtime-deadline-ms"] - Date.now(),
  };
}

const { handler } = await import(process.argv[2]);

for (;;) {
  const { headers, text } = await call("GET", "next");
  const context = contextOf(headers);
  let answer;
  let kind = "response";
  try {
    answer = await handler(JSON.parse(text), context);
  } catch (error) {
    answer = { errorType: error.name, errorMessage: error.message };
    kind = "error";
  }
  await call("POST", `${context.awsRequestId}/${kind}`, JSON.stringify(answer));
}
