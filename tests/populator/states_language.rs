//! An interpreter of the part of the Amazon States Language that `docs/step-functions` uses, with JSONPath. It panics on
//! everything else, so that a definition never means more than what is carried out here.

use serde_json::{Map, Value, json};

/// The most events that an execution's history may have at Step Functions.
pub const MAX_HISTORY: usize = 25_000;

/// How a task failed.
#[derive(Clone, Debug)]
pub struct Failure {
    pub error: String,
    pub cause: String,
}

/// What an execution does to the world.
pub trait World {
    /// Calls the resource of a task.
    async fn call(&mut self, resource: &str, parameters: Value) -> Result<Value, Failure>;
    /// Lets the seconds of a `Wait` state pass.
    async fn wait(&mut self, seconds: u64);
    /// Lets the seconds before a retry pass.
    async fn pause(&mut self, seconds: u64);
}

/// How an execution ended.
#[derive(Debug)]
pub enum End {
    Succeeded(Value),
    Failed(Failure),
}

/// An execution of a state machine.
pub struct Execution<'a, W> {
    definition: &'a Value,
    /// The context object, without the state's own part.
    context: Value,
    world: &'a mut W,
    /// The states that were entered.
    pub entered: Vec<String>,
    /// How many events the history has.
    pub events: usize,
}

/// What comes after a state.
enum Then {
    Next(String, Value),
    End(End),
}

impl<'a, W: World> Execution<'a, W> {
    pub fn new(definition: &'a Value, id: &str, start_time: &str, world: &'a mut W) -> Self {
        known(
            definition,
            &["Comment", "StartAt", "States", "TimeoutSeconds"],
        );
        Self {
            definition,
            context: json!({ "Execution": { "Id": id, "StartTime": start_time } }),
            world,
            entered: Vec::new(),
            events: 1,
        }
    }

    /// Runs from the first state to the end.
    pub async fn run(&mut self, input: Value) -> End {
        let (mut name, mut data) = (text(&self.definition["StartAt"]).to_owned(), input);
        loop {
            self.events += 2;
            assert!(self.events < MAX_HISTORY, "the history is full");
            self.entered.push(name.clone());
            let state = &self.definition["States"][&name];
            match self.carry_out(state, data).await {
                Then::Next(next, output) => (name, data) = (next, output),
                Then::End(end) => return end,
            }
        }
    }

    async fn carry_out(&mut self, state: &Value, input: Value) -> Then {
        match text(&state["Type"]) {
            "Pass" => {
                known(
                    state,
                    &["Parameters", "Result", "ResultPath", "Next", "End"],
                );
                let result = match (state.get("Parameters"), state.get("Result")) {
                    (Some(template), None) => self.filled(template, &input),
                    (None, Some(result)) => result.clone(),
                    other => panic!("a Pass state needs one of these: {other:?}"),
                };
                then(state, placed(state, input, result))
            }
            "Choice" => {
                known(state, &["Choices", "Default"]);
                let rules = state["Choices"].as_array().unwrap();
                let chosen = rules.iter().find(|rule| self.holds(rule, &input));
                let next = chosen.map_or(&state["Default"], |rule| &rule["Next"]);
                Then::Next(text(next).to_owned(), input)
            }
            "Wait" => {
                known(state, &["SecondsPath", "Next"]);
                let seconds = self.at(text(&state["SecondsPath"]), &input).as_u64();
                self.world.wait(seconds.unwrap()).await;
                then(state, input)
            }
            "Task" => self.task(state, input).await,
            "Fail" => {
                known(state, &["Error", "ErrorPath", "Cause", "CausePath"]);
                let part = |plain: &str, path: &str| match (state.get(plain), state.get(path)) {
                    (Some(text), None) => text.clone(),
                    (None, Some(path)) => self.evaluated(text(path), &input),
                    other => panic!("a Fail state needs one of these: {other:?}"),
                };
                let (error, cause) = (part("Error", "ErrorPath"), part("Cause", "CausePath"));
                Then::End(End::Failed(Failure {
                    error: text(&error).to_owned(),
                    cause: text(&cause).to_owned(),
                }))
            }
            other => panic!("a state of type {other} is not understood here"),
        }
    }

