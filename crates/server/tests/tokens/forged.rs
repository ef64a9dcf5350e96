//! A table of tokens that are forged or broken, each beside a good one that differs in nothing else.

use aws_lc_rs::hmac;
use http::{HeaderValue, StatusCode};
use operond_server::auth::token::{
    ClaimPath, Issuer, KindsFrom, Refused, TOKEN_BYTES_MAX, TenantFrom, Tokens, Verdict,
};
use operond_server::http::Layered;
use serde_json::{Value, json};

use crate::calls::{call, faces};
use crate::issuer::{NOW, Site, clock, tokens};
use crate::signer::{ED25519, IMPOSTOR_RSA, OTHER_RSA, P256, P384, RSA, base64, jwks, pem};

/// A server that believes two issuers, each with keys of its own.
struct World {
    tokens: Tokens,
    /// A server that believes them.
    faces: Layered<axum::Router>,
    issuer: Site,
    other: Site,
    /// Of somebody who would like to be asked for keys.
    attacker: std::net::TcpListener,
}

impl World {
    async fn start() -> Self {
        let issuer = Site::publishing(jwks(&[&RSA, &P256, &P384, &ED25519])).await;
        let other = Site::publishing(jwks(&[&OTHER_RSA])).await;
        let believed = vec![configured(&issuer), other.issuer()];
        let tokens = tokens(believed, &clock()).await;
        let attacker = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        attacker.set_nonblocking(true).unwrap();
        let faces = faces(tokens.clone()).await;
        let world = Self { tokens, faces, issuer, other, attacker };
        // Both have their keys before anything is judged.
        world.tokens.verify_patiently(&world.good()).await.unwrap();
        world.tokens.verify_patiently(&OTHER_RSA.token(&world.other.claims())).await.unwrap();
        world
    }

    /// Claims of every sort that this server reads.
    fn claims(&self) -> Value {
        json!({
            "iss": self.issuer.url, "aud": "operond", "exp": NOW + 300, "nbf": NOW - 10, "iat": NOW - 10,
            "sub": "alice", "org": {"tenant": "acme"}, "groups": ["ops"], "kinds": ["render"],
        })
    }

    fn good(&self) -> String {
        RSA.token(&self.claims())
    }

    /// Rightly signed, with one claim changed; `null` takes it away.
    fn with(&self, claim: &str, value: &Value) -> String {
        let mut claims = self.claims();
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(claim);
        } else {
            claims[claim] = value.clone();
        }
        RSA.token(&claims)
    }

    /// Rightly signed, with one member of the header changed.
    fn headed(&self, member: &str, value: &Value) -> String {
        let mut header = RSA.header();
        header[member] = value.clone();
        self.under(&header.to_string())
    }

    /// Rightly signed, with whatever header.
    fn under(&self, header: &str) -> String {
        RSA.token_of(header, self.claims().to_string())
    }

    /// Signed with a secret that everybody knows.
    fn hmac(&self, secret: &[u8]) -> String {
        let header = json!({"alg": "HS256", "typ": "JWT", "kid": "rsa"}).to_string();
        let signed = format!("{}.{}", base64(header), base64(self.claims().to_string()));
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        format!("{signed}.{}", base64(hmac::sign(&key, signed.as_bytes())))
    }

    fn unsigned(&self, alg: &str) -> String {
        format!("{}.{}.", base64(json!({"alg": alg, "kid": "rsa"}).to_string()), base64(self.claims().to_string()))
    }

    async fn check(&self, table: Vec<(&str, String, Refused)>) {
        assert_eq!(self.tokens.verify(&self.good()).refused(), None, "the good token");
        for (name, token, expected) in table {
            let at_once = self.tokens.verify(&token);
            let patiently = self.tokens.verify_patiently(&token).await;
            assert_eq!(patiently, Err(expected.clone()), "{name}");
            if at_once != Verdict::Unsure {
                assert_eq!(at_once, Verdict::Refused(expected.clone()), "{name}");
            } else {
                assert_eq!(expected, Refused::UnknownKey, "{name}");
            }
            let message = expected.to_string();
            assert!(message.len() < 200 && !message.contains("alice"), "{name}: {message}");
            self.refused_by_the_server(name, &token, &message).await;
            assert_eq!(self.tokens.verify(&self.good()).refused(), None, "the good token after {name}");
        }
        assert_eq!(self.attacker.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "somebody was asked");
        let fetched = [&self.issuer, &self.other].map(|site| site.fetched("/keys"));
        assert_eq!(fetched, [1, 1], "keys are not fetched because of tokens that are refused");
    }
}

