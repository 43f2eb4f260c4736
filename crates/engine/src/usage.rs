//! What takes room on the disk: `system df`, and the sizes of `ps -s`.
//!
//! Directories are walked, several at a time: a walk waits for the disk far longer than it computes. What has not been
//! mounted since it was measured is not walked again (the image store knows).

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use hako_model::Filters;
use parking_lot::Mutex;

use crate::{
    Engine, EngineError,
    container::list::ListRow,
    limits,
    record::Record,
    view::{DiskUsage, ListOptions, SizeView, VolumeView},
};

impl Engine {
    /// What takes room on the disk.
    ///
    /// # Errors
    /// Those of the lists.
    pub async fn system_df(&self) -> Result<DiskUsage, EngineError> {
        let engine = self.clone();
        crate::blocking(move || {
            let mut rows = engine.list_rows(&ListOptions { all: true, ..ListOptions::default() })?;
            each(&mut rows, |row| row.size = engine.container_room(row));
            let mut volumes: Vec<VolumeView> =
                engine.volumes.list().iter().map(|volume| engine.volume_view(volume)).collect();
            let users = engine.volume_use();
            each(&mut volumes, |view| {
                view.usage = Some((engine.volumes.size(&view.name), users.get(&view.name).copied().unwrap_or(0)));
            });
            Ok(DiskUsage {
                layers_bytes: engine.images.layers_size() + engine.images.content_size(),
                images: engine.image_list(true, &Filters::default())?,
                containers: rows.iter().map(ListRow::summary).collect(),
                volumes,
            })
        })
        .await
    }

    /// The rows with what each container takes.
    pub(crate) async fn rows_measured(&self, mut rows: Vec<ListRow>) -> Vec<ListRow> {
        let engine = self.clone();
        crate::blocking(move || {
            each(&mut rows, |row| row.size = engine.container_size(&row.record));
            rows
        })
        .await
    }

    /// What one container takes.
    pub(crate) async fn size_measured(&self, record: &Arc<Record>) -> Option<SizeView> {
        let (engine, record) = (self.clone(), record.clone());
        crate::blocking(move || engine.container_size(&record)).await
    }

    // Docker forgets the logs here, which is where disks fill up.
    fn container_room(&self, row: &ListRow) -> Option<SizeView> {
        let size = self.container_size(&row.record)?;
        Some(SizeView { rw: size.rw + row.container.log().bytes(), ..size })
    }
}

/// Does the same to each, several at a time.
fn each<T: Send>(items: &mut [T], work: impl Fn(&mut T) + Sync) {
    let places = items.len().min(limits::WALKS_AT_ONCE);
    if places < 2 {
        return items.iter_mut().for_each(work);
    }
    let next = AtomicUsize::new(0);
    let slots: Vec<Mutex<&mut T>> = items.iter_mut().map(Mutex::new).collect();
    std::thread::scope(|scope| {
        for _ in 0..places {
            scope.spawn(|| {
                while let Some(slot) = slots.get(next.fetch_add(1, Ordering::Relaxed)) {
                    work(&mut slot.lock());
                }
            });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_worked_on_once() {
        for count in [0, 1, 2, 100] {
            let mut items = vec![0; count];
            each(&mut items, |item| *item += 1);
            assert_eq!(items, vec![1; count]);
        }
    }
}
