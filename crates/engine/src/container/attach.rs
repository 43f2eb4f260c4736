//! `container attach`: a client joins a container's input and output, also before it is started.

use hako_model::ContainerState;

use crate::{
    Engine, EngineError,
    stdio::StdinWriter,
    view::{AttachOptions, Attachment, LogOptions, OutputChunk},
};

impl Engine {
    /// Joins the streams that `options` names.
    ///
    /// # Errors
    /// No such container, or one that is paused or restarting.
    pub async fn container_attach(&self, name: &str, options: AttachOptions) -> Result<Attachment, EngineError> {
        let container = self.containers.find(name)?;
        let record = container.record();
        match record.state.status {
            ContainerState::Paused => {
                return Err(EngineError::conflict(format!(
                    "container {} is paused, unpause the container before attach",
                    record.id
                )));
            }
            ContainerState::Restarting => {
                return Err(EngineError::conflict(format!(
                    "container {} is restarting, wait until the container is running",
                    record.id
                )));
            }
            _ => {}
        }
        // Subscribed before the log is read: what comes meanwhile waits in the channel.
        let live = (options.stream && (options.stdout || options.stderr))
            .then(|| container.listeners.add(options.stdout, options.stderr));
        let stdin = (options.stdin && options.stream && record.spec.open_stdin)
            .then(|| StdinWriter::new(&container.stdin, record.spec.stdin_once && !record.spec.tty));
        let output = match (options.logs, live) {
            (false, Some(live)) => live,
            (false, None) => tokio::sync::mpsc::channel(1).1,
            (true, live) => {
                let past = LogOptions { stdout: options.stdout, stderr: options.stderr, ..LogOptions::default() };
                let past = self.container_logs(name, past).await?.output;
                concatenate(past, live)
            }
        };
        self.publish_container("attach", &record, []);
        Ok(Attachment { tty: record.spec.tty, stdin, output })
    }

    /// Tells that a client has left the terminal by its keys.
    pub fn container_detached(&self, name: &str) {
        // One that is gone by now, or is called otherwise, is told of by what happened to it.
        if let Ok(container) = self.containers.find(name) {
            self.publish_container("detach", &container.record(), []);
        }
    }
}

fn concatenate(
    mut past: tokio::sync::mpsc::Receiver<OutputChunk>,
    live: Option<tokio::sync::mpsc::Receiver<OutputChunk>>,
) -> tokio::sync::mpsc::Receiver<OutputChunk> {
    let (send, receive) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        while let Some(chunk) = past.recv().await {
            if send.send(chunk).await.is_err() {
                return;
            }
        }
        let Some(mut live) = live else { return };
        while let Some(chunk) = live.recv().await {
            if send.send(chunk).await.is_err() {
                return;
            }
        }
    });
    receive
}
