use super::*;

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
