//! The one database file of a data root, which gets over a write that failed.
//!
//! redb refuses all work after the first write that failed, until the file is closed and opened again: after a disk
//! was full for a moment, a daemon could not even remove a container until its restart. Here the next transaction
//! opens the file again, which brings it back to its last commit. What the tables mean is for those who use them.

use std::{
    fmt,
    path::PathBuf,
    sync::{PoisonError, RwLock},
};

use redb::{ReadTransaction, ReadableDatabase, TransactionError, WriteTransaction};

/// An open database.
pub struct Database {
    path: PathBuf,
    /// `None` after it could not be opened again; the next transaction tries once more.
    open: RwLock<Option<redb::Database>>,
}

impl Database {
    /// Opens the file, making it if there is none. Nobody else can open it until this is dropped.
    ///
    /// # Errors
    /// Another process has it open, or it is damaged or cannot be read.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self, redb::DatabaseError> {
        let path = path.into();
        let open = redb::Database::create(&path)?;
        Ok(Self { path, open: RwLock::new(Some(open)) })
    }

    /// Begins to read what was committed last.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn begin_read(&self) -> Result<ReadTransaction, redb::Error> {
        self.begin(redb::Database::begin_read)
    }

    /// Begins to write, after waiting for whoever else does.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn begin_write(&self) -> Result<WriteTransaction, redb::Error> {
        self.begin(redb::Database::begin_write)
    }

    fn begin<T>(&self, begin: fn(&redb::Database) -> Result<T, TransactionError>) -> Result<T, redb::Error> {
        if let Some(Ok(transaction)) = self.open.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(begin) {
            return Ok(transaction);
        }
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have opened it again meanwhile.
        if let Some(Ok(transaction)) = open.as_ref().map(begin) {
            return Ok(transaction);
        }
        // Its lock has to go before the file can be locked again.
        *open = None;
        let again = redb::Database::create(&self.path)?;
        tracing::warn!(file = %self.path.display(), "the database was opened again after a write had failed");
        let transaction = begin(&again)?;
        *open = Some(again);
        Ok(transaction)
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("path", &self.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use redb::TableDefinition;

    use super::*;

    const TABLE: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");

    #[test]
    fn a_database_that_was_given_up_is_opened_again() {
        let path = std::env::temp_dir().join(format!("hako-database-{}.redb", crate::random::hex(8)));
        let database = Database::create(&path).unwrap();
        let write = database.begin_write().unwrap();
        write.open_table(TABLE).unwrap().insert("one", 1).unwrap();
        write.commit().unwrap();
        // As after an attempt to open it again that failed.
        *database.open.write().unwrap() = None;
        let read = database.begin_read().unwrap();
        assert_eq!(read.open_table(TABLE).unwrap().get("one").unwrap().unwrap().value(), 1);
        std::fs::remove_file(path).unwrap();
    }
}
