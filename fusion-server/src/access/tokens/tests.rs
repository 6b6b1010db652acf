use super::*;

fn now(text: &str) -> ServerTime {
    time(text).unwrap()
}

fn entry(id: &str, hash: String) -> TokenEntry {
    TokenEntry {
        id: id.to_owned(),
        principal: "lab".to_owned(),
        sha256: hash,
        role: "agent".to_owned(),
        views: vec!["home".to_owned()],
        agents: vec!["a-1".to_owned()],
        path: None,
        created: "2026-01-01T00:00:00Z".to_owned(),
        expires: Some("2027-01-01T00:00:00Z".to_owned()),
    }
}

fn file(tokens: Vec<TokenEntry>) -> TokenFile {
    TokenFile { tokens, ..TokenFile::default() }
}

#[test]
fn who_has_the_token_is_known_by_it_until_it_expires() {
    let (token, hash) = issue("one").unwrap();
    let (other, _) = issue("one").unwrap();
    assert_ne!(token, other);
    assert!(token.starts_with("fusion.one.") && token.len() == "fusion.one.".len() + 43);
    let tokens = Tokens::of(&file(vec![entry("one", hash.clone())])).unwrap();
    let early = now("2026-06-01T00:00:00Z");
    let caller = tokens.caller(token.as_bytes(), early).unwrap();
    assert_eq!((caller.principal.as_str(), caller.role), ("lab", Some(Role::Agent)));
    assert!(caller.reach.views.has(&ViewName::new("home").unwrap()));
    assert!(!caller.reach.views.has(&ViewName::new("other").unwrap()));
    assert!(!caller.agents.has(&AgentId::new("a-2").unwrap()));

    assert_eq!(tokens.caller(token.as_bytes(), now("2027-01-01T00:00:00Z")), Err(NotGood::Expired));
    for wrong in [&other, &hash, "", "fusion", "fusion.one", "fusion.two.x", "fusion.one.\u{e9}"] {
        assert_eq!(tokens.caller(wrong.as_bytes(), early), Err(NotGood::Unknown), "{wrong}");
    }
    assert_eq!(tokens.caller(&[0xff, b'.', 0xff], early), Err(NotGood::Unknown));
}

#[test]
fn what_is_wrong_is_told_all_at_once() {
    let hash = "0".repeat(64);
    let good = entry("one", hash.clone());
    let bad = TokenEntry {
        id: "a b".to_owned(),
        principal: "anonymous".to_owned(),
        sha256: "xyz".to_owned(),
        role: "king".to_owned(),
        views: vec![],
        agents: vec!["?".to_owned()],
        path: Some("..".to_owned()),
        created: "yesterday".to_owned(),
        expires: Some("never".to_owned()),
    };
    let TokenFaults(faults) = Tokens::of(&file(vec![bad])).unwrap_err();
    for key in
        ["id", "principal", "sha256", "role", "views", "agents", "path", "created", "expires"]
    {
        let told = faults.iter().any(|fault| fault.starts_with(&format!("token[0].{key} = ")));
        assert!(told, "{key}: {faults:?}");
    }
    let below = |role: &str, path: &str| TokenEntry {
        role: role.to_owned(),
        agents: vec![],
        path: Some(path.to_owned()),
        ..good.clone()
    };
    let wrong: [(&str, TokenEntry); 9] = [
        ("path", TokenEntry { path: Some("/a".to_owned()), ..good.clone() }),
        ("path", TokenEntry { views: vec!["*".to_owned()], ..below("admin", "/a") }),
        ("path", below("reader", "a")),
        ("path", below("operator", "/a/../b")),
        ("agents", TokenEntry { role: "reader".to_owned(), ..good.clone() }),
        ("agents", TokenEntry { agents: vec![], ..good.clone() }),
        ("views", TokenEntry { role: "admin".to_owned(), agents: vec![], ..good.clone() }),
        ("views", TokenEntry { views: vec!["*".to_owned(), "home".to_owned()], ..good.clone() }),
        ("id", TokenEntry { id: "a.b".to_owned(), ..good.clone() }),
    ];
    for (key, entry) in wrong {
        let TokenFaults(faults) = Tokens::of(&file(vec![entry])).unwrap_err();
        assert!(faults[0].contains(key) && faults.len() == 1, "{key}: {faults:?}");
    }
    let twice = Tokens::of(&file(vec![good.clone(), good])).unwrap_err();
    assert!(twice.to_string().contains("token[1].id"), "{twice}");
}

