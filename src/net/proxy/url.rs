//! A proxy's URL. Errors do not repeat it, since it may hold a password.

use super::Proxy;
use crate::config::address_list;

const SOCKS5_PORT: u16 = 1080;

pub(super) fn parse(url: &str) -> Result<Proxy, String> {
    let (scheme, rest) = url.trim().split_once("://").ok_or("is not a URL such as socks5://host:port")?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    // The last @: one in a password may stand as it is.
    let (credentials, address) = rest.rsplit_once('@').map_or((None, rest), |(own, address)| (Some(own), address));
    let socks = ["socks5", "socks5h"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
    let (host, port) = match only_address(address) {
        Err(_) if socks => only_address(&format!("{address}:{SOCKS5_PORT}"))?,
        found => found?,
    };
    let proxy = match scheme {
        _ if socks => Proxy::socks5(host, port),
        _ if scheme.eq_ignore_ascii_case("http") => Proxy::http(host, port),
        _ if scheme.eq_ignore_ascii_case("https") => {
            return Err("proxies that are themselves behind TLS are not supported; socks5:// and http:// are".into());
        }
        _ => return Err("has a scheme that is none of socks5 and http".into()),
    };
    let Some(credentials) = credentials else { return Ok(proxy) };
    let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
    Ok(proxy.credentials(percent_decoded(user)?, percent_decoded(password)?))
}

fn only_address(address: &str) -> Result<(String, u16), String> {
    match address_list("proxy.url", address) {
        Ok(mut list) if list.len() == 1 && !address.contains("://") => Ok(list.remove(0)),
        _ => Err("has no host:port behind the scheme".into()),
    }
}

fn percent_decoded(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = rest.split_first_chunk::<2>().filter(|(digits, _)| digits.iter().all(u8::is_ascii_hexdigit));
        let (digits, after) = digits.ok_or("has a % that is not followed by two hexadecimal digits")?;
        let digits = std::str::from_utf8(digits).unwrap_or_default();
        bytes.push(u8::from_str_radix(digits, 16).unwrap_or_default());
        rest = after;
    }
    String::from_utf8(bytes).map_err(|_| "has a user or password that is not UTF-8".into())
}
