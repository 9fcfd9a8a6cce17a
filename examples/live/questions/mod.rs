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

use std::fs::{self, OpenOptions};
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
use self::report::Finding;
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

/// Plans or runs. An error says why the run has not come to its end.
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
        let mut table = table.map_err(|error: NotRead| Stop::from(error).to_string())?;
        // What the person says counts, unless a job had more.
        table.records = table.records.max(arguments.records);
        tables.push(table);
    }
    if let [one, other] = &tables[..]
        && one.workflow.name == other.workflow.name
    {
        return Err("the tables share a workflow, so their jobs cannot be told apart".to_owned());
    }
    let plan = Plan::new(&record, &tables, arguments.price);
    (host.say)(&plan.describe(&tables));
    if !arguments.runs {
        (host.say)("Nothing was started.");
        return Ok(());
    }
    check_report(&arguments.report, &arguments.file)?;
    confirm(arguments, &plan, host)?;
    let to_go_on = arguments.to_go_on();
    (host.say)(&format!(
        "You may interrupt the run at any time, and go on with {to_go_on}."
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
        record.role = arguments.role.clone().or(record.role);
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

/// Nothing that starts a job runs without the flag and a typed line.
fn confirm(arguments: &Arguments, plan: &Plan, host: &Host<'_>) -> Result<(), String> {
    let missing = match (plan.records(&plan.jobs), arguments.price) {
        _ if !arguments.accepts_the_cost => "the run may cost money, and needs --i-accept-the-cost",
        _ if plan.jobs.is_empty() => return Ok(()),
        (None, _) => {
            "no earlier BATCH job tells how many records a job has, so --records is needed"
        }
        (_, None) if arguments.yes => "with --yes the price is needed: --price",
        _ if arguments.yes => return Ok(()),
        _ => "",
    };
    if !missing.is_empty() {
        return Err(format!("nothing was started: {missing}"));
    }
    let wanted = format!("start {}", plan.jobs.len());
    let typed = (host.ask)(&format!(
        "To start {}, type \"{wanted}\": ",
        plan.cost(&plan.jobs)
    ));
    match typed.trim() == wanted {
        true => Ok(()),
        false => Err(format!(
            "nothing was started: \"{wanted}\" was not typed (a script uses --yes and --price)"
        )),
    }
}

/// Checks that the report can be written, before anything is started, and that it replaces nothing but a report.
fn check_report(report: &Path, run: &Path) -> Result<(), String> {
    let fault = |error| format!("{} cannot be written: {error}", report.display());
    let other = |what| format!("{} {what}: name another --report", report.display());
    let is_new = !report.exists();
    let opened = OpenOptions::new().append(true).create(true).open(report);
    opened.map_err(fault)?;
    // Two names may lead to the same file.
    let is_run = matches!(
        (fs::canonicalize(report), fs::canonicalize(run)),
        (Ok(report), Ok(run)) if report == run
    );
    let earlier = fs::read(report).map_err(fault)?;
    if is_new {
        fs::remove_file(report).map_err(fault)?;
    }
    if is_run {
        return Err(other("is the file of the run"));
    }
    let earlier_report: Value = serde_json::from_slice(&earlier).unwrap_or_default();
    match earlier.is_empty() || earlier_report.get("notAnswered").is_some() {
        true => Ok(()),
        false => Err(other("is not a report")),
    }
}

/// Runs the experiments that are not settled, and writes the report.
async fn answer(mut run: Run<'_>, arguments: &Arguments, host: &Host<'_>) -> Result<(), String> {
    let to_go_on = arguments.to_go_on();
    let ended = answer_all(&mut run, arguments, host).await;
    let written = write_report(&run, arguments, host);
    (host.say)(&format!("\n{}", report::table(&run.record)));
    if written.is_ok() {
        (host.say)(&format!("The report is in {}.", arguments.report.display()));
    }
    if run.record.findings.iter().any(|found| !found.is_settled) {
        (host.say)(&format!(
            "What is not settled is asked again by {to_go_on}, or, with another table, by a new run with another --file."
        ));
    }
    match ended {
        Ok(()) => written,
        Err(stop) => {
            let also = written.err().map(|fault| format!("\n{fault}"));
            let also = also.unwrap_or_default();
            let option = stop.option();
            Err(format!("{stop}{also}\nGo on with {to_go_on}{option}"))
        }
    }
}

async fn answer_all(run: &mut Run<'_>, arguments: &Arguments, host: &Host<'_>) -> Result<(), Stop> {
    if arguments.job_ended {
        run.end_unseen().await?;
    }
    run.recover().await?;
    for experiment in run.record.open() {
        let (name, about) = (experiment.name(), experiment.about());
        (host.say)(&format!("\n{name}: {}", about.question));
        let finding = match experiment.jobs(&run.tables, &run.record) {
            Ok(planned) => experiment.run(run, &planned).await?,
            Err(needs) => Finding::not_possible(experiment, needs),
        };
        (host.say)(&format!("{}: {}", finding.verdict.as_str(), finding.answer));
        run.record.findings.push(finding);
        run.save()?;
        write_report(run, arguments, host).map_err(Stop::File)?;
    }
    // Nobody else knows these jobs.
    run.wait_for_all().await
}

fn write_report(run: &Run<'_>, arguments: &Arguments, host: &Host<'_>) -> Result<(), String> {
    let file = &arguments.report;
    let report = format!("{:#}\n", report::json(&run.record, host.clock.now()));
    if let Some(identifier) = report::identifier(&report, &run.record) {
        return Err(format!(
            "the report is not written, because it would have {identifier}"
        ));
    }
    let written = fs::write(file, report);
    written.map_err(|error| format!("{} cannot be written: {error}", file.display()))
}
