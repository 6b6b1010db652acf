//! Entries as text for other programs.

use fusion_core::id::ViewName;
use fusion_core::path::TreePath;

use super::find::filter_from_pb;
use super::{EntryFilter, ReadClass, read_class_from_pb, read_class_to_pb, view_name};
use crate::convert::stat::{kind_to_pb, path_from_text, path_to_text};
use crate::convert::{ConvertError, bounded};
use crate::{limits, pb};

/// What `ExportEntries` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportEntries {
    /// The view.
    pub view: ViewName,
    /// The directory below which to look.
    pub path: TreePath,
    /// What to demand of the view.
    pub class: ReadClass,
    /// How to write rows.
    pub format: ExportFormat,
    /// Which columns, in order, none twice; at least one.
    pub columns: Vec<ExportColumn>,
    /// Which entries; a glob on the name is not part of this request.
    pub filter: EntryFilter,
    /// The token to go on after; empty to begin. Not yet looked into.
    pub resume_token: String,
}

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportFormat {
    /// One JSON object a line.
    Ndjson,
    /// RFC 4180.
    Csv,
}

/// A column, with its name in the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExportColumn {
    /// Path in the view.
    Path,
    /// Its last name.
    Name,
    /// Kind.
    Kind,
    /// Size in bytes.
    Size,
    /// Last change of the content.
    Mtime,
    /// Last change of the inode.
    Ctime,
    /// Inode number.
    Inode,
    /// Low 12 bits of `st_mode`.
    Mode,
    /// Owner.
    Uid,
    /// Group.
    Gid,
    /// Hard links.
    Nlink,
    /// Maybe unfinished.
    Suspect,
    /// Known only by scanning.
    Blind,
}

impl ExportColumn {
    /// All, in the order of the contract.
    pub const ALL: [Self; 13] = [
        Self::Path,
        Self::Name,
        Self::Kind,
        Self::Size,
        Self::Mtime,
        Self::Ctime,
        Self::Inode,
        Self::Mode,
        Self::Uid,
        Self::Gid,
        Self::Nlink,
        Self::Suspect,
        Self::Blind,
    ];

    /// Its name in the rows.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Name => "name",
            Self::Kind => "kind",
            Self::Size => "size",
            Self::Mtime => "mtime",
            Self::Ctime => "ctime",
            Self::Inode => "inode",
            Self::Mode => "mode",
            Self::Uid => "uid",
            Self::Gid => "gid",
            Self::Nlink => "nlink",
            Self::Suspect => "suspect",
            Self::Blind => "blind",
        }
    }

    /// The column of a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|column| column.name() == name)
    }

    fn from_pb(number: i32) -> Result<Self, ConvertError> {
        // Both are numbered alike, from 1 on.
        usize::try_from(number)
            .ok()
            .and_then(|number| Self::ALL.get(number.checked_sub(1)?).copied())
            .ok_or(ConvertError::unknown("columns", number))
    }

    fn to_pb(self) -> i32 {
        self as i32 + 1
    }
}

impl TryFrom<pb::ExportEntriesRequest> for ExportEntries {
    type Error = ConvertError;

    fn try_from(request: pb::ExportEntriesRequest) -> Result<Self, ConvertError> {
        let pb::ExportEntriesRequest {
            view,
            path,
            read_class,
            format,
            columns,
            filter,
            kinds,
            resume_token,
        } = request;
        bounded("resume_token", &resume_token, limits::PAGE_TOKEN_MAX)?;
        Ok(Self {
            view: view_name(&view)?,
            path: path_from_text("path", &path)?,
            class: read_class_from_pb(read_class)?,
            format: match pb::ExportFormat::try_from(format) {
                Ok(pb::ExportFormat::Unspecified | pb::ExportFormat::Ndjson) => {
                    ExportFormat::Ndjson
                }
                Ok(pb::ExportFormat::Csv) => ExportFormat::Csv,
                Err(_) => return Err(ConvertError::unknown("format", format)),
            },
            columns: columns_from_pb(&columns)?,
            filter: filter_from_pb(String::new(), kinds, filter.unwrap_or_default())?,
            resume_token,
        })
    }
}

fn columns_from_pb(numbers: &[i32]) -> Result<Vec<ExportColumn>, ConvertError> {
    if numbers.is_empty() {
        return Ok(ExportColumn::ALL.to_vec());
    }
    let mut columns = Vec::new();
    for number in numbers {
        let column = ExportColumn::from_pb(*number)?;
        if columns.contains(&column) {
            let why = format!("names `{}` twice", column.name());
            return Err(ConvertError::invalid("columns", why));
        }
        columns.push(column);
    }
    Ok(columns)
}

impl From<&ExportEntries> for pb::ExportEntriesRequest {
    fn from(asked: &ExportEntries) -> Self {
        let ExportEntries { view, path, class, format, columns, filter, resume_token } = asked;
        let format = match format {
            ExportFormat::Ndjson => pb::ExportFormat::Ndjson,
            ExportFormat::Csv => pb::ExportFormat::Csv,
        };
        Self {
            view: view.to_string(),
            path: path_to_text(path.as_ref()),
            read_class: read_class_to_pb(*class).into(),
            format: format.into(),
            columns: columns.iter().map(|column| column.to_pb()).collect(),
            filter: Some(filter.into()),
            kinds: filter.kinds.iter().map(|kind| kind_to_pb(*kind).into()).collect(),
            resume_token: resume_token.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_have_the_numbers_and_names_of_the_contract() {
        for column in ExportColumn::ALL {
            let number = pb::ExportColumn::try_from(column.to_pb()).unwrap();
            let name = number.as_str_name().strip_prefix("EXPORT_COLUMN_").unwrap();
            assert_eq!(name.to_lowercase(), column.name());
            assert_eq!(ExportColumn::from_pb(column.to_pb()), Ok(column));
            assert_eq!(ExportColumn::parse(column.name()), Some(column));
        }
        assert!(pb::ExportColumn::try_from(ExportColumn::ALL.len() as i32 + 1).is_err());
    }

    #[test]
    fn exports_survive_and_bad_ones_are_refused_by_field() {
        let good = pb::ExportEntriesRequest {
            view: "v".to_owned(),
            path: "/a".to_owned(),
            format: 2,
            columns: vec![4, 1],
            kinds: vec![1],
            resume_token: "0a".to_owned(),
            ..Default::default()
        };
        let asked = ExportEntries::try_from(good.clone()).unwrap();
        assert_eq!(asked.columns, [ExportColumn::Size, ExportColumn::Path]);
        assert_eq!(ExportEntries::try_from(pb::ExportEntriesRequest::from(&asked)), Ok(asked));
        let bad = [
            ("view", pb::ExportEntriesRequest { view: String::new(), ..good.clone() }),
            ("format", pb::ExportEntriesRequest { format: 3, ..good.clone() }),
            ("columns", pb::ExportEntriesRequest { columns: vec![0], ..good.clone() }),
            ("columns", pb::ExportEntriesRequest { columns: vec![14], ..good.clone() }),
            ("columns", pb::ExportEntriesRequest { columns: vec![-1], ..good.clone() }),
            ("columns", pb::ExportEntriesRequest { columns: vec![1, 1], ..good.clone() }),
            (
                "resume_token",
                pb::ExportEntriesRequest {
                    resume_token: "a".repeat(limits::PAGE_TOKEN_MAX + 1),
                    ..good
                },
            ),
        ];
        for (field, bad) in bad {
            assert_eq!(ExportEntries::try_from(bad).unwrap_err().field, field);
        }
    }
}
