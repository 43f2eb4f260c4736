//! `container wait`: tells when a container has ended or is gone, and how.

use crate::{
    Engine, EngineError,
    view::{WaitCondition, WaitOutcome},
};

impl Engine {
    /// Waits; the name is looked up at once, the future is the waiting.
    ///
    /// # Errors
    /// No such container.
    pub fn container_wait(
        &self,
        name: &str,
        condition: WaitCondition,
    ) -> Result<impl Future<Output = WaitOutcome> + Send + use<>, EngineError> {
        let container = self.containers.find(name)?;
        let mut phase = container.phase.subscribe();
        let exits = phase.borrow().exits;
        Ok(async move {
            // Held, so that the sender lives as long as somebody waits.
            let _container = container;
            let found = phase
                .wait_for(|phase| {
                    phase.removed
                        || match condition {
                            WaitCondition::NotRunning => !phase.running,
                            WaitCondition::NextExit => phase.exits > exits,
                            WaitCondition::Removed => false,
                        }
                })
                .await;
            match found {
                Ok(phase) => WaitOutcome { code: phase.exit_code, error: phase.error.clone() },
                Err(_) => WaitOutcome { code: 0, error: Some("the container is gone".to_owned()) },
            }
        })
    }
}