impl World {
    /// Each in the same shape, and nothing of the token in it.
    async fn refused_by_the_server(&self, name: &str, token: &str, message: &str) {
        // Of others it is no token any more: they are no headers, or are cut in two.
        let one_header = HeaderValue::from_str(token).is_ok() && !token.is_empty() && !token.contains([' ', '\t']);
        if !one_header {
            return;
        }
        let message = if token.is_ascii() { message } else { "the authorization header is not ASCII" };
        let (status, reason, body) = call(&self.faces, "GET /api/v1/whoami", token, "").await;
        assert_eq!((status, &*reason), (StatusCode::UNAUTHORIZED, "UNAUTHENTICATED"), "{name}: {body}");
        let detail = json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "operond.dev",
        });
        let request = &body["details"][0];
        assert_eq!(request["@type"], "type.googleapis.com/google.rpc.RequestInfo", "{name}");
        let shape = json!({ "code": 16, "message": message, "details": [request, detail] });
        assert_eq!(body, shape, "{name}");
    }
}

trait Said {
    fn refused(self) -> Option<Verdict>;
}

impl Said for Verdict {
    fn refused(self) -> Option<Verdict> {
        if let Self::Identity(_) = self { None } else { Some(self) }
    }
}

fn path(text: &str) -> ClaimPath {
    text.parse().unwrap()
}

fn configured(site: &Site) -> Issuer {
    let mut issuer = site.issuer();
    issuer.tenant = TenantFrom::Claim(path("org.tenant"));
    issuer.roles.claim = Some(path("groups"));
    issuer.roles.map.insert("ops".into(), operond_server::auth::Role::Operator);
    issuer.kinds = Some(KindsFrom::Claim(path("kinds")));
    issuer
}

/// Rightly signed, with a good header and whatever claims.
fn of_claims(claims: impl AsRef<[u8]>) -> String {
    RSA.token_of(RSA.header().to_string(), claims)
}

fn claim(claim: &str, problem: &'static str) -> Refused {
    Refused::Claim { claim: claim.into(), problem }
}

const MISSING: &str = "is missing";
const NO_TEXT: &str = "is not a string";
const NO_TEXTS: &str = "is neither a string nor a list of strings";
const NO_TIME: &str = "is not a whole number of seconds before the year 10000";
const NO_NAME: &str = "is empty, longer than 128 characters, or has a NUL in it";
const NO_HEADER: Refused = Refused::Malformed("its header is not a JSON object, without double names, in base64url");
const NO_CLAIMS: Refused = Refused::Malformed("its claims are not a JSON object, without double names, in base64url");
const NO_PARTS: Refused = Refused::Malformed("it does not have three parts with dots between them");
const NO_KID: Refused = Refused::Malformed("`kid` of its header is not a string of at most 128 bytes");
const NO_ALG: Refused = Refused::Malformed("`alg` of its header is not a string");
const JWK: Refused = Refused::Malformed("its header brings a key (`jwk`)");
const JKU: Refused = Refused::Malformed("its header names a place to take keys from (`jku`)");
const X5U: Refused = Refused::Malformed("its header names a place to take certificates from (`x5u`)");
const X5C: Refused = Refused::Malformed("its header brings certificates (`x5c`)");
const CRIT: Refused = Refused::Malformed("its header demands extensions (`crit`)");
const B64: Refused = Refused::Malformed("its claims are not encoded (`b64`)");
const ZIP: Refused = Refused::Malformed("it is compressed (`zip`)");
const ENC: Refused = Refused::Malformed("it is encrypted (`enc`)");
const CTY: Refused = Refused::Malformed("it holds another token (`cty`)");
const NO_TYP: Refused = Refused::Malformed("`typ` of its header is neither JWT nor at+jwt");

