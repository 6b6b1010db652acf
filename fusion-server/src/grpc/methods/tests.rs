use std::collections::BTreeMap;

use prost::Message as _;

use super::*;
use crate::access::Role;

/// The methods that are served, and whether each is unary.
fn served() -> BTreeMap<String, bool> {
    let sets = [
        fusion_proto::FILE_DESCRIPTOR_SET,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ];
    let sets = sets.map(|set| prost_types::FileDescriptorSet::decode(set).unwrap());
    let mut served = BTreeMap::new();
    for file in sets.iter().flat_map(|set| &set.file) {
        for service in &file.service {
            for method in &service.method {
                let name = format!("{}.{}/{}", file.package(), service.name(), method.name());
                served.insert(name, !method.client_streaming() && !method.server_streaming());
            }
        }
    }
    served
}

#[test]
fn every_method_that_is_served_has_one_row() {
    let served = served();
    assert!(served.len() > 35, "{served:?}");
    let mut names: Vec<&str> = METHODS.iter().map(|method| method.name).collect();
    names.sort_unstable();
    assert_eq!(names, served.keys().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn what_changes_takes_a_key_and_what_reads_is_named_so() {
    let reads = ["Get", "List", "Find", "Compare", "Watch", "Wait", "Export", "Check", "Server"];
    let served = served();
    for method in METHODS {
        let (service, last) = method.name.rsplit_once('/').unwrap();
        let of_agents = service.ends_with("SessionService") || service.ends_with("EventService");
        let effect = match reads.iter().any(|verb| last.starts_with(verb)) {
            true if last.starts_with("Wa") => Effect::Watches,
            true if of_agents || service.ends_with("Health") || last == "GetServerInfo" => {
                Effect::Looks
            }
            true => Effect::Reads,
            false if of_agents => Effect::Repeats,
            false => Effect::Changes,
        };
        assert_eq!(method.effect, effect, "{}", method.name);
        // A stream has no one answer that could be kept.
        assert!(effect != Effect::Changes || served[method.name], "{}", method.name);
    }
}

#[test]
fn every_stream_ends_with_its_token() {
    for (name, is_unary) in served() {
        assert_eq!(stands(&format!("/{name}")), !is_unary, "{name}");
    }
    assert!(stands("/x.Y/Z"));
}

#[test]
fn a_call_is_found_by_its_path() {
    for (number, method) in METHODS.iter().enumerate() {
        let path = format!("/{}", method.name);
        assert_eq!(super::number(&path), Some(number));
        assert_eq!(least(&path), method.least);
        assert_eq!(changing_at(&path).is_some(), method.effect == Effect::Changes, "{path}");
    }
    for path in ["/fusion.v1.ViewService/DoWhatever", "/", "", "fusion.v1.ViewService/GetView"] {
        assert_eq!((super::number(path), least(path)), (None, Least::Admin), "{path}");
        assert_eq!(changing_at(path), None);
    }
}

#[test]
fn what_asks_for_a_path_is_held_against_it() {
    let set = prost_types::FileDescriptorSet::decode(fusion_proto::FILE_DESCRIPTOR_SET).unwrap();
    let messages = || set.file.iter().flat_map(|file| &file.message_type);
    let services = set.file.iter().filter(|file| file.package() == "fusion.v1");
    let methods = services.flat_map(|file| &file.service).flat_map(|service| {
        let full = |method: &str| format!("/fusion.v1.{}/{method}", service.name());
        service.method.iter().map(move |method| (full(method.name()), method))
    });
    let mut count = 0;
    for (name, method) in methods {
        let of = super::of(&name);
        let input = method.input_type().rsplit('.').next().unwrap();
        let request = messages().find(|message| message.name() == input).unwrap();
        let has = |number: i32, named: &str| {
            let is_it = |field: &&prost_types::FieldDescriptorProto| {
                field.name() == named
                    && field.number() == number
                    && field.r#type() == prost_types::field_descriptor_proto::Type::String
            };
            request.field.iter().any(|field| is_it(&field))
        };
        let of_view = has(1, "view") || has(1, "views");
        assert_eq!(of == Of::Path, of_view && has(2, "path"), "{name}");
        let names_paths = |field: &prost_types::FieldDescriptorProto| field.name().contains("path");
        if of == Of::Path {
            assert!(!method.client_streaming(), "{name} has one request");
            count += 1;
        } else if of != Of::Whole {
            // A path that is called otherwise would be held against nothing.
            assert!(!request.field.iter().any(names_paths), "{name}");
        }
    }
    assert_eq!(count, 14);
    assert_eq!(super::of("/x.Y/Z"), Of::Whole);
}

#[test]
fn what_is_for_those_who_see_everything_is_for_no_path() {
    for method in METHODS {
        let is_administration = matches!(method.least, Least::Admin | Least::Agent);
        assert!(!is_administration || method.of == Of::Whole, "{}", method.name);
    }
}

#[test]
fn what_keeps_sessions_and_probes_alive_is_no_query() {
    let all = METHODS.iter().map(|method| (method.name, demand(&format!("/{}", method.name))));
    let free: Vec<_> = all.clone().filter(|(_, demand)| *demand == Demand::Place).collect();
    let names = ["fusion.v1.SessionService/Heartbeat", "grpc.health.v1.Health/Check"];
    assert_eq!(free, names.map(|name| (name, Demand::Place)));
    for (name, demand) in all.filter(|(_, demand)| *demand == Demand::Query) {
        let of =
            ["ViewService/", "JobService/", "ListAuditRecords", "ListServers", "ServerReflection"];
        assert!(of.iter().any(|of| name.contains(of)), "{name} is shed: {demand:?}");
    }
    assert_eq!(demand("/x.Y/Z"), Demand::Request);
}

#[test]
fn what_changes_a_view_is_its_owners() {
    // Each is of the server that is asked, or of all of them.
    let of_any = ["DeleteIdempotencyKey", "MoveView", "SetLogFilter", "ReloadConfig"];
    for method in METHODS {
        let changes = matches!(method.effect, Effect::Changes | Effect::Repeats);
        let is_of_any = of_any.iter().any(|name| method.name.ends_with(&format!("/{name}")));
        if changes {
            assert_eq!(method.whose == Whose::Anyones, is_of_any, "{}", method.name);
        }
    }
    assert_eq!(whose("/x.Y/Z"), Whose::Anyones);
}

#[test]
fn who_pushes_cannot_ask_and_who_asks_cannot_push() {
    use std::collections::BTreeSet;
    let may = |role: Role| -> BTreeSet<&str> {
        let rows = METHODS.iter().filter(|method| method.least != Least::Anyone);
        rows.filter(|method| method.least.is_met_by(role)).map(|method| method.name).collect()
    };
    let (agent, reader) = (may(Role::Agent), may(Role::Reader));
    let (operator, admin) = (may(Role::Operator), may(Role::Admin));
    assert!(agent.is_disjoint(&reader));
    let both: Vec<_> = agent.intersection(&operator).collect();
    assert_eq!(both, [&"fusion.v1.SessionService/GetSession"]);
    assert!(reader.is_subset(&operator) && reader.len() < operator.len());
    assert!(operator.is_subset(&admin) && agent.is_subset(&admin) && operator.len() < admin.len());
    assert!(!operator.iter().any(|method| method.starts_with("fusion.v1.EventService/")));
    let pushes = |method: &&str| method.contains("/Push") || method.contains("SessionService/");
    assert!(agent.iter().all(pushes), "{agent:?}");
}
