//! A check by a process in the container: an exec like any other, with a deadline.

use std::{sync::Arc, time::Duration};

use hako_base::duration;

use crate::{Engine, table::Container, timer, view::ExecSpec};

/// What is kept of what a check prints (Docker's).
const OUTPUT_BYTES_MAX: usize = 4096;

impl Engine {
    /// Runs the command and answers its exit code and the beginning of its output; −1 and a reason where it could not
    /// be run or took too long. One that takes too long is killed.
    pub(super) async fn ask_command(
        &self,
        container: &Arc<Container>,
        argv: &[String],
        timeout: Duration,
    ) -> (i32, String) {
        let spec = ExecSpec { argv: argv.to_vec(), attach_stdout: true, attach_stderr: true, ..ExecSpec::default() };
        let id = match self.exec_create(&container.id.to_string(), spec).await {
            Ok(id) => id.to_string(),
            Err(error) => return (-1, error.to_string()),
        };
        let answer = self.ask_exec(&id, timeout).await;
        self.forget_exec(&id);
        answer
    }

    async fn ask_exec(&self, id: &str, timeout: Duration) -> (i32, String) {
        let mut output = match self.exec_attach(id) {
            Ok(attachment) => attachment.output,
            Err(error) => return (-1, error.to_string()),
        };
        let mut text = Vec::new();
        let deadline = timer::after(timeout);
        tokio::pin!(deadline);
        if let Err(error) = self.exec_start(id, false, None).await {
            return (-1, error.to_string());
        }
        let mut in_time = true;
        loop {
            tokio::select! {
                chunk = output.recv() => match chunk {
                    Some(chunk) => collect(&mut text, &chunk.bytes),
                    None => break,
                },
                // After the kill it ends at once, and so does its output.
                () = &mut deadline, if in_time => {
                    in_time = false;
                    self.exec_kill(id);
                }
            }
        }
        let text = String::from_utf8_lossy(&text).into_owned();
        if !in_time {
            let limit = duration::go(i64::try_from(timeout.as_nanos()).unwrap_or(i64::MAX));
            return (-1, format!("Health check exceeded timeout ({limit}): {text}"));
        }
        let code = self.exec_inspect(id).ok().and_then(|view| view.exit_code).unwrap_or(-1);
        (code, text)
    }
}

fn collect(text: &mut Vec<u8>, bytes: &[u8]) {
    if text.len() >= OUTPUT_BYTES_MAX {
        return;
    }
    let room = OUTPUT_BYTES_MAX - text.len();
    text.extend_from_slice(&bytes[..bytes.len().min(room)]);
    if bytes.len() > room {
        text.extend_from_slice(b"...");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_beginning_of_the_output_is_kept() {
        let mut text = Vec::new();
        collect(&mut text, &[b'x'; 4000]);
        collect(&mut text, &[b'y'; 4000]);
        collect(&mut text, &[b'z'; 4000]);
        assert_eq!((text.len(), text.ends_with(b"y...")), (4099, true));
    }
}
