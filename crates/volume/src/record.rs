//! What is known of a volume, and the table that keeps it.

use std::{collections::BTreeMap, sync::Arc};

use hako_base::database::Database;
use jiff::Timestamp;
use redb::{ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};

use crate::{VolumeError, error::database};

const VOLUMES: TableDefinition<&str, &[u8]> = TableDefinition::new("volume.volumes");

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    /// Options of the driver: `type`, `device`, `o`.
    pub options: BTreeMap<String, String>,
    pub created: Timestamp,
    /// Made for one container, without a name that a person gave.
    #[serde(default)]
    pub anonymous: bool,
}

/// Reads all records.
pub(crate) fn read(base: &Database) -> Result<BTreeMap<String, Volume>, VolumeError> {
    let write = base.begin_write().map_err(database("open"))?;
    write.open_table(VOLUMES).map_err(database("open"))?;
    write.commit().map_err(database("open"))?;
    let read = base.begin_read().map_err(database("read"))?;
    let table = read.open_table(VOLUMES).map_err(database("read"))?;
    let mut volumes = BTreeMap::new();
    for row in table.iter().map_err(database("read"))? {
        let (key, value) = row.map_err(database("read"))?;
        let volume: Volume = serde_json::from_slice(value.value())
            .map_err(|error| VolumeError::Record { name: key.value().to_owned(), why: error.to_string() })?;
        volumes.insert(volume.name.clone(), volume);
    }
    Ok(volumes)
}

/// Writes records, and removes those of the names that are gone.
pub(crate) fn write(base: &Database, new: &[Arc<Volume>], gone: &[String]) -> Result<(), VolumeError> {
    let write = base.begin_write().map_err(database("write"))?;
    {
        let mut table = write.open_table(VOLUMES).map_err(database("write"))?;
        for volume in new {
            let bytes = serde_json::to_vec(&**volume)
                .map_err(|error| VolumeError::Record { name: volume.name.clone(), why: error.to_string() })?;
            table.insert(volume.name.as_str(), &bytes[..]).map_err(database("write"))?;
        }
        for name in gone {
            table.remove(name.as_str()).map_err(database("write"))?;
        }
    }
    write.commit().map_err(database("write"))
}
