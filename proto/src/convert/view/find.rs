//! What is looked for in views: filters, orders, and why one of several views has no answer.

use std::ops::RangeInclusive;

use fusion_core::id::ViewName;
use fusion_core::path::TreePath;
use fusion_core::stat::Kind;
use fusion_core::time::StorageTime;
use tonic::Code;

use super::{ReadClass, read_class_from_pb, read_class_to_pb, view_name};
use crate::convert::stat::{kind_from_pb, kind_to_pb, path_from_text, path_to_text};
use crate::convert::{ConvertError, InField as _, bounded};
use crate::status::Refusal;
use crate::{limits, pb};

/// What `FindEntries` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FindEntries {
    /// The view.
    pub view: ViewName,
    /// The directory below which to look.
    pub path: TreePath,
    /// Which entries.
    pub filter: EntryFilter,
    /// Most entries to give of each view; 1 to [`limits::SORTED_MAX`] with an order.
    pub limit: Option<u64>,
    /// The order to give them in; as they are found without one.
    pub order: Option<EntryOrder>,
    /// Further views, none twice.
    pub more_views: Vec<ViewName>,
    /// Whether to tell with each directory what lies below it.
    pub with_totals: bool,
    /// What to demand of the views.
    pub class: ReadClass,
}

impl FindEntries {
    /// Asks for all that lies below a path.
    #[must_use]
    pub fn all(view: ViewName, path: TreePath) -> Self {
        Self {
            view,
            path,
            filter: EntryFilter::default(),
            limit: None,
            order: None,
            more_views: Vec::new(),
            with_totals: false,
            class: ReadClass::Any,
        }
    }
}

/// Which entries are wanted; the empty filter wants all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EntryFilter {
    /// A glob on the raw bytes of the name, not yet compiled.
    pub name_glob: Option<String>,
    /// A regular expression on the raw bytes of the name, not yet compiled.
    pub name_regex: Option<String>,
    /// A regular expression on the raw bytes of the path, not yet compiled.
    pub path_regex: Option<String>,
    /// Only these kinds; empty is all.
    pub kinds: Vec<Kind>,
    /// Only names with one of these extensions; empty is all.
    pub extensions: Vec<String>,
    /// Only regular files of such a size.
    pub size: Option<RangeInclusive<u64>>,
    /// Only such an mtime.
    pub mtime: Option<RangeInclusive<StorageTime>>,
    /// Only such a ctime.
    pub ctime: Option<RangeInclusive<StorageTime>>,
    /// Only these owners; empty is all.
    pub uids: Vec<u32>,
    /// Only these groups; empty is all.
    pub gids: Vec<u32>,
    /// Least levels below the path.
    pub min_depth: Option<u32>,
    /// Most levels below the path.
    pub max_depth: Option<u32>,
    /// Only suspects.
    pub only_suspect: bool,
    /// Only blind entries.
    pub only_blind: bool,
}

/// What entries are ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntrySort {
    /// The name.
    Name,
    /// The size.
    Size,
    /// The mtime.
    Mtime,
}

/// An order of entries; ties are in byte order of the name, then of the path, in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryOrder {
    /// What by.
    pub by: EntrySort,
    /// The largest, the newest or the last name first.
    pub descending: bool,
}

impl EntryOrder {
    /// By name, in byte order.
    pub const BY_NAME: Self = Self { by: EntrySort::Name, descending: false };

    /// An order from the wire; `None` if none is asked for.
    pub(super) fn from_pb(sort: i32, descending: bool) -> Result<Option<Self>, ConvertError> {
        let by = match pb::EntrySort::try_from(sort) {
            Ok(pb::EntrySort::Unspecified) => return Ok(None),
            Ok(pb::EntrySort::Name) => EntrySort::Name,
            Ok(pb::EntrySort::Size) => EntrySort::Size,
            Ok(pb::EntrySort::Mtime) => EntrySort::Mtime,
            Err(_) => return Err(ConvertError::unknown("sort", sort)),
        };
        Ok(Some(Self { by, descending }))
    }

    /// An order on the wire.
    pub(super) fn to_pb(order: Option<Self>) -> (i32, bool) {
        let Some(Self { by, descending }) = order else { return (0, false) };
        let sort = match by {
            EntrySort::Name => pb::EntrySort::Name,
            EntrySort::Size => pb::EntrySort::Size,
            EntrySort::Mtime => pb::EntrySort::Mtime,
        };
        (sort.into(), descending)
    }
}

/// Why one of several views has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewError {
    /// Code of the status.
    pub code: Code,
    /// Its reason.
    pub reason: String,
    /// Its message.
    pub message: String,
}