    async fn task(&mut self, state: &Value, input: Value) -> Then {
        known(
            state,
            &[
                "Resource",
                "TimeoutSeconds",
                "Parameters",
                "ResultSelector",
                "ResultPath",
                "Retry",
                "Catch",
                "Next",
            ],
        );
        let parameters = self.filled(&state["Parameters"], &input);
        let retriers = list(state, "Retry");
        let mut retries = vec![0; retriers.len()];
        let failure = loop {
            self.events += 3;
            let called = self
                .world
                .call(text(&state["Resource"]), parameters.clone());
            let failure = match called.await {
                Ok(result) => {
                    let result = self.filled(&state["ResultSelector"], &result);
                    return then(state, placed(state, input, result));
                }
                Err(failure) => failure,
            };
            let Some(place) = retriers
                .iter()
                .position(|retrier| is_for(retrier, &failure))
            else {
                break failure;
            };
            let Some(seconds) = delay(&retriers[place], retries[place]) else {
                break failure;
            };
            retries[place] += 1;
            self.world.pause(seconds).await;
        };
        let catchers = list(state, "Catch");
        match catchers.iter().find(|catcher| is_for(catcher, &failure)) {
            None => Then::End(End::Failed(failure)),
            Some(catcher) => {
                for name in catcher.as_object().unwrap().keys() {
                    let is_known = ["ErrorEquals", "ResultPath", "Next"].contains(&name.as_str());
                    assert!(is_known, "{name} of a catcher is not understood here");
                }
                let error = json!({ "Error": failure.error, "Cause": failure.cause });
                then(catcher, placed(catcher, input, error))
            }
        }
    }

    /// Returns whether a rule of a `Choice` state holds. As at Step Functions, a path without a value is an error, except
    /// for `IsPresent`.
    fn holds(&self, rule: &Value, input: &Value) -> bool {
        let mut rule = rule.as_object().unwrap().clone();
        rule.remove("Next");
        if let Some(all) = rule.remove("And") {
            assert!(rule.is_empty(), "{rule:?} beside And");
            let mut all = all.as_array().unwrap().iter();
            return all.all(|rule| self.holds(rule, input));
        }
        let path = rule.remove("Variable").unwrap();
        let mut operators = rule.into_iter();
        let (operator, operand) = operators.next().unwrap();
        assert!(operators.next().is_none(), "{path} has one operator");
        if operator == "IsPresent" {
            let is_present = self.find(text(&path), input).is_some();
            return is_present == operand.as_bool().unwrap();
        }
        let value = self.at(text(&path), input);
        let other = || self.at(text(&operand), input);
        match operator.as_str() {
            "StringEquals" => text(&value) == text(&operand),
            "StringEqualsPath" => text(&value) == text(&other()),
            "BooleanEquals" => value.as_bool().unwrap() == operand.as_bool().unwrap(),
            "NumericGreaterThanEqualsPath" => value.as_i64().unwrap() >= other().as_i64().unwrap(),
            _ => panic!("{operator} is not understood here"),
        }
    }

    /// Fills in a payload template: the value of a member whose name ends in `.$` is a path or an intrinsic function.
    fn filled(&self, template: &Value, input: &Value) -> Value {
        let Value::Object(members) = template else {
            assert!(!template.is_array(), "a list in a template: {template}");
            return template.clone();
        };
        let member = |(name, value): (&String, &Value)| match name.strip_suffix(".$") {
            Some(name) => (name.to_owned(), self.evaluated(text(value), input)),
            None => (name.clone(), self.filled(value, input)),
        };
        Value::Object(members.iter().map(member).collect())
    }

    /// The value of a path or an intrinsic function.
    fn evaluated(&self, expression: &str, input: &Value) -> Value {
        let Some((function, arguments)) = expression.split_once('(') else {
            return self.at(expression, input);
        };
        let arguments = arguments.strip_suffix(')').unwrap();
        let values: Vec<Value> = split(arguments)
            .into_iter()
            .map(|argument| match argument.strip_prefix('\'') {
                Some(literal) => json!(literal.strip_suffix('\'').unwrap()),
                None if argument.starts_with('$') => self.at(argument, input),
                None => serde_json::from_str(argument).unwrap(),
            })
            .collect();
        match (function, values.as_slice()) {
            ("States.StringToJson", [value]) => serde_json::from_str(text(value)).unwrap(),
            ("States.JsonToString", [value]) => json!(value.to_string()),
            ("States.MathAdd", [one, other]) => {
                json!(one.as_i64().unwrap() + other.as_i64().unwrap())
            }
            ("States.Format", [template, values @ ..]) => {
                let mut parts = text(template).split("{}");
                let mut formatted = parts.next().unwrap().to_owned();
                let rest: Vec<&str> = parts.collect();
                assert_eq!(rest.len(), values.len(), "{expression}");
                for (value, part) in values.iter().zip(rest) {
                    match value {
                        Value::String(value) => formatted.push_str(value),
                        Value::Number(value) => formatted.push_str(&value.to_string()),
                        other => panic!("{other} in {expression}"),
                    }
                    formatted.push_str(part);
                }
                json!(formatted)
            }
            _ => panic!("{expression} is not understood here"),
        }
    }

    /// The value at a path, which must exist.
    fn at(&self, path: &str, input: &Value) -> Value {
        let found = self.find(path, input);
        found.unwrap_or_else(|| panic!("there is no {path} in {input}"))
    }

