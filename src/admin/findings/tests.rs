use super::*;
use crate::admin::certificates::{AcmeView, CertificateView};
use crate::admin::credentials::CredentialView;
use crate::admin::levels::LevelView;
use crate::admin::rights_seen::RightsSeen;
use crate::admin::status::{BrokerView, EventFilesView, StateDirView, StateView};
use crate::admin::tests::support::{built_in, fixture};
use crate::admin::tokens::TokenView;
use crate::admin::upstreams::UpstreamView;
use crate::control::fleet::NodeView;
use crate::control::supervisor::PendingChange;
use crate::live::RightCounts;

struct World {
    status: StatusView,
    upstreams: Vec<UpstreamView>,
    file_fault: Option<&'static str>,
    records_dropped: u64,
    keys: Vec<CredentialView>,
    tokens: Vec<TokenView>,
    rights: Option<RightsSeen>,
    limits: SystemLimits,
    demands: Demands,
}

impl World {
    /// A gateway with two upstreams; one backend of `chat` is draining by its configuration.
    async fn new() -> Self {
        let gateway = fixture(built_in(), Vec::new()).gateway;
        Self {
            status: StatusView::of(&gateway),
            upstreams: upstreams::views(&gateway),
            file_fault: None,
            records_dropped: 0,
            keys: Vec::new(),
            tokens: Vec::new(),
            rights: None,
            limits: SystemLimits::default(),
            demands: Demands::default(),
        }
    }

    fn chat(&mut self) -> &mut UpstreamView {
        self.upstreams
            .iter_mut()
            .find(|one| one.summary.name == "chat")
            .expect("it is configured")
    }

    fn findings(&self) -> Vec<Finding> {
        of(&Facts {
            status: &self.status,
            upstreams: &self.upstreams,
            file_fault: self.file_fault,
            records_dropped: self.records_dropped,
            keys: &self.keys,
            tokens: &self.tokens,
            rights: self.rights.as_ref(),
            limits: &self.limits,
            demands: &self.demands,
        })
    }

    /// Asserts that there is one finding, of this kind, that mentions this.
    #[track_caller]
    fn check(&self, severity: Severity, kind: &str, mentions: &str) {
        let findings = self.findings();
        let [one] = &*findings else {
            panic!("{findings:?}")
        };
        assert_eq!((one.severity, &*one.kind), (severity, kind), "{one:?}");
        let text = format!("{} {}", one.subject, one.detail);
        assert!(text.contains(mentions), "{text}");
    }
}

fn certificate(days_left: Option<f64>) -> CertificateView {
    CertificateView {
        listener: "edge".to_owned(),
        names: vec!["chat.example.com".to_owned()],
        not_after: days_left.map(|_| "2026-01-01T00:00:00Z".to_owned()),
        expired: days_left.is_some_and(|days| days < 0.0),
        days_left,
        connections: Some(2),
        refused: None,
        acme: None,
        severity: None,
    }
}

#[tokio::test]
async fn nothing_is_wrong_with_a_gateway_that_is_well() {
    assert_eq!(World::new().await.findings(), []);
}

#[tokio::test]
async fn an_upstream_without_eligible_backends_is_critical_and_says_why() {
    let mut world = World::new().await;
    let chat = world.chat();
    chat.summary.eligible = 0;
    chat.backends[0].health = "unhealthy";
    chat.backends[0].reason = Some("connection refused".to_owned());
    world.check(
        Severity::Critical,
        "upstream_down",
        "10.0.0.1:9000 is unhealthy: connection refused",
    );
    world.check(
        Severity::Critical,
        "upstream_down",
        "is draining by its configuration",
    );
}

#[tokio::test]
async fn a_sick_backend_among_others_is_a_warning() {
    let mut world = World::new().await;
    world.chat().backends[0].health = "unhealthy";
    world.check(Severity::Warning, "backends_unwell", "1 of 2 backends");
}

#[tokio::test]
async fn an_upstream_that_spills_over_says_how_much_and_where_to() {
    let level = |name: &str, well, takes| LevelView {
        name: name.to_owned(),
        priority: 0,
        own_zone: Some(name == "zone a"),
        members: 4,
        draining: 1,
        well,
        takes,
        sessions: 0,
    };
    let mut world = World::new().await;
    world.chat().levels = vec![level("zone a", 3, 1.0), level("other zones", 0, 0.0)];
    assert_eq!(world.findings(), []);
    world.chat().levels = vec![level("zone a", 1, 0.476), level("other zones", 3, 1.0)];
    let text = "zone a: 1 of 3 backends are well, so 52 % of its keys go to other zones";
    world.check(Severity::Warning, "upstream_spills", text);
    // One whose clients are all refused has another finding.
    world.chat().summary.eligible = 0;
    world.check(Severity::Critical, "upstream_down", "chat");
}

#[tokio::test]
async fn a_refused_file_is_named_with_its_first_fault() {
    let mut world = World::new().await;
    world.status.sources.file.refused = Some("2026-01-01T02:00:20Z".to_owned());
    world.file_fault = Some("gateway.toml:24:1: unknown key");
    world.check(
        Severity::Warning,
        "file_refused",
        "gateway.toml:24:1: unknown key",
    );
}

