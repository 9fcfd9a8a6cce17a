//! A run: starts jobs for the experiments, one at a time, follows them, and keeps its file.

use std::path::PathBuf;
use std::time::Duration;

use id_mapping_populator::clock::Clock;
use time::OffsetDateTime;

use super::call::{Listed, NotRead, Observed, Services, is_one_under_way, is_over, is_under_way};
use super::experiment::Experiment;
use super::facts::Table;
use super::record::{Call, Record};
use super::report::Verdict;

/// How long a job is looked for that Entity Resolution does not show.
pub const LOOK_FOR: Duration = Duration::from_secs(10 * 60);

/// The time between two looks for a job that is expected at any moment.
const SOON: Duration = Duration::from_secs(2);

/// How long before the call its job may start, as Entity Resolution's clock tells.
const CLOCK_DIFFERENCE: time::Duration = time::Duration::seconds(5);

/// How long after the call its job starts, at most.
const LATEST_START: time::Duration = time::Duration::minutes(5);

/// What is said of a job that is not shown, or not for certain.
pub const UNSEEN: &str = "not shown by Entity Resolution";

/// How many looks in a row may fail.
const MAX_FAILURES: usize = 10;

/// A job that is younger, and not shown, is taken for one that runs.
const STARTS_WITHIN: time::Duration = time::Duration::minutes(1);

/// Why a run ends before all is answered. It can go on with its file.
#[derive(Debug)]
pub enum Stop {
    /// A read that the run needs was refused, or failed in spite of the SDK's retries.
    NotRead(Box<Observed>),
    /// A job was started and cannot be followed.
    Unseen(String),
    /// The file cannot be written.
    File(String),
}

impl From<NotRead> for Stop {
    fn from(NotRead(observed): NotRead) -> Self {
        Self::NotRead(observed)
    }
}

impl std::fmt::Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotRead(observed) => {
                let (operation, answer) = (&observed.operation, observed.full_answer());
                write!(f, "{operation} failed: {answer}")?;
                match &observed.missing_permission {
                    Some(permission) => write!(f, "; allow the caller {permission}"),
                    None if observed.has_no_credentials() => f.write_str(
                        "; write those of your profile into the environment: aws configure export-credentials --format \
                         env",
                    ),
                    None => Ok(()),
                }
            }
            Self::Unseen(step) => write!(
                f,
                "Entity Resolution does not show the job of \"{step}\", if there is one, or shows several that may be it. \
                 Wait until the Clean Rooms console shows that no job of the table is under way"
            ),
            Self::File(fault) => f.write_str(fault),
        }
    }
}

impl Stop {
    /// What a run needs to go on besides its file.
    pub fn option(&self) -> &'static str {
        match self {
            Self::Unseen(_) => " --job-ended",
            Self::NotRead(_) | Self::File(_) => "",
        }
    }
}

/// What is known of a call's job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It runs or is queued: its status.
    Runs(String),
    Ended(String),
    /// It is not shown.
    Unseen,
    /// Several jobs may be it.
    Unclear,
}

/// What the list of a workflow's jobs tells of a call's job.
#[derive(Clone, Debug, PartialEq)]
pub enum Look {
    Listed(Listed),
    Absent,
    /// Several jobs may be it, or one that started at another time.
    Unclear,
}

/// A run.
pub struct Run<'a> {
    pub services: Services,
    pub tables: Vec<Table>,
    pub record: Record,
    pub file: PathBuf,
    pub clock: Clock,
    /// The time between two looks at a job.
    pub interval: Duration,
    pub say: &'a dyn Fn(&str),
}

