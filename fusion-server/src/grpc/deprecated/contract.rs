//! What of a contract is deprecated, read from its descriptor.

use std::collections::{BTreeMap, HashMap};

use http::HeaderValue;
use prost::Message as _;
use prost_types::{DescriptorProto, FileDescriptorSet};

/// Something deprecated.
#[derive(Debug)]
pub(super) struct Item {
    /// Its full name: `fusion.v1.ViewService/GetEntry`, `fusion.v1.GetEntryRequest.path`.
    pub(super) name: String,
    /// As the trailer tells of it.
    pub(super) told: HeaderValue,
}

/// A method that is deprecated, or whose requests may have something that is.
#[derive(Debug, Clone)]
pub(super) struct Method {
    /// What is told of the method itself.
    pub(super) itself: Option<usize>,
    /// The message that its requests are, if that has something deprecated at any depth.
    pub(super) request: Option<usize>,
}

/// A field of which something is to be known.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Field {
    /// What is told of it.
    pub(super) itself: Option<usize>,
    /// The message that is in it.
    pub(super) message: Option<usize>,
}

/// All that is deprecated.
#[derive(Debug, Default)]
pub(super) struct Contract {
    items: Vec<Item>,
    methods: HashMap<String, Method>,
    messages: Vec<BTreeMap<u32, Field>>,
}

impl Contract {
    /// Reads a `google.protobuf.FileDescriptorSet`. What has no row among `sunsets` is told without a date.
    pub(super) fn read(
        descriptor: &[u8],
        sunsets: &[(&str, &str)],
    ) -> Result<Self, prost::DecodeError> {
        let set = FileDescriptorSet::decode(descriptor)?;
        let mut found = Vec::new();
        for file in &set.file {
            gather(file.package(), &file.message_type, &mut found);
        }
        let numbers: HashMap<&str, usize> =
            found.iter().enumerate().map(|(number, (name, _))| (name.as_str(), number)).collect();
        let mut contract = Self::default();
        for (name, message) in &found {
            let fields = message.field.iter().map(|field| {
                let number = u32::try_from(field.number()).unwrap_or_default();
                let is_deprecated = field.options.as_ref().is_some_and(|it| it.deprecated());
                let itself = is_deprecated
                    .then(|| contract.add(format!("{name}.{}", field.name()), sunsets));
                let message = numbers.get(field.type_name().trim_start_matches('.')).copied();
                (number, Field { itself, message })
            });
            let fields = fields.collect();
            contract.messages.push(fields);
        }
        contract.prune();
        for file in &set.file {
            for service in &file.service {
                let all = service.options.as_ref().is_some_and(|it| it.deprecated());
                for method in &service.method {
                    let name = format!("{}.{}/{}", file.package(), service.name(), method.name());
                    let own = method.options.as_ref().is_some_and(|it| it.deprecated());
                    let itself = (all || own).then(|| contract.add(name.clone(), sunsets));
                    let request = numbers.get(method.input_type().trim_start_matches('.'));
                    let request = request.copied().filter(|it| !contract.messages[*it].is_empty());
                    if itself.is_some() || request.is_some() {
                        contract.methods.insert(name, Method { itself, request });
                    }
                }
            }
        }
        Ok(contract)
    }

    fn add(&mut self, name: String, sunsets: &[(&str, &str)]) -> usize {
        let sunset = sunsets.iter().find(|(of, _)| *of == name).map(|(_, sunset)| *sunset);
        let told = match sunset {
            Some(sunset) => format!("{name}; sunset={sunset}"),
            None => name.clone(),
        };
        // Names of a contract are letters, digits, dots and slashes.
        let told = HeaderValue::from_str(&told).unwrap_or(HeaderValue::from_static("unnamed"));
        self.items.push(Item { name, told });
        self.items.len() - 1
    }

    /// Forgets fields that are not deprecated and lead to none that is.
    fn prune(&mut self) {
        let is_leading = |leads: &[bool], field: &Field| {
            field.itself.is_some() || field.message.is_some_and(|it| leads[it])
        };
        // Messages may lie in each other in a ring: until nothing is found any more.
        let mut leads = vec![false; self.messages.len()];
        loop {
            let next = self.messages.iter();
            let next: Vec<_> =
                next.map(|fields| fields.values().any(|it| is_leading(&leads, it))).collect();
            if next == leads {
                break;
            }
            leads = next;
        }
        for fields in &mut self.messages {
            fields.retain(|_, field| is_leading(&leads, field));
            for field in fields.values_mut() {
                field.message = field.message.filter(|it| leads[*it]);
            }
        }
    }

    /// What is to be known of a method by its full name; nothing for most.
    pub(super) fn method(&self, name: &str) -> Option<&Method> {
        self.methods.get(name)
    }

    /// Something deprecated by its number.
    pub(super) fn item(&self, number: usize) -> &Item {
        &self.items[number]
    }

    /// All of it.
    #[cfg(test)]
    pub(super) fn items(&self) -> impl Iterator<Item = &Item> {
        self.items.iter()
    }

    /// A field of a message; nothing for most.
    pub(super) fn field(&self, message: usize, number: u32) -> Field {
        self.messages[message].get(&number).copied().unwrap_or_default()
    }
}

/// Messages by full name, those within others too.
fn gather<'a>(
    scope: &str,
    messages: &'a [DescriptorProto],
    found: &mut Vec<(String, &'a DescriptorProto)>,
) {
    for message in messages {
        let name = format!("{scope}.{}", message.name());
        gather(&name, &message.nested_type, found);
        found.push((name, message));
    }
}
