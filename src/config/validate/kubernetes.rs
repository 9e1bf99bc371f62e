//! `[sources.kubernetes]`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::config::dns_name::is_name;
use crate::config::kubeconfig::{Kubeconfig, Material};
use crate::config::kubernetes_service::is_label;
use crate::config::model::{self, Model};
use crate::config::snapshot::{GatewayApi, Kubernetes, KubernetesToken, Pem, PemTls};
use crate::config::validate::endpoints::{Endpoints, GRACE_MAX, WAIT_MAX, endpoints};
use crate::config::validate::environment::FileContent;
use crate::config::validate::scope::Scope;
use crate::config::validate::service;

/// Where a pod finds the credentials of its service account.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Letters of the name of a controller, as in a GatewayClass.
const CONTROLLER_LEN_MAX: usize = 253;
/// How long one watch may last. Its end is a sign of life, and a source without one for a minute
/// lags.
const WATCH_MIN: Duration = Duration::from_secs(1);
const WATCH_MAX: Duration = Duration::from_secs(45);

/// Which cluster, and who the gateway is there, as far as it is known.
struct Cluster {
    server: Option<String>,
    token: KubernetesToken,
    tls: PemTls,
}

pub(super) fn kubernetes(
    at: &Scope<'_>,
    model: &model::KubernetesSource,
    node: Option<&str>,
) -> Option<Kubernetes> {
    let gateway = match &model.gateway {
        Some(table) => gateway(&at.key("gateway"), table, node).map(Some),
        None => Some(None),
    };
    let cluster = match &model.kubeconfig {
        Some(path) => kubeconfig(&at.key("kubeconfig"), path, model.context.as_deref()),
        None => Some(in_pod(at)),
    };
    let wait = at.key("wait").interval(model.wait, WATCH_MIN, WATCH_MAX);
    let timeouts = at.key("timeouts");
    let dial = timeouts.key("dial").time(model.timeouts.dial, WAIT_MAX);
    let answer = timeouts.key("answer").time(model.timeouts.answer, WAIT_MAX);
    let stale_grace = at.key("stale_grace").time(model.stale_grace, GRACE_MAX);
    let own_tls = match &model.tls {
        Some(tls) => service::tls(&at.key("tls"), tls).map(Some),
        None => Some(None),
    };
    let cluster = cluster?;
    let tls = match own_tls? {
        Some(tls) => PemTls {
            ca: tls.ca.map(Pem::File),
            identity: tls
                .identity
                .map(|files| (Pem::File(files.cert), Pem::File(files.key))),
            server_name: tls.server_name,
        },
        None => cluster.tls,
    };
    let token = match &model.token_file {
        Some(path) => KubernetesToken::File(at.resolve(path)),
        None => cluster.token,
    };
    let written = model.server.clone().or(cluster.server);
    let Some(written) = written else {
        at.fault_with(
            "this is no pod of a cluster, and no API is named",
            "add `server = \"https://10.0.0.1:6443\"`, or `kubeconfig = \"kubeconfig\"`",
        );
        return None;
    };
    let asked = Endpoints {
        of: "a cluster",
        example: "https://10.0.0.1:6443",
        examples: "`https://10.0.0.1:6443`, or `http://127.0.0.1:8001` for `kubectl proxy`",
        has_tls: model.tls.is_some(),
        secret: (token != KubernetesToken::None).then_some("token"),
    };
    let server = endpoints(&at.key("server"), &[written], &asked)?.pop()?;
    Some(Kubernetes {
        server: Arc::from(server),
        token,
        tls,
        wait: wait?,
        dial: dial?,
        answer: answer?,
        stale_grace: stale_grace?,
        gateway: gateway?,
    })
}

