//! Arrays of any dtype and shape, element by element.

use std::fmt;
use std::io::Write;

use vldepot::CodecError;
use vldepot::codecs::{AnyArray, DType};

use super::Error;
use crate::text;

/// The most rows that are shown without `--all`.
const ROWS: usize = 6;

/// The most numbers of a row that are shown without `--all`.
const COLUMNS: usize = 8;

/// The elements of an array in row-major order.
pub(super) struct Values<'a> {
    dtype: DType,
    shape: Vec<usize>,
    at: Box<dyn Fn(usize) -> Option<Number> + 'a>,
}

/// One element. It prints with just enough digits to tell it from others of its dtype.
#[derive(Clone, Copy)]
enum Number {
    F32(f32),
    F64(f64),
    Signed(i64),
    Unsigned(u64),
    Bool(bool),
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // `Debug` uses an exponent for numbers with many digits. For finite numbers its output is
            // JSON.
            Self::F32(value) => write!(f, "{value:?}"),
            Self::F64(value) => write!(f, "{value:?}"),
            Self::Signed(value) => write!(f, "{value}"),
            Self::Unsigned(value) => write!(f, "{value}"),
            Self::Bool(value) => write!(f, "{value}"),
        }
    }
}

impl Number {
    /// Whether JSON has the number. It has no NaN and no infinity.
    fn is_json(self) -> bool {
        match self {
            Self::F32(value) => value.is_finite(),
            Self::F64(value) => value.is_finite(),
            _ => true,
        }
    }
}

/// How each variant's elements become numbers.
macro_rules! numbers {
    ($any:expr, $($variant:ident $element:ident => $number:expr;)*) => {
        match $any {
            // The arrays of a record lie in order. One that did not would print as dots.
            $(AnyArray::$variant(array) => Box::new(move |i| {
                let $element = *array.as_slice()?.get(i)?;
                Some($number)
            }),)*
            other => {
                let dtype = other.dtype();
                return Err(CodecError::invalid(format!("this program cannot show {dtype} elements")));
            }
        }
    };
}

impl<'a> Values<'a> {
    /// # Errors
    /// When the dtype is from a later version.
    pub(super) fn new(array: AnyArray<'a>) -> Result<Self, CodecError> {
        let (dtype, shape) = (array.dtype(), array.shape().to_vec());
        let at: Box<dyn Fn(usize) -> Option<Number> + 'a> = numbers! { array,
            F32 x => Number::F32(x);
            F64 x => Number::F64(x);
            F16 x => Number::F32(x.to_f32());
            BF16 x => Number::F32(x.to_f32());
            I8 x => Number::Signed(x.into());
            I16 x => Number::Signed(x.into());
            I32 x => Number::Signed(x.into());
            I64 x => Number::Signed(x);
            U8 x => Number::Unsigned(x.into());
            U16 x => Number::Unsigned(x.into());
            U32 x => Number::Unsigned(x.into());
            U64 x => Number::Unsigned(x);
            Bool x => Number::Bool(x);
        };
        Ok(Self { dtype, shape, at })
    }

    /// The dtype and the shape, such as `float32 [4, 3]`.
    pub(super) fn kind(&self) -> String {
        format!("{} {:?}", self.dtype, self.shape)
    }

    fn number(&self, i: usize) -> String {
        (self.at)(i).map_or("...".into(), |number| number.to_string())
    }

    /// Prints the last axis across and the others down, each row after its index. A single axis is
    /// broken into rows.
    pub(super) fn print(&self, all: bool, indent: &str, out: &mut dyn Write) -> Result<(), Error> {
        let n = self.shape.iter().product::<usize>();
        let (width, broken) = match self.shape[..] {
            [] => (1, false),
            [_] => (COLUMNS, true),
            [.., width] => (width, false),
        };
        if n == 0 {
            return Ok(());
        }
        let n_rows = n.div_ceil(width);
        let shown = if all || n_rows <= ROWS { n_rows } else { ROWS };
        let columns = if all { width } else { width.min(COLUMNS) };
        let cells = |row: usize| (row * width..n.min(row * width + columns)).map(|i| self.number(i));
        // Columns are as wide as the first rows need. A pass over all rows would cost as much as
        // printing them.
        let sample = 0..shown.min(1000);
        let pad = sample.clone().flat_map(cells).map(|cell| cell.len()).max().unwrap_or(0);
        let label_of = |row: usize| self.label(row, if broken { width } else { 1 });
        let label =
            sample.map(label_of).chain([label_of(shown - 1)]).map(|label| label.len()).max().unwrap_or(0);
        for row in 0..shown {
            write!(out, "{indent}{:<label$}", label_of(row))?;
            for cell in cells(row) {
                write!(out, "  {cell:>pad$}")?;
            }
            writeln!(out, "{}", if columns < width { "  ..." } else { "" })?;
        }
        if shown < n_rows {
            let rest = if broken {
                text::more((n - shown * width) as u64, "number")
            } else {
                text::more((n_rows - shown) as u64, "row")
            };
            writeln!(out, "{indent}... {rest}: --all prints them")?;
        }
        Ok(())
    }

    /// The index of a row's first number, without the last axis unless it is the only one.
    fn label(&self, row: usize, step: usize) -> String {
        let axes = match &self.shape[..] {
            [] => return String::new(),
            [_] => return format!("[{}]", row * step),
            [axes @ .., _] => axes,
        };
        let mut rest = row;
        let mut index: Vec<_> = axes
            .iter()
            .rev()
            .map(|&n| {
                let i = rest % n.max(1);
                rest /= n.max(1);
                i.to_string()
            })
            .collect();
        index.reverse();
        format!("[{}]", index.join(", "))
    }

    /// Prints `{"dtype": .., "shape": .., "values": ..}`. The values are nested like the axes.
    pub(super) fn json(&self, out: &mut dyn Write) -> Result<(), Error> {
        write!(out, "{{\"dtype\":\"{}\",\"shape\":{:?},\"values\":", self.dtype, self.shape)?;
        self.json_axis(&self.shape, &mut 0, out)?;
        write!(out, "}}")?;
        Ok(())
    }

    fn json_axis(&self, axes: &[usize], next: &mut usize, out: &mut dyn Write) -> Result<(), Error> {
        let Some((&n, inner)) = axes.split_first() else {
            match (self.at)(*next).filter(|number| number.is_json()) {
                Some(number) => write!(out, "{number}")?,
                None => write!(out, "null")?,
            }
            *next += 1;
            return Ok(());
        };
        write!(out, "[")?;
        // An empty inner axis leaves nothing to print, and then the length of the outer one may be huge.
        let n = if inner.contains(&0) { 0 } else { n };
        for i in 0..n {
            if i > 0 {
                write!(out, ",")?;
            }
            self.json_axis(inner, next, out)?;
        }
        write!(out, "]")?;
        Ok(())
    }
}
