//! Columns as other libraries take them, without a copy: the C stream interface of Arrow.
//!
//! A stream gives its schema and one batch of rows. The structures are those of the Arrow C data interface
//! and the Arrow C stream interface, which never change. Nothing here knows Python, and every callback may
//! come from any thread.
//!
//! ```text
//! ArrowArrayStream ── private ──> Exported: fields, rows
//! ArrowArray ──────── private ──> HeldArray: pointers to buffers, what owns them, children
//! ```
//!
//! Whoever has a structure calls its `release` once. Moving one leaves a `release` of null behind, so that
//! nothing is released twice. Dropping one here releases it if nobody moved it away.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;
use std::sync::Arc;

/// Bytes that a stream lends.
pub(crate) type Buffer = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// One column.
#[derive(Clone)]
pub(crate) struct Field {
    pub(crate) name: CString,
    /// The type, as the interface writes it.
    pub(crate) format: &'static CStr,
    pub(crate) nulls: i64,
    /// The buffers of that type, in their order, each aligned for its elements. The first one has a bit for
    /// each row that has a value; `None` if all have.
    pub(crate) buffers: Vec<Option<Buffer>>,
}

struct Exported {
    fields: Arc<[Field]>,
    rows: i64,
    done: bool,
}

/// A stream of one batch.
#[repr(C)]
pub(crate) struct ArrowArrayStream {
    get_schema: Option<unsafe extern "C" fn(*mut Self, *mut ArrowSchema) -> c_int>,
    get_next: Option<unsafe extern "C" fn(*mut Self, *mut ArrowArray) -> c_int>,
    get_last_error: Option<unsafe extern "C" fn(*mut Self) -> *const c_char>,
    release: Option<unsafe extern "C" fn(*mut Self)>,
    private: *mut c_void,
}

/// Names and types of columns.
#[repr(C)]
pub(crate) struct ArrowSchema {
    format: *const c_char,
    name: *const c_char,
    metadata: *const c_char,
    flags: i64,
    n_children: i64,
    children: *mut *mut Self,
    dictionary: *mut Self,
    release: Option<unsafe extern "C" fn(*mut Self)>,
    private: *mut c_void,
}

/// A batch of rows, or one column of it.
#[repr(C)]
struct ArrowArray {
    length: i64,
    null_count: i64,
    offset: i64,
    n_buffers: i64,
    n_children: i64,
    buffers: *mut *const c_void,
    children: *mut *mut Self,
    dictionary: *mut Self,
    release: Option<unsafe extern "C" fn(*mut Self)>,
    private: *mut c_void,
}

/// What a schema points to.
struct HeldSchema {
    name: CString,
    children: Vec<*mut ArrowSchema>,
}

/// What an array points to.
struct HeldArray {
    pointers: Vec<*const c_void>,
    _buffers: Vec<Option<Buffer>>,
    children: Vec<*mut ArrowArray>,
}

const NULLABLE: i64 = 2;

// SAFETY: each owns what it points to, and that may move to another thread: names, and buffers that are
// `Send` and `Sync`.
unsafe impl Send for ArrowArrayStream {}
// SAFETY: as above.
unsafe impl Send for ArrowSchema {}

impl ArrowArrayStream {
    /// A stream of one batch of `rows` rows.
    pub(crate) fn new(fields: Arc<[Field]>, rows: usize) -> Self {
        let rows = i64::try_from(rows).unwrap_or(i64::MAX);
        Self {
            get_schema: Some(get_schema),
            get_next: Some(get_next),
            get_last_error: Some(get_last_error),
            release: Some(release_stream),
            private: Box::into_raw(Box::new(Exported { fields, rows, done: false })).cast(),
        }
    }
}

impl ArrowSchema {
    /// The schema of a table: a struct of its columns.
    pub(crate) fn of(fields: &[Field]) -> Self {
        let column = |field: &Field| Self::new(field.format, field.name.clone(), NULLABLE, Vec::new());
        let children = fields.iter().map(|field| Box::into_raw(Box::new(column(field)))).collect();
        Self::new(c"+s", CString::default(), 0, children)
    }

    fn new(format: &'static CStr, name: CString, flags: i64, children: Vec<*mut Self>) -> Self {
        // Boxed first: the pointers are to what the box holds.
        let held = Box::into_raw(Box::new(HeldSchema { name, children }));
        // SAFETY: made just above, and nobody else has it.
        let inside = unsafe { &mut *held };
        Self {
            format: format.as_ptr(),
            name: inside.name.as_ptr(),
            metadata: ptr::null(),
            flags,
            n_children: i64::try_from(inside.children.len()).unwrap_or(i64::MAX),
            children: inside.children.as_mut_ptr(),
            dictionary: ptr::null_mut(),
            release: Some(release_schema),
            private: held.cast(),
        }
    }
}

impl ArrowArray {
    /// A batch: a struct of its columns, without nulls of its own.
    fn of(fields: &[Field], rows: i64) -> Self {
        let column = |field: &Field| Self::new(rows, field.nulls, field.buffers.clone(), Vec::new());
        let children = fields.iter().map(|field| Box::into_raw(Box::new(column(field)))).collect();
        Self::new(rows, 0, vec![None], children)
    }

