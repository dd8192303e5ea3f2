//! A damaged file of one cooperative: the others go on, and what it lacks is applied once it is put right.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test helpers")]

mod kit;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use furrow_ingest::archive::{Archive, CooperativeSetup, LiveHub};
use furrow_ingest::config;
use furrow_ingest::decode::Decoder;
use furrow_ingest::http::Fleet;
use furrow_ingest::log::consumer::{Consumer, ConsumerSetup};
use furrow_ingest::log::derived::DataDir;
use furrow_ingest::log::entry::EntryKind;
use furrow_ingest::log::front::{Front, FrontSetup, Incoming};
use furrow_ingest::log::recover::{recover, replay};
use furrow_ingest::log::{Hold, Log};
use furrow_ingest::metrics::Metrics;
use furrow_ingest::remote::Board;
use furrow_ingest::run::Service;
use furrow_ingest_core::GatewayKey;
use furrow_journal::sim::SimDisk;
use furrow_journal::{Journal, Options};
use furrow_wire::{Ack, CooperativeId};
use kit::{READINGS, Source};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const SICK: &str = "hoa-binh";
const WELL: &str = "dong-tam";
const SEGMENT_BYTES: u32 = 16 * 1024;
/// Three quarters of it are six segments.
const MAX_BYTES: u64 = 8 * 16 * 1024;

fn id(cooperative: &str) -> CooperativeId {
    cooperative.parse().unwrap()
}

fn key(cooperative: &str) -> GatewayKey {
    GatewayKey {
        cooperative: id(cooperative),
        gateway: "gw-01".parse().unwrap(),
    }
}

/// Ingest of two cooperatives without sockets, threads and clocks.
struct Ingest {
    front: Front<SimDisk>,
    consumer: Consumer<SimDisk, DataDir>,
    metrics: Metrics,
    now_ms: u64,
}

impl Ingest {
    fn start(disk: &SimDisk, dir: &Path) -> Self {
        let options = Options {
            segment_bytes: SEGMENT_BYTES,
            cap_bytes: MAX_BYTES,
            keep_bytes: 0,
        };
        let (journal, _) = Journal::open(disk.clone(), options).unwrap();
        let log = Arc::new(Log::bounded(journal, MAX_BYTES));
        let (fleet, live, metrics) = (Fleet::default(), LiveHub::default(), Metrics::default());
        let ids = [SICK, WELL].map(id);
        let setups = ids.clone().map(|id| CooperativeSetup {
            id,
            rules: Vec::new(),
        });
        let archive = Archive::open(&dir.join("archive"), &setups, live.clone(), &metrics).unwrap();
        let gateways: Vec<_> = [SICK, WELL]
            .map(|id| (key(id), "nha-luoi-1".parse().unwrap()))
            .into();
        let mut decoder = Decoder::new(gateways.clone());
        for id in ids.iter().filter(|id| !archive.is_out(id)) {
            for (gateway, _, body) in archive.catalogs(id).unwrap() {
                let cooperative = id.clone();
                let key = GatewayKey {
                    cooperative,
                    gateway,
                };
                decoder.restore_catalog(&key, &body);
            }
        }
        let path = dir.to_owned();
        let mut derived = DataDir { archive, path };
        let snapshot = recover(&log, &mut derived, &ids).unwrap();
        let tracker = replay(&log, &snapshot);
        let board = Board::default();
        let setup = ConsumerSetup {
            hold: Hold::firm("archive"),
            fleet: fleet.clone(),
            board: board.clone(),
            metrics: metrics.clone(),
        };
        let consumer = Consumer::new(Arc::clone(&log), derived, decoder, snapshot, setup);
        let setup = FrontSetup {
            gateways: gateways.into_iter().collect(),
            fleet,
            live,
            board,
            metrics: metrics.clone(),
        };
        Self {
            front: Front::new(log, tracker, setup),
            consumer,
            metrics,
            now_ms: 0,
        }
    }

    /// Both gateways send these; all of it is committed, and as much applied as can be.
    fn take(&mut self, seqs: std::ops::RangeInclusive<u64>) {
        for cooperative in [SICK, WELL] {
            self.take_of(cooperative, seqs.clone());
        }
    }

    fn take_of(&mut self, cooperative: &str, seqs: std::ops::RangeInclusive<u64>) {
        let incoming = Incoming {
            gateway: key(cooperative),
            kind: EntryKind::Packet,
            bytes: Source::new(7).packet(seqs),
            // Behind all of them: readings from the future are refused.
            received_unix_ms: kit::START_MS + 30 * 86_400_000,
        };
        self.front.handle_incoming(&incoming, self.now_ms).unwrap();
        self.front.commit().unwrap();
        while self.consumer.step().unwrap() > 0 {}
    }