#[tokio::test]
async fn certificates_get_worse_as_their_end_comes_nearer() {
    let mut world = World::new().await;
    let mut check = |certificate: CertificateView, severity, kind: &str, mentions: &str| {
        world.status.certificates = vec![certificate];
        world.check(severity, kind, mentions);
    };
    let of = |days| certificate(Some(days));
    check(of(29.0), Severity::Notice, "certificate_expires", "29 days");
    check(
        of(13.0),
        Severity::Warning,
        "certificate_expires",
        "13 days",
    );
    check(
        of(1.5),
        Severity::Critical,
        "certificate_expires",
        "36 hours",
    );
    check(
        of(-1.0),
        Severity::Critical,
        "certificate_expired",
        "chat.example.com",
    );
    check(
        certificate(None),
        Severity::Critical,
        "certificate_missing",
        "self-signed",
    );
    let failed = CertificateView {
        acme: Some(AcmeView {
            renews: "2026-01-01T00:00:00Z".to_owned(),
            failures: 1,
            fault: Some("no such name".to_owned()),
        }),
        ..of(40.0)
    };
    check(
        failed,
        Severity::Warning,
        "certificate_not_renewed",
        "no such name",
    );
    world.status.certificates = vec![of(31.0)];
    assert_eq!(world.findings(), []);
}

#[tokio::test]
async fn the_process_itself_is_looked_at_and_the_worst_is_first() {
    let mut world = World::new().await;
    world.status.restart_pending = vec!["node".to_owned()];
    world.status.restart_changes = vec![PendingChange {
        key: "node.workers".to_owned(),
        now: Some("2".to_owned()),
        next: Some("3".to_owned()),
    }];
    world.check(Severity::Notice, "restart_pending", "node.workers: 2 -> 3");
    world.records_dropped = 3;
    world.status.state_dir = Some(StateDirView {
        path: "/var/lib/sessile".to_owned(),
        fault: Some("no space".to_owned()),
    });
    world.status.phase = "stopping".to_owned();
    world.chat().summary.eligible = 0;
    let kinds: Vec<_> = world.findings().into_iter().map(|one| one.kind).collect();
    assert_eq!(
        kinds,
        [
            "upstream_down",
            "not_ready",
            "state_dir_fault",
            "records_dropped",
            "restart_pending"
        ]
    );
}

#[tokio::test]
async fn gateways_that_are_behind_or_gone_are_named() {
    let node = |change: fn(&mut NodeView)| {
        let mut node = NodeView {
            node: "edge-2".to_owned(),
            zone: None,
            url: None,
            load: None,
            this: false,
            version: "0".to_owned(),
            phase: "ready".to_owned(),
            admin: "10.0.0.2:9900".to_owned(),
            generation: 1,
            digest: "d".to_owned(),
            revision: Some(7),
            sessions: 5,
            started: String::new(),
            older: false,
            differs: false,
            duplicate: false,
            silent_seconds: 2,
        };
        change(&mut node);
        node
    };
    let mut world = World::new().await;
    world.status.fleet = vec![node(|_| {})];
    assert_eq!(world.findings(), []);
    let mut check = |node, kind: &str| {
        world.status.fleet = vec![node];
        world.check(Severity::Warning, kind, "edge-2");
    };
    check(node(|one| one.phase = "gone".to_owned()), "gateway_gone");
    check(node(|one| one.silent_seconds = 20), "gateway_silent");
    check(node(|one| one.duplicate = true), "gateway_duplicate");
    check(node(|one| one.older = true), "gateway_behind");
    check(node(|one| one.differs = true), "gateway_differs");
}

#[tokio::test]
async fn events_that_are_not_on_the_disk_are_a_warning() {
    let mut world = World::new().await;
    let files = |unwritten, fault: Option<&str>| {
        Some(EventFilesView {
            path: "/var/lib/sessile/events".to_owned(),
            bytes: 0,
            unwritten,
            fault: fault.map(str::to_owned),
        })
    };
    world.status.event_files = files(0, None);
    assert_eq!(world.findings(), []);
    world.status.event_files = files(3, Some("no space left"));
    world.check(Severity::Warning, "events_unwritten", "no space left");
    world.status.event_files = files(3, None);
    world.check(Severity::Warning, "events_unwritten", "3 were not written");
}

#[tokio::test]
async fn a_store_without_an_answer_is_a_warning() {
    let mut world = World::new().await;
    let store = |connected, answers, error: Option<&str>| StateView {
        kind: "redis".to_owned(),
        server: "10.0.0.1:6379".to_owned(),
        connected,
        answers,
        since: "2026-01-01T00:00:00Z".to_owned(),
        error: error.map(str::to_owned),
        connects: 1,
    };
    world.status.state = Some(store(true, true, None));
    assert_eq!(world.findings(), []);
    world.status.state = Some(store(true, false, None));
    world.check(Severity::Warning, "state_lost", "it is late");
    world.status.state = Some(store(false, false, Some("refused")));
    world.check(
        Severity::Warning,
        "state_lost",
        "10.0.0.1:6379 not connected",
    );
}

