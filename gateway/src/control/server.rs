//! The gateway's end of the control socket.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use furrow_irrigation::Origin;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use super::{Answer, Ask, MAX_LINE_BYTES};

/// People at once; more wait.
const CONNECTIONS: usize = 8;
/// Questions that wait for the event loop.
const QUESTIONS: usize = 8;
/// Lines of one answer that wait for a slow reader; progress above this is dropped.
const LINES: usize = 32;
/// A question has to come within this time.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// A pause after a failed accept, so that a lack of file descriptors does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// A question and where its answer goes. The answer ends when the sender is dropped.
#[derive(Debug)]
pub struct Question {
    /// What is asked.
    pub ask: Ask,
    /// From where.
    pub origin: Origin,
    /// Where the answer goes.
    pub reply: mpsc::Sender<Answer>,
}

/// The listening socket; removed when dropped.
#[derive(Debug)]
pub struct Control {
    /// What people ask.
    pub questions: mpsc::Receiver<Question>,
    asker: mpsc::Sender<Question>,
    path: PathBuf,
    task: JoinHandle<()>,
}

impl Control {
    /// Listens at `path`. A socket that a killed process left behind is replaced: the caller holds
    /// the journal's lock, so nobody else is running here.
    ///
    /// # Errors
    /// When the socket can't be made.
    pub fn listen(path: &Path) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(path)?;
        owner_only(path)?;
        let (sender, questions) = mpsc::channel(QUESTIONS);
        let task = tokio::spawn(accept(listener, sender.clone()));
        Ok(Control {
            questions,
            asker: sender,
            path: path.to_owned(),
            task,
        })
    }

    /// Where others may ask, too: the page.
    #[must_use]
    pub fn asker(&self) -> mpsc::Sender<Question> {
        self.asker.clone()
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.task.abort();
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, "control socket was already gone");
        }
    }
}

fn owner_only(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
}

async fn accept(listener: UnixListener, questions: mpsc::Sender<Question>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let questions = questions.clone();
                tokio::spawn(async move {
                    if let Err(error) = serve(stream, questions).await {
                        tracing::debug!(%error, "control connection ended");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "control socket can't accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(stream: UnixStream, questions: mpsc::Sender<Question>) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let limit = u64::try_from(MAX_LINE_BYTES).unwrap_or(u64::MAX);
    let mut reader = BufReader::new(reader.take(limit));
    let mut line = String::new();
    tokio::time::timeout(ASK_TIMEOUT, reader.read_line(&mut line)).await??;
    let ask = match serde_json::from_str::<Ask>(&line) {
        Ok(ask) => ask,
        Err(error) => {
            let reason = format!("not a question: {error}");
            return write(&mut writer, &Answer::Refused { reason }).await;
        }
    };
    let (reply, mut answers) = mpsc::channel(LINES);
    let origin = Origin::Tool;
    let question = Question { ask, origin, reply };
    if questions.send(question).await.is_err() {
        let reason = "the gateway is stopping".to_owned();
        return write(&mut writer, &Answer::Refused { reason }).await;
    }
    while let Some(answer) = answers.recv().await {
        write(&mut writer, &answer).await?;
    }
    Ok(())
}

async fn write(writer: &mut (impl AsyncWriteExt + Unpin), answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer).map_err(io::Error::other)?;
    line.push(b'\n');
    writer.write_all(&line).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::client;

    #[tokio::test]
    async fn a_question_gets_its_lines_and_rubbish_a_reason() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        std::fs::write(&path, "left behind").unwrap();
        let mut control = Control::listen(&path).unwrap();
        let asked = tokio::task::spawn_blocking({
            let path = path.clone();
            move || {
                client::ask(&path, &Ask::Status)
                    .unwrap()
                    .collect::<Vec<_>>()
            }
        });
        let question = control.questions.recv().await.unwrap();
        assert_eq!(question.ask, Ask::Status);
        for answer in [Answer::Opened, Answer::Accepted { run: 1 }] {
            question.reply.send(answer).await.unwrap();
        }
        drop(question);
        let lines: Vec<Answer> = asked
            .await
            .unwrap()
            .into_iter()
            .map(Result::unwrap)
            .collect();
        assert_eq!(lines, [Answer::Opened, Answer::Accepted { run: 1 }]);

        let mut stream = UnixStream::connect(&path).await.unwrap();
        stream.write_all(b"open the valve\n").await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        assert!(
            text.starts_with(r#"{"answer":"refused","reason":"not a question"#),
            "{text}"
        );
        drop(control);
        assert!(!path.exists());
    }
}
