use std::collections::BTreeSet;

use prost::Message as _;

use super::*;

#[test]
fn every_method_has_its_place_in_the_table() {
    let sets = [
        fusion_proto::FILE_DESCRIPTOR_SET,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ];
    let mut served = BTreeSet::new();
    for set in sets {
        for file in prost_types::FileDescriptorSet::decode(set).unwrap().file {
            for service in &file.service {
                for method in &service.method {
                    served.insert(format!(
                        "{}.{}/{}",
                        file.package(),
                        service.name(),
                        method.name()
                    ));
                }
            }
        }
    }
    assert!(served.len() > 35, "{served:?}");
    let table: BTreeSet<String> = METHODS.iter().map(|(method, _)| (*method).to_owned()).collect();
    assert_eq!(table.len(), METHODS.len(), "one row each");
    assert_eq!(table, served);
}

#[test]
fn what_is_not_in_the_table_is_for_administrators() {
    assert_eq!(least("/fusion.v1.ViewService/DoWhatever"), Least::Admin);
    assert_eq!(least("/"), Least::Admin);
    assert_eq!(least("/fusion.v1.ViewService/GetView"), Least::Reader);
}

#[test]
fn who_pushes_cannot_ask_and_who_asks_cannot_push() {
    use crate::access::Role;
    let may = |role: Role| -> BTreeSet<&str> {
        let rows = METHODS.iter().filter(|(_, least)| *least != Least::Anyone);
        rows.filter(|(_, least)| least.is_met_by(role)).map(|(method, _)| *method).collect()
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

#[test]
fn only_one_bearer_token_is_one() {
    let read = |values: &[&str]| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, value.parse().unwrap());
        }
        bearer(&headers).map(|token| token.map(<[u8]>::to_vec))
    };
    assert_eq!(read(&[]), Ok(None));
    assert_eq!(read(&["Bearer a.b"]), Ok(Some(b"a.b".to_vec())));
    assert_eq!(read(&["bearer x"]), Ok(Some(b"x".to_vec())));
    for bad in [&["Basic eDp5"][..], &["Bearer"], &["", ""], &["Bearer a", "Bearer a"]] {
        assert_eq!(read(bad), Err(()), "{bad:?}");
    }
}