#[tokio::test]
async fn keys_of_an_issuer_that_does_not_answer_are_named_with_their_routes() {
    let mut world = World::new().await;
    let before = world.findings();
    let keys = |age: Option<f64>, stale| CredentialView {
        authenticator: "users".to_owned(),
        sessions: 0,
        expiring: 0,
        first_expires: None,
        keys: Some(2),
        keys_age_seconds: age,
        keys_stale: stale,
        keys_end: None,
        routes: vec!["chat".to_owned(), "room".to_owned()],
    };
    world.keys = vec![keys(Some(60.0), false)];
    assert_eq!(world.findings(), before);
    world.keys = vec![keys(Some(7200.0), true)];
    world.check(Severity::Warning, "keys_stale", "2h old");
    world.check(Severity::Warning, "keys_stale", "chat, room");
    world.keys = vec![keys(None, true)];
    world.check(Severity::Critical, "keys_stale", "never read");
}

#[tokio::test]
async fn rights_that_end_together_are_a_notice_and_single_ones_are_not() {
    let mut world = World::new().await;
    let before = world.findings();
    let seen = |sessions, expiring| {
        let counts = RightCounts {
            sessions,
            expiring,
            first: Some(1_000),
        };
        Some(RightsSeen([("users".into(), counts)].into()))
    };
    for quiet in [seen(1_000, 99), seen(100, 19)] {
        world.rights = quiet;
        assert_eq!(world.findings(), before);
    }
    world.rights = seen(200, 20);
    let text = "20 of 200 sessions end within 10m with their right: users 20; the first at 1970";
    world.check(Severity::Notice, "rights_expire", text);
}

#[tokio::test]
async fn a_broker_that_is_gone_is_a_warning() {
    let mut world = World::new().await;
    let broker = |connected| {
        Some(BrokerView {
            connected,
            since: "2026-01-01T00:00:00Z".to_owned(),
            error: Some("connection refused".to_owned()),
            connects: 1,
            nodes: Vec::new(),
        })
    };
    let before = world.findings();
    world.status.broker = broker(true);
    assert_eq!(world.findings(), before);
    world.status.broker = broker(false);
    world.check(Severity::Warning, "broker_lost", "connection refused");
}

#[tokio::test]
async fn a_token_that_ends_is_a_finding() {
    let mut world = World::new().await;
    let token = |days_left: f64, severity: Option<Severity>| TokenView {
        name: "publish.tokens.app".to_owned(),
        expires: "2026-12-01T00:00:00Z".to_owned(),
        days_left,
        severity,
    };
    world.tokens = vec![token(20.0, None)];
    assert_eq!(world.findings(), []);
    world.tokens = vec![token(3.0, Some(Severity::Warning))];
    world.check(
        Severity::Warning,
        "token_expires",
        "token publish.tokens.app it expires in 3days, at 2026-12-01",
    );
    world.tokens = vec![token(-1.0, Some(Severity::Critical))];
    world.check(
        Severity::Critical,
        "token_expires",
        "it expired at 2026-12-01",
    );
}

#[tokio::test]
async fn limits_that_are_too_low_are_found_with_what_that_costs() {
    let mut world = World::new().await;
    world.limits.open_files = Some(4_511);
    world.check(Severity::Notice, "open_files_low", "about 1999 sessions");
    world.limits.open_files = Some(4_512);
    assert_eq!(world.findings(), []);
    world.demands.sessions_max = 2_001;
    world.check(
        Severity::Warning,
        "open_files_low",
        "`node.sessions_max` is 2001",
    );
    world.limits.open_files = None;
    world.limits.accept_queue = Some(128);
    world.demands.backlogs = vec![("edge".to_owned(), 129), ("other".to_owned(), 128)];
    world.check(
        Severity::Notice,
        "backlog_cut",
        "listener edge its `backlog` is 129",
    );
    world.limits.accept_queue = Some(129);
    assert_eq!(world.findings(), []);
    world.limits.tracked = Some((799, 1_000));
    assert_eq!(world.findings(), []);
    world.limits.tracked = Some((800, 1_000));
    world.check(
        Severity::Warning,
        "connections_tracked",
        "800 of at most 1000",
    );
}

#[tokio::test]
async fn a_backend_that_takes_nearly_all_ports_is_found() {
    let mut world = World::new().await;
    world.limits.ports = Some(1_000);
    world.chat().backends[0].sessions = 799;
    assert_eq!(world.findings(), []);
    world.chat().backends[0].sessions = 800;
    world.check(
        Severity::Warning,
        "ports_scarce",
        "800 sessions of this gateway",
    );
    world.chat().backends[0].address = "unix:/run/chat.sock".to_owned();
    assert_eq!(world.findings(), [], "a unix socket takes no port");
}
