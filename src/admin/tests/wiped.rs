//! Whether what is made or changed of secrets leaves copies in memory.

use super::world::world;
use crate::admin::{NewDelegationToken, ScramAlteration, ScramMechanism};
use crate::copies::{self, Masked, secret};
use crate::net::scripted::{Asked, Reply};
use crate::protocol::Request;
use crate::protocol::messages::alter_user_scram_credentials::{
    AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse, AlterUserScramCredentialsResult,
};
use crate::protocol::messages::create_delegation_token::{CreateDelegationTokenRequest, CreateDelegationTokenResponse};
use crate::protocol::messages::describe_delegation_token::{
    DescribeDelegationTokenRequest, DescribeDelegationTokenResponse, DescribedDelegationToken,
};
use crate::protocol::messages::expire_delegation_token::{ExpireDelegationTokenRequest, ExpireDelegationTokenResponse};
use crate::protocol::messages::renew_delegation_token::{RenewDelegationTokenRequest, RenewDelegationTokenResponse};
use crate::{Admin, Client, ErrorCode};
use bytes::Bytes;
use std::env;

const PEER: &str = "SARAMEYA_WIPED_PEER";
const CA: &str = "SARAMEYA_WIPED_CA";
const APIS: &[(i16, i16, i16)] = &[
    (CreateDelegationTokenRequest::KEY, 1, 3),
    (RenewDelegationTokenRequest::KEY, 1, 2),
    (ExpireDelegationTokenRequest::KEY, 1, 2),
    (DescribeDelegationTokenRequest::KEY, 1, 3),
    (AlterUserScramCredentialsRequest::KEY, 0, 0),
];

/// The client's process.
fn client(case: &str) {
    let builder = Client::builder().bootstrap_servers(env::var(PEER).unwrap());
    #[cfg(feature = "tls")]
    let builder = match case.ends_with("TLS") {
        true => builder.tls(crate::Tls::new().ca_pem(env::var(CA).unwrap())),
        false => builder,
    };
    let admin = Admin::new(&builder.build().unwrap());
    // Of an answer, rustls leaves a copy of what each record carried, and has no way to wipe it.
    let over_tls = case.ends_with("TLS");
    if case.starts_with("token") { tokens(&admin, over_tls) } else { password(&admin) }
}

fn tokens(admin: &Admin, over_tls: bool) {
    let looked_for = Masked::secret();
    let check = |expected: usize, came: usize, what: &str| {
        let copies = looked_for.copies();
        let left = if over_tls { came } else { 0 };
        assert!((expected..=expected + left).contains(&copies), "{copies} for {expected}: {what}");
    };
    let made = admin.create_delegation_token(&NewDelegationToken::new()).unwrap();
    check(1, 1, "the one that was made, for what came is wiped");
    admin.renew_delegation_token(made.hmac(), None).unwrap();
    admin.expire_delegation_token(made.hmac(), None).unwrap();
    check(1, 1, "the one that was made, for what was sent is wiped");
    let listed = admin.describe_delegation_tokens(None).unwrap();
    check(1 + listed.len(), listed.len(), "those that were listed");
    let again = listed.clone();
    check(1 + 2 * listed.len(), listed.len(), "and their copies");
    let came = listed.len();
    drop((made, listed, again));
    check(0, came, "nobody needs them any more");
}

fn password(admin: &Admin) {
    let looked_for = Masked::secret();
    let new = ScramAlteration::upsert("alice", ScramMechanism::Sha256, secret());
    let mut results = admin.alter_user_scram_credentials(std::slice::from_ref(&new)).unwrap();
    assert_eq!(looked_for.copies(), 1, "the password");
    drop(new);
    assert_eq!(looked_for.copies(), 0, "nobody needs it any more");
    let said = results.remove(0).1.unwrap_err().to_string();
    let (_, keys) = said.split_once("keys ").unwrap();
    for (at, key) in keys.split([' ', ',']).take(5).enumerate() {
        assert_eq!(Masked::from_hex(key).copies(), 0, "key {at} of the password");
    }
}

/// The broker's side.
fn reply(asked: &Asked) -> Reply {
    let hmac = || Bytes::from(secret());
    let has_come = |hmac: &Bytes| assert!(Masked::secret().is_in(hmac), "the secret has come");
    match asked.key {
        CreateDelegationTokenRequest::KEY => {
            asked.reply::<CreateDelegationTokenRequest>(&CreateDelegationTokenResponse {
                hmac: hmac(),
                ..Default::default()
            })
        }
        RenewDelegationTokenRequest::KEY => {
            has_come(&asked.decode::<RenewDelegationTokenRequest>().hmac);
            asked.reply::<RenewDelegationTokenRequest>(&RenewDelegationTokenResponse::default())
        }
        ExpireDelegationTokenRequest::KEY => {
            has_come(&asked.decode::<ExpireDelegationTokenRequest>().hmac);
            asked.reply::<ExpireDelegationTokenRequest>(&ExpireDelegationTokenResponse::default())
        }
        // More than is read ahead, and more than a record of TLS holds.
        DescribeDelegationTokenRequest::KEY => {
            let token = || DescribedDelegationToken { hmac: hmac(), ..Default::default() };
            let tokens = std::iter::repeat_with(token).take(40).collect();
            asked.reply::<DescribeDelegationTokenRequest>(&DescribeDelegationTokenResponse {
                tokens,
                ..Default::default()
            })
        }
        _ => {
            let request: AlterUserScramCredentialsRequest = asked.decode();
            let upsertion = &request.upsertions[0];
            let keys = copies::keys(&upsertion.salt, upsertion.iterations as u32);
            assert_eq!(keys[1].to_hex(), Masked::key(&upsertion.salted_password).to_hex());
            // Disguised, the client learns from a refusal what it is to look for.
            let result = AlterUserScramCredentialsResult {
                user: "alice".into(),
                error_code: ErrorCode::UNACCEPTABLE_CREDENTIAL.0,
                error_message: Some(format!("keys {}", keys.map(|key| key.to_hex()).join(" "))),
            };
            let results = vec![result];
            asked.reply::<AlterUserScramCredentialsRequest>(&AlterUserScramCredentialsResponse {
                results,
                ..Default::default()
            })
        }
    }
}

#[test]
fn x10_no_copy_of_a_token_or_password_stays_in_memory() {
    if let Some(case) = copies::case() {
        return client(&case);
    }
    let over_tls = ["tokens over TLS", "a password over TLS"].into_iter().filter(|_| cfg!(feature = "tls"));
    for case in ["tokens", "a password"].into_iter().chain(over_tls) {
        let world = world(1, APIS, |_, asked| reply(asked));
        #[cfg_attr(not(feature = "tls"), expect(unused_mut, reason = "nothing stands in front of it"))]
        let (mut address, mut ca) = (world.brokers[0].address(), String::new());
        #[cfg(feature = "tls")]
        if case.ends_with("TLS") {
            (address, ca) = crate::net::tls_in_front_of(address);
            world.facts.lock().unwrap().addresses = vec![address];
        }
        let variables = [(PEER, &*address.to_string()), (CA, &ca)];
        copies::run("admin::tests::wiped::x10_no_copy_of_a_token_or_password_stays_in_memory", case, &variables);
    }
}
