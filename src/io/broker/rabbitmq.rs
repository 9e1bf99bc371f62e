//! RabbitMQ by AMQP 0-9-1: a topic exchange for the fleet, a queue for each gateway, publisher
//! confirms.

mod session;
mod sign_in;
mod wire;

pub(super) use sign_in::RabbitMq;