impl Run<'_> {
    /// Starts a job when no job is under way. If the step was called before, nothing is called.
    pub async fn start(&mut self, step: &str, table: usize, job_type: &str) -> Result<Call, Stop> {
        if self.record.call(step).is_none() {
            self.wait_until_free().await?;
        }
        let services = self.services.clone();
        self.call(&services, step, table, job_type).await
    }

    /// Calls `PopulateIdMappingTable`, whether or not a job runs. If the step was called before, nothing is called.
    pub async fn call(
        &mut self,
        services: &Services,
        step: &str,
        table: usize,
        job_type: &str,
    ) -> Result<Call, Stop> {
        if self.record.call(step).is_none() {
            let asked = self.table(table)?.clone();
            let listed = self.services.jobs(&asked.workflow.name).await?;
            self.record.calls.push(Call {
                step: step.to_owned(),
                table,
                table_was: asked.describe(),
                job_type: job_type.to_owned(),
                called_at: self.clock.now(),
                listed_before: listed.into_iter().map(|job| job.id).collect(),
                observed: None,
                job: None,
                entity_resolution_job: None,
                ended: None,
            });
            self.save()?;
            let (observed, job) = services.populate(step, &asked.target, job_type).await;
            let answer = observed.full_answer();
            let id = job.as_ref().map(|job| format!(", job {job}"));
            if let Some(call) = self.record.call_mut(step) {
                call.observed = Some(observed);
                call.job = job;
            }
            let saved = self.save();
            (self.say)(&format!("{step}: {answer}{}", id.unwrap_or_default()));
            saved?;
        }
        let call = self.record.call(step).cloned();
        call.ok_or_else(|| Stop::Unseen(step.to_owned()))
    }

    pub fn table(&self, index: usize) -> Result<&Table, Stop> {
        let missing = || Stop::File(format!("the file has no table {}", index + 1));
        self.tables.get(index).ok_or_else(missing)
    }

    /// A table, read again.
    pub async fn refreshed(&mut self, index: usize) -> Result<&Table, Stop> {
        let mut table = self.table(index)?.clone();
        table.refresh(&self.services).await?;
        if let Some(known) = self.tables.get_mut(index) {
            *known = table;
        }
        self.table(index)
    }

    /// Waits for the jobs of calls whose answer was lost, and lets the experiments without an answer call again.
    pub async fn recover(&mut self) -> Result<(), Stop> {
        for step in self.record.lost_steps() {
            self.wait(&step).await?;
        }
        let open = self.record.open();
        self.record
            .free(|call| call.job.is_none() && open.iter().any(|one| call.is_of(*one)));
        self.save()
    }

    pub fn save(&self) -> Result<(), Stop> {
        self.record.write(&self.file).map_err(Stop::File)
    }

    /// The state of a step's job. A job that is seen for the first time becomes part of the file.
    pub async fn state(&mut self, step: &str) -> Result<State, Stop> {
        let Some(call) = self.record.call(step).cloned() else {
            return Ok(State::Unseen);
        };
        if let Some(ended) = call.ended {
            return Ok(State::Ended(ended));
        }
        let mut status = None;
        for id in call.ids() {
            if status.is_none() {
                status = self.read(call.table, &id).await?;
                if status.is_some() {
                    self.identify(step, &id)?;
                }
            }
        }
        let status = match status {
            Some(status) => status,
            None => match self.look(step).await? {
                Look::Listed(listed) => listed.status,
                Look::Absent => return Ok(State::Unseen),
                Look::Unclear => return Ok(State::Unclear),
            },
        };
        if !is_over(&status) {
            return Ok(State::Runs(status));
        }
        self.end(step, &status)?;
        Ok(State::Ended(status))
    }

    /// The status of a job of a table. `None` if Entity Resolution knows no job by this id.
    async fn read(&self, table: usize, id: &str) -> Result<Option<String>, Stop> {
        let workflow = &self.table(table)?.workflow.name;
        match self.services.job(workflow, id).await {
            Ok((described, _)) => Ok(Some(described.status)),
            Err(NotRead(observed)) if observed.is_unknown_id() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Looks for the job of a step in the list of its workflow.
    pub async fn look(&mut self, step: &str) -> Result<Look, Stop> {
        let Some(call) = self.record.call(step).cloned() else {
            return Ok(Look::Absent);
        };
        let workflow = self.table(call.table)?.workflow.name.clone();
        let listed = self.services.jobs(&workflow).await?;
        let mut ids = call.ids().into_iter();
        let known = ids.find_map(|id| listed.iter().find(|job| job.id == id));
        let look = match known {
            Some(known) => Look::Listed(known.clone()),
            None if call.entity_resolution_job.is_some() => Look::Absent,
            None => self.only_new(&call, &workflow, listed).await?,
        };
        if let Look::Listed(listed) = &look {
            self.identify(step, &listed.id)?;
        }
        Ok(look)
    }

    /// Records Entity Resolution's id of a job.
    pub fn identify(&mut self, step: &str, id: &str) -> Result<(), Stop> {
        match self.record.call_mut(step) {
            // Each look comes here, and the file is written to the disk.
            Some(call) if call.entity_resolution_job.as_deref() != Some(id) => {
                call.entity_resolution_job = Some(id.to_owned());
                self.save()
            }
            _ => Ok(()),
        }
    }

    /// The new job that began at the time of a call, if it is the only new one.
    async fn only_new(
        &self,
        call: &Call,
        workflow: &str,
        listed: Vec<Listed>,
    ) -> Result<Look, Stop> {
        let others = self
            .record
            .calls
            .iter()
            .filter(|other| other.step != call.step);
        let of_others: Vec<String> = others.flat_map(Call::ids).collect();
        let is_new =
            |job: &Listed| !call.listed_before.contains(&job.id) && !of_others.contains(&job.id);
        let mut candidates = Vec::new();
        for job in listed.into_iter().filter(is_new) {
            let (described, _) = self.services.job(workflow, &job.id).await?;
            if !described.has_own_output {
                candidates.push(job);
            }
        }
        let only = match candidates.pop() {
            Some(only) if candidates.is_empty() => only,
            None => return Ok(Look::Absent),
            Some(_) => return Ok(Look::Unclear),
        };
        let is_at_call = |at: OffsetDateTime| {
            (call.called_at - CLOCK_DIFFERENCE..call.called_at + LATEST_START).contains(&at)
        };
        Ok(match only.started_at.is_none_or(is_at_call) {
            true => Look::Listed(only),
            false => Look::Unclear,
        })
    }

    /// Waits until the job of a step has ended, and returns its last status.
    pub async fn wait(&mut self, step: &str) -> Result<String, Stop> {
        let called_at = self.record.call(step).map(|call| call.called_at);
        let mut failures = 0;
        loop {
            let state = self.state(step).await;
            let is_late = called_at.is_none_or(|at| self.clock.now() - at >= LOOK_FOR);
            match self.tolerate(&mut failures, state)? {
                None => {}
                Some(State::Ended(status)) => return Ok(status),
                Some(State::Runs(status)) if is_under_way(&status) => {
                    self.progress(step, &status, self.interval);
                }
                Some(State::Runs(status)) => {
                    let status = format!("{status} (if it has ended, go on with --job-ended)");
                    self.progress(step, &status, self.interval);
                }
                Some(State::Unseen) if is_late => {
                    self.give_up(step)?;
                    continue;
                }
                Some(State::Unclear) if is_late => return Err(Stop::Unseen(step.to_owned())),
                Some(State::Unseen | State::Unclear) => {
                    self.progress(step, UNSEEN, self.interval);
                }
            }
            tokio::time::sleep(self.interval).await;
        }
    }

    /// A call whose answer was lost started no job if none is shown, and if the run knows that jobs are shown. A job that
    /// was answered runs somewhere.
    fn give_up(&mut self, step: &str) -> Result<(), Stop> {
        let has_job = self
            .record
            .call(step)
            .is_some_and(|call| call.job.is_some());
        let mut findings = self.record.findings.iter();
        let are_shown = findings
            .any(|found| found.experiment == Experiment::JobList && found.verdict == Verdict::A);
        match has_job || !are_shown {
            true => Err(Stop::Unseen(step.to_owned())),
            false => self.end(step, "NOT_STARTED"),
        }
    }

    /// Waits until each job that the run started has ended.
    pub async fn wait_for_all(&mut self) -> Result<(), Stop> {
        for step in self.record.running_steps() {
            self.wait(&step).await?;
        }
        Ok(())
    }

    /// Waits until no job is under way that the run can see, whoever started it.
    pub async fn wait_until_free(&mut self) -> Result<(), Stop> {
        self.wait_for_all().await?;
        for index in 0..self.tables.len() {
            let workflow = self.table(index)?.workflow.name.clone();
            let mut failures = 0;
            loop {
                let jobs = self.services.jobs(&workflow).await.map_err(Stop::from);
                let jobs = self.tolerate(&mut failures, jobs)?;
                if jobs.as_deref().is_some_and(|jobs| !is_one_under_way(jobs)) {
                    break;
                }
                if jobs.is_some() {
                    let (table, next) = (index + 1, self.interval.as_secs());
                    (self.say)(&format!(
                        "waiting for the end of another job of table {table}; next look in {next} s"
                    ));
                }
                tokio::time::sleep(self.interval).await;
            }
        }
        Ok(())
    }

    /// What was read, or `None` if the read failed for a reason that may pass.
    fn tolerate<T>(&self, failures: &mut usize, read: Result<T, Stop>) -> Result<Option<T>, Stop> {
        match read {
            Err(Stop::NotRead(observed))
                if observed.missing_permission.is_none() && *failures < MAX_FAILURES =>
            {
                *failures += 1;
                let (operation, answer) = (&observed.operation, observed.full_answer());
                let next = self.interval.as_secs();
                (self.say)(&format!(
                    "{operation} failed: {answer}; next look in {next} s"
                ));
                Ok(None)
            }
            read => {
                *failures = 0;
                read.map(Some)
            }
        }
    }

    /// Takes the jobs for ended that Entity Resolution does not show as under way.
    pub async fn end_unseen(&mut self) -> Result<(), Stop> {
        for step in self.record.running_steps() {
            match self.state(&step).await? {
                State::Runs(status) if is_under_way(&status) => {}
                State::Ended(_) => {}
                State::Runs(_) | State::Unseen | State::Unclear => self.end(&step, "ENDED")?,
            }
        }
        Ok(())
    }

    /// Records how a job ended.
    pub fn end(&mut self, step: &str, status: &str) -> Result<(), Stop> {
        if let Some(call) = self.record.call_mut(step) {
            call.ended = Some(status.to_owned());
        }
        self.save()
    }

    /// A job of the first table that runs: one that the run started before, or a new one.
    pub async fn running_job(&mut self, experiment: Experiment) -> Result<Call, Stop> {
        let own = experiment.step("first call");
        if self.record.call(&own).is_none() {
            let calls = self.record.calls.clone();
            for call in calls
                .iter()
                .filter(|call| call.table == 0 && call.may_run())
            {
                if call.job.is_some() && self.is_running(&call.step).await? {
                    return Ok(call.clone());
                }
            }
        }
        let job_type = self.table(0)?.cheapest_type();
        self.start(&own, 0, job_type).await
    }

    /// Whether a job runs. One that is not shown runs if it was just started.
    pub async fn is_running(&mut self, step: &str) -> Result<bool, Stop> {
        let called_at = self.record.call(step).map(|call| call.called_at);
        let is_new = called_at.is_some_and(|at| self.clock.now() - at < STARTS_WITHIN);
        Ok(match self.state(step).await? {
            State::Runs(_) => true,
            State::Unseen | State::Unclear => is_new,
            State::Ended(_) => false,
        })
    }

    /// Waits until Entity Resolution shows that a job runs, but no longer than half a minute.
    pub async fn wait_for_running(&mut self, step: &str) -> Result<(), Stop> {
        let since = self.clock.now();
        while self.clock.now() - since < STARTS_WITHIN / 2 {
            match self.state(step).await? {
                State::Runs(status) if status == "RUNNING" => break,
                State::Ended(_) => break,
                State::Runs(status) => self.progress(step, &status, SOON),
                State::Unseen | State::Unclear => self.progress(step, UNSEEN, SOON),
            }
            tokio::time::sleep(SOON).await;
        }
        Ok(())
    }

    /// Waits for a job that is not shown yet, the longer the later it is. Each look reads the whole list.
    pub async fn look_later(&self, step: &str, since: OffsetDateTime) {
        let waited = (self.clock.now() - since).unsigned_abs();
        let next = (waited / 10).max(SOON).min(self.interval);
        self.progress(step, UNSEEN, next);
        tokio::time::sleep(next).await;
    }

    pub fn progress(&self, step: &str, status: &str, next: Duration) {
        let since = self
            .record
            .call(step)
            .map(|call| self.clock.now() - call.called_at);
        let minutes = since.map(time::Duration::whole_minutes).unwrap_or_default();
        let next = next.as_secs();
        (self.say)(&format!(
            "waiting for the job of \"{step}\": {status}, {minutes} min after the call; next look in {next} s"
        ));
    }
}
