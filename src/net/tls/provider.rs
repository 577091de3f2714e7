//! Which implementation of cryptography rustls works with.

use crate::Result;
use rustls::crypto::CryptoProvider;
use std::sync::Arc;

/// The provider the process has chosen, if it has; else the one this crate was built with.
pub(in crate::net) fn provider() -> Result<Arc<CryptoProvider>> {
    // A program that uses rustls elsewhere, with aws-lc-rs and FIPS perhaps, has one provider for all.
    if let Some(chosen) = CryptoProvider::get_default() {
        return Ok(chosen.clone());
    }
    built_in().map(Arc::new)
}

#[cfg(any(feature = "tls-ring", not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
#[allow(clippy::unnecessary_wraps, reason = "another provider may be missing")]
fn built_in() -> Result<CryptoProvider> {
    Ok(rustls::crypto::ring::default_provider())
}

#[cfg(all(not(feature = "tls-ring"), any(target_arch = "x86_64", target_arch = "aarch64")))]
fn built_in() -> Result<CryptoProvider> {
    // graviola panics on a processor that lacks what it is written for.
    if let Some(missing) = missing_instructions() {
        return Err(crate::Error::config(
            "security.protocol",
            format!("TLS needs a processor with {missing}; build sarameya with the feature tls-ring for this one"),
        ));
    }
    Ok(rustls_graviola::default_provider())
}

#[cfg(all(not(feature = "tls-ring"), target_arch = "x86_64"))]
fn missing_instructions() -> Option<&'static str> {
    use std::arch::is_x86_feature_detected as has;
    [
        ("AES", has!("aes")),
        ("PCLMULQDQ", has!("pclmulqdq")),
        ("SSSE3", has!("ssse3")),
        ("AVX2", has!("avx") && has!("avx2")),
        ("BMI1", has!("bmi1")),
        ("BMI2", has!("bmi2")),
        ("ADX", has!("adx")),
    ]
    .into_iter()
    .find_map(|(name, present)| (!present).then_some(name))
}

#[cfg(all(not(feature = "tls-ring"), target_arch = "aarch64"))]
fn missing_instructions() -> Option<&'static str> {
    use std::arch::is_aarch64_feature_detected as has;
    [("NEON", has!("neon")), ("AES", has!("aes")), ("PMULL", has!("pmull")), ("SHA-2", has!("sha2"))]
        .into_iter()
        .find_map(|(name, present)| (!present).then_some(name))
}
