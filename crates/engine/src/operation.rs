//! An operation of more than one step: named steps, each beside its undo.
//!
//! A step that fails undoes those above it, last first. The record is written by the last step, so
//! that a crash before it leaves only garbage, which `recover` sweeps. In debug builds a file
//! `failpoint` in the exec-root with `container.start 3` in it makes that operation fail after its
//! fourth step: the black-box ring fails every operation at every step and compares the host.

use std::path::Path;

use crate::EngineError;

type Undo<'a> = Box<dyn FnOnce() + Send + 'a>;

/// The steps done so far, with what takes them back.
pub(crate) struct Operation<'a> {
    name: &'static str,
    exec_root: &'a Path,
    undo: Vec<(&'static str, Undo<'a>)>,
    done: bool,
}

impl<'a> Operation<'a> {
    /// Begins an operation; `name` is that of the engine's method, such as `container.start`.
    pub(crate) fn begin(name: &'static str, exec_root: &'a Path) -> Self {
        Self { name, exec_root, undo: Vec::new(), done: false }
    }

    /// Does one step; `undo` runs if a later step fails.
    pub(crate) fn step<T>(
        &mut self,
        step: &'static str,
        act: impl FnOnce() -> Result<T, EngineError>,
        undo: impl FnOnce() + Send + 'a,
    ) -> Result<T, EngineError> {
        let value = act()?;
        self.undo.push((step, Box::new(undo)));
        self.failpoint(step)?;
        Ok(value)
    }

    /// Does one step whose undo needs what the step made.
    pub(crate) fn step_with<T, U: FnOnce() + Send + 'a>(
        &mut self,
        step: &'static str,
        act: impl FnOnce() -> Result<T, EngineError>,
        undo: impl FnOnce(&T) -> U,
    ) -> Result<T, EngineError> {
        let value = act()?;
        self.undo.push((step, Box::new(undo(&value))));
        self.failpoint(step)?;
        Ok(value)
    }

    /// The operation is complete: nothing is undone any more.
    pub(crate) fn finish(mut self) {
        self.done = true;
    }

    #[cfg(debug_assertions)]
    fn failpoint(&self, step: &'static str) -> Result<(), EngineError> {
        let wanted = std::fs::read_to_string(self.exec_root.join("failpoint")).unwrap_or_default();
        let reached = format!("{} {}", self.name, self.undo.len() - 1);
        if wanted.trim() == reached {
            return Err(EngineError::Step { operation: self.name, step, text: "failpoint".to_owned() });
        }
        Ok(())
    }

    #[cfg(not(debug_assertions))]
    fn failpoint(&self, _step: &'static str) -> Result<(), EngineError> {
        let _ = self.exec_root;
        Ok(())
    }
}

impl Drop for Operation<'_> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        while let Some((step, undo)) = self.undo.pop() {
            tracing::debug!(operation = self.name, step, "undoing");
            undo();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn a_failed_step_takes_back_those_above_it_last_first() {
        let seen = Mutex::new(Vec::new());
        let run = || -> Result<(), EngineError> {
            let mut operation = Operation::begin("test", Path::new("/nonexistent"));
            operation.step("one", || Ok(()), || seen.lock().unwrap().push(1))?;
            operation.step("two", || Ok(()), || seen.lock().unwrap().push(2))?;
            operation.step("three", || Err(EngineError::invalid("no")), || seen.lock().unwrap().push(3))?;
            operation.finish();
            Ok(())
        };
        assert!(run().is_err());
        assert_eq!(*seen.lock().unwrap(), [2, 1]);
    }
}