#[tokio::test]
async fn the_algorithm_is_that_of_the_key_and_not_what_the_token_says() {
    let world = World::start().await;
    let mut table = Vec::new();
    for none in ["none", "None", "NONE", "nOnE", "", "null", " none"] {
        table.push(("alg none", world.unsigned(none), Refused::Algorithm));
    }
    let signature = base64(RSA.sign(b"whatever"));
    table.push(("alg none with a signature", world.unsigned("none") + &signature, Refused::Algorithm));
    for secret in [
        pem("PUBLIC KEY", &RSA.spki()).into_bytes(),
        pem("RSA PUBLIC KEY", &RSA.pkcs1()).into_bytes(),
        pem("PUBLIC KEY", &RSA.spki()).trim_end().as_bytes().to_vec(),
        RSA.spki(),
        RSA.pkcs1(),
        RSA.jwk().to_string().into_bytes(),
        RSA.jwk()["n"].to_string().into_bytes(),
        Vec::new(),
    ] {
        table.push(("HS256 with the public key as the secret", world.hmac(&secret), Refused::Algorithm));
    }
    let claims = world.claims();
    table.extend([
        ("RS384, not pinned", RSA.token_with("RS384", &claims), Refused::Algorithm),
        ("PS256, not pinned", RSA.token_with("PS256", &claims), Refused::Algorithm),
        ("ES384, not pinned, with a key that is published", P384.token(&claims), Refused::Algorithm),
        ("EdDSA, not pinned, with a key that is published", ED25519.token(&claims), Refused::Algorithm),
        ("ES256 with the name of an RSA key", world.headed("alg", &json!("ES256")), Refused::Algorithm),
        ("alg in lower case", world.headed("alg", &json!("rs256")), Refused::Algorithm),
        ("alg with a space", world.headed("alg", &json!("RS256 ")), Refused::Algorithm),
        ("alg not a string", world.headed("alg", &json!(["RS256"])), NO_ALG),
        ("alg null", world.headed("alg", &Value::Null), NO_ALG),
        ("no alg", world.under(r#"{"kid":"rsa"}"#), NO_ALG),
        ("two algs", world.under(r#"{"alg":"none","alg":"RS256","kid":"rsa"}"#), NO_HEADER),
    ]);
    world.check(table).await;
}

#[tokio::test]
async fn a_token_has_no_say_in_which_key_it_is_verified_with() {
    let world = World::start().await;
    let claims = world.claims();
    let site = format!("http://{}/keys", world.attacker.local_addr().unwrap());
    let kid = |kid: &str| IMPOSTOR_RSA.token_of(json!({"alg": "RS256", "kid": kid}).to_string(), claims.to_string());
    let lead = |member: &str, value: Value| {
        let mut header = IMPOSTOR_RSA.header();
        header[member] = value;
        IMPOSTOR_RSA.token_of(header.to_string(), claims.to_string())
    };
    let unused = Refused::UnknownKey;
    world
        .check(vec![
            ("kid is a path", kid("../../../../dev/null"), unused.clone()),
            ("kid is a file", kid("file:///etc/passwd"), unused.clone()),
            ("kid is a URL", kid(&site), unused.clone()),
            ("kid is SQL", kid("' UNION SELECT 'secret' --"), unused.clone()),
            ("kid is a command", kid("rsa; touch /tmp/x"), unused.clone()),
            ("kid is empty", kid(""), unused.clone()),
            ("kid is almost that of a key", kid("RSA"), unused.clone()),
            ("kid goes on after a NUL", kid("rsa\0"), unused.clone()),
            ("kid is as long as can be", kid(&"k".repeat(128)), unused.clone()),
            ("kid is longer", kid(&"k".repeat(129)), NO_KID),
            ("kid is very long", kid(&"k".repeat(4_000)), NO_KID),
            ("kid is a number", world.headed("kid", &json!(0)), NO_KID),
            ("kid is null", world.headed("kid", &Value::Null), NO_KID),
            ("kid is a list", world.headed("kid", &json!(["rsa"])), NO_KID),
            ("kid stands there twice", world.under(r#"{"alg":"RS256","kid":"x","kid":"rsa"}"#), NO_HEADER),
            ("a key of another issuer", OTHER_RSA.token(&claims), unused),
            ("the name of a key, signed with another", IMPOSTOR_RSA.token(&claims), Refused::Signature),
            (
                "the name of another key of the issuer",
                P256.token_of(r#"{"alg":"RS256","kid":"rsa"}"#, claims.to_string()),
                Refused::Signature,
            ),
            ("a key in the header", lead("jwk", IMPOSTOR_RSA.jwk()), JWK),
            ("an own key in the header", world.headed("jwk", &RSA.jwk()), JWK),
            ("jku", lead("jku", json!(site)), JKU),
            ("jku of the issuer", world.headed("jku", &json!(format!("{}/keys", world.issuer.url))), JKU),
            ("x5u", lead("x5u", json!(site)), X5U),
            ("x5c", lead("x5c", json!(["MII"])), X5C),
            ("crit", world.headed("crit", &json!(["exp"])), CRIT),
            ("crit that demands nothing", world.headed("crit", &json!([])), CRIT),
            ("b64", world.headed("b64", &json!(false)), B64),
            ("zip", world.headed("zip", &json!("DEF")), ZIP),
            ("enc", world.headed("enc", &json!("A256GCM")), ENC),
            (
                "a nested token",
                RSA.token_of(json!({"alg": "RS256", "kid": "rsa", "cty": "JWT"}).to_string(), world.good()),
                CTY,
            ),
            ("a nested token that does not say so", of_claims(world.good()), NO_CLAIMS),
            ("a logout", world.headed("typ", &json!("logout+jwt")), NO_TYP),
            ("typ not a string", world.headed("typ", &json!(1)), NO_TYP),
        ])
        .await;
    let unnamed = world.under(r#"{"alg":"RS256"}"#);
    assert_eq!(world.tokens.verify(&unnamed).refused(), None, "no kid, and one key for the algorithm");
    for kind in ["at+jwt", "AT+JWT", "application/at+jwt", "jwt"] {
        assert_eq!(world.tokens.verify(&world.headed("typ", &json!(kind))).refused(), None, "{kind}");
    }
}

#[tokio::test]
async fn a_token_is_three_parts_of_base64_and_not_a_character_more() {
    let world = World::start().await;
    let good = world.good();
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (header, claims) = signed.split_once('.').unwrap();
    let (_, other_signature) = (RSA.token(&world.issuer.claims()), base64(RSA.sign(b"something else")));
    let changed = world.with("sub", &json!("mallory"));
    let changed_signed = changed.rsplit_once('.').unwrap().0;
    let last = if signature.ends_with('A') { "Q" } else { "A" };
    let zeros = format!("{}.{}", P256.token(&world.claims()).rsplit_once('.').unwrap().0, base64([0; 64]));
    let p256 = P256.token(&world.claims());
    assert_eq!(world.tokens.verify(&p256).refused(), None);
    let padding = "x".repeat(TOKEN_BYTES_MAX);
    world
        .check(vec![
            ("empty", String::new(), NO_PARTS),
            ("a word", "token".into(), NO_PARTS),
            ("dots", "..".into(), NO_HEADER),
            ("two parts", signed.into(), NO_PARTS),
            ("four parts", format!("{good}.{signature}"), NO_PARTS),
            ("five parts, like what is encrypted", format!("{header}.a.b.c.{signature}"), NO_PARTS),
            ("a dot behind", format!("{good}."), NO_PARTS),
            ("a dot before", format!(".{good}"), NO_PARTS),
            ("no signature", format!("{signed}."), Refused::Signature),
            ("half a signature", format!("{signed}.{}", &signature[..signature.len() / 2]), Refused::Signature),
            (
                "a signature without its end",
                format!("{signed}.{}", &signature[..signature.len() - 4]),
                Refused::Signature,
            ),
            ("a signature that goes on", format!("{good}AAAA"), Refused::Signature),
            ("another end of the signature", format!("{}{last}", &good[..good.len() - 1]), Refused::Signature),
            ("another signature by the key", format!("{signed}.{other_signature}"), Refused::Signature),
            ("claims changed", format!("{changed_signed}.{signature}"), Refused::Signature),
            ("a signature of zeros", zeros, Refused::Signature),
            ("a space before", format!(" {good}"), NO_HEADER),
            ("a line feed behind", format!("{good}\n"), Refused::Signature),
            ("a space in the claims", format!("{header}. {claims}.{signature}"), NO_CLAIMS),
            ("padding behind", format!("{good}=="), Refused::Signature),
            ("padding in the header", format!("{header}=.{claims}.{signature}"), NO_HEADER),
            ("the other alphabet", format!("{header}+/.{claims}.{signature}"), NO_HEADER),
            ("not ASCII", format!("{header}ü.{claims}.{signature}"), NO_HEADER),
            ("percent-encoded", good.replace('.', "%2E"), NO_PARTS),
            (
                "a header that is not UTF-8",
                RSA.token_of(b"{\"alg\":\"RS256\",\"kid\":\"\xff\"}", world.claims().to_string()),
                NO_HEADER,
            ),
            ("claims that are not UTF-8", of_claims(b"{\"sub\":\"\xff\"}"), NO_CLAIMS),
            ("a header that is a list", world.under("[]"), NO_HEADER),
            ("claims that are a list", of_claims("[]"), NO_CLAIMS),
            ("claims that are cut off", of_claims(r#"{"sub":"#), NO_CLAIMS),
            ("more behind the claims", of_claims(world.claims().to_string() + "{}"), NO_CLAIMS),
            ("claims without end", of_claims("[".repeat(4_000)), NO_CLAIMS),
            ("oversized", world.with("note", &json!(padding)), Refused::TooLong),
            ("oversized and nothing else", padding + ".", Refused::TooLong),
        ])
        .await;
}

#[tokio::test]
async fn a_token_as_long_as_can_be_is_read() {
    let world = World::start().await;
    let length = |note: usize| world.with("note", &json!("x".repeat(note)));
    let longest = (0..TOKEN_BYTES_MAX).rev().map(length).find(|token| token.len() <= TOKEN_BYTES_MAX);
    let longest = longest.expect("a short one fits");
    assert!(longest.len() > TOKEN_BYTES_MAX - 4, "{}", longest.len());
    world.check(vec![("longer", longest.clone() + "AAAA", Refused::TooLong)]).await;
    assert_eq!(world.tokens.verify(&longest).refused(), None);
}

#[tokio::test]
async fn claims_are_for_this_server_and_for_now() {
    let world = World::start().await;
    let issuer = &world.issuer.url;
    let audience = |value: Value| world.with("aud", &value);
    let issued = |value: Value| world.with("iss", &value);
    let time = |name: &str, value: Value| world.with(name, &value);
    let huge = json!(18_446_744_073_709_551_615_u64);
    let twice = world.claims().to_string().replacen('{', &format!(r#"{{"exp":{},"#, NOW + 100_000), 1);
    world
        .check(vec![
            ("aud of somebody else", audience(json!("others")), Refused::Audience),
            ("aud in capitals", audience(json!("Operond")), Refused::Audience),
            ("aud that begins alike", audience(json!("operond.example")), Refused::Audience),
            ("aud is empty", audience(json!("")), Refused::Audience),
            ("aud is an empty list", audience(json!([])), Refused::Audience),
            ("aud is a list of others", audience(json!(["a", "b"])), Refused::Audience),
            ("aud is a list in a list", audience(json!([["operond"]])), claim("aud", NO_TEXTS)),
            ("aud is a list with a number", audience(json!(["operond", 1])), claim("aud", NO_TEXTS)),
            ("aud is an object", audience(json!({"operond": true})), claim("aud", NO_TEXTS)),
            ("no aud", audience(Value::Null), claim("aud", MISSING)),
            ("iss of somebody else", issued(json!("https://issuer.example")), Refused::Issuer),
            ("iss with a slash behind", issued(json!(format!("{issuer}/"))), Refused::Issuer),
            ("iss in capitals", issued(json!(issuer.to_uppercase())), Refused::Issuer),
            ("iss without its scheme", issued(json!(issuer.trim_start_matches("http://"))), Refused::Issuer),
            ("iss is empty", issued(json!("")), Refused::Issuer),
            ("iss is a list", issued(json!([issuer])), claim("iss", NO_TEXT)),
            ("no iss", issued(Value::Null), claim("iss", MISSING)),
            ("iss of the other issuer", issued(json!(world.other.url)), Refused::UnknownKey),
            ("expired", time("exp", json!(NOW - 312)), Refused::Expired(312)),
            ("expired as long ago as clocks differ", time("exp", json!(NOW - 60)), Refused::Expired(60)),
            ("exp is 0", time("exp", json!(0)), Refused::Expired(NOW)),
            ("exp is a string", time("exp", json!((NOW + 300).to_string())), claim("exp", NO_TIME)),
            ("exp is a float", time("exp", json!(2_000_000_300.5)), claim("exp", NO_TIME)),
            ("exp is a large float", time("exp", json!(1e300)), claim("exp", NO_TIME)),
            ("exp is negative", time("exp", json!(-1)), claim("exp", NO_TIME)),
            ("exp is huge", time("exp", huge.clone()), claim("exp", NO_TIME)),
            ("exp is in the year 10000", time("exp", json!(253_402_300_800_u64)), claim("exp", NO_TIME)),
            ("exp is true", time("exp", json!(true)), claim("exp", NO_TIME)),
            ("no exp", time("exp", Value::Null), claim("exp", MISSING)),
            ("two exps", of_claims(twice), NO_CLAIMS),
            ("nbf in the future", time("nbf", json!(NOW + 61)), Refused::NotYet(61)),
            ("nbf is a string", time("nbf", json!("0")), claim("nbf", NO_TIME)),
            ("nbf is huge", time("nbf", huge), claim("nbf", NO_TIME)),
            ("iat in the future", time("iat", json!(NOW + 3_600)), Refused::NotYet(3_600)),
            ("iat is a list", time("iat", json!([NOW])), claim("iat", NO_TIME)),
        ])
        .await;
    for (name, good) in [
        ("one audience of several", audience(json!(["others", "operond"]))),
        ("expired just now", time("exp", json!(NOW - 59))),
        ("the last second of the year 9999", time("exp", json!(253_402_300_799_u64))),
        ("begins as soon as clocks differ", time("nbf", json!(NOW + 60))),
        ("issued as soon as clocks differ", time("iat", json!(NOW + 60))),
        ("without nbf", time("nbf", Value::Null)),
        ("without iat", time("iat", Value::Null)),
    ] {
        assert_eq!(world.tokens.verify(&good).refused(), None, "{name}");
    }
}

#[tokio::test]
async fn claims_that_would_be_an_identity_are_of_their_type_and_within_limits() {
    let world = World::start().await;
    let org = |value: Value| world.with("org", &value);
    let twice = world.claims().to_string().replacen(r#""tenant":"#, r#""tenant":"other","tenant":"#, 1);
    let long = "n".repeat(129);
    world
        .check(vec![
            ("no principal", world.with("sub", &Value::Null), claim("sub", MISSING)),
            ("principal is a number", world.with("sub", &json!(7)), claim("sub", NO_TEXT)),
            ("principal is a list", world.with("sub", &json!(["alice"])), claim("sub", NO_TEXT)),
            ("principal is empty", world.with("sub", &json!("")), claim("sub", NO_NAME)),
            ("principal is too long", world.with("sub", &json!(long)), claim("sub", NO_NAME)),
            ("principal has a NUL", world.with("sub", &json!("alice\0")), claim("sub", NO_NAME)),
            ("no tenant", org(json!({})), claim("org.tenant", MISSING)),
            ("nothing that has a tenant", org(Value::Null), claim("org.tenant", MISSING)),
            ("the tenant is not inside", org(json!("acme")), claim("org.tenant", "is not inside an object")),
            (
                "the tenant is inside a list",
                org(json!([{"tenant": "acme"}])),
                claim("org.tenant", "is not inside an object"),
            ),
            ("the tenant is an object", org(json!({"tenant": {"id": "acme"}})), claim("org.tenant", NO_TEXT)),
            ("the tenant is empty", org(json!({"tenant": ""})), claim("org.tenant", NO_NAME)),
            ("the tenant is too long", org(json!({"tenant": long})), claim("org.tenant", NO_NAME)),
            ("two tenants", of_claims(twice), NO_CLAIMS),
            ("roles are an object", world.with("groups", &json!({"ops": true})), claim("groups", NO_TEXTS)),
            ("roles are a list with a number", world.with("groups", &json!(["ops", 1])), claim("groups", NO_TEXTS)),
            ("no kinds", world.with("kinds", &Value::Null), claim("kinds", MISSING)),
            ("kinds are a number", world.with("kinds", &json!(1)), claim("kinds", NO_TEXTS)),
            ("a kind is empty", world.with("kinds", &json!(["render", ""])), claim("kinds", NO_NAME)),
            ("a kind is too long", world.with("kinds", &json!([long])), claim("kinds", NO_NAME)),
        ])
        .await;
    for (name, good) in [
        ("principal as long as can be", world.with("sub", &json!("ü".repeat(128)))),
        ("no roles", world.with("groups", &Value::Null)),
        ("one kind", world.with("kinds", &json!("render"))),
    ] {
        assert_eq!(world.tokens.verify(&good).refused(), None, "{name}");
    }
}
