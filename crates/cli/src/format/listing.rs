//! Listings: rows with named columns, printed as a table, as JSON, through a template, or as ids.
//!
//! A command names all its columns with their titles and fills rows with values; which of them are
//! shown, and how, is decided by `--format` alone. Values are computed only when they are needed:
//! a row is asked for a column by name.

use std::{collections::BTreeMap, sync::Arc};

use gotmpl::Value;

use super::{
    json::KeyOrder,
    table,
    template::{Format, FormatError, LABELS, Missing},
};

/// A column: its name in templates and its title in tables.
pub(crate) type Column = (&'static str, &'static str);

/// What a kind of object looks like when listed.
pub(crate) struct Shape {
    /// Every column a template may name.
    pub columns: &'static [Column],
    /// The template of the plain table, without the word `table`.
    pub table: &'static str,
}

/// One object, asked for its columns by name.
pub(crate) trait Row {
    /// The value in the column `name`.
    fn column(&self, name: &str) -> String;
    /// The same where it may be nothing at all, which is not the same as an empty text in JSON.
    fn value(&self, name: &str) -> Value {
        Value::String(self.column(name).into())
    }
    /// The labels, where the object has them.
    fn labels(&self) -> Option<&BTreeMap<String, String>> {
        None
    }
}

/// Prints `rows` as `format` wants: empty or `table` is the plain table.
///
/// # Errors
/// When the format is not a template, or names a column that does not exist.
pub(crate) fn render<R: Row>(shape: &Shape, format: &str, rows: &[R]) -> Result<String, FormatError> {
    let (is_table, template) = match format.strip_prefix("table") {
        Some("") => (true, shape.table),
        Some(rest) => (true, rest.trim_matches(' ')),
        None if format.is_empty() => (true, shape.table),
        None if format == "json" => (false, "{{json .}}"),
        None => (false, format),
    };
    check_columns(shape, template)?;
    let parsed = Format::parse(template, KeyOrder::escaping_html(), Missing::Error)?;
    let wanted = wanted_columns(shape, template);
    let mut text = String::new();
    if is_table {
        text.push_str(&Format::parse_header(template)?.row(&titles(shape))?);
        text.push('\n');
    }
    let with_labels = template.contains(".Label ");
    for row in rows {
        text.push_str(&parsed.row(&value(shape, &wanted, row, with_labels))?);
        text.push('\n');
    }
    Ok(if is_table { table::align(&text) } else { text })
}

/// Rows as values with all their columns, for a template that has several kinds of them.
pub(crate) fn objects<R: Row>(columns: &[Column], rows: &[R]) -> Value {
    let object = |row: &R| {
        let columns: BTreeMap<Arc<str>, Value> =
            columns.iter().map(|(name, _)| ((*name).into(), row.value(name))).collect();
        Value::Map(Arc::new(columns))
    };
    Value::List(rows.iter().map(object).collect())
}

// A field that is no column is told in Go's words, with the column that was probably meant. Only
// fields of the row itself are looked at: those right behind a brace, a blank or a parenthesis.
fn check_columns(shape: &Shape, template: &str) -> Result<(), FormatError> {
    let named_elsewhere = template.contains("with") || template.contains("range") || template.contains(":=");
    for action in template.split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap_or(rest)) {
        for word in action.split([' ', '(', ')', '|', '-']).filter_map(|word| word.strip_prefix('.')) {
            let name = word.split('.').next().unwrap_or(word);
            let is_field = name.starts_with(|c: char| c.is_ascii_alphabetic()) && name != "Label";
            if is_field && !named_elsewhere && !shape.columns.iter().any(|(known, _)| *known == name) {
                let meant = crate::suggest::nearest(name, shape.columns.iter().map(|(known, _)| *known));
                return Err(FormatError::Column { name: name.to_owned(), meant });
            }
        }
    }
    Ok(())
}

// Columns that a template does not mention are not computed; `json .` and `{{.}}` need them all.
fn wanted_columns(shape: &Shape, template: &str) -> Vec<&'static str> {
    let whole = template.contains(". ") || template.contains(".}") || template.contains(".)");
    // Newer than the docker that is matched: there for who names it, and no surprise in the JSON of a whole row.
    let is_new = |name: &str| name == "HealthStatus";
    let wanted = |name: &&str| (whole && !is_new(name)) || template.contains(name);
    shape.columns.iter().map(|(name, _)| *name).filter(wanted).collect()
}

fn titles(shape: &Shape) -> Value {
    let titles: BTreeMap<Arc<str>, Value> =
        shape.columns.iter().map(|(name, title)| ((*name).into(), Value::String((*title).into()))).collect();
    Value::Map(Arc::new(titles))
}

fn value(shape: &Shape, wanted: &[&'static str], row: &impl Row, with_labels: bool) -> Value {
    let mut map: BTreeMap<Arc<str>, Value> = BTreeMap::new();
    for (name, _) in shape.columns {
        if wanted.contains(name) {
            map.insert((*name).into(), row.value(name));
        }
    }
    if with_labels {
        let labels = row.labels().into_iter().flatten();
        let labels: BTreeMap<Arc<str>, Value> =
            labels.map(|(key, value)| (key.as_str().into(), Value::String(value.as_str().into()))).collect();
        map.insert(LABELS.into(), Value::Map(Arc::new(labels)));
    }
    Value::Map(Arc::new(map))
}

/// Labels as a listing shows them: `a=1,b=2`.
pub(crate) fn labels_text(labels: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Thing(&'static str, BTreeMap<String, String>);

    impl Row for Thing {
        fn column(&self, name: &str) -> String {
            match name {
                "ID" => self.0.to_owned(),
                _ => labels_text(&self.1),
            }
        }

        fn labels(&self) -> Option<&BTreeMap<String, String>> {
            Some(&self.1)
        }
    }

    const SHAPE: Shape = Shape { columns: &[("ID", "THING ID"), ("Labels", "LABELS")], table: "{{.ID}}\t{{.Labels}}" };

    fn check(format: &str, expected: &str) {
        let things =
            [Thing("4a2f", BTreeMap::from([("a.b".to_owned(), "1".to_owned())])), Thing("99", BTreeMap::new())];
        let got = render(&SHAPE, format, &things).unwrap_or_else(|error| error.to_string());
        assert_eq!(got, expected, "{format}");
    }

    #[test]
    fn one_description_serves_every_form() {
        check("", "THING ID   LABELS\n4a2f       a.b=1\n99         \n");
        check("table {{.ID}}", "THING ID\n4a2f\n99\n");
        check("json", "{\"ID\":\"4a2f\",\"Labels\":\"a.b=1\"}\n{\"ID\":\"99\",\"Labels\":\"\"}\n");
        check("{{.ID}}/{{.Label \"a.b\"}}", "4a2f/1\n99/\n");
        check("table {{.ID}}\\t{{.Label \"a.b\"}}", "THING ID   b\n4a2f       1\n99         \n");
    }
}
