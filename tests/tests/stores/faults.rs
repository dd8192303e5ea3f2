//! What goes wrong between a store and its server, played by listeners: hanging, broken and foreign answers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use furrow_ingest::store::influx::{InfluxSettings, InfluxStore, Layout};
use furrow_ingest::store::victoria::{Body, VictoriaSettings, VictoriaStore};
use furrow_ingest::store::{SeriesStore, StoreFault};
use furrow_tests::process::free_port;

use super::block_on;
use super::suite::{ever, good, id, run, series};

const TIMEOUT: Duration = Duration::from_millis(700);

#[test]
fn a_server_that_hangs_or_is_away_is_busy_within_the_time_out() {
    // It accepts, through the kernel's queue, and never answers.
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let hanging = hanging
        .local_addr()
        .map(|address| (address, hanging))
        .unwrap();
    let away = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
    for address in [hanging.0, away] {
        for store in stores(address) {
            check(
                &*store,
                |fault| matches!(fault, StoreFault::Busy { .. }),
                "busy",
            );
        }
    }
}

#[test]
fn an_answer_that_is_cut_off_or_not_in_its_format_is_busy_not_empty() {
    // Reads only: a write has no body.
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n,result,table\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"metric\":{\"__name__\":\"a_va",
        "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n<html>\n",
        "HTTP/1.1 200 OK\r\n",
        "garbage\r\n\r\n",
    ] {
        let address = answering(answer);
        for store in stores(address) {
            let read = block_on(read(&*store));
            assert!(
                matches!(read, Err(StoreFault::Busy { .. })),
                "{answer:?}: {read:?}"
            );
        }
    }
}

#[test]
fn each_refusal_has_its_meaning_for_the_caller() {
    for (status, denied) in [
        ("401 Unauthorized", true),
        ("403 Forbidden", true),
        ("404 Not Found", true),
        ("429 Too Many Requests", false),
        ("500 Internal Server Error", false),
        ("503 Service Unavailable", false),
    ] {
        let text = format!(
            "HTTP/1.1 {status}\r\nretry-after: 7\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno"
        );
        let address = answering(Box::leak(text.into_boxed_str()));
        for store in stores(address) {
            let is_meant = |fault: &StoreFault| match fault {
                StoreFault::Denied { .. } => denied,
                StoreFault::Busy { .. } => !denied,
                StoreFault::Refused { .. } => false,
            };
            check(&*store, is_meant, status);
        }
        let read = block_on(read(&*stores(address)[0]));
        if let Err(StoreFault::Busy { retry_after, .. }) = read {
            assert_eq!(retry_after, Some(Duration::from_secs(7)), "{status}");
        }
    }
}

fn check(store: &dyn SeriesStore, is_meant: impl Fn(&StoreFault) -> bool, what: &str) {
    let readings = run(
        &series("nha-1", "sht", "air_temperature"),
        "Cel",
        &[good(1_760_054_400_000, 1)],
    );
    let began = Instant::now();
    let faults = block_on(async {
        [
            store.write(&id("hoa-binh"), &[readings]).await.map(drop),
            read(store).await.map(drop),
            store.latest(&id("hoa-binh"), None).await.map(drop),
            store.health().await,
            store.delete(&id("hoa-binh")).await,
        ]
    });
    for (call, fault) in faults.iter().enumerate() {
        // A bucket that is not there holds nothing of a cooperative: where each has its own, deleting is no fault.
        if let Err(fault) = fault {
            assert!(is_meant(fault), "{what}, call {call}: {fault}");
        } else {
            panic!("{what}, call {call}: no fault of {store:?}");
        }
    }
    let spent = began.elapsed();
    assert!(
        spent < 5 * TIMEOUT + Duration::from_secs(2),
        "{what}: {spent:?}"
    );
}

async fn read(store: &dyn SeriesStore) -> Result<Vec<furrow_ingest::store::Reading>, StoreFault> {
    store
        .read(
            &id("hoa-binh"),
            &series("nha-1", "sht", "air_temperature"),
            ever(),
        )
        .await
}

fn stores(address: SocketAddr) -> [Box<dyn SeriesStore>; 2] {
    let url = format!("http://{address}");
    let influx = InfluxSettings {
        url: url.clone(),
        org: "furrow".to_owned(),
        token: "token".to_owned(),
        layout: Layout::Shared {
            bucket: "readings".to_owned(),
        },
        timeout: TIMEOUT,
    };
    let victoria = VictoriaSettings {
        write_url: url.clone(),
        read_url: url,
        delete_url: None,
        token: None,
        body: Body::Plain,
        timeout: TIMEOUT,
        retention: Duration::from_secs(20 * 365 * 86_400),
        visible_after: Duration::ZERO,
    };
    [
        Box::new(InfluxStore::new(influx).unwrap()),
        Box::new(VictoriaStore::new(victoria).unwrap()),
    ]
}

/// A listener that gives the same answer to every request and closes the connection.
fn answering(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            // Whoever asks may go away first.
            drop(connection.map(|connection| respond(connection, answer)));
        }
    });
    address
}

fn respond(mut connection: TcpStream, answer: &str) -> std::io::Result<()> {
    // A request of the stores is short: it comes in one piece, or its body in a second.
    connection.set_read_timeout(Some(Duration::from_millis(50)))?;
    let mut request = [0; 16 * 1024];
    while connection.read(&mut request).is_ok_and(|length| length > 0) {}
    connection.write_all(answer.as_bytes())
}
