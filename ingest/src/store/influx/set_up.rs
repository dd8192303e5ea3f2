//! Buckets with their retention, and the tasks that fill down-sampled ones. Run twice, it changes nothing.
//!
//! Our own reads never use down-sampled buckets: they are for dashboards, and a reading that arrives later than a task
//! looks back is missing there. What a person changed in a bucket or task stays as it is.

use std::time::Duration;

use furrow_wire::CooperativeId;
use influxdb2::api::organization::ListOrganizationRequest;
use influxdb2::api::task::{CreateTaskRequest, ListTasksRequest};
use influxdb2::models::PostBucketRequest;
use influxdb2::models::retention_rule::{RetentionRule, Type};

use super::super::StoreFault;
use super::super::http::SettingsError;
use super::{InfluxSettings, InfluxStore, Layout, flux};

/// What to set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetUp {
    /// How long raw readings stay; `None`: for ever.
    pub retention: Option<Duration>,
    /// Whose buckets, where each cooperative has its own.
    pub cooperatives: Vec<CooperativeId>,
    /// Whether to keep minutes and hours as well.
    pub downsampling: Downsampling,
}

/// Buckets of minutes and of hours, beside that of the readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Downsampling {
    /// None.
    Off,
    /// With `_1m` and `_1h` behind the bucket's name.
    On {
        /// How long minutes stay; `None`: for ever.
        minutes: Option<Duration>,
        /// How long hours stay; `None`: for ever.
        hours: Option<Duration>,
    },
}

/// What `set_up` found and made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SetUpDone {
    /// Buckets and tasks that are new.
    pub created: Vec<String>,
    /// Buckets and tasks that were there already, whatever they hold.
    pub kept: Vec<String>,
}

/// Why a store could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// Its settings can't be used.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The server did not do it. What was made before stays; run it again.
    #[error(transparent)]
    Store(#[from] StoreFault),
}

/// Makes what is missing. The token must be allowed to make buckets and tasks.
///
/// # Errors
/// When the settings can't be used, or the server refuses.
pub async fn set_up(settings: InfluxSettings, plan: &SetUp) -> Result<SetUpDone, SetUpError> {
    let layout = settings.layout.clone();
    let store = InfluxStore::new(settings)?;
    let org_id = store.org_id().await?;
    let buckets: Vec<String> = match layout {
        Layout::Shared { bucket } => vec![bucket],
        Layout::Each { .. } => plan
            .cooperatives
            .iter()
            .map(|cooperative| store.bucket(cooperative))
            .collect(),
    };
    let mut done = SetUpDone::default();
    for bucket in buckets {
        store
            .ensure_bucket(&org_id, &bucket, plan.retention, &mut done)
            .await?;
        let Downsampling::On { minutes, hours } = plan.downsampling else {
            continue;
        };
        for (target, (step, retention)) in downsampled(&bucket)
            .iter()
            .zip([(&MINUTES, minutes), (&HOURS, hours)])
        {
            store
                .ensure_bucket(&org_id, target, retention, &mut done)
                .await?;
            store
                .ensure_task(&org_id, &bucket, target, step, &mut done)
                .await?;
        }
    }
    Ok(done)
}

/// Names of the down-sampled buckets of a bucket: minutes, hours.
pub(super) fn downsampled(bucket: &str) -> [String; 2] {
    [MINUTES, HOURS].map(|step| format!("{bucket}_{}", step.window))
}

struct Step {
    window: &'static str,
    every: &'static str,
    /// How far back it looks each time: later readings are missing in it.
    behind: &'static str,
}

const MINUTES: Step = Step {
    window: "1m",
    every: "5m",
    behind: "2h",
};
const HOURS: Step = Step {
    window: "1h",
    every: "1h",
    behind: "2d",
};

impl InfluxStore {
    async fn org_id(&self) -> Result<String, StoreFault> {
        let org = &self.settings.org;
        let request = ListOrganizationRequest {
            descending: None,
            limit: None,
            offset: None,
            org: Some(org.clone()),
            org_id: None,
            user_id: None,
        };
        let found = self.call(self.writer.list_organizations(request)).await?;
        let id = found
            .orgs
            .into_iter()
            .find(|found| found.name == *org)
            .and_then(|org| org.id);
        id.ok_or_else(|| StoreFault::Denied {
            reason: format!("there is no organisation {org:?} that this token may see"),
        })
    }

    async fn ensure_bucket(
        &self,
        org_id: &str,
        name: &str,
        retention: Option<Duration>,
        done: &mut SetUpDone,
    ) -> Result<(), StoreFault> {
        let said = format!("bucket {name}");
        if self.bucket_id(name).await?.is_some() {
            done.kept.push(said);
            return Ok(());
        }
        let mut request = PostBucketRequest::new(org_id.to_owned(), name.to_owned());
        if let Some(retention) = retention {
            let seconds = i32::try_from(retention.as_secs()).map_err(|_| StoreFault::Refused {
                reason: format!("a retention of {retention:?} is longer than it can hold"),
            })?;
            request.retention_rules = vec![RetentionRule::new(Type::Expire, seconds)];
        }
        self.call(self.writer.create_bucket(Some(request))).await?;
        done.created.push(said);
        Ok(())
    }

    async fn ensure_task(
        &self,
        org_id: &str,
        from: &str,
        to: &str,
        step: &Step,
        done: &mut SetUpDone,
    ) -> Result<(), StoreFault> {
        let name = format!("furrow {to}");
        let said = format!("task {name}");
        let wanted = ListTasksRequest {
            name: Some(name.clone()),
            org_id: Some(org_id.to_owned()),
            ..ListTasksRequest::default()
        };
        let found = self.call(self.writer.list_tasks(wanted)).await?;
        if found.tasks.iter().any(|task| task.name == name) {
            done.kept.push(said);
            return Ok(());
        }
        let query = flux::task(&name, from, to, step.window, step.every, step.behind);
        let mut request = CreateTaskRequest::new(query);
        request.org_id = Some(org_id.to_owned());
        self.call(self.writer.create_task(request)).await?;
        done.created.push(said);
        Ok(())
    }
}