    /// Contiguous marks that the next acknowledgements tell, by cooperative.
    fn marks(&mut self) -> Vec<(String, u64)> {
        self.now_ms += 1_000;
        let acks = self.front.poll_acks(self.now_ms, 42).into_iter();
        let mark = |ack: &Ack| ack.streams[0].mark;
        acks.flat_map(|(due, acks)| {
            let cooperative = due.gateway.cooperative.as_str().to_owned();
            let marks: Vec<_> = acks.iter().map(mark).collect();
            marks
                .into_iter()
                .map(move |mark| (cooperative.clone(), mark))
        })
        .collect()
    }

    fn archive(&self) -> &Archive {
        &self.consumer.derived().archive
    }

    fn stored(&self, cooperative: &str) -> (u64, u64) {
        let scans = self.archive().reader().scan(&id(cooperative)).unwrap();
        let sum = |(readings, twice), scan: &furrow_ingest::archive::Scan| {
            (readings + scan.readings, twice + scan.twice)
        };
        scans.values().fold((0, 0), sum)
    }

    fn counter(&self, name: &'static str) -> u64 {
        self.metrics.counter(name, "", &[]).get()
    }
}

fn file(dir: &Path, cooperative: &str) -> PathBuf {
    dir.join("archive").join(format!("{cooperative}.sqlite"))
}

fn overwrite(path: &Path, from: usize, length: usize) {
    let mut bytes = fs::read(path).unwrap();
    let end = bytes.len().min(from + length);
    bytes[from..end].fill(0xA5);
    fs::write(path, bytes).unwrap();
}

fn truncate(path: &Path, length: u64) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_len(length).unwrap();
}

type Damage = fn(&Path);

/// What can become of a file. Pages are 16 KiB.
const DAMAGES: [(&str, Damage); 7] = [
    ("no header", |dir| overwrite(&file(dir, SICK), 0, 100)),
    ("a garbage schema", |dir| {
        overwrite(&file(dir, SICK), 100, 16_284)
    }),
    ("garbage behind the first page", |dir| {
        overwrite(&file(dir, SICK), 16_384, 1 << 20)
    }),
    ("cut within a page", |dir| {
        truncate(&file(dir, SICK), 16_384 * 3 + 7)
    }),
    ("cut to its first page", |dir| {
        truncate(&file(dir, SICK), 16_384)
    }),
    ("another version", |dir| {
        let db = rusqlite::Connection::open(file(dir, SICK)).unwrap();
        db.pragma_update(None, "user_version", 99).unwrap();
    }),
    ("another cooperative's", |dir| {
        fs::copy(file(dir, WELL), file(dir, SICK)).unwrap();
    }),
];

#[test]
fn a_damaged_file_holds_up_nobody_and_gets_what_it_lacks_when_it_is_restored() {
    for (name, damage) in DAMAGES {
        let (disk, dir) = (SimDisk::new(), tempfile::tempdir().unwrap());
        let mut ingest = Ingest::start(&disk, dir.path());
        ingest.take(1..=10);
        ingest.consumer.checkpoint().unwrap();
        ingest.take(11..=20);
        drop(ingest);
        let good = dir.path().join("good");
        fs::rename(file(dir.path(), SICK), &good).unwrap();
        fs::copy(&good, file(dir.path(), SICK)).unwrap();
        damage(dir.path());
        // Twice: the second start knows no more than the first one's marks.
        for last in [30, 40] {
            let mut ingest = Ingest::start(&disk, dir.path());
            assert!(ingest.archive().is_out(&id(SICK)), "{name}");
            ingest.take(last - 9..=last);
            ingest.consumer.checkpoint().unwrap();
            let marks = [(WELL.to_owned(), last), (SICK.to_owned(), last)];
            assert_eq!(ingest.marks(), marks, "{name}: the log has them");
            assert_eq!(ingest.stored(WELL), ((last - 1) * READINGS, 0), "{name}");
            let error = ingest.archive().reader().scan(&id(SICK)).unwrap_err();
            assert!(error.to_string().contains(SICK), "{name}: {error}");
            let figure = ingest
                .metrics
                .gauge("furrow_archives_out_of_service", "", &[]);
            assert_eq!(figure.get(), 1, "{name}");
            assert!(
                ingest.counter("furrow_log_entries_held_total") > 0,
                "{name}"
            );
        }
        for companion in ["-wal", "-shm"] {
            let mut name = file(dir.path(), SICK).into_os_string();
            name.push(companion);
            fs::remove_file(name).ok();
        }
        fs::rename(&good, file(dir.path(), SICK)).unwrap();
        let mut ingest = Ingest::start(&disk, dir.path());
        assert!(!ingest.archive().is_out(&id(SICK)), "{name}");
        ingest.take(41..=41);
        for cooperative in [SICK, WELL] {
            assert_eq!(ingest.stored(cooperative), (40 * READINGS, 0), "{name}");
        }
        ingest.consumer.checkpoint().unwrap();
    }
}

