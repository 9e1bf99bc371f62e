//! URLs of the API.

use form_urlencoded::Serializer;

use crate::config::kubernetes_service::KubernetesService;

/// Slices on a page of a list.
const PAGE: &str = "100";

/// A page of the list of a Service's slices; the first one without a token.
pub(super) fn list(service: &KubernetesService, next: Option<&str>) -> String {
    let mut asked = selecting(service);
    page(&mut asked, PAGE, next);
    slices(service, &mut asked)
}

/// A watch of a Service's slices from a version on, for so many seconds.
pub(super) fn watch(service: &KubernetesService, version: &str, seconds: u64) -> String {
    let mut asked = selecting(service);
    watching(&mut asked, version, seconds);
    slices(service, &mut asked)
}

/// Asks for a page of a list.
pub(super) fn page(asked: &mut Serializer<'_, String>, size: &str, next: Option<&str>) {
    asked.append_pair("limit", size);
    if let Some(next) = next {
        asked.append_pair("continue", next);
    }
}

/// Asks for a watch.
pub(super) fn watching(asked: &mut Serializer<'_, String>, version: &str, seconds: u64) {
    asked.append_pair("watch", "1");
    asked.append_pair("allowWatchBookmarks", "true");
    asked.append_pair("resourceVersion", version);
    asked.append_pair("timeoutSeconds", &seconds.to_string());
}

/// The Service itself.
pub(super) fn object(service: &KubernetesService) -> String {
    let KubernetesService {
        namespace, name, ..
    } = service;
    format!("/api/v1/namespaces/{namespace}/services/{name}")
}

fn selecting(service: &KubernetesService) -> Serializer<'static, String> {
    let mut asked = Serializer::new(String::new());
    let label = format!("kubernetes.io/service-name={}", service.name);
    asked.append_pair("labelSelector", &label);
    asked
}

fn slices(service: &KubernetesService, asked: &mut Serializer<'static, String>) -> String {
    let namespace = &service.namespace;
    let asked = asked.finish();
    format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices?{asked}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_as_documented() {
        let service: KubernetesService = "shop/chat:80".parse().expect("a service");
        let base = "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices\
                    ?labelSelector=kubernetes.io%2Fservice-name%3Dchat";
        assert_eq!(list(&service, None), format!("{base}&limit=100"));
        let next = list(&service, Some("a&b"));
        assert_eq!(next, format!("{base}&limit=100&continue=a%26b"));
        let expected = "&watch=1&allowWatchBookmarks=true&resourceVersion=7&timeoutSeconds=30";
        assert_eq!(watch(&service, "7", 30), format!("{base}{expected}"));
        assert_eq!(object(&service), "/api/v1/namespaces/shop/services/chat");
    }
}
