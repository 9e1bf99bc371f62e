//! Requests and their answers: routing, upgrades, ordinary HTTP, one reading of each spelling,
//! records.

mod answers;
mod behind_cdn;
mod cache;
mod files;
mod forged;
mod http;
mod origin;
mod repeated;
mod request_records;
mod routing;
mod spellings;
mod stalled;
mod trailers;
mod upgrade;
