//! A cooperative is deleted while ingest is killed again and again and a store is away: nothing of it is left in the data
//! directory or in the stores, and the other's readings are complete.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "test helpers"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use furrow_ingest::store::archive::ArchiveStore;
use furrow_ingest::store::influx::{InfluxSettings, InfluxStore, Layout};
use furrow_ingest::store::victoria::{Body, VictoriaSettings, VictoriaStore};
use furrow_ingest::store::{SeriesStore, Span};
use furrow_tests::binaries::Binaries;
use furrow_tests::fleet::{Fleet, Load, number};
use furrow_tests::influxd::{self, Influxd};
use furrow_tests::process::{pause, until};
use furrow_tests::servers::Server;
use furrow_tests::victoria::{self, Victoria};
use tokio::runtime::Runtime;

const GATEWAYS: u32 = 3;
const PATIENCE: Duration = Duration::from_secs(180);
/// What a fleet's cooperative is called.
const STAYS: &str = "fleet";
const GONE: &str = "xoa-het-moi-thu";
const KILLS: u32 = 6;

/// Series, times and values as text.
type Contents = BTreeMap<String, Vec<(i64, String)>>;

/// Everything that a store has of a cooperative.
fn contents(runtime: &Runtime, store: &dyn SeriesStore, cooperative: &str) -> Contents {
    let cooperative = cooperative.parse().unwrap();
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
                let value = reading.value.map(|value| value.to_f64());
                (
                    reading.time_ms,
                    format!("{value:?} {}", reading.quality.as_str()),
                )
            });
            all.insert(series.id.to_string(), rows.collect());
        }
        all
    })
}

fn count(contents: &Contents) -> u64 {
    contents.values().map(Vec::len).sum::<usize>() as u64
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

fn stores_toml(influxd: &Influxd, vm: &Victoria) -> String {
    let (org, bucket, token) = (influxd::ORG, influxd::BUCKET, influxd::TOKEN);
    format!(
        "\n[[store]]\nname = \"influx\"\nkind = \"influxdb2\"\nurl = \"{}\"\norg = \"{org}\"\n\
         bucket = \"{bucket}\"\ntoken = \"{token}\"\n\
         \n[[store]]\nname = \"victoria\"\nkind = \"victoriametrics\"\nurl = \"{}\"\n\
         retention = \"7300d\"\n",
        influxd.url(),
        vm.url()
    )
}

fn cooperative_toml() -> String {
    let mut out = format!("\n[[cooperative]]\nid = {GONE:?}\nname = \"HTX\"\n");
    for gateway in 1..=GATEWAYS {
        write!(
            out,
            "\n[[cooperative.gateway]]\nid = \"gw-{gateway:05}\"\ngreenhouse = \"gh-{gateway:05}\"\n\
             password = \"simulated-fleet\"\n"
        )
        .unwrap();
    }
    out
}

/// What a command of ingest prints, and its exit code.
fn ingest_command(binaries: &Binaries, folder: &Path, arguments: &[&str]) -> (String, Option<i32>) {
    let output = Command::new(&binaries.ingest)
        .arg("--config")
        .arg(folder.join("ingest.toml"))
        .args(arguments)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        String::from_utf8_lossy(&text).into_owned(),
        output.status.code(),
    )
}

/// Files whose name or bytes speak of who was deleted.
fn traces(dir: &Path, folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            traces(dir, &path, out);
            continue;
        }
        let name = path.strip_prefix(dir).unwrap();
        let bytes = fs::read(&path).unwrap();
        let mut parts = bytes.windows(GONE.len());
        if name.to_string_lossy().contains(GONE) || parts.any(|part| part == GONE.as_bytes()) {
            out.push(name.to_owned());
        }
    }
}

fn traces_in(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    traces(dir, dir, &mut found);
    found
}

