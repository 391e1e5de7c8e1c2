//! Every row of the access rules, and every way in which a token is not good.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use serde_json::json;

use super::*;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const ED_PRIVATE: &str = include_str!("testdata/ed25519.pem");
const ED_PUBLIC: &str = include_str!("testdata/ed25519.pub.pem");
const RSA_PRIVATE: &str = include_str!("testdata/rsa.pem");
const RSA_PUBLIC: &str = include_str!("testdata/rsa.pub.pem");

fn name(text: &str) -> DocumentName {
    DocumentName::parse(text).expect("a name")
}

fn claims(sub: &str, role: Role) -> Claims {
    let exp = now_seconds() + 600;
    Claims { sub: sub.into(), device: None, role, grants: vec![], only: None, exp, iat: 0, nbf: None }
}

fn granted(role: Role, prefix: &str, access: GrantAccess) -> Claims {
    Claims { grants: vec![Grant { prefix: prefix.into(), access }], ..claims("ada", role) }
}

fn auth() -> Auth {
    Auth::with_secret(&Secret::from_bytes(SECRET))
}

fn signed(algorithm: Algorithm, payload: &serde_json::Value, key: &EncodingKey) -> String {
    encode(&Header::new(algorithm), payload, key).expect("signed")
}

#[test]
fn access_follows_the_contract() {
    use DocumentAccess::{None as No, Read, Write};
    let rows: &[(Claims, &str, DocumentAccess)] = &[
        (claims("ada", Role::Owner), "ada/c/1", Write),
        (claims("ada", Role::Owner), "ada", No),
        (claims("ada", Role::Owner), "adam/c", No),
        (claims("ada", Role::Owner), "bob/c", No),
        (claims("ada", Role::Owner), "shared", No),
        (claims("ada", Role::Agent), "ada/c/1", Read),
        (claims("ada", Role::Agent), "bob/c", No),
        (claims("ada", Role::Reader), "ada/c/1", Read),
        (claims("ada", Role::Reader), "bob/c", No),
        (claims("ada", Role::Admin), "ada/c", Read),
        (claims("ada", Role::Admin), "bob/c", Read),
        (granted(Role::Owner, "team/", GrantAccess::Read), "team/x", Read),
        (granted(Role::Owner, "team/", GrantAccess::Write), "team/x", Write),
        (granted(Role::Owner, "team/", GrantAccess::Write), "teamwork", No),
        (granted(Role::Owner, "ada/", GrantAccess::Read), "ada/x", Write),
        (granted(Role::Agent, "team/", GrantAccess::Write), "team/x", Read),
        (granted(Role::Reader, "team/", GrantAccess::Write), "team/x", Read),
        (granted(Role::Admin, "team/", GrantAccess::Write), "team/x", Write),
        (granted(Role::Owner, "", GrantAccess::Read), "anything", Read),
    ];
    for (claims, document, expected) in rows {
        let got = access(Some(claims), &name(document));
        assert_eq!(got, *expected, "{} {} {:?} on {document}", claims.sub, claims.role, claims.grants);
    }
    assert_eq!(access(None, &name("anything")), Write, "an open server");
}

#[test]
fn of_two_grants_the_larger_counts() {
    let mut claims = granted(Role::Owner, "team/", GrantAccess::Write);
    claims.grants.push(Grant { prefix: "team/a".into(), access: GrantAccess::Read });
    assert_eq!(access(Some(&claims), &name("team/a")), DocumentAccess::Write);
}

#[test]
fn a_token_for_one_document_opens_no_other() {
    let claims = Claims { only: Some("ada/one".into()), ..claims("ada", Role::Owner) };
    assert_eq!(access(Some(&claims), &name("ada/one")), DocumentAccess::Write);
    assert_eq!(access(Some(&claims), &name("ada/two")), DocumentAccess::None);
    let admin = Claims { role: Role::Admin, ..claims };
    assert_eq!(access(Some(&admin), &name("ada/two")), DocumentAccess::None);
    assert!(!Principal::of(admin).may_operate());
}

#[test]
fn only_admins_operate_and_everyone_on_an_open_server() {
    for role in [Role::Owner, Role::Agent, Role::Reader] {
        assert!(!Principal::of(claims("ada", role)).may_operate(), "{role}");
    }
    assert!(Principal::of(claims("ada", Role::Admin)).may_operate());
    assert!(Principal::anyone().may_operate());
}

