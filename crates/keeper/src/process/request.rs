//! What a daemon may ask, and what it is answered.

use std::{io, os::fd::OwnedFd};

use hako_model::ContainerId;

use super::{child::park, handover::Upgrade, turn::Loop};
use crate::{
    channel::Message,
    limits::MESSAGE_DESCRIPTORS_MAX,
    protocol::{Answer, Ask, Failure, Subject},
};

/// Names and descriptors in the store: the engine keeps a few for each network and published port.
const STORE_NAMES_MAX: usize = 16_384;

impl Loop {
    pub(super) fn request(&mut self, message: Message<Ask>) {
        let Message { id, body, payload, descriptors } = message;
        match body {
            Ask::Hello => {
                // What the daemon before has begun must be decided first: this list is the truth.
                self.greeting = Some(id);
                self.greet_if_possible();
            }
            Ask::Launch { container, generation, stdio, kept } => {
                let subject = Subject::Container(container, generation);
                self.launch(id, subject, &payload, descriptors, kept, &stdio);
            }
            Ask::Exec { exec, container, stdio } => {
                if self.has_ended(container) {
                    let text = format!("container {} is not running", container.short());
                    return self.answer(id, Answer::Failed(Failure::Refused(text)));
                }
                self.launch(id, Subject::Exec(exec), &payload, descriptors, 0, &stdio);
            }
            Ask::Acknowledge { subject } => {
                let done = self.forget_child(subject);
                let refused = || Failure::Refused(format!("{subject} has not ended"));
                self.answer(id, if done { Answer::Done } else { Answer::Failed(refused()) });
            }
            Ask::CloseStdin { subject } => self.close_stdin(id, subject),
            Ask::Restore { subject, lost } => self.restore(id, subject, &lost, descriptors),
            Ask::Keep { name } => self.keep(id, name, descriptors),
            Ask::Kept => self.list_kept(id),
            Ask::Discard { name } => {
                self.store.remove(&name);
                self.answer(id, Answer::Done);
            }
            Ask::Upgrade { program, arguments } => self.upgrade = Some(Upgrade::asked(id, program, arguments)),
            // Joined to its request before it gets here.
            Ask::Stage => {}
        }
    }

    /// Whether the last known life of a container is over. One that is not known at all may be another
    /// keeper's, which died.
    fn has_ended(&self, container: ContainerId) -> bool {
        let lives = Subject::Container(container, 0)..=Subject::Container(container, u64::MAX);
        let last = self.by_subject.range(lives).next_back();
        last.and_then(|(_, key)| self.children.get(*key)).is_some_and(|child| child.end.is_some())
    }

    /// Answers the present daemon, if there is one.
    pub(super) fn answer(&mut self, id: u64, answer: Answer) {
        self.answer_with(id, answer, Vec::new());
    }

    pub(super) fn answer_with(&mut self, id: u64, answer: Answer, descriptors: Vec<OwnedFd>) {
        if let Some(connection) = &mut self.connection {
            connection.answer(id, answer, descriptors);
        }
    }

    /// Tells a new daemon all there is, once no launch of the one before is under way.
    pub(super) fn greet_if_possible(&mut self) {
        if !self.launches.is_empty() {
            return;
        }
        let Some(id) = self.greeting.take() else { return };
        for key in self.children.keys() {
            if let Err(error) = self.introduce(id, key) {
                return self.answer(id, Answer::Failed(Failure::broken("list the containers", &error)));
            }
        }
        self.answer(id, Answer::Done);
        if let Some(connection) = &mut self.connection {
            connection.greeted = true;
        }
    }

    fn introduce(&mut self, id: u64, key: super::slots::Key) -> io::Result<()> {
        let Some(child) = self.children.get_mut(key) else { return Ok(()) };
        let (handles, mut descriptors) = child.handles(None)?;
        let exited = child.end.as_mut().map(|end| {
            end.told = true;
            end.status.clone()
        });
        let mut kept = Vec::with_capacity(child.kept.len());
        for descriptor in &child.kept {
            kept.push(descriptor.try_clone()?);
        }
        let first = kept.len().min(MESSAGE_DESCRIPTORS_MAX - 1 - descriptors.len());
        let mut more = kept.split_off(first);
        descriptors.append(&mut kept);
        let answer = Answer::Adopted { subject: child.subject, pid: child.pid, handles, exited };
        self.answer_with(id, answer, descriptors);
        while !more.is_empty() {
            let rest = more.split_off(more.len().min(MESSAGE_DESCRIPTORS_MAX - 1));
            self.answer_with(id, Answer::AdoptedMore, more);
            more = rest;
        }
        Ok(())
    }

    fn close_stdin(&mut self, id: u64, subject: Subject) {
        let child = self.by_subject.get(&subject).and_then(|key| self.children.get_mut(*key));
        let answer = match child {
            Some(child) => {
                child.stdin = None;
                Answer::Done
            }
            None => Answer::Failed(Failure::NotFound(format!("{subject} is not known"))),
        };
        self.answer(id, answer);
    }

    fn keep(&mut self, id: u64, name: String, descriptors: Vec<OwnedFd>) {
        if self.store.len() >= STORE_NAMES_MAX && !self.store.contains_key(&name) {
            let failure = Failure::Refused(format!("more than {STORE_NAMES_MAX} names are kept"));
            return self.answer(id, Answer::Failed(failure));
        }
        self.store.insert(name, descriptors.into_iter().map(park).collect());
        self.answer(id, Answer::Done);
    }

    fn list_kept(&mut self, id: u64) {
        let mut answers = Vec::new();
        let mut copy = || -> io::Result<()> {
            for (name, descriptors) in &self.store {
                // A name without descriptors is an answer too.
                for part in
                    descriptors.chunks(MESSAGE_DESCRIPTORS_MAX - 1).chain(descriptors.is_empty().then_some(&[][..]))
                {
                    let copies = part.iter().map(OwnedFd::try_clone).collect::<io::Result<Vec<_>>>()?;
                    answers.push((Answer::Kept { name: name.clone() }, copies));
                }
            }
            Ok(())
        };
        if let Err(error) = copy() {
            return self.answer(id, Answer::Failed(Failure::broken("duplicate what is kept", &error)));
        }
        for (answer, descriptors) in answers {
            self.answer_with(id, answer, descriptors);
        }
        self.answer(id, Answer::Done);
    }
}
