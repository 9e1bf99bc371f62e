//! All objects together, as documents and reports. The oldest route comes first, so that none that
//! is written later can take away what another one has.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::config::pattern::HostPattern;
use crate::core::kubernetes::gateway::collection::{
    Namespaces, Object, ObjectKey, ObjectsByKey, oldest_first,
};
use crate::core::kubernetes::gateway::facts::Facts;
use crate::core::kubernetes::gateway::gateways::{self, Gateway};
use crate::core::kubernetes::gateway::grants::Grants;
use crate::core::kubernetes::gateway::hosts::Hosts;
use crate::core::kubernetes::gateway::matches::Conditions;
use crate::core::kubernetes::gateway::names;
use crate::core::kubernetes::gateway::objects::{RouteMatch, Rule};
use crate::core::kubernetes::gateway::owners::Owners;
use crate::core::kubernetes::gateway::policies::{Policies, policies, target_name};
use crate::core::kubernetes::gateway::quota::Quota;
use crate::core::kubernetes::gateway::report::{Condition, Fault, ParentReport, Reports};
use crate::core::kubernetes::gateway::routes::{self, Reach};
use crate::core::kubernetes::gateway::rules::{self, NOWHERE, Target};

/// Matches of one HTTPRoute.
const MATCHES_MAX: usize = 64;
/// Hosts that one is reached at, by the hostnames of listeners too.
const HOSTS_MAX: usize = 64;

/// All objects.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// `GatewayClass`es
    pub classes: Arc<ObjectsByKey>,
    /// `Gateway`s
    pub gateways: Arc<ObjectsByKey>,
    /// `HTTPRoute`s
    pub routes: Arc<ObjectsByKey>,
    /// `ReferenceGrant`s
    pub grants: Arc<ObjectsByKey>,
    /// `SessilePolicy`s
    pub policies: Arc<ObjectsByKey>,
    /// Where there are more `SessilePolicy`s than are followed.
    pub policies_left_out: Arc<Namespaces>,
}

/// What they come to.
#[derive(Clone, Debug, Default)]
pub struct Translation {
    /// Documents by key.
    pub documents: BTreeMap<String, Arc<str>>,
    /// What is reported.
    pub reports: Reports,
}

/// Translates all objects.
pub fn translate(world: &World, facts: &Facts) -> Translation {
    let (classes, class_reports) = gateways::classes(&world.classes, &facts.controller);
    let policies = policies(&world.policies, &world.policies_left_out);
    let mut work = Work {
        gateways: gateways::gateways(&world.gateways, &classes, facts),
        grants: Grants::new(&world.grants),
        policies,
        taken: HashSet::new(),
        schemes: facts.plain && facts.tls,
        owners: Owners::new(facts.shared_hosts),
        quota: Quota::new(),
        done: Translation::default(),
    };
    for (key, object) in oldest_first(&world.routes) {
        work.route(key, object);
    }
    let mut done = work.done;
    let reports = work.gateways.iter();
    let reports = reports.map(|(key, gateway)| (key.clone(), gateways::report(gateway)));
    done.reports.gateways = reports.collect();
    done.reports.classes = class_reports;
    // Policies of routes of other controllers are not ours to report.
    let routes = &done.reports.routes;
    let of_ours = |key: &ObjectKey| {
        let policy = world.policies.get(key)?;
        routes.get(&(key.0.clone(), target_name(policy)?.into()))
    };
    let mut policies = work.policies.reports;
    policies.retain(|key, _| of_ours(key).is_some());
    done.reports.policies = policies;
    done
}

struct Work {
    gateways: BTreeMap<ObjectKey, Gateway>,
    grants: Grants,
    policies: Policies,
    /// Scheme, host and conditions of all matches so far.
    taken: HashSet<(usize, Option<HostPattern>, String)>,
    /// There are listeners without and with TLS, so that routes of one kind need a condition.
    /// Otherwise they have none: behind a trusted proxy its scheme would count.
    schemes: bool,
    owners: Owners,
    quota: Quota,
    done: Translation,
}

