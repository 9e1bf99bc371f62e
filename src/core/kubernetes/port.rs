//! Ports of a Service: slices have them by name, with the number that the pods listen on.

use crate::config::kubernetes_service::ServicePort;
use crate::core::kubernetes::AnswerFault;
use crate::core::kubernetes::objects::Service;

/// The name under which slices have a port of a Service, whose object this is.
///
/// # Errors
/// When the object is not as documented, or the Service has no such port.
pub fn port_name(body: &[u8], port: &ServicePort) -> Result<String, AnswerFault> {
    let service: Service = serde_json::from_slice(body)?;
    let mut ports = service
        .spec
        .ports
        .iter()
        .flatten()
        .filter(|one| one.is_tcp());
    let found = ports.find(|one| match port {
        ServicePort::Name(name) => one.name() == &**name,
        ServicePort::Number(number) => one.port == Some(i64::from(*number)),
    });
    let missing = || match port {
        ServicePort::Name(name) => AnswerFault::NoPort(name.to_string()),
        ServicePort::Number(number) => AnswerFault::NoPort(number.to_string()),
    };
    found.map(|one| one.name().to_owned()).ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_port_is_found_by_its_number_or_its_name() {
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": "chat" },
            "spec": { "ports": [
                { "name": "dns", "port": 80, "protocol": "UDP", "targetPort": 53 },
                { "name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080 },
                { "name": "ws", "port": 81, "targetPort": "ws" },
            ] },
        });
        let body = service.to_string();
        let check = |port: ServicePort, expected: Result<&str, &str>| {
            let found = port_name(body.as_bytes(), &port);
            let found = found.map_err(|fault| fault.to_string());
            let expected = expected.map(str::to_owned);
            assert_eq!(
                found,
                expected.map_err(|port| format!("the Service has no port {port}"))
            );
        };
        check(ServicePort::Number(80), Ok("http"));
        check(ServicePort::Number(81), Ok("ws"));
        check(ServicePort::Name("ws".into()), Ok("ws"));
        check(ServicePort::Name("dns".into()), Err("dns"));
        check(ServicePort::Number(8080), Err("8080"));
        // The only port of a Service needs no name.
        let one = json!({ "spec": { "ports": [{ "port": 80, "targetPort": 8080 }] } }).to_string();
        let name = port_name(one.as_bytes(), &ServicePort::Number(80));
        assert_eq!(name, Ok(String::new()));
        assert!(port_name(b"{}", &ServicePort::Number(80)).is_err());
    }
}