#[test]
fn a_file_that_turns_bad_while_ingest_runs_is_taken_out_of_service() {
    let (disk, dir) = (SimDisk::new(), tempfile::tempdir().unwrap());
    let mut ingest = Ingest::start(&disk, dir.path());
    ingest.take(1..=10);
    ingest.consumer.checkpoint().unwrap();
    let good = dir.path().join("good");
    let db = rusqlite::Connection::open(file(dir.path(), SICK)).unwrap();
    db.execute("VACUUM INTO ?1", [good.to_str().unwrap()])
        .unwrap();
    ingest.take(11..=20);
    db.execute_batch(
        "PRAGMA writable_schema = ON;
         UPDATE sqlite_schema SET sql = 'no table' WHERE name = 'pending';
         PRAGMA schema_version = 1000",
    )
    .unwrap();
    drop(db);
    ingest.take(21..=30);
    assert!(ingest.archive().is_out(&id(SICK)));
    assert_eq!(ingest.stored(WELL), (29 * READINGS, 0));
    ingest.consumer.checkpoint().unwrap();
    drop(ingest);
    fs::rename(&good, file(dir.path(), SICK)).unwrap();
    let mut ingest = Ingest::start(&disk, dir.path());
    ingest.take(31..=31);
    for cooperative in [SICK, WELL] {
        assert_eq!(ingest.stored(cooperative), (30 * READINGS, 0));
    }
}

#[test]
fn a_log_that_needs_its_room_lets_go_and_the_gateways_are_asked_again() {
    let (disk, dir) = (SimDisk::new(), tempfile::tempdir().unwrap());
    let mut ingest = Ingest::start(&disk, dir.path());
    ingest.take(1..=10);
    ingest.consumer.checkpoint().unwrap();
    drop(ingest);
    let good = dir.path().join("good");
    fs::copy(file(dir.path(), SICK), &good).unwrap();
    overwrite(&file(dir.path(), SICK), 0, 100);
    let mut ingest = Ingest::start(&disk, dir.path());
    ingest.take_of(SICK, 11..=20);
    let mut last = 10;
    while ingest.counter("furrow_log_holds_given_up_total") == 0 {
        ingest.take_of(WELL, last + 1..=last + 10);
        last += 10;
        ingest.consumer.checkpoint().unwrap();
    }
    // Far more than the log can hold: it never fills up.
    let end = last * 3;
    while last < end {
        ingest.take_of(WELL, last + 1..=last + 10);
        last += 10;
        ingest.consumer.checkpoint().unwrap();
    }
    assert_eq!(ingest.stored(WELL), ((last - 1) * READINGS, 0));
    drop(ingest);
    fs::rename(&good, file(dir.path(), SICK)).unwrap();
    let mut ingest = Ingest::start(&disk, dir.path());
    // It does not know them any more, so it takes what the gateway still holds.
    ingest.take_of(SICK, 1..=20);
    assert_eq!(ingest.stored(SICK), (19 * READINGS, 0));
    assert_eq!(ingest.stored(WELL), ((last - 1) * READINGS, 0));
}

/// The whole process: it starts, says so, and answers for the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ingest_starts_beside_a_damaged_file_and_names_whose_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let mut text = format!(
        "data_dir = {:?}\n[broker]\nlisten = \"127.0.0.1:0\"\n[http]\nlisten = \"127.0.0.1:0\"\n",
        dir.path().join("data")
    );
    for cooperative in [SICK, WELL] {
        text += &format!(
            "[[cooperative]]\nid = \"{cooperative}\"\nname = \"HTX\"\n\
             token = [{{ name = \"t\", token = \"a-token-of-{cooperative}\" }}]\n\
             gateway = [{{ id = \"gw-01\", greenhouse = \"nha-1\", password = \"secret\" }}]\n"
        );
    }
    let path = dir.path().join("ingest.toml");
    fs::write(&path, text).unwrap();
    let settings = || config::load(&path).unwrap();
    Service::start(settings()).await.unwrap().stop().await;
    overwrite(&file(&dir.path().join("data"), SICK), 16_384, 1 << 20);
    let service = Service::start(settings()).await.unwrap();
    let http = service.ready().http;
    let get = |cooperative: &str| {
        let path = format!("/api/v1/cooperatives/{cooperative}/greenhouses");
        get(http, path, format!("a-token-of-{cooperative}"))
    };
    let answer = get(WELL).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let answer = get(SICK).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(
        answer.contains("archive of hoa-binh is damaged"),
        "{answer}"
    );
    let answer = self::get(http, "/readyz".to_owned(), String::new()).await;
    assert!(answer.contains("\"out_of_service\":1"), "{answer}");
    service.stop().await;
}

async fn get(address: SocketAddr, path: String, token: String) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: ingest\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}