#[test]
fn a_minted_token_is_accepted_as_it_was_meant() {
    let auth = auth();
    let claims = Claims { device: Some("phone".into()), ..granted(Role::Agent, "t/", GrantAccess::Read) };
    let token = auth.mint(&claims).expect("minted");
    assert_eq!(auth.check(&token), Ok(claims));
}

#[test]
fn claims_default_as_the_contract_says_and_others_are_ignored() {
    let payload = json!({ "sub": "ada", "exp": now_seconds() + 60, "email": "ada@example.com", "iat": 1 });
    let token = signed(Algorithm::HS256, &payload, &EncodingKey::from_secret(SECRET));
    let claims = auth().check(&token).expect("accepted");
    assert_eq!((claims.role, claims.device, claims.grants), (Role::Owner, None, vec![]));
}

#[test]
fn a_token_of_another_secret_is_refused() {
    let token = signed(
        Algorithm::HS256,
        &json!({"sub": "ada", "exp": now_seconds() + 60}),
        &EncodingKey::from_secret(b"another"),
    );
    assert_eq!(auth().check(&token), Err(Denied::Signature));
}

#[test]
fn a_token_whose_claims_were_changed_is_refused() {
    let token = auth().mint(&claims("ada", Role::Owner)).expect("minted");
    let parts: Vec<&str> = token.split('.').collect();
    let forged = serde_json::to_vec(&claims("ada", Role::Admin)).expect("JSON");
    let forged = format!("{}.{}.{}", parts[0], BASE64.encode(forged), parts[2]);
    assert_eq!(auth().check(&forged), Err(Denied::Signature));
}

#[test]
fn an_unsigned_token_is_refused() {
    let payload = serde_json::to_vec(&claims("ada", Role::Admin)).expect("JSON");
    for header in [r#"{"alg":"none"}"#, r#"{"alg":"None","typ":"JWT"}"#] {
        let token = format!("{}.{}.", BASE64.encode(header), BASE64.encode(&payload));
        assert!(auth().check(&token).is_err(), "{header}");
    }
}

#[test]
fn a_public_key_is_never_an_hmac_secret() {
    let mut auth = auth();
    auth.public = public_key(ED_PUBLIC.as_bytes());
    assert!(auth.public.is_some());
    let token = signed(
        Algorithm::HS256,
        &json!({"sub": "ada", "exp": now_seconds() + 60}),
        &EncodingKey::from_secret(ED_PUBLIC.as_bytes()),
    );
    assert_eq!(auth.check(&token), Err(Denied::Signature));
}

#[test]
fn other_algorithms_are_refused_even_under_the_right_secret() {
    let payload = json!({"sub": "ada", "exp": now_seconds() + 60});
    let token = signed(Algorithm::HS512, &payload, &EncodingKey::from_secret(SECRET));
    assert_eq!(auth().check(&token), Err(Denied::Algorithm));
    let ed = EncodingKey::from_ed_pem(ED_PRIVATE.as_bytes()).expect("a key");
    assert_eq!(
        auth().check(&signed(Algorithm::EdDSA, &payload, &ed)),
        Err(Denied::Algorithm),
        "no key configured"
    );
}

#[test]
fn a_token_ends_on_the_second() {
    for age in [0, 1] {
        let payload = json!({"sub": "ada", "exp": now_seconds() - age});
        let token = signed(Algorithm::HS256, &payload, &EncodingKey::from_secret(SECRET));
        assert_eq!(auth().check(&token), Err(Denied::Expired));
    }
}

#[test]
fn a_token_without_an_end_or_a_user_is_refused() {
    for payload in [json!({"sub": "ada"}), json!({"exp": now_seconds() + 60})] {
        let token = signed(Algorithm::HS256, &payload, &EncodingKey::from_secret(SECRET));
        assert!(matches!(auth().check(&token), Err(Denied::Malformed(_))), "{payload}");
    }
}

#[test]
fn a_token_of_tomorrow_is_refused_today() {
    let soon = |nbf| {
        let payload = json!({"sub": "ada", "exp": now_seconds() + 9_000, "nbf": nbf});
        auth().check(&signed(Algorithm::HS256, &payload, &EncodingKey::from_secret(SECRET)))
    };
    assert_eq!(soon(now_seconds() + 3_600), Err(Denied::Early));
    assert!(soon(now_seconds() + 2).is_ok(), "clocks differ a little");
}

