//! Columns padded with blanks, byte for byte as Docker's tables are.
//!
//! Cells end in a tab; a column is a run of consecutive lines that have a cell there, as wide as
//! its widest cell plus three blanks and never narrower than ten. The last cell of a line belongs
//! to no column. (These are the rules of Go's tabwriter with Docker's settings.)

const PADDING: usize = 3;
const WIDTH_MIN: usize = 10;

/// Lays out tab-separated lines.
pub(crate) fn align(text: &str) -> String {
    align_with(text, WIDTH_MIN, PADDING)
}

/// The same with columns of at least `width_min`, and `padding` blanks behind the widest cell.
pub(crate) fn align_with(text: &str, width_min: usize, padding: usize) -> String {
    let lines: Vec<Vec<&str>> = text.split_terminator('\n').map(|line| line.split('\t').collect()).collect();
    let mut widths: Vec<Vec<usize>> = lines.iter().map(|cells| vec![0; cells.len().saturating_sub(1)]).collect();
    let columns = widths.iter().map(Vec::len).max().unwrap_or(0);
    for column in 0..columns {
        measure(&lines, &mut widths, column, (width_min, padding));
    }
    let mut laid_out = String::with_capacity(text.len() * 2);
    for (cells, widths) in lines.iter().zip(&widths) {
        for (at, cell) in cells.iter().enumerate() {
            laid_out.push_str(cell);
            if let Some(width) = widths.get(at) {
                laid_out.extend(std::iter::repeat_n(' ', width - cell.chars().count()));
            }
        }
        laid_out.push('\n');
    }
    laid_out
}

// Gives every run of lines that have a cell in this column a common width.
fn measure(lines: &[Vec<&str>], widths: &mut [Vec<usize>], column: usize, (width_min, padding): (usize, usize)) {
    let mut start = 0;
    while start < lines.len() {
        if widths[start].len() <= column {
            start += 1;
            continue;
        }
        let mut end = start;
        let mut width = width_min;
        while end < lines.len() && widths[end].len() > column {
            width = width.max(lines[end][column].chars().count() + padding);
            end += 1;
        }
        for row in &mut widths[start..end] {
            row[column] = width;
        }
        start = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        assert_eq!(align(text), expected);
    }

    #[test]
    fn a_column_is_as_wide_as_its_widest_cell() {
        check(
            "CONTAINER ID\tIMAGE\tNAMES\n4a2f\tdebian:bookworm\tweb\n",
            "CONTAINER ID   IMAGE             NAMES\n4a2f           debian:bookworm   web\n",
        );
    }

    #[test]
    fn narrow_and_empty_columns_keep_ten_blanks() {
        check("A\tB\tC\n1\t\t3\n", "A         B         C\n1                   3\n");
    }

    #[test]
    fn lines_without_a_cell_end_a_column() {
        check("wide-wide-wide\tx\nalone\ny\tz\n", "wide-wide-wide   x\nalone\ny         z\n");
    }
}
