//! Targets for what registries of services answer.

use sessile::base::addr::BackendAddr;
use sessile::config::consul_service::ConsulService;
use sessile::core::consul::{instances, pairs};
use sessile::core::kubernetes::{Listed as _, Slices};

/// Backends of an answer are few, and each has an address to dial.
pub(super) fn consul(data: &[u8]) {
    const MAX: usize = 8;
    let service: ConsulService = "redis?tag=v2".parse().expect("a service");
    if let Ok((members, _)) = instances(data, &service, MAX) {
        assert!(members.len() <= MAX);
        for (id, text) in members {
            assert!(id.bytes().all(|byte| byte.is_ascii_graphic()) && id.len() <= 255);
            let document: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            let address = document["address"].as_str().expect("an address");
            let address: BackendAddr = address.parse().expect("it can be dialled");
            assert!(!matches!(address, BackendAddr::Unix(_)));
        }
    }
    for pair in pairs(data, "sessile").unwrap_or_default() {
        assert!(!pair.key.is_empty() && !pair.key.starts_with("secrets/"));
    }
}

/// A list, and a line for each event of a watch behind it: backends are few, and each has an address
/// to dial.
pub(super) fn kubernetes(data: &[u8]) {
    const MAX: usize = 8;
    let mut slices = Slices::default();
    for (number, line) in data.split(|byte| *byte == b'\n').enumerate() {
        let _ = match number {
            0 => slices.page(line).map(drop),
            _ => slices.event(line).map(drop),
        };
        let (members, _) = slices.members("http", MAX);
        assert!(members.len() <= MAX);
        for (id, text) in members {
            assert!(id.bytes().all(|byte| byte.is_ascii_graphic()) && id.len() <= 255);
            let document: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            let address = document["address"].as_str().expect("an address");
            let address: BackendAddr = address.parse().expect("it can be dialled");
            assert!(!matches!(address, BackendAddr::Unix(_)));
        }
    }
}