#[test]
fn names_in_tokens_follow_the_contract() {
    let auth = auth();
    let user = auth.mint(&claims("a/b", Role::Owner)).expect("minted");
    assert_eq!(auth.check(&user), Err(Denied::Name(NameError::User)));
    let device = Claims { device: Some("my phone".into()), ..claims("ada", Role::Owner) };
    assert_eq!(auth.check(&auth.mint(&device).expect("minted")), Err(Denied::Name(NameError::Device)));
    let payload = json!({"sub": "ada", "exp": now_seconds() + 60, "role": "root"});
    let role = signed(Algorithm::HS256, &payload, &EncodingKey::from_secret(SECRET));
    assert!(matches!(auth.check(&role), Err(Denied::Malformed(_))));
}

#[test]
fn tokens_of_another_issuer_need_its_audience_and_name() {
    let mut auth = auth();
    auth.public = public_key(ED_PUBLIC.as_bytes());
    auth.audience = Some("syncline".into());
    auth.issuer = Some("https://id.example".into());
    let key = EncodingKey::from_ed_pem(ED_PRIVATE.as_bytes()).expect("a key");
    let exp = now_seconds() + 60;
    let check = |payload| auth.check(&signed(Algorithm::EdDSA, &payload, &key));
    let whole = json!({"sub": "ada", "exp": exp, "aud": ["x", "syncline"], "iss": "https://id.example"});
    assert!(check(whole).is_ok());
    let iss = "https://id.example";
    assert_eq!(check(json!({"sub": "ada", "exp": exp, "aud": "x", "iss": iss})), Err(Denied::Audience));
    assert_eq!(check(json!({"sub": "ada", "exp": exp, "iss": iss})), Err(Denied::Audience));
    assert_eq!(check(json!({"sub": "ada", "exp": exp, "aud": "syncline", "iss": "x"})), Err(Denied::Issuer));
    assert_eq!(check(json!({"sub": "ada", "exp": exp, "aud": "syncline"})), Err(Denied::Issuer));
    // Our own tokens have neither, and still work; with a wrong one they do not.
    let own = EncodingKey::from_secret(SECRET);
    assert!(auth.check(&signed(Algorithm::HS256, &json!({"sub": "ada", "exp": exp}), &own)).is_ok());
    let wrong = signed(Algorithm::HS256, &json!({"sub": "ada", "exp": exp, "aud": "x"}), &own);
    assert_eq!(auth.check(&wrong), Err(Denied::Audience));
}

#[test]
fn rsa_keys_sign_tokens_too() {
    let mut auth = auth();
    auth.public = public_key(RSA_PUBLIC.as_bytes());
    let payload = json!({"sub": "ada", "exp": now_seconds() + 60});
    let rsa = EncodingKey::from_rsa_pem(RSA_PRIVATE.as_bytes()).expect("a key");
    assert!(auth.check(&signed(Algorithm::RS256, &payload, &rsa)).is_ok());
    assert_eq!(auth.check(&signed(Algorithm::RS512, &payload, &rsa)), Err(Denied::Algorithm));
    let ed = EncodingKey::from_ed_pem(ED_PRIVATE.as_bytes()).expect("a key");
    assert_eq!(auth.check(&signed(Algorithm::EdDSA, &payload, &ed)), Err(Denied::Algorithm));
    assert!(public_key(b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n").is_none());
}

#[test]
fn an_open_server_looks_at_no_token() {
    let mut auth = auth();
    auth.open = true;
    assert!(auth.principal(Some("rubbish")).is_ok_and(|principal| principal.claims().is_none()));
    auth.open = false;
    assert_eq!(auth.principal(Some("")).expect_err("refused"), Denied::Missing);
    assert_eq!(auth.principal(None).expect_err("refused"), Denied::Missing);
    assert!(matches!(auth.principal(Some("rubbish")), Err(Denied::Malformed(_))));
    assert!(matches!(auth.check(&"x".repeat(TOKEN_BYTES + 1)), Err(Denied::Malformed(_))));
}

#[test]
fn nothing_prints_a_secret() {
    assert_eq!(format!("{:?}", Secret::from_bytes(SECRET)), "Secret(..)");
    assert!(!format!("{:?}", auth()).contains("012345"));
}
