//! Asks AWS what its documentation leaves open, by experiments that a person with an account accepts.

mod arguments;
mod call;
mod call_rate;
mod delete_event;
mod experiment;
mod facts;
mod job_id;
mod job_list;
mod plan;
mod record;
mod report;
mod run;
mod second_call;
mod start_permission;
mod unfit_type;

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::path::Path;

use aws_config::SdkConfig;
use id_mapping_populator::clock::Clock;
use serde_json::Value;
use uuid::Uuid;

pub use self::arguments::{Arguments, USAGE};
use self::call::{NotRead, Services};
use self::experiment::Experiment;
use self::facts::Table;
use self::plan::Plan;
use self::record::Record;
use self::run::{Run, Stop};

/// The person and the machine.
pub struct Host<'a> {
    pub clock: Clock,
    /// Shows a line.
    pub say: &'a dyn Fn(&str),
    /// Shows a question, and returns the line that is typed.
    pub ask: &'a dyn Fn(&str) -> String,
}

/// The Region of the tables, which a file may name.
pub fn region(arguments: &Arguments) -> Result<String, String> {
    let tables = match arguments.resumes {
        true => Record::read(&arguments.file)?.tables,
        false => arguments.tables.clone(),
    };
    arguments::check_tables(&tables)?;
    let region = tables.first().map(|arn| facts::region(arn));
    Ok(region.unwrap_or_default().to_owned())
}

/// Plans or runs. An error says why not all is answered.
pub async fn ask(arguments: &Arguments, config: SdkConfig, host: &Host<'_>) -> Result<(), String> {
    let services = Services::new(config);
    // Another process may be about to change the file.
    let _lock = match arguments.runs {
        true => Some(record::lock(&arguments.file)?),
        false => None,
    };
    let record = record(arguments)?;
    let mut tables = Vec::new();
    for arn in &record.tables {
        let table = Table::read(&services, facts::target(arn)?).await;
        tables.push(table.map_err(|error: NotRead| Stop::from(error).to_string())?);
    }
    if let [one, other] = &tables[..]
        && one.workflow.name == other.workflow.name
    {
        return Err("the tables share a workflow, so their jobs cannot be told apart".to_owned());
    }
    let plan = Plan::new(&record, &tables, arguments.price, arguments.records);
    (host.say)(&plan.describe(&tables));
    if !arguments.runs {
        (host.say)("Nothing was started.");
        return Ok(());
    }
    if plan.jobs > 0 && record.running_steps().is_empty() {
        check_free(&tables)?;
    }
    check_report(&arguments.report)?;
    confirm(arguments, &plan, host)?;
    let file = arguments.file.display();
    (host.say)(&format!(
        "You may interrupt the run at any time, and go on with --resume {file}."
    ));
    let run = Run {
        services,
        tables,
        record,
        file: arguments.file.clone(),
        clock: host.clock.clone(),
        interval: arguments.interval,
        say: host.say,
    };
    answer(run, arguments, host).await
}

/// The file of the run, or a new one.
fn record(arguments: &Arguments) -> Result<Record, String> {
    let file = &arguments.file;
    if arguments.resumes {
        let mut record = Record::read(file)?.reopened();
        if record.role.is_some() && arguments.role.is_some() {
            return Err("the run has a role already".to_owned());
        }
        record.role = record.role.or_else(|| arguments.role.clone());
        return Ok(record);
    }
    if arguments.runs && file.exists() {
        let file = file.display();
        return Err(format!(
            "{file} has an earlier run: go on with --resume {file}, or name another --file"
        ));
    }
    let experiments = match arguments.experiments.is_empty() {
        true => Experiment::ALL.to_vec(),
        false => Experiment::ALL
            .into_iter()
            .filter(|one| arguments.experiments.contains(one))
            .collect(),
    };
    Ok(Record {
        salt: Uuid::new_v4(),
        tables: arguments.tables.clone(),
        role: arguments.role.clone(),
        experiments,
        calls: Vec::new(),
        findings: Vec::new(),
    })
}

