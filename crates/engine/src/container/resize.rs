//! `container resize`: the terminal has another size.

use crate::{Engine, EngineError};

impl Engine {
    /// Tells the container's terminal its size; without a terminal nothing happens, as with Docker.
    ///
    /// # Errors
    /// No such container, or one that does not run.
    pub fn container_resize(&self, name: &str, rows: u16, columns: u16) -> Result<(), EngineError> {
        let container = self.containers.find(name)?;
        let live = container.live.lock();
        let Some(live) = live.as_ref() else {
            return Err(EngineError::conflict(format!("container {} is not running", container.id)));
        };
        if let Some(pty) = &live.pty {
            hako_runtime::observe::resize(pty, rows, columns)
                .map_err(|error| EngineError::io("cannot resize the terminal", &error))?;
            let size = [("height", rows.to_string()), ("width", columns.to_string())];
            self.publish_container(
                "resize",
                &container.record(),
                size.iter().map(|(key, value)| (*key, value.as_str())),
            );
        }
        Ok(())
    }
}
