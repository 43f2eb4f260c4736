//! News in the words of the classic builder, which scripts have read for ten years.

use std::collections::HashMap;

use hako_base::random;

use crate::{
    error::BuildError,
    event::{Completed, Event, Vertex},
};

/// Turns news into lines.
#[derive(Debug, Default)]
pub struct ClassicText {
    vertices: HashMap<u64, Vertex>,
    /// Steps that run in something, by what it is called.
    running: HashMap<u64, String>,
    /// `--rm`: a step's container is said to be removed when it succeeded.
    remove: bool,
    /// `--force-rm`: also when it did not.
    force_remove: bool,
}

impl ClassicText {
    /// Begins; `remove` and `force_remove` as the flags of that name.
    pub fn new(remove: bool, force_remove: bool) -> Self {
        Self { remove, force_remove, ..Self::default() }
    }

    /// What is printed about a piece of news, nothing for most; programs tell such messages from each other.
    pub fn messages(&mut self, event: &Event) -> Vec<String> {
        match event {
            Event::Vertex(vertex) => {
                self.vertices.insert(vertex.id, vertex.clone());
                Vec::new()
            }
            Event::Started { id, .. } => {
                let begun = |vertex: &Vertex| format!("Step {}/{} : {}\n", vertex.step, vertex.steps, vertex.original);
                self.vertices.get(id).map(begun).into_iter().collect()
            }
            Event::Log { id, stderr, bytes, .. } => {
                let text = String::from_utf8_lossy(bytes);
                // What a step says of errors is red, wherever it is read.
                let text = if *stderr { format!("\x1b[91m{text}\x1b[0m") } else { text.into_owned() };
                self.begin(*id).into_iter().chain([text]).collect()
            }
            Event::Completed(completed) => self.completed(completed),
            Event::Warning { line: 0, text } => vec![format!("[Warning] {text}\n")],
            Event::Warning { line, text } => vec![format!("[Warning] line {line}: {text}\n")],
            Event::Status { .. } | Event::Pull { .. } => Vec::new(),
        }
    }

    fn begin(&mut self, id: u64) -> Option<String> {
        if self.running.contains_key(&id) {
            return None;
        }
        let name = random::hex(6);
        let text = format!(" ---> Running in {name}\n");
        self.running.insert(id, name);
        Some(text)
    }

    fn completed(&mut self, completed: &Completed) -> Vec<String> {
        let Some(vertex) = self.vertices.get(&completed.id) else { return Vec::new() };
        let keyword = vertex.original.split_whitespace().next().unwrap_or_default().to_uppercase();
        let has_container = !matches!(keyword.as_str(), "FROM" | "COPY" | "ADD");
        let mut messages = Vec::new();
        if completed.cached {
            messages.push(" ---> Using cache\n".to_owned());
        } else if has_container {
            messages.extend(self.begin(completed.id));
            let removes = if completed.error.is_some() { self.force_remove } else { self.remove };
            if let Some(name) = self.running.remove(&completed.id)
                && removes
            {
                messages.push(format!("Removing intermediate container {name}\n"));
            }
        }
        if let (None, Some(image)) = (&completed.error, &completed.image) {
            messages.push(format!(" ---> {}\n", image.short()));
        }
        messages
    }

    /// The sentence about a build that failed, and its code.
    pub fn failure(error: &BuildError) -> (String, i64) {
        match error {
            BuildError::Step { source, .. } => Self::failure(source),
            BuildError::Command { code, .. } => (error.to_string(), i64::from(*code)),
            BuildError::Syntax { error, excerpt } => (format!("{error}\n{excerpt}"), 0),
            other => (hako_base::error::chain(other), 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use hako_model::Digest;
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn a_build_reads_as_it_always_did() {
        let at = Timestamp::UNIX_EPOCH;
        let vertex = |id, original: &str| {
            Event::Vertex(Vertex {
                id,
                name: original.to_owned(),
                original: original.to_owned(),
                step: usize::try_from(id).unwrap(),
                steps: 2,
                inputs: Vec::new(),
                lines: (1, 1),
            })
        };
        let done = |id, cached| {
            let image = Some(Digest::from_sha256([0xab; 32]));
            Event::Completed(Completed { id, at, cached, error: None, why: None, image })
        };
        let log = Event::Log { id: 2, stderr: false, bytes: "hi\n".into(), at };
        let complaint = Event::Log { id: 2, stderr: true, bytes: "oh\n".into(), at };
        let events = [vertex(1, "FROM a"), vertex(2, "RUN echo hi"), Event::Started { id: 1, at }, done(1, false)];
        let mut text = ClassicText::new(true, false);
        let mut shown: String = events.iter().flat_map(|event| text.messages(event)).collect();
        shown += &text.messages(&Event::Started { id: 2, at }).concat();
        shown += &text.messages(&log).concat();
        shown += &text.messages(&complaint).concat();
        shown += &text.messages(&done(2, false)).concat();
        shown += &text.messages(&done(2, true)).concat();
        let name = shown.split("Running in ").nth(1).unwrap()[..12].to_owned();
        let expected = "Step 1/2 : FROM a\n ---> abababababab\nStep 2/2 : RUN echo hi\n ---> Running in NAME\nhi\n\x1b[91moh\n\x1b[0m\
                        Removing intermediate container NAME\n ---> abababababab\n ---> Using cache\n ---> abababababab\n";
        assert_eq!(shown.replace(&name, "NAME"), expected);
    }
}