fn gateway(at: &Scope<'_>, model: &model::GatewayApi, node: Option<&str>) -> Option<GatewayApi> {
    let controller = model.controller.split_once('/');
    let named = controller.is_some_and(|(domain, path)| is_name(domain) && !path.is_empty());
    let fits = model.controller.len() <= CONTROLLER_LEN_MAX
        && model.controller.bytes().all(|byte| byte.is_ascii_graphic());
    if !named || !fits {
        at.key("controller").fault_with(
            format!("`{}` is not the name of a controller", model.controller),
            "write `sessile.dev/gateway-controller`: a domain, and a path in it",
        );
    }
    let lease = model.lease.split_once('/');
    let lease = lease.filter(|(namespace, name)| is_label(namespace) && is_label(name));
    if lease.is_none() {
        at.key("lease").fault_with(
            format!("`{}` is not the name of a Lease", model.lease),
            "write `namespace/name`, such as `sessile/sessile-gateway`",
        );
    }
    let (namespace, name) = lease.filter(|_| named && fits)?;
    Some(GatewayApi {
        controller: model.controller.as_str().into(),
        lease: (namespace.into(), name.into()),
        node: node.unwrap_or("sessile").into(),
        shared_hosts: model.shared_hosts,
    })
}

/// The cluster that the pod runs in, if this is one.
fn in_pod(at: &Scope<'_>) -> Cluster {
    let variable = |name: &str| at.outside().variable(name).ok();
    let host = variable("KUBERNETES_SERVICE_HOST");
    let port = variable("KUBERNETES_SERVICE_PORT");
    let server = host.zip(port).map(|(host, port)| match host.contains(':') {
        true => format!("https://[{host}]:{port}"),
        false => format!("https://{host}:{port}"),
    });
    let file = |name: &str| Path::new(SERVICE_ACCOUNT).join(name);
    match server {
        Some(_) => Cluster {
            server,
            token: KubernetesToken::File(file("token")),
            tls: PemTls {
                ca: Some(Pem::File(file("ca.crt"))),
                ..PemTls::default()
            },
        },
        None => Cluster {
            server: None,
            token: KubernetesToken::None,
            tls: PemTls::default(),
        },
    }
}

fn kubeconfig(at: &Scope<'_>, path: &str, context: Option<&str>) -> Option<Cluster> {
    let path = at.resolve(path);
    let text = match at.outside().text(&path, FileContent::List) {
        Ok(text) => text,
        Err(why) => {
            at.fault(format!("cannot read {}: {why}", path.display()));
            return None;
        }
    };
    let read = match Kubeconfig::read(&text, context) {
        Ok(read) => read,
        Err(fault) => {
            at.fault(format!("{}: {fault}", path.display()));
            return None;
        }
    };
    let beside = |name: String| -> PathBuf {
        let directory = path.parent().unwrap_or_else(|| Path::new(""));
        directory.join(name)
    };
    let pem = |material| match material {
        Material::File(name) => Pem::File(beside(name)),
        Material::Text(text) => Pem::Text(text),
    };
    Some(Cluster {
        server: Some(read.server),
        token: match (read.token, read.token_file) {
            (_, Some(name)) => KubernetesToken::File(beside(name)),
            (Some(text), None) => KubernetesToken::Text(text),
            (None, None) => KubernetesToken::None,
        },
        tls: PemTls {
            ca: read.ca.map(pem),
            identity: read.identity.map(|(cert, key)| (pem(cert), pem(key))),
            server_name: read.server_name,
        },
    })
}

/// Upstreams of the file that name a Service need a cluster to ask for it.
pub(super) fn asked(root: &Scope<'_>, model: &Model) {
    if model.sources.kubernetes.is_some() || root.key("sources").is_explained() {
        return;
    }
    let naming = model.upstreams.iter();
    for (name, _) in naming.filter(|(_, upstream)| upstream.kubernetes.is_some()) {
        let at = root.key("upstreams").key(name).key("kubernetes");
        at.fault_with(
            "there is no cluster to ask for this Service",
            "add [sources.kubernetes]; in a pod it needs no keys",
        );
    }
}