/// What an HTTPRoute comes to.
#[derive(Default)]
struct Made {
    documents: Vec<(String, Value)>,
    services: BTreeMap<String, String>,
    /// Why a backend is not used.
    unresolved: Option<Fault>,
    /// What it lacks, though it is accepted.
    lacks: Option<String>,
}

impl Work {
    fn route(&mut self, key: &ObjectKey, object: &Object) {
        let mut parents = routes::parents(key, object, &self.gateways);
        if parents.is_empty() {
            return;
        }
        if let Some(policy) = self.policies.by_route.get(key) {
            let policy = policy.key.clone();
            self.done.reports.policy_of.insert(key.clone(), policy);
        }
        let made = routes::read(object).and_then(|(spec, hosts)| {
            let mut reach = routes::attach(key, &hosts, &mut parents, &self.gateways);
            let lost = self.owners.restrict(&key.0, &mut reach.hosts);
            if let Some(lost) = lost.clone().filter(|_| reach.is_nowhere()) {
                return Err(lost);
            }
            let mut made = self.rules(key, object.created, spec.rules.as_deref(), &reach)?;
            self.owners.claim(&key.0, &reach.hosts);
            made.lacks = lost.map(|lost| lost.message).or(made.lacks);
            Ok(made)
        });
        let (accepted, unresolved, lacks) = match made {
            Ok(mut made) => {
                let (unresolved, lacks) = (made.unresolved.take(), made.lacks.take());
                self.take(key, made);
                (self.policies.fault(key), unresolved, lacks)
            }
            Err(fault) => (Some(fault), None, None),
        };
        for (parent, _) in &parents {
            for (gateway, listener) in &parent.attached {
                let gateway = self.gateways.get_mut(gateway).expect("it is attached");
                gateway.listeners[*listener].attached += usize::from(accepted.is_none());
            }
        }
        let reports = parents.into_iter().map(|(parent, _)| {
            let fault = parent.fault.as_ref().or(accepted.as_ref());
            let accepted = match (fault, &lacks) {
                (None, Some(lacks)) => Condition::good("Accepted").with(lacks),
                _ => Condition::of("Accepted", fault),
            };
            ParentReport {
                parent: parent.reference,
                conditions: vec![accepted, Condition::of("ResolvedRefs", unresolved.as_ref())],
            }
        });
        self.done
            .reports
            .routes
            .insert(key.clone(), reports.collect());
    }

    /// All rules of a route, or the first thing that cannot be expressed.
    fn rules(
        &mut self,
        key: &ObjectKey,
        created: u64,
        rules: Option<&[Rule]>,
        reach: &Reach,
    ) -> Result<Made, Fault> {
        let mut made = Made::default();
        let name = names::route(key);
        let mut wanted = Vec::new();
        for (number, rule) in rules.into_iter().flatten().enumerate() {
            let target = rules::target(rule, &key.0, &self.grants)?;
            let everything = [RouteMatch::default()];
            let matches = rule.matches.as_deref().unwrap_or_default();
            let matches = if matches.is_empty() {
                &everything
            } else {
                matches
            };
            if wanted.len() + matches.len() > MATCHES_MAX {
                let message = format!("it has more than {MATCHES_MAX} matches");
                return Err(Fault::unsupported(message));
            }
            for (place, one) in matches.iter().enumerate() {
                let conditions = Conditions::of(one)?;
                let routes = rules::applied(rule.filters.as_deref(), &conditions)?;
                for (variant, (conditions, value)) in routes.into_iter().enumerate() {
                    let exact = if variant == 0 { "" } else { ".exact" };
                    let name = format!("{name}.{number:02}.{place:02}{exact}");
                    wanted.push((name, conditions, value, target.clone()));
                }
            }
        }
        let hosts = reach.hosts_count();
        if hosts > HOSTS_MAX {
            let message = format!("it is reached at more than {HOSTS_MAX} hosts");
            return Err(Fault::unsupported(message));
        }
        let upstreams = wanted.iter().filter_map(|(.., target)| target.service());
        self.quota.take(wanted.len() * hosts.max(1), upstreams)?;
        for (name, conditions, mut value, target) in wanted {
            value["precedence"] = conditions.precedence(created).into();
            self.settings(key, &mut value);
            aim(&mut made, &mut value, target);
            self.place(&mut made, (name, &conditions), &value, reach);
        }
        Ok(made)
    }