impl From<&Refusal> for ViewError {
    fn from(refusal: &Refusal) -> Self {
        let reason = refusal.reason().as_str().to_owned();
        Self { code: refusal.code(), reason, message: refusal.to_string() }
    }
}

impl From<&ViewError> for pb::ViewError {
    fn from(error: &ViewError) -> Self {
        let ViewError { code, reason, message } = error.clone();
        Self { code: code.into(), reason, message }
    }
}

impl From<pb::ViewError> for ViewError {
    fn from(error: pb::ViewError) -> Self {
        let pb::ViewError { code, reason, message } = error;
        Self { code: Code::from(code), reason, message }
    }
}

impl TryFrom<pb::FindEntriesRequest> for FindEntries {
    type Error = ConvertError;

    fn try_from(request: pb::FindEntriesRequest) -> Result<Self, ConvertError> {
        let pb::FindEntriesRequest {
            view,
            path,
            name_glob,
            kinds,
            limit,
            read_class,
            filter,
            sort,
            descending,
            more_views,
            with_totals,
        } = request;
        let order = EntryOrder::from_pb(sort, descending)?;
        if order.is_none() && descending {
            return Err(ConvertError::invalid("descending", "is only for a request with `sort`"));
        }
        if order.is_some() && !(1..=limits::SORTED_MAX as u64).contains(&limit) {
            let why = format!("must be 1 to {} with `sort`", limits::SORTED_MAX);
            return Err(ConvertError::invalid("limit", why));
        }
        let view = view_name(&view)?;
        let class = read_class_from_pb(read_class)?;
        Ok(Self {
            path: path_from_text("path", &path)?,
            filter: filter_from_pb(name_glob, kinds, filter.unwrap_or_default())?,
            limit: (limit != 0).then_some(limit),
            order,
            more_views: more(&view, &more_views)?,
            with_totals,
            class,
            view,
        })
    }
}

impl From<&FindEntries> for pb::FindEntriesRequest {
    fn from(asked: &FindEntries) -> Self {
        let FindEntries { view, path, filter, limit, order, more_views, with_totals, class } =
            asked;
        let (sort, descending) = EntryOrder::to_pb(*order);
        Self {
            view: view.to_string(),
            path: path_to_text(path.as_ref()),
            name_glob: filter.name_glob.clone().unwrap_or_default(),
            kinds: filter.kinds.iter().map(|kind| kind_to_pb(*kind).into()).collect(),
            limit: limit.unwrap_or(0),
            read_class: read_class_to_pb(*class).into(),
            filter: Some(filter.into()).filter(|filter| *filter != pb::EntryFilter::default()),
            sort,
            descending,
            more_views: more_views.iter().map(ViewName::to_string).collect(),
            with_totals: *with_totals,
        }
    }
}

impl From<&EntryFilter> for pb::EntryFilter {
    fn from(filter: &EntryFilter) -> Self {
        let EntryFilter {
            name_glob: _,
            name_regex,
            path_regex,
            kinds: _,
            extensions,
            size,
            mtime,
            ctime,
            uids,
            gids,
            min_depth,
            max_depth,
            only_suspect,
            only_blind,
        } = filter.clone();
        let (mtime, ctime) = (bounds(mtime.as_ref()), bounds(ctime.as_ref()));
        Self {
            name_regex: name_regex.unwrap_or_default(),
            path_regex: path_regex.unwrap_or_default(),
            extensions,
            size_min: size.as_ref().map(|size| *size.start()),
            size_max: size.as_ref().map(|size| *size.end()),
            mtime_min_time_ns: mtime.0,
            mtime_max_time_ns: mtime.1,
            ctime_min_time_ns: ctime.0,
            ctime_max_time_ns: ctime.1,
            uids,
            gids,
            min_depth: min_depth.unwrap_or(0),
            max_depth: max_depth.unwrap_or(0),
            only_suspect,
            only_blind,
        }
    }
}

/// The two fields of a range of times.
fn bounds(range: Option<&RangeInclusive<StorageTime>>) -> (Option<i64>, Option<i64>) {
    let range = range.map(|range| (range.start().as_nanos(), range.end().as_nanos()));
    (range.map(|range| range.0), range.map(|range| range.1))
}

/// Reads the fields of a filter, wherever they stand in the request.
pub(super) fn filter_from_pb(
    name_glob: String,
    kinds: Vec<i32>,
    filter: pb::EntryFilter,
) -> Result<EntryFilter, ConvertError> {
    let kinds: Vec<Kind> =
        kinds.into_iter().map(|kind| kind_from_pb("kinds", kind)).collect::<Result<_, _>>()?;
    let read = within_filter(filter).map_err(|error| error.within("filter"))?;
    if read.size.is_some() && !kinds.is_empty() && !kinds.contains(&Kind::File) {
        let why = "a filter by size is for regular files, which `kinds` leaves out";
        return Err(ConvertError::invalid("kinds", why));
    }
    Ok(EntryFilter { name_glob: pattern("name_glob", name_glob)?, kinds, ..read })
}

