//! Tenants, functions and instances: named once, referred to by number.

use compact_str::CompactString;
use std::collections::HashMap;
use xebec_core::{FunctionKey, Tenant, record::Filed};
use xebec_sqlite::{
    Database, Fault, Job,
    rusqlite::{self, Connection, OptionalExtension as _, Params, Row},
};

/// How many orphans go at a time.
const CHUNK: usize = 10_000;

/// A function's number and its tenant's.
#[derive(Clone, Copy)]
pub(crate) struct Function {
    pub(crate) id: i64,
    pub(crate) tenant: i64,
}

/// Gives numbers within one transaction. Not kept longer: a rollback would take the numbers back.
#[derive(Default)]
pub(crate) struct Origins<'a> {
    functions: HashMap<&'a FunctionKey, Function>,
    instances: HashMap<&'a str, i64>,
    lists: HashMap<(&'a Tenant, &'a str), List>,
}

/// A list's number and its tenant's.
#[derive(Clone, Copy)]
pub(crate) struct List {
    pub(crate) id: i64,
    pub(crate) tenant: i64,
}

impl<'a> Origins<'a> {
    pub(crate) fn function(
        &mut self,
        connection: &Connection,
        key: &'a FunctionKey,
    ) -> Result<Function, Fault> {
        if let Some(known) = self.functions.get(key) {
            return Ok(*known);
        }
        let tenant = tenant_or_new(connection, &key.tenant)?;
        let id = match function_of(connection, tenant, key)? {
            Some(id) => id,
            None => insert(
                connection,
                "INSERT INTO functions (tenant, door, name) VALUES (?1, ?2, ?3)",
                (tenant, key.door.as_str(), key.name.as_str()),
            )?,
        };
        let function = Function { id, tenant };
        self.functions.insert(key, function);
        Ok(function)
    }

    pub(crate) fn instance(&mut self, connection: &Connection, name: &'a str) -> Result<i64, Fault> {
        if let Some(known) = self.instances.get(name) {
            return Ok(*known);
        }
        let id = match instance(connection, name)? {
            Some(id) => id,
            None => insert(connection, "INSERT INTO instances (name) VALUES (?1)", [name])?,
        };
        self.instances.insert(name, id);
        Ok(id)
    }

    pub(crate) fn list(&mut self, connection: &Connection, filed: &'a Filed) -> Result<List, Fault> {
        let key = (&filed.tenant, filed.name.as_str());
        if let Some(known) = self.lists.get(&key) {
            return Ok(*known);
        }
        let tenant = tenant_or_new(connection, &filed.tenant)?;
        let id = match list(connection, tenant, &filed.name)? {
            Some(id) => id,
            None => {
                let sql = "INSERT INTO lists (tenant, name) VALUES (?1, ?2)";
                insert(connection, sql, (tenant, filed.name.as_str()))?
            }
        };
        let list = List { id, tenant };
        self.lists.insert(key, list);
        Ok(list)
    }
}

fn tenant_or_new(connection: &Connection, name: &Tenant) -> Result<i64, Fault> {
    match tenant(connection, name)? {
        Some(tenant) => Ok(tenant),
        None => insert(connection, "INSERT INTO tenants (name) VALUES (?1)", [name.as_str()]),
    }
}

fn insert(connection: &Connection, sql: &str, values: impl Params) -> Result<i64, Fault> {
    Ok(connection.prepare_cached(sql)?.insert(values)?)
}

fn find(connection: &Connection, sql: &str, values: impl Params) -> Result<Option<i64>, Fault> {
    Ok(connection.prepare_cached(sql)?.query_row(values, |row| row.get(0)).optional()?)
}

/// A tenant's number, if it has one.
pub(crate) fn tenant(connection: &Connection, tenant: &Tenant) -> Result<Option<i64>, Fault> {
    find(connection, "SELECT id FROM tenants WHERE name = ?1", [tenant.as_str()])
}

/// A function's number, if it has one.
pub(crate) fn function(connection: &Connection, key: &FunctionKey) -> Result<Option<i64>, Fault> {
    match tenant(connection, &key.tenant)? {
        Some(tenant) => function_of(connection, tenant, key),
        None => Ok(None),
    }
}

fn function_of(connection: &Connection, tenant: i64, key: &FunctionKey) -> Result<Option<i64>, Fault> {
    find(
        connection,
        "SELECT id FROM functions WHERE tenant = ?1 AND door = ?2 AND name = ?3",
        (tenant, key.door.as_str(), key.name.as_str()),
    )
}

/// The number of a tenant's list, if it has one.
pub(crate) fn list(connection: &Connection, tenant: i64, name: &str) -> Result<Option<i64>, Fault> {
    find(connection, "SELECT id FROM lists WHERE tenant = ?1 AND name = ?2", (tenant, name))
}

