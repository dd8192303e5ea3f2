//! Stores of numeric series: one suite against each, then faults of the real servers.
//!
//! The servers are real. Where one is missing the test fails and says what to do, unless a person waived it by name.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    clippy::cast_possible_wrap,
    reason = "test helpers"
)]

#[path = "stores/faults.rs"]
mod faults;
#[path = "stores/server_faults.rs"]
mod server_faults;
#[path = "stores/suite.rs"]
mod suite;

use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use furrow_ingest::store::archive::ArchiveStore;
use furrow_ingest::store::influx::{
    Downsampling, InfluxSettings, InfluxStore, Layout, SetUp, set_up,
};
use furrow_ingest::store::victoria::{Body, VictoriaSettings, VictoriaStore};
use furrow_tests::influxd::{self, Influxd};
use furrow_tests::servers::Server;
use furrow_tests::victoria::{self, Victoria};
use tokio::runtime::Runtime;

#[test]
fn the_archive() {
    let folder = tempfile::tempdir().unwrap();
    block_on(suite::check(Arc::new(
        ArchiveStore::open(folder.path()).unwrap(),
    )));
}

#[test]
fn influxdb_with_one_bucket_for_all() {
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = start_influxd(&folder.path().join("influxd")) else {
        return;
    };
    // A name that would be another query if it were not escaped.
    let bucket = "a\\b ${1 + 1} d".to_owned();
    let settings = influx_settings(&server, Layout::Shared { bucket });
    block_on(async {
        set_up(settings.clone(), &plan()).await.unwrap();
        suite::check(Arc::new(InfluxStore::new(settings).unwrap())).await;
    });
}

#[test]
fn influxdb_with_a_bucket_for_each() {
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = start_influxd(&folder.path().join("influxd")) else {
        return;
    };
    let settings = influx_settings(
        &server,
        Layout::Each {
            prefix: "furrow-".to_owned(),
        },
    );
    block_on(async {
        let cooperatives = suite::COOPERATIVES.into_iter().map(suite::id).collect();
        set_up(
            settings.clone(),
            &SetUp {
                cooperatives,
                ..plan()
            },
        )
        .await
        .unwrap();
        suite::check(Arc::new(InfluxStore::new(settings).unwrap())).await;
    });
}

#[test]
fn victoria_metrics() {
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = start_victoria(&folder.path().join("victoria")) else {
        return;
    };
    for body in [Body::Plain, Body::Gzip] {
        let settings = VictoriaSettings {
            body,
            ..victoria_settings(&server)
        };
        let store = Arc::new(VictoriaStore::new(settings).unwrap());
        block_on(suite::check(store));
        if body == Body::Plain {
            // An empty one for the second time.
            block_on(forget_all(&server));
        }
    }
}

async fn forget_all(server: &Victoria) {
    use furrow_ingest::store::SeriesStore as _;
    let store = VictoriaStore::new(victoria_settings(server)).unwrap();
    for cooperative in suite::COOPERATIVES {
        store.delete(&suite::id(cooperative)).await.unwrap();
    }
}

/// `None`: waived by name.
fn start_influxd(folder: &Path) -> Option<Influxd> {
    if Server::Influxdb.is_waived() {
        eprintln!("NOT RUN: InfluxDB was waived by name");
        return None;
    }
    Some(Influxd::start(&influxd::find().unwrap(), folder).unwrap())
}

/// `None`: waived by name.
fn start_victoria(folder: &Path) -> Option<Victoria> {
    if Server::Victoria.is_waived() {
        eprintln!("NOT RUN: VictoriaMetrics was waived by name");
        return None;
    }
    Some(Victoria::start(&victoria::find().unwrap(), folder).unwrap())
}

fn influx_settings(server: &Influxd, layout: Layout) -> InfluxSettings {
    InfluxSettings {
        url: server.url(),
        org: influxd::ORG.to_owned(),
        token: influxd::TOKEN.to_owned(),
        layout,
        timeout: Duration::from_secs(30),
    }
}

fn first_bucket() -> Layout {
    Layout::Shared {
        bucket: influxd::BUCKET.to_owned(),
    }
}

fn plan() -> SetUp {
    SetUp {
        retention: None,
        cooperatives: Vec::new(),
        downsampling: Downsampling::Off,
    }
}

fn victoria_settings(server: &Victoria) -> VictoriaSettings {
    VictoriaSettings {
        write_url: server.url(),
        read_url: server.url(),
        delete_url: None,
        token: None,
        body: Body::Plain,
        timeout: Duration::from_secs(30),
        retention: Duration::from_secs(20 * 365 * 86_400),
        visible_after: Duration::from_secs(30),
    }
}

/// One runtime for all: the connections of a store live in the one that they were made in.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
    RUNTIME.block_on(future)
}