fn within_filter(filter: pb::EntryFilter) -> Result<EntryFilter, ConvertError> {
    let pb::EntryFilter {
        name_regex,
        path_regex,
        extensions,
        size_min,
        size_max,
        mtime_min_time_ns,
        mtime_max_time_ns,
        ctime_min_time_ns,
        ctime_max_time_ns,
        uids,
        gids,
        min_depth,
        max_depth,
        only_suspect,
        only_blind,
    } = filter;
    for (field, ids) in [("uids", &uids), ("gids", &gids)] {
        at_most(field, ids.len(), limits::OWNERS_MAX)?;
    }
    if max_depth != 0 && min_depth > max_depth {
        return Err(ConvertError::invalid("max_depth", "is below `min_depth`"));
    }
    let time = |field, least: Option<i64>, most: Option<i64>| {
        let range = range(field, least, most, i64::MIN, i64::MAX)?;
        let time = StorageTime::from_nanos;
        Ok::<_, ConvertError>(range.map(|range| time(*range.start())..=time(*range.end())))
    };
    Ok(EntryFilter {
        name_glob: None,
        name_regex: pattern("name_regex", name_regex)?,
        path_regex: pattern("path_regex", path_regex)?,
        kinds: Vec::new(),
        extensions: checked_extensions(extensions)?,
        size: range("size_max", size_min, size_max, 0, u64::MAX)?,
        mtime: time("mtime_max_time_ns", mtime_min_time_ns, mtime_max_time_ns)?,
        ctime: time("ctime_max_time_ns", ctime_min_time_ns, ctime_max_time_ns)?,
        uids,
        gids,
        min_depth: (min_depth != 0).then_some(min_depth),
        max_depth: (max_depth != 0).then_some(max_depth),
        only_suspect,
        only_blind,
    })
}

/// A range of which an end that is not given is `first` or `last`; `None` if neither is.
fn range<T: Ord + Copy>(
    field: &'static str,
    least: Option<T>,
    most: Option<T>,
    first: T,
    last: T,
) -> Result<Option<RangeInclusive<T>>, ConvertError> {
    if least.is_none() && most.is_none() {
        return Ok(None);
    }
    let (least, most) = (least.unwrap_or(first), most.unwrap_or(last));
    if least > most {
        return Err(ConvertError::invalid(field, "is below the least that is asked for"));
    }
    Ok(Some(least..=most))
}

fn pattern(field: &'static str, text: String) -> Result<Option<String>, ConvertError> {
    bounded(field, &text, limits::GLOB_MAX)?;
    Ok((!text.is_empty()).then_some(text))
}

fn checked_extensions(extensions: Vec<String>) -> Result<Vec<String>, ConvertError> {
    at_most("extensions", extensions.len(), limits::EXTENSIONS_MAX)?;
    for extension in &extensions {
        bounded("extensions", extension, fusion_core::path::NAME_MAX)?;
        if extension.is_empty() || extension.starts_with('.') || extension.contains(['/', '\0']) {
            let why = format!("`{extension}` is no extension: it is `gz`, not `.gz` or `*.gz`");
            return Err(ConvertError::invalid("extensions", why));
        }
    }
    Ok(extensions)
}

fn more(view: &ViewName, names: &[String]) -> Result<Vec<ViewName>, ConvertError> {
    let views = distinct("more_views", names, limits::MORE_VIEWS_MAX)?;
    if views.contains(view) {
        return Err(twice("more_views", view));
    }
    Ok(views)
}

/// Names of views, none twice.
pub(super) fn distinct(
    field: &'static str,
    names: &[String],
    most: usize,
) -> Result<Vec<ViewName>, ConvertError> {
    at_most(field, names.len(), most)?;
    let mut views = Vec::with_capacity(names.len());
    let mut seen = std::collections::BTreeSet::new();
    for name in names {
        let name = ViewName::new(name).in_field(field)?;
        if !seen.insert(name.clone()) {
            return Err(twice(field, &name));
        }
        views.push(name);
    }
    Ok(views)
}

fn twice(field: &'static str, view: &ViewName) -> ConvertError {
    ConvertError::invalid(field, format!("names the view `{view}` twice"))
}

fn at_most(field: &'static str, count: usize, most: usize) -> Result<(), ConvertError> {
    if count <= most {
        Ok(())
    } else {
        Err(ConvertError::invalid(field, format!("has {count} values, at most {most} may be")))
    }
}