    fn find(&self, path: &str, input: &Value) -> Option<Value> {
        let (root, path) = match path.strip_prefix("$$") {
            Some(path) => (&self.context, path),
            None => (input, path.strip_prefix('$').unwrap()),
        };
        let pointer = path.replace(['.', '['], "/").replace(']', "");
        let is_plain = |character: char| character.is_ascii_alphanumeric() || character == '/';
        assert!(pointer.chars().all(is_plain), "{path} is too much here");
        root.pointer(&pointer).cloned()
    }
}

fn text(value: &Value) -> &str {
    let text = value.as_str();
    text.unwrap_or_else(|| panic!("{value} is not a string"))
}

/// Panics if a state or a state machine has a field that is not among these.
fn known(state: &Value, fields: &[&str]) {
    for field in state.as_object().unwrap().keys() {
        let is_known = ["Type", "Comment"].contains(&field.as_str());
        assert!(
            is_known || fields.contains(&field.as_str()),
            "{field} is not understood here"
        );
    }
}

fn then(state: &Value, output: Value) -> Then {
    match (state.get("Next"), state.get("End")) {
        (Some(next), None) => Then::Next(text(next).to_owned(), output),
        (None, Some(Value::Bool(true))) => Then::End(End::Succeeded(output)),
        other => panic!("Next or End: {other:?}"),
    }
}

/// Puts a result where `ResultPath` says.
fn placed(state: &Value, input: Value, result: Value) -> Value {
    let Some(path) = state.get("ResultPath") else {
        return result;
    };
    let name = text(path).strip_prefix("$.").unwrap();
    assert!(!name.contains(['.', '[']), "{path} is too much here");
    let mut output = input;
    output[name] = result;
    output
}

fn list(state: &Value, name: &str) -> Vec<Value> {
    let list = state[name].as_array().unwrap();
    for (place, item) in list.iter().enumerate() {
        let errors = item["ErrorEquals"].as_array().unwrap();
        if errors.contains(&json!("States.ALL")) {
            let is_last = place + 1 == list.len();
            assert!(is_last && errors.len() == 1, "States.ALL is last and alone");
        }
    }
    list.clone()
}

fn is_for(handler: &Value, failure: &Failure) -> bool {
    let mut errors = handler["ErrorEquals"].as_array().unwrap().iter();
    errors.any(|error| error == "States.ALL" || error == &json!(failure.error))
}

/// How many seconds pass before the next retry, after this many retries. Returns `None` if there is no further one.
fn delay(retrier: &Value, retries: u32) -> Option<u64> {
    let mut retrier: Map<String, Value> = retrier.as_object().unwrap().clone();
    let mut number = |name: &str| retrier.remove(name).unwrap().as_f64().unwrap();
    let (interval, rate) = (number("IntervalSeconds"), number("BackoffRate"));
    let (attempts, most) = (number("MaxAttempts"), number("MaxDelaySeconds"));
    retrier.remove("ErrorEquals");
    assert!(retrier.is_empty(), "{retrier:?} is not understood here");
    let seconds = (interval * rate.powi(retries.cast_signed())).min(most);
    (f64::from(retries) < attempts).then_some(seconds as u64)
}

/// The arguments of an intrinsic function. A comma in a quotation does not end one.
fn split(arguments: &str) -> Vec<&str> {
    let (mut all, mut start, mut is_quoted) = (Vec::new(), 0, false);
    for (place, character) in arguments.char_indices() {
        match character {
            '\'' => is_quoted = !is_quoted,
            ',' if !is_quoted => {
                all.push(arguments[start..place].trim());
                start = place + 1;
            }
            _ => {}
        }
    }
    all.push(arguments[start..].trim());
    all
}

/// A world that a definition without tasks and waits needs.
struct Nothing;

impl World for Nothing {
    async fn call(&mut self, resource: &str, _: Value) -> Result<Value, Failure> {
        panic!("{resource} is called")
    }

    async fn wait(&mut self, _: u64) {}

    async fn pause(&mut self, _: u64) {}
}

#[tokio::test]
#[should_panic(expected = "OutputPath is not understood here")]
async fn a_field_that_is_not_understood_fails_the_test_that_meets_it() {
    let definition = json!({ "StartAt": "A", "States": {
        "A": { "Type": "Pass", "Result": 1, "OutputPath": "$", "End": true } } });
    Execution::new(&definition, "id", "time", &mut Nothing)
        .run(json!({}))
        .await;
}

#[tokio::test]
#[should_panic(expected = "there is no $.absent in {}")]
async fn a_path_without_a_value_fails_as_at_step_functions() {
    let definition = json!({ "StartAt": "A", "States": { "A": { "Type": "Choice", "Default": "A",
        "Choices": [{ "Variable": "$.absent", "StringEquals": "", "Next": "A" }] } } });
    Execution::new(&definition, "id", "time", &mut Nothing)
        .run(json!({}))
        .await;
}
