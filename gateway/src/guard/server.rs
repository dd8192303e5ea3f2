//! The guard's end of its socket. Connections hand their questions to the lease loop, which alone
//! answers: nothing here touches an output.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::protocol::{Answer, Ask, MAX_ASK_BYTES};

/// Connections at once: the gateway has one, people's commands one each. More wait.
const CONNECTIONS: usize = 8;
/// Questions that wait for the loop: one a connection.
const QUESTIONS: usize = CONNECTIONS;
/// A pause after a failed accept, so that a lack of file descriptors does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// A question and where its answer goes.
#[derive(Debug)]
pub struct Question {
    /// What is asked.
    pub ask: Ask,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Answer>,
}

/// The listening socket; removed when dropped.
#[derive(Debug)]
pub struct Server {
    /// What is asked.
    pub questions: mpsc::Receiver<Question>,
    path: PathBuf,
    task: JoinHandle<()>,
}

impl Server {
    /// Listens at `path`. A socket that a killed guard left behind is replaced; one that is answered
    /// is not.
    ///
    /// # Errors
    /// `AddrInUse` when another guard runs here, and what the operating system says.
    pub fn listen(path: &Path) -> io::Result<Self> {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        let (sender, questions) = mpsc::channel(QUESTIONS);
        let task = tokio::spawn(accept(listener, sender));
        Ok(Self {
            questions,
            path: path.to_owned(),
            task,
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, "the guard's socket was already gone");
        }
    }
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
                        tracing::debug!(%error, "connection ended");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the guard's socket can't accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(stream: UnixStream, questions: mpsc::Sender<Question>) -> io::Result<()> {
    let peer = stream.peer_cred()?.uid();
    let own = nix::unistd::geteuid().as_raw();
    let (reader, mut writer) = stream.into_split();
    if peer != own && peer != 0 {
        let reason = "only the guard's own user may ask".to_owned();
        return write(&mut writer, &Answer::Refused { reason }).await;
    }
    let mut reader = BufReader::new(reader);
    let limit = u64::try_from(MAX_ASK_BYTES).unwrap_or(u64::MAX);
    loop {
        let mut line = Vec::new();
        let mut limited = (&mut reader).take(limit);
        limited.read_until(b'\n', &mut line).await?;
        if line.is_empty() {
            return Ok(());
        }
        if line.last() != Some(&b'\n') {
            let reason = format!("a question is one line of at most {MAX_ASK_BYTES} bytes");
            return write(&mut writer, &Answer::Refused { reason }).await;
        }
        let answer = match serde_json::from_slice::<Ask>(&line) {
            Ok(ask) => answer(ask, &questions).await,
            Err(error) => Answer::Refused {
                reason: format!("not a question: {error}"),
            },
        };
        write(&mut writer, &answer).await?;
    }
}

async fn answer(ask: Ask, questions: &mpsc::Sender<Question>) -> Answer {
    let (reply, answer) = oneshot::channel();
    let stopping = || Answer::Refused {
        reason: "the guard is stopping".to_owned(),
    };
    if questions.send(Question { ask, reply }).await.is_err() {
        return stopping();
    }
    answer.await.unwrap_or_else(|_| stopping())
}

async fn write(
    writer: &mut (impl tokio::io::AsyncWrite + Unpin),
    answer: &Answer,
) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer).map_err(io::Error::other)?;
    line.push(b'\n');
    writer.write_all(&line).await
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(path: &Path, text: &[u8]) -> String {
        let mut stream = UnixStream::connect(path).await.unwrap();
        stream.write_all(text).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn questions_reach_the_loop_and_rubbish_gets_a_reason() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("guard.sock");
        std::fs::write(&path, "left behind").unwrap();
        let mut server = Server::listen(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(
            Server::listen(&path).unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
        let answering = async {
            let question = server.questions.recv().await.unwrap();
            assert_eq!(question.ask, Ask::Report);
            question.reply.send(Answer::Done).unwrap();
        };
        let (text, ()) = tokio::join!(ask(&path, b"{\"ask\":\"report\"}\n"), answering);
        assert_eq!(text, "{\"answer\":\"done\"}\n");
        let text = ask(&path, b"open everything\n").await;
        assert!(text.contains("not a question"), "{text}");
        let text = ask(&path, &[b' '; 300]).await;
        assert!(text.contains("at most 256 bytes"), "{text}");
        drop(server);
        assert!(!path.exists());
    }
}
