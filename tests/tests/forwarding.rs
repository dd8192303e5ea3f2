//! Two real stores behind a real ingest: both are killed, and ingest is, while a fleet sends; at the end all three
//! hold the same. Then from one store to another by the command.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "test helpers"
)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use furrow_ingest::store::archive::ArchiveStore;
use furrow_ingest::store::influx::{InfluxSettings, InfluxStore, Layout};
use furrow_ingest::store::victoria::{Body, VictoriaSettings, VictoriaStore};
use furrow_ingest::store::{SeriesStore, Span};
use furrow_tests::binaries::Binaries;
use furrow_tests::fleet::{Fleet, number};
use furrow_tests::influxd::{self, Influxd};
use furrow_tests::process::{pause, until};
use furrow_tests::servers::Server;
use furrow_tests::victoria::{self, Victoria};
use furrow_wire::CooperativeId;
use tokio::runtime::Runtime;

const GATEWAYS: u32 = 4;
const PATIENCE: Duration = Duration::from_secs(120);
/// What a fleet's cooperative is called.
const COOPERATIVE: &str = "fleet";

/// Time, value as text, quality.
type Rows = Vec<(i64, Option<String>, &'static str)>;

/// Everything that a store has, series by series.
fn contents(runtime: &Runtime, store: &dyn SeriesStore) -> BTreeMap<String, Rows> {
    let cooperative: CooperativeId = COOPERATIVE.parse().unwrap();
    runtime.block_on(async {
        let mut all = BTreeMap::new();
        for series in store.series(&cooperative).await.unwrap() {
            let extent = store.extent(&cooperative, &series.id).await.unwrap();
            let Some(Span { from_ms, to_ms }) = extent else {
                continue;
            };
            let span = Span { from_ms, to_ms };
            let readings = store.read(&cooperative, &series.id, span).await.unwrap();
            let rows = readings.into_iter().map(|reading| {
                // 20.10 and 20.1 are the same number.
                let value = reading.value.map(|value| format!("{}", value.to_f64()));
                (reading.time_ms, value, reading.quality.as_str())
            });
            all.insert(format!("{} {}", series.id, series.unit), rows.collect());
        }
        all
    })
}

fn readings(contents: &BTreeMap<String, Rows>) -> usize {
    contents.values().map(Vec::len).sum()
}

/// Waits until a store has what the archive has; else what it has.
fn same(
    runtime: &Runtime,
    archive: &BTreeMap<String, Rows>,
    store: &dyn SeriesStore,
) -> Result<(), String> {
    let mut last = BTreeMap::new();
    let equal = until(PATIENCE, || {
        last = contents(runtime, store);
        Ok((last == *archive).then_some(()))
    });
    equal.map_err(|error| {
        let (has, series) = (readings(&last), last.len());
        let (wanted, all) = (readings(archive), archive.len());
        format!("{error}: {has} readings of {series} series, not {wanted} of {all}")
    })
}

fn influx(server: &Influxd) -> InfluxStore {
    let bucket = influxd::BUCKET.to_owned();
    let settings = InfluxSettings {
        url: server.url(),
        org: influxd::ORG.to_owned(),
        token: influxd::TOKEN.to_owned(),
        layout: Layout::Shared { bucket },
        timeout: Duration::from_secs(30),
    };
    InfluxStore::new(settings).unwrap()
}

fn victoria(server: &Victoria) -> VictoriaStore {
    let settings = VictoriaSettings {
        write_url: server.url(),
        read_url: server.url(),
        delete_url: None,
        token: None,
        body: Body::Plain,
        timeout: Duration::from_secs(30),
        retention: Duration::from_secs(20 * 365 * 86_400),
        visible_after: Duration::from_secs(30),
    };
    VictoriaStore::new(settings).unwrap()
}

fn configure(folder: &Path, influxd: &Influxd, vm: &Victoria) {
    let mut config = File::options()
        .append(true)
        .open(folder.join("ingest.toml"))
        .unwrap();
    let (org, bucket, token) = (influxd::ORG, influxd::BUCKET, influxd::TOKEN);
    write!(
        config,
        "\n[[store]]\nname = \"influx\"\nkind = \"influxdb2\"\nurl = \"{}\"\norg = \"{org}\"\n\
         bucket = \"{bucket}\"\ntoken = \"{token}\"\n\
         \n[[store]]\nname = \"victoria\"\nkind = \"victoriametrics\"\nurl = \"{}\"\n\
         retention = \"7300d\"\n",
        influxd.url(),
        vm.url()
    )
    .unwrap();
}

/// What `furrow-ingest store …` prints, and whether it succeeded.
fn store_command(binaries: &Binaries, folder: &Path, arguments: &[&str]) -> (String, bool) {
    let output = Command::new(&binaries.ingest)
        .arg("--config")
        .arg(folder.join("ingest.toml"))
        .arg("store")
        .args(arguments)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    (text, output.status.success())
}

#[test]
fn both_stores_have_what_the_archive_has_though_all_were_killed() {
    for server in [Server::Influxdb, Server::Victoria] {
        if server.is_waived() {
            eprintln!("NOT RUN: {} was waived by name", server.as_str());
            return;
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let binaries = Binaries::beside_test().unwrap();
    let runtime = Runtime::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    let mut influxd = Influxd::start(&influxd::find().unwrap(), &at("influxd")).unwrap();
    let mut vm = Victoria::start(&victoria::find().unwrap(), &at("vm")).unwrap();
    let ingest = at("ingest");
    let mut fleet = Fleet::open(&binaries, &ingest, GATEWAYS).unwrap();
    fleet.ingest.stop().unwrap();
    configure(&ingest, &influxd, &vm);
    fleet.ingest.restart().unwrap();

    let options = ["--rate", "2000", "--for", "12s", "--channels", "5"];
    let mut load = fleet.load(&options).unwrap();
    pause(Duration::from_secs(3));
    influxd.kill().unwrap();
    vm.kill().unwrap();
    pause(Duration::from_secs(2));
    // The archive waits for neither.
    fleet.ingest.kill().unwrap();
    fleet.ingest.restart().unwrap();
    pause(Duration::from_secs(2));
    for server in ["influxd", "vm"] {
        match server {
            "vm" => vm.spawn().and_then(|()| vm.wait_ready()).unwrap(),
            _ => influxd.spawn().and_then(|()| influxd.wait_ready()).unwrap(),
        }
    }
    let totals = load.wait(PATIENCE).unwrap();
    let sent = number(&totals, "sent").unwrap();
    until(PATIENCE, || {
        Ok((fleet.arrived()?.stored == sent).then_some(()))
    })
    .unwrap();
    let archive = contents(
        &runtime,
        &ArchiveStore::reading(&ingest.join("data/archive")),
    );
    assert_eq!(readings(&archive) as u64, sent);
    let stores: [(&str, &dyn SeriesStore); 2] =
        [("influx", &influx(&influxd)), ("victoria", &victoria(&vm))];
    for (name, store) in stores {
        if let Err(told) = same(&runtime, &archive, store) {
            let log = std::fs::read_to_string(fleet.ingest.log()).unwrap();
            let of_store = log.lines().filter(|line| line.contains(name));
            let said = of_store.collect::<Vec<_>>().join("\n");
            panic!("{name}: {told}\n{said}");
        }
    }
    let (listed, ok) = store_command(&binaries, &ingest, &["list"]);
    assert!(ok && listed.matches(": answers").count() == 2, "{listed}");

    // Ingest's archive is lost; another store gives the readings back.
    fleet.ingest.stop().unwrap();
    std::fs::remove_dir_all(ingest.join("data/archive")).unwrap();
    let migrate = ["migrate", "--from", "influx", "--to", "archive"];
    let (told, ok) = store_command(&binaries, &ingest, &migrate);
    assert!(ok && told.contains("fleet: complete"), "{told}");
    let again = ArchiveStore::reading(&ingest.join("data/archive"));
    assert_eq!(contents(&runtime, &again), archive);
    let (told, ok) = store_command(&binaries, &ingest, &migrate);
    assert!(ok && told.contains("was copied before"), "{told}");
    let (told, ok) = store_command(&binaries, &ingest, &["setup", "victoria"]);
    assert!(!ok && told.contains("needs no set-up"), "{told}");
    let (told, ok) = store_command(&binaries, &ingest, &["refused", "nowhere"]);
    assert!(!ok && told.contains("influx, victoria"), "{told}");
}
