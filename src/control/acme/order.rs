//! One order, from the names to the certificate.

use std::time::Duration;

use instant_acme::{
    AuthorizationStatus, CertificateIdentifier, ChallengeType, Identifier, NewOrder, Order,
    OrderStatus, RetryPolicy,
};
use rustls::pki_types::CertificateDer;

use crate::config::snapshot::{Acme, AcmeChallenge};
use crate::control::acme::client::Directory;
use crate::control::acme::error::OrderError;
use crate::control::acme::store::Kept;
use crate::io::tls::challenges::ChallengeAnswer;

/// For the authority to verify all names, and to issue the certificate.
const POLL: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(500))
    .timeout(Duration::from_secs(120));

/// Orders a certificate. Returns the order, and what the authority has to find under each name.
pub(super) async fn begin(
    directory: &Directory,
    settings: &Acme,
    replaced: Option<&CertificateDer<'_>>,
) -> Result<(Order, Vec<ChallengeAnswer>), OrderError> {
    let failed = |error| directory.failed(error);
    let names = settings.names.iter();
    let identifiers: Vec<_> = names
        .map(|name| Identifier::Dns(name.to_string()))
        .collect();
    let asked = NewOrder::new(&identifiers);
    let replaced = replaced.and_then(|leaf| CertificateIdentifier::try_from(leaf).ok());
    let mut order = None;
    if let Some(replaced) = replaced {
        // An authority without ARI, or with another idea of the certificate, gets a plain order.
        let renewal = NewOrder::new(&identifiers).replaces(replaced);
        order = directory.account.new_order(&renewal).await.ok();
    }
    let mut order = match order {
        Some(order) => order,
        None => directory.account.new_order(&asked).await.map_err(failed)?,
    };
    let answers = answers(&mut order, settings, directory).await?;
    Ok((order, answers))
}

/// Lets the authority verify the names, whose answers are in their places, and obtains the
/// certificate.
pub(super) async fn finish(
    mut order: Order,
    directory: &Directory,
    settings: &Acme,
) -> Result<Kept, OrderError> {
    let failed = |error| directory.failed(error);
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(failed)?;
        if authorization.status != AuthorizationStatus::Pending {
            continue;
        }
        if let Some(mut challenge) = authorization.challenge(kind(settings.challenge)) {
            challenge.set_ready().await.map_err(failed)?;
        }
    }
    match order.poll_ready(&POLL).await {
        Ok(OrderStatus::Ready) => {}
        Ok(_) => return Err(OrderError::NotVerified(faults(&mut order).await)),
        Err(error) => return Err(failed(error)),
    }
    let key = order.finalize().await.map_err(failed)?;
    let chain = order.poll_certificate(&POLL).await.map_err(failed)?;
    Ok(Kept {
        chain,
        key: key.into(),
    })
}

async fn answers(
    order: &mut Order,
    settings: &Acme,
    directory: &Directory,
) -> Result<Vec<ChallengeAnswer>, OrderError> {
    let mut answers = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(|error| directory.failed(error))?;
        match authorization.status {
            AuthorizationStatus::Pending => {}
            AuthorizationStatus::Valid => continue,
            _ => {
                return Err(OrderError::NotVerified(
                    "an authorization has ended".to_owned(),
                ));
            }
        }
        let name = authorization.identifier().to_string();
        let Some(challenge) = authorization.challenge(kind(settings.challenge)) else {
            let kind = match settings.challenge {
                AcmeChallenge::TlsAlpn01 => "tls-alpn-01",
                AcmeChallenge::Http01 => "http-01",
            };
            return Err(OrderError::NoChallenge(kind, name));
        };
        answers.push(ChallengeAnswer {
            name,
            token: challenge.token.clone(),
            key_authorization: challenge.key_authorization().as_str().to_owned(),
        });
    }
    Ok(answers)
}

/// What the authority found wrong with the names.
async fn faults(order: &mut Order) -> String {
    let mut faults = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let Ok(mut authorization) = authorization else {
            continue;
        };
        let name = authorization.identifier().to_string();
        let Ok(state) = authorization.refresh().await else {
            continue;
        };
        let errors = state.challenges.iter().filter_map(|one| one.error.as_ref());
        faults.extend(errors.map(|error| format!("{name}: {error}")));
    }
    faults.join("; ")
}

fn kind(challenge: AcmeChallenge) -> ChallengeType {
    match challenge {
        AcmeChallenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
        AcmeChallenge::Http01 => ChallengeType::Http01,
    }
}