    /// What the policy of a route adds.
    fn settings(&self, key: &ObjectKey, value: &mut Value) {
        for (name, setting) in self.policies.settings(key) {
            value[name.as_str()] = setting;
        }
    }

    /// A document for each scheme, or one for both if they have the same hosts.
    fn place(
        &mut self,
        made: &mut Made,
        (name, conditions): (String, &Conditions),
        value: &Value,
        reach: &Reach,
    ) {
        let key = conditions.key();
        let [plain, tls] = [0, 1].map(|scheme| {
            let hosts = &reach.hosts[scheme];
            let free = self.free(scheme, hosts, &key);
            if free != *hosts {
                let lacks = || "older routes, or rules before, have some of its matches".to_owned();
                made.lacks.get_or_insert_with(lacks);
            }
            free
        });
        if plain == tls || !self.schemes {
            let hosts = if plain.is_empty() { &tls } else { &plain };
            if !hosts.is_empty() {
                made.documents.push((name, with_hosts(value, hosts)));
            }
            return;
        }
        for (hosts, scheme) in [(plain, "http"), (tls, "https")] {
            if !hosts.is_empty() {
                let mut value = with_hosts(value, &hosts);
                value["scheme"] = scheme.into();
                made.documents.push((format!("{name}.{scheme}"), value));
            }
        }
    }

    /// The hosts at which nothing older has these conditions.
    fn free(&mut self, scheme: usize, hosts: &Hosts, key: &str) -> Hosts {
        let mut take =
            |host: Option<HostPattern>| self.taken.insert((scheme, host, key.to_owned()));
        let any = hosts.any && take(None);
        let names = hosts.names.iter();
        let names = names.filter(|name| take(Some((*name).clone())));
        Hosts {
            names: names.cloned().collect(),
            any,
        }
    }

    fn take(&mut self, key: &ObjectKey, made: Made) {
        let Translation { documents, reports } = &mut self.done;
        for (name, value) in made.documents {
            let document = format!("routes/{name}");
            reports.owners.insert(document.clone(), key.clone());
            documents.insert(document, value.to_string().into());
        }
        let upstreams = reports.upstreams.entry(key.clone()).or_default();
        for (name, service) in made.services {
            let value = match name == NOWHERE {
                true => json!({}),
                false => json!({ "kubernetes": service }),
            };
            documents.insert(format!("upstreams/{name}"), value.to_string().into());
            upstreams.insert(name);
        }
    }
}

fn aim(made: &mut Made, value: &mut Value, target: Target) {
    let (upstream, service) = match target {
        Target::Redirect => return,
        Target::Service(upstream, service) => (upstream, service),
        Target::Nowhere(fault) => {
            made.unresolved.get_or_insert(fault);
            (NOWHERE.to_owned(), String::new())
        }
    };
    value["upstream"] = upstream.as_str().into();
    made.services.insert(upstream, service);
}

fn with_hosts(value: &Value, hosts: &Hosts) -> Value {
    let mut value = value.clone();
    // A route for any host is for these too.
    if !hosts.any {
        let names = hosts.names.iter().map(ToString::to_string);
        value["hosts"] = names.collect::<Vec<_>>().into();
    }
    value
}