/// An instance's number, if it has one.
pub(crate) fn instance(connection: &Connection, name: &str) -> Result<Option<i64>, Fault> {
    find(connection, "SELECT id FROM instances WHERE name = ?1", [name])
}

/// Names of functions by number, as far as they were needed.
#[derive(Default)]
pub(crate) struct Names {
    functions: HashMap<i64, FunctionKey>,
    instances: HashMap<i64, String>,
    lists: HashMap<i64, Filed>,
}

impl Names {
    pub(crate) fn list(&mut self, connection: &Connection, id: i64) -> Result<Filed, Fault> {
        if let Some(known) = self.lists.get(&id) {
            return Ok(known.clone());
        }
        let filed = connection
            .prepare_cached(
                "SELECT tenants.name, lists.name FROM lists
                 JOIN tenants ON tenants.id = lists.tenant WHERE lists.id = ?1",
            )?
            .query_row([id], |row| Ok(Filed { tenant: Tenant::new(text(row, 0)?), name: text(row, 1)? }))?;
        self.lists.insert(id, filed.clone());
        Ok(filed)
    }

    pub(crate) fn function(&mut self, connection: &Connection, id: i64) -> Result<FunctionKey, Fault> {
        if let Some(known) = self.functions.get(&id) {
            return Ok(known.clone());
        }
        let key = connection
            .prepare_cached(
                "SELECT tenants.name, door, functions.name FROM functions
                 JOIN tenants ON tenants.id = functions.tenant WHERE functions.id = ?1",
            )?
            .query_row([id], |row| {
                Ok(FunctionKey {
                    tenant: Tenant::new(text(row, 0)?),
                    door: text(row, 1)?,
                    name: text(row, 2)?,
                })
            })?;
        self.functions.insert(id, key.clone());
        Ok(key)
    }

    pub(crate) fn instance(&mut self, connection: &Connection, id: i64) -> Result<String, Fault> {
        if let Some(known) = self.instances.get(&id) {
            return Ok(known.clone());
        }
        let name: String = connection
            .prepare_cached("SELECT name FROM instances WHERE id = ?1")?
            .query_row([id], |row| row.get(0))?;
        self.instances.insert(id, name.clone());
        Ok(name)
    }
}

fn text(row: &Row<'_>, column: usize) -> rusqlite::Result<CompactString> {
    Ok(row.get_ref(column)?.as_str()?.into())
}

/// Names that nothing refers to any more: the table, and what makes one an orphan.
const ORPHANS: [(&str, &str); 4] = [
    ("instances", "NOT EXISTS (SELECT 1 FROM logs WHERE instance = instances.id)"),
    (
        "functions",
        "NOT EXISTS (SELECT 1 FROM records WHERE function = functions.id)
         AND NOT EXISTS (SELECT 1 FROM logs WHERE function = functions.id)",
    ),
    ("lists", "NOT EXISTS (SELECT 1 FROM records WHERE filed = lists.id)"),
    (
        "tenants",
        "NOT EXISTS (SELECT 1 FROM functions WHERE tenant = tenants.id)
         AND NOT EXISTS (SELECT 1 FROM lists WHERE tenant = tenants.id)",
    ),
];

/// Deletes names that nothing refers to any more.
pub(crate) async fn prune(database: &Database) -> Result<(), xebec_core::Error> {
    for (table, orphaned) in ORPHANS {
        loop {
            let found = database.read(move |connection| {
                let sql = format!("SELECT id FROM {table} WHERE {orphaned} LIMIT {CHUNK}");
                let mut statement = connection.prepare_cached(&sql)?;
                let ids = statement.query_map([], |row| row.get(0))?;
                Ok(ids.collect::<Result<Vec<i64>, _>>()?)
            });
            let ids = found.await?;
            let last = ids.len() < CHUNK;
            if !ids.is_empty() {
                database.write(Prune { table, orphaned, ids }).await?;
            }
            if last {
                break;
            }
        }
    }
    Ok(())
}

struct Prune {
    table: &'static str,
    orphaned: &'static str,
    ids: Vec<i64>,
}

impl Job for Prune {
    type Output = ();

    fn run(&mut self, connection: &Connection) -> Result<(), Fault> {
        let Self { table, orphaned, .. } = self;
        // Asked again: it may have come into use since it was found.
        let mut delete =
            connection.prepare_cached(&format!("DELETE FROM {table} WHERE id = ?1 AND {orphaned}"))?;
        for id in &self.ids {
            delete.execute([id])?;
        }
        Ok(())
    }

    fn settle(self) {}
}