/// An ingest of two cooperatives, and two stores.
struct Scene {
    folder: tempfile::TempDir,
    binaries: Binaries,
    runtime: Runtime,
    vm: Victoria,
    fleet: Fleet,
    stores: [(&'static str, Box<dyn SeriesStore>); 2],
    /// The configuration without the one that is to go.
    alone: String,
    _influxd: Influxd,
}

impl Scene {
    fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let binaries = Binaries::beside_test().unwrap();
        let at = |name: &str| folder.path().join(name);
        let influxd = Influxd::start(&influxd::find().unwrap(), &at("influxd")).unwrap();
        let vm = Victoria::start(&victoria::find().unwrap(), &at("vm")).unwrap();
        let mut fleet = Fleet::open(&binaries, &at("ingest"), GATEWAYS).unwrap();
        fleet.ingest.stop().unwrap();
        let config = at("ingest").join("ingest.toml");
        let alone = fs::read_to_string(&config).unwrap() + &stores_toml(&influxd, &vm);
        fs::write(&config, alone.clone() + &cooperative_toml()).unwrap();
        fleet.ingest.restart().unwrap();
        Self {
            folder,
            binaries,
            runtime: Runtime::new().unwrap(),
            stores: [
                ("influx", Box::new(influx(&influxd))),
                ("victoria", Box::new(victoria(&vm))),
            ],
            vm,
            fleet,
            alone,
            _influxd: influxd,
        }
    }

    fn ingest(&self) -> PathBuf {
        self.folder.path().join("ingest")
    }

    fn data(&self) -> PathBuf {
        self.ingest().join("data")
    }

    fn configure(&self, text: &str) {
        fs::write(self.ingest().join("ingest.toml"), text).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> (String, Option<i32>) {
        ingest_command(&self.binaries, &self.ingest(), arguments)
    }

    /// Both send, and both stores have it. Gives how much the one that stays has sent.
    fn both_send(&mut self) -> u64 {
        let options = ["--rate", "1000", "--for", "6s", "--channels", "5"];
        let mut load = self.fleet.load(&options).unwrap();
        let gateways = format!("--gateways={GATEWAYS}");
        let broker = format!("--broker=mqtt://{}", self.fleet.ingest.mqtt());
        let of = format!("--cooperative={GONE}");
        let all = [&["fleet", &gateways, &broker, &of], options.as_slice()].concat();
        let log = self.folder.path().join("doomed.log");
        let mut doomed = Load::start(&self.binaries.sim, &all, &log).unwrap();
        let sent = number(&load.wait(PATIENCE).unwrap(), "sent").unwrap();
        let sent_gone = number(&doomed.wait(PATIENCE).unwrap(), "sent").unwrap();
        for (name, store) in &self.stores {
            until(PATIENCE, || {
                let has = |of| count(&contents(&self.runtime, store.as_ref(), of));
                Ok((has(GONE) == sent_gone && has(STAYS) == sent).then_some(()))
            })
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        sent
    }

    /// Deletes while a store is away, ingest is killed and the other goes on sending. Gives how much it has sent.
    fn delete(&mut self) -> u64 {
        let options = ["--rate", "500", "--for", "15s", "--channels", "5"];
        let mut load = self.fleet.load(&options).unwrap();
        self.vm.kill().unwrap();
        let delete = ["delete", "--cooperative", GONE, "--confirm", GONE, "--wait"];
        let (said, code) = self.command(&[&delete[..], &["0"]].concat());
        assert_eq!(code, Some(0), "{said}");
        for kill in 0..KILLS {
            let wait_ms = rand::random_range(0..2_500);
            eprintln!("kill {kill} after {wait_ms} ms");
            pause(Duration::from_millis(wait_ms));
            self.fleet.ingest.kill().unwrap();
            self.fleet.ingest.restart().unwrap();
        }
        self.vm.spawn().and_then(|()| self.vm.wait_ready()).unwrap();
        let (said, code) = self.command(&[&delete[..], &["300"]].concat());
        assert_eq!(code, Some(0), "{said}");
        for line in [
            "  archive: gone\n",
            "  store influx: gone\n",
            "  store victoria: gone\n",
            "  log: erased ",
        ] {
            assert!(said.contains(line), "{line}: {said}");
        }
        number(&load.wait(PATIENCE).unwrap(), "sent").unwrap()
    }

    /// Nothing of the one, all of the other.
    fn judge(&self, sent: u64) {
        until(PATIENCE, || {
            Ok((self.fleet.arrived()?.stored == sent).then_some(()))
        })
        .unwrap();
        let archive = ArchiveStore::reading(&self.data().join("archive"));
        let archive = contents(&self.runtime, &archive, STAYS);
        assert_eq!(count(&archive), sent);
        for (name, store) in &self.stores {
            until(PATIENCE, || {
                let has = contents(&self.runtime, store.as_ref(), STAYS);
                Ok((has == archive).then_some(()))
            })
            .unwrap_or_else(|error| panic!("{name}: {error}"));
            let left = contents(&self.runtime, store.as_ref(), GONE);
            assert_eq!(left, BTreeMap::new(), "{name}");
            let series = self.runtime.block_on(store.series(&GONE.parse().unwrap()));
            assert_eq!(series.unwrap(), [], "{name}");
        }
    }
}

#[test]
fn nothing_is_left_of_who_was_deleted_though_ingest_is_killed_and_a_store_is_away() {
    for server in [Server::Influxdb, Server::Victoria] {
        if server.is_waived() {
            eprintln!("NOT RUN: {} was waived by name", server.as_str());
            return;
        }
    }
    let mut scene = Scene::open();
    let mut sent = scene.both_send();
    scene.fleet.ingest.stop().unwrap();
    let data = scene.data();
    assert!(traces_in(&data).len() > 4, "{:?}", traces_in(&data));
    scene.configure(&scene.alone);
    scene.fleet.ingest.restart().unwrap();
    sent += scene.delete();
    scene.judge(sent);
    scene.fleet.ingest.stop().unwrap();
    assert_eq!(traces_in(&data), [Path::new("deleted").join(GONE)]);
    let (listed, code) = scene.command(&["delete", "--list"]);
    assert!(
        code == Some(0) && !listed.contains("outstanding"),
        "{listed}"
    );
    // Its id is refused.
    scene.configure(&(scene.alone.clone() + &cooperative_toml()));
    for command in [&["run"][..], &["check"], &["store", "list"]] {
        let (said, code) = scene.command(command);
        assert_eq!(code, Some(64), "{said}");
        assert!(said.contains("its id is never used again"), "{said}");
    }
}