/// Checks that no job of another person is under way: it would take the slot, or be taken for a job of the run.
fn check_free(tables: &[Table]) -> Result<(), String> {
    match tables.iter().position(|table| table.is_job_under_way) {
        Some(index) => Err(format!(
            "nothing was started: a job that this run did not start is under way in the workflow of table {}. Run the \
             command again when it has ended",
            index + 1
        )),
        None => Ok(()),
    }
}

/// Nothing that starts a job runs without the flag and a typed line.
fn confirm(arguments: &Arguments, plan: &Plan, host: &Host<'_>) -> Result<(), String> {
    if plan.experiments.is_empty() {
        return Ok(());
    }
    let missing = match (plan.records, arguments.price) {
        _ if !arguments.accepts_the_cost => "the run may cost money, and needs --i-accept-the-cost",
        (None, _) => "no earlier job tells how many records a job has, so --records is needed",
        (_, None) if arguments.yes && plan.jobs > 0 => "with --yes the price is needed: --price",
        _ if arguments.yes => return Ok(()),
        _ => "",
    };
    if !missing.is_empty() {
        return Err(format!("nothing was started: {missing}"));
    }
    let wanted = format!("start {}", plan.jobs);
    let typed = (host.ask)(&format!("To start {}, type \"{wanted}\": ", plan.cost()));
    match typed.trim() == wanted {
        true => Ok(()),
        false => Err("nothing was started".to_owned()),
    }
}

/// Checks that the report can be written, before anything is started, and that it replaces nothing but a report.
fn check_report(file: &Path) -> Result<(), String> {
    let fault = |error| format!("{} cannot be written: {error}", file.display());
    let earlier = match std::fs::read(file) {
        Ok(earlier) => earlier,
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(fault(error)),
    };
    let report: Value = serde_json::from_slice(&earlier).unwrap_or_default();
    if !earlier.is_empty() && report.get("notAnswered").is_none() {
        return Err(format!(
            "{} is not a report: name another --report",
            file.display()
        ));
    }
    let opened = OpenOptions::new().append(true).create(true).open(file);
    opened.map(drop).map_err(fault)
}

/// Runs the experiments that have no finding yet, and writes the report.
async fn answer(mut run: Run<'_>, arguments: &Arguments, host: &Host<'_>) -> Result<(), String> {
    let file = arguments.file.display();
    let stopped = |stop: Stop| format!("{stop}\nGo on with --resume {file}{}", stop.option());
    if arguments.job_ended {
        for step in run.record.running_steps() {
            run.end(&step, "ENDED").map_err(stopped)?;
        }
    }
    run.recover().await.map_err(stopped)?;
    for experiment in run.record.open() {
        (host.say)(&format!(
            "\n{}: {}",
            experiment.name(),
            experiment.about().question
        ));
        let finding = match experiment.jobs(&run.tables, &run.record) {
            Ok(planned) => experiment.run(&mut run, &planned).await,
            Err(needs) => Ok(report::Finding::not_possible(experiment, needs)),
        };
        let finding = match finding {
            Ok(finding) => finding,
            Err(stop) => {
                write_report(&run, arguments, host)?;
                return Err(stopped(stop));
            }
        };
        (host.say)(&format!("{}: {}", finding.verdict.as_str(), finding.answer));
        run.record.findings.push(finding);
        run.save().map_err(stopped)?;
    }
    // Nobody else knows these jobs.
    let ended = run.wait_for_all().await;
    write_report(&run, arguments, host)?;
    ended.map_err(stopped)
}

fn write_report(run: &Run<'_>, arguments: &Arguments, host: &Host<'_>) -> Result<(), String> {
    let file = &arguments.report;
    let report = format!("{:#}\n", report::json(&run.record, host.clock.now()));
    if let Some(identifier) = report::identifier(&report, &run.record) {
        return Err(format!(
            "the report is not written, because it would have {identifier}"
        ));
    }
    let written = std::fs::write(file, report);
    written.map_err(|error| format!("{} cannot be written: {error}", file.display()))?;
    (host.say)(&format!("\n{}", report::table(&run.record)));
    (host.say)(&format!("The report is in {}.", file.display()));
    Ok(())
}
