//! What came of a command: `google.protobuf.Struct` to and from a bounded value.

use std::collections::BTreeMap;

use prost_types::value::Kind;

use crate::convert::ConvertError;
use crate::limits;

/// A value in the result of a command; what its keys mean depends on the command.
#[derive(Debug, Clone, PartialEq)]
pub enum ResultValue {
    /// Nothing.
    Null,
    /// Yes or no.
    Bool(bool),
    /// A number.
    Number(f64),
    /// A text of at most [`limits::RESULT_TEXT_MAX`] bytes.
    Text(String),
    /// Several values.
    List(Vec<ResultValue>),
    /// Values by name.
    Fields(BTreeMap<String, ResultValue>),
}

/// A result on the wire.
pub(super) fn fields_to_pb(fields: &BTreeMap<String, ResultValue>) -> prost_types::Struct {
    prost_types::Struct {
        fields: fields.iter().map(|(name, value)| (name.clone(), value_to_pb(value))).collect(),
    }
}

fn value_to_pb(value: &ResultValue) -> prost_types::Value {
    let kind = match value {
        ResultValue::Null => Kind::NullValue(prost_types::NullValue::NullValue.into()),
        ResultValue::Bool(yes) => Kind::BoolValue(*yes),
        ResultValue::Number(number) => Kind::NumberValue(*number),
        ResultValue::Text(text) => Kind::StringValue(text.clone()),
        ResultValue::List(values) => Kind::ListValue(prost_types::ListValue {
            values: values.iter().map(value_to_pb).collect(),
        }),
        ResultValue::Fields(fields) => Kind::StructValue(fields_to_pb(fields)),
    };
    prost_types::Value { kind: Some(kind) }
}

/// A result from the wire.
///
/// # Errors
/// More values, a deeper nesting or a longer text than the limits allow, or a value of no kind.
pub(super) fn fields_from_pb(
    result: prost_types::Struct,
) -> Result<BTreeMap<String, ResultValue>, ConvertError> {
    Reader { values: 0, depth: 0 }.fields(result)
}

/// Counts what was read, so that a small message cannot become a large value.
struct Reader {
    values: usize,
    depth: usize,
}

impl Reader {
    fn fields(
        &mut self,
        fields: prost_types::Struct,
    ) -> Result<BTreeMap<String, ResultValue>, ConvertError> {
        let prost_types::Struct { fields } = fields;
        let mut read = BTreeMap::new();
        for (name, value) in fields {
            let name = text(name)?;
            read.insert(name, self.value(value)?);
        }
        Ok(read)
    }

    fn value(&mut self, value: prost_types::Value) -> Result<ResultValue, ConvertError> {
        let prost_types::Value { kind } = value;
        self.values += 1;
        if self.values > limits::RESULT_VALUES_MAX {
            let why = format!("has more than {} values", limits::RESULT_VALUES_MAX);
            return Err(ConvertError::invalid("result", why));
        }
        match kind.ok_or(ConvertError::missing("result"))? {
            Kind::NullValue(_) => Ok(ResultValue::Null),
            Kind::BoolValue(yes) => Ok(ResultValue::Bool(yes)),
            Kind::NumberValue(number) => Ok(ResultValue::Number(number)),
            Kind::StringValue(string) => Ok(ResultValue::Text(text(string)?)),
            Kind::ListValue(prost_types::ListValue { values }) => self.deeper(|reader| {
                let values = values.into_iter().map(|value| reader.value(value));
                values.collect::<Result<_, _>>().map(ResultValue::List)
            }),
            Kind::StructValue(fields) => {
                self.deeper(|reader| reader.fields(fields).map(ResultValue::Fields))
            }
        }
    }

    fn deeper(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<ResultValue, ConvertError>,
    ) -> Result<ResultValue, ConvertError> {
        if self.depth == limits::RESULT_DEPTH_MAX {
            let why = format!("is nested deeper than {}", limits::RESULT_DEPTH_MAX);
            return Err(ConvertError::invalid("result", why));
        }
        self.depth += 1;
        let value = read(self);
        self.depth -= 1;
        value
    }
}

fn text(text: String) -> Result<String, ConvertError> {
    crate::convert::bounded("result", &text, limits::RESULT_TEXT_MAX)?;
    Ok(text)
}
