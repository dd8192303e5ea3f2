//! Annotated CSV, the format of Flux's answers. Strict: what is not in it as it should be is a fault of the answer.
//!
//! An answer is a row of tables, each with lines of annotations (`#datatype`, `#group`, `#default`), one of column
//! names, then its rows. InfluxDB tells an error that comes after the first rows as a table with a column `error`.

use csv::StringRecord;

use super::super::StoreFault;
use super::super::http::broken;

/// A row and the names of its columns.
pub(super) struct Row<'a> {
    columns: &'a StringRecord,
    defaults: &'a StringRecord,
    cells: &'a StringRecord,
}

impl Row<'_> {
    /// What stands in a column; empty where the table has none of that name.
    pub(super) fn get(&self, name: &str) -> &str {
        let place = self.columns.iter().position(|column| column == name);
        let Some(place) = place else {
            return "";
        };
        match self.cells.get(place).unwrap_or_default() {
            "" => self.defaults.get(place).unwrap_or_default(),
            cell => cell,
        }
    }
}

/// Calls `each` for every row of every table.
pub(super) fn rows(
    body: &[u8],
    mut each: impl FnMut(&Row<'_>) -> Result<(), StoreFault>,
) -> Result<(), StoreFault> {
    if !(body.is_empty() || body.ends_with(b"\n")) {
        return Err(broken("it was cut off within a line"));
    }
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(body);
    let mut cells = StringRecord::new();
    let mut annotations: Vec<StringRecord> = Vec::new();
    let mut columns: Option<StringRecord> = None;
    while reader.read_record(&mut cells).map_err(broken)? {
        if cells.get(0).unwrap_or_default().starts_with('#') {
            // The first annotation begins a new table.
            if columns.take().is_some() {
                annotations.clear();
            }
            annotations.push(cells.clone());
            continue;
        }
        let defaults = annotations
            .iter()
            .find(|line| line.get(0) == Some("#default"));
        let Some(columns) = &columns else {
            let equal = annotations.iter().all(|line| line.len() == cells.len());
            if !equal || defaults.is_none() {
                return Err(match cells.iter().position(|column| column == "error") {
                    Some(_) => broken("it says that the query failed"),
                    None => broken("a table without its annotations"),
                });
            }
            columns = Some(cells.clone());
            continue;
        };
        if cells.len() != columns.len() {
            return Err(broken("a row with other columns than its table"));
        }
        let Some(defaults) = defaults else {
            return Err(broken("a table without its annotations"));
        };
        let row = Row {
            columns,
            defaults,
            cells: &cells,
        };
        if columns.iter().any(|column| column == "error") {
            return Err(broken(format!("the query failed: {}", row.get("error"))));
        }
        each(&row)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &str = "#datatype,string,long,double,string\r\n\
        #group,false,false,false,true\r\n\
        #default,_result,,,\r\n\
        ,result,table,_value,unit\r\n\
        ,,0,1.5,\"a,\"\"b\"\r\n\
        ,,0,2,Cel\r\n\
        \r\n\
        #datatype,string,long,double\r\n\
        #group,false,false,false\r\n\
        #default,max,,\r\n\
        ,result,table,_value\r\n\
        ,,1,3\r\n\
        \r\n";

    fn read(text: &str) -> Result<Vec<[String; 3]>, StoreFault> {
        let mut all = Vec::new();
        rows(text.as_bytes(), |row| {
            all.push(["result", "_value", "unit"].map(|name| row.get(name).to_owned()));
            Ok(())
        })?;
        Ok(all)
    }

    #[test]
    fn tables_of_different_columns() {
        let expected = [
            ["_result", "1.5", "a,\"b"],
            ["_result", "2", "Cel"],
            ["max", "3", ""],
        ];
        assert_eq!(read(GOOD).unwrap(), expected);
        assert!(read("\r\n").unwrap().is_empty());
        assert!(read("").unwrap().is_empty());
    }

    #[test]
    fn an_error_after_rows_is_a_fault() {
        let late = "#datatype,string,string\r\n#group,true,true\r\n#default,,\r\n,error,reference\r\n,out of memory,897\r\n";
        let fault = read(&format!("{GOOD}{late}")).unwrap_err();
        assert!(
            fault
                .to_string()
                .contains("the query failed: out of memory"),
            "{fault}"
        );
        assert!(read("error,reference\r\nbad,1\r\n").is_err());
    }

    #[test]
    fn what_is_not_whole_is_a_fault() {
        for (text, why) in [
            (GOOD.replace(",,0,2,Cel", ",,0,2"), "a cell is missing"),
            (
                GOOD.replace("#default,max,,", "#default,max,"),
                "a default is missing",
            ),
            (GOOD.replace("#default,max,,\r\n", ""), "no defaults"),
            (GOOD.replacen("#", "", 3), "no annotations"),
            ("<html>busy</html>\n".to_owned(), "another format"),
        ] {
            assert!(read(&text).is_err(), "{why}");
        }
    }

    #[test]
    fn no_cut_gives_other_rows() {
        let whole = read(GOOD).unwrap();
        for end in 0..GOOD.len() {
            if let Ok(rows) = read(GOOD.get(..end).unwrap()) {
                assert_eq!(rows, whole[..rows.len()], "cut at {end}");
                assert!(
                    end == 0 || GOOD.as_bytes()[end - 1] == b'\n',
                    "cut at {end}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0..GOOD.len()) {
            drop(rows(&bytes, |_| Ok(())));
            let mut damaged = GOOD.as_bytes().to_vec();
            damaged[at] ^= bytes.first().copied().unwrap_or(1);
            drop(rows(&damaged, |_| Ok(())));
        }
    }
}