#[test]
fn a_path_bounds_what_is_seen_of_each_view_by_whole_names() {
    let (token, hash) = issue("one").unwrap();
    let caller = |path: Option<&str>| {
        let path = path.map(str::to_owned);
        let entry = TokenEntry {
            role: "reader".to_owned(),
            agents: vec![],
            path,
            expires: None,
            ..entry("one", hash.clone())
        };
        Tokens::of(&file(vec![entry])).unwrap().caller(token.as_bytes(), ServerTime::default())
    };
    let bound = caller(Some("/a/b")).unwrap().reach;
    let view = ViewName::new("home").unwrap();
    for (path, is_seen) in
        [("/a/b", true), ("/a/b/c", true), ("/a/bc", false), ("/a", false), ("/", false)]
    {
        let path = path_from_text("path", path).unwrap();
        assert_eq!(bound.has(&view, path.as_ref()), is_seen, "{path}");
        assert!(!bound.has(&ViewName::new("other").unwrap(), path.as_ref()));
        assert_eq!(bound.admit(path.as_ref()).is_ok(), is_seen, "{path}");
    }
    assert_eq!(caller(Some("/")), caller(None), "the root bounds nothing");
}

#[test]
fn a_scope_that_is_not_enforced_cannot_be_written() {
    let good = file(vec![entry("one", "0".repeat(64))]).to_toml().unwrap();
    assert_eq!(TokenFile::parse(&good).unwrap().tokens.len(), 1);
    for key in ["paths = [\"/secret\"]", "tenant = \"lab\"", "rate = 5"] {
        let told = TokenFile::parse(&format!("{good}{key}\n")).unwrap_err().to_string();
        assert!(told.contains("unknown field"), "{told}");
    }
    assert!(TokenFile::parse("tokens = []").is_err());
    assert_eq!(TokenFile::parse(""), Ok(TokenFile::default()));
}

#[test]
fn a_certificate_is_somebody_by_its_name_and_no_longer_than_that_is_there() {
    let entry = |name: &str, role: &str| CertificateEntry {
        name: name.to_owned(),
        principal: "lab".to_owned(),
        role: role.to_owned(),
        views: vec!["lab".to_owned()],
        agents: Vec::new(),
        path: None,
    };
    let of = |certificates: Vec<CertificateEntry>| {
        Tokens::of(&TokenFile { certificates, ..TokenFile::default() })
    };
    let tokens = of(vec![entry("a.lab", "reader")]).unwrap();
    let names: Arc<[String]> = ["x.lab", "a.lab"].map(str::to_owned).into();
    assert_eq!(tokens.certified(&names[..1]), None);
    let caller = tokens.certified(&names).unwrap();
    assert_eq!((caller.principal.as_str(), caller.role), ("lab", Some(Role::Reader)));
    let standing = Tokens::standing_by(Arc::clone(&names), caller);
    let now = ServerTime::from_nanos(1);
    assert_eq!(tokens.still(&standing, now), Some(None));
    for later in [vec![], vec![entry("b.lab", "reader")], vec![entry("a.lab", "operator")]] {
        assert_eq!(of(later).unwrap().still(&standing, now), None);
    }
    let TokenFaults(faults) =
        of(vec![entry("a b", "king"), entry("a", "reader"), entry("a", "agent")]).unwrap_err();
    for (number, key) in [(0, "name"), (0, "role"), (2, "name"), (2, "agents")] {
        let says = format!("certificate[{number}].{key} = ");
        assert!(faults.iter().any(|fault| fault.starts_with(&says)), "{says}: {faults:?}");
    }
    assert_eq!(faults.len(), 4, "{faults:?}");
}
