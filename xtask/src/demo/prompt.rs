//! The demo's prompt.

use std::io::{BufRead, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::Context;
use furrow_tests::process::pause;

use super::deeds;
use super::farm::Farm;
use crate::say;

/// How often the prompt looks whether it should end.
const LOOK: Duration = Duration::from_millis(100);

const HELP: &str = "\
commands:
  status         the books
  unplug         pull a sensor of the first greenhouse for a minute
  cut-link       cut every gateway's link for 20 s
  kill-ingest    kill -9 ingest, start it again
  kill-gateway   kill -9 the first gateway, start it again
  heat           heat the first greenhouse by 15 °C for 5 minutes
  water          water a zone of the first greenhouse for 20 s
  quit           stop everything (Ctrl-C does too)";

/// Set by Ctrl-C and SIGTERM.
pub(crate) fn stop_signal() -> anyhow::Result<Arc<AtomicBool>> {
    /// One handler a process, however many tasks it runs.
    static STOP: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    if let Some(stop) = STOP.get() {
        return Ok(Arc::clone(stop));
    }
    let stop = Arc::new(AtomicBool::new(false));
    let for_handler = Arc::clone(&stop);
    ctrlc::set_handler(move || for_handler.store(true, Ordering::SeqCst))
        .context("listen for Ctrl-C")?;
    Ok(Arc::clone(STOP.get_or_init(|| stop)))
}

/// Takes commands until the person ends it.
pub(super) fn run(farm: &mut Farm, stop: &AtomicBool) -> anyhow::Result<()> {
    say!("{HELP}");
    let lines = lines()?;
    loop {
        show_prompt();
        let Some(line) = next_line(&lines, stop) else {
            return Ok(());
        };
        let done = match line.trim() {
            "" => Ok(()),
            "status" => deeds::say_books(farm),
            "unplug" => deeds::unplug(farm),
            "cut-link" => deeds::cut_link(farm, Duration::from_secs(20)),
            "kill-ingest" => deeds::kill_ingest(farm),
            "kill-gateway" => deeds::kill_gateway(farm),
            "heat" => deeds::heat(farm),
            "water" => deeds::water(farm, "20s"),
            "quit" | "exit" => return Ok(()),
            other => {
                say!("{other:?} is not a command\n{HELP}");
                Ok(())
            }
        };
        if let Err(error) = done {
            say!("that failed: {error:#}");
        }
    }
}

/// Real time passes.
pub(super) fn pause_until(end: Instant) {
    pause(end.saturating_duration_since(Instant::now()));
}

fn show_prompt() {
    let mut out = std::io::stdout();
    // A closed terminal ends the demo at the next read.
    write!(out, "furrow> ").and_then(|()| out.flush()).ok();
}

/// Lines of standard input, read on a thread of their own so that Ctrl-C is seen meanwhile.
fn lines() -> anyhow::Result<Receiver<String>> {
    let (send, receive) = sync_channel(1);
    let read = move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            if send.send(line).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new()
        .name("prompt".to_owned())
        .spawn(read)
        .context("start a thread")?;
    Ok(receive)
}

fn next_line(lines: &Receiver<String>, stop: &AtomicBool) -> Option<String> {
    loop {
        match lines.recv_timeout(LOOK) {
            Ok(line) => return Some(line),
            Err(RecvTimeoutError::Timeout) if stop.load(Ordering::SeqCst) => return None,
            Err(RecvTimeoutError::Timeout) => {}
            // Standard input is closed: run on until the signal.
            Err(RecvTimeoutError::Disconnected) if stop.load(Ordering::SeqCst) => return None,
            Err(RecvTimeoutError::Disconnected) => pause(LOOK),
        }
    }
}