    fn new(length: i64, nulls: i64, buffers: Vec<Option<Buffer>>, children: Vec<*mut Self>) -> Self {
        let start = |buffer: &Option<Buffer>| match buffer {
            Some(buffer) => (**buffer).as_ref().as_ptr().cast(),
            None => ptr::null(),
        };
        let pointers = buffers.iter().map(start).collect();
        let held = Box::into_raw(Box::new(HeldArray { pointers, _buffers: buffers, children }));
        // SAFETY: made just above, and nobody else has it.
        let inside = unsafe { &mut *held };
        Self {
            length,
            null_count: nulls,
            offset: 0,
            n_buffers: i64::try_from(inside.pointers.len()).unwrap_or(i64::MAX),
            n_children: i64::try_from(inside.children.len()).unwrap_or(i64::MAX),
            buffers: inside.pointers.as_mut_ptr(),
            children: inside.children.as_mut_ptr(),
            dictionary: ptr::null_mut(),
            release: Some(release_array),
            private: held.cast(),
        }
    }

    /// What stands at the end of a stream.
    const fn end() -> Self {
        Self {
            length: 0,
            null_count: 0,
            offset: 0,
            n_buffers: 0,
            n_children: 0,
            buffers: ptr::null_mut(),
            children: ptr::null_mut(),
            dictionary: ptr::null_mut(),
            release: None,
            private: ptr::null_mut(),
        }
    }
}

macro_rules! released_when_dropped {
    ($($type:ty)*) => {$(
        impl Drop for $type {
            fn drop(&mut self) {
                if let Some(release) = self.release {
                    // SAFETY: `release` is there, so `self` was neither moved away nor released.
                    unsafe { release(self) }
                }
            }
        }
    )*};
}
released_when_dropped! { ArrowArrayStream ArrowSchema ArrowArray }

/// Gives a caller of C a structure, in memory whose old content means nothing.
///
/// # Safety
/// `out` is null, or memory for a `T` that may be written and is aligned.
unsafe fn give<T>(out: *mut T, made: T) -> c_int {
    const EINVAL: c_int = 22;
    if out.is_null() {
        return EINVAL;
    }
    // SAFETY: not null, and as the caller promises. The old content is not dropped.
    unsafe { out.write(made) };
    0
}

/// What a stream exports.
///
/// # Safety
/// `stream` is one that `ArrowArrayStream::new` made, which is not released, and which nobody else uses
/// during `'a`.
unsafe fn exported<'a>(stream: *mut ArrowArrayStream) -> &'a mut Exported {
    // SAFETY: as the caller promises; `private` is the box that `new` made, until `release_stream` takes it.
    unsafe { &mut *(*stream).private.cast::<Exported>() }
}

unsafe extern "C" fn get_schema(stream: *mut ArrowArrayStream, out: *mut ArrowSchema) -> c_int {
    // SAFETY: the interface demands a stream that is not released, from one thread at a time, and room at
    // `out`.
    unsafe { give(out, ArrowSchema::of(&exported(stream).fields)) }
}

unsafe extern "C" fn get_next(stream: *mut ArrowArrayStream, out: *mut ArrowArray) -> c_int {
    // SAFETY: as in `get_schema`.
    unsafe {
        let exported = exported(stream);
        let ended = std::mem::replace(&mut exported.done, true);
        give(out, if ended { ArrowArray::end() } else { ArrowArray::of(&exported.fields, exported.rows) })
    }
}

unsafe extern "C" fn get_last_error(_stream: *mut ArrowArrayStream) -> *const c_char {
    // Only a null pointer fails.
    ptr::null()
}

unsafe extern "C" fn release_stream(stream: *mut ArrowArrayStream) {
    // SAFETY: the interface demands a stream that is not released, so `private` is the box of `new`. From
    // here on the stream is marked as released.
    unsafe {
        drop(Box::from_raw((*stream).private.cast::<Exported>()));
        (*stream).private = ptr::null_mut();
        (*stream).release = None;
    }
}

unsafe extern "C" fn release_schema(schema: *mut ArrowSchema) {
    // SAFETY: the interface demands a schema that is not released, so `private` is the box of `new`, and so
    // are the children. Dropping a child releases it, unless somebody moved it away.
    unsafe {
        let held = Box::from_raw((*schema).private.cast::<HeldSchema>());
        for &child in &held.children {
            drop(Box::from_raw(child));
        }
        (*schema).private = ptr::null_mut();
        (*schema).release = None;
    }
}

unsafe extern "C" fn release_array(array: *mut ArrowArray) {
    // SAFETY: as in `release_schema`.
    unsafe {
        let held = Box::from_raw((*array).private.cast::<HeldArray>());
        for &child in &held.children {
            drop(Box::from_raw(child));
        }
        (*array).private = ptr::null_mut();
        (*array).release = None;
    }
}
