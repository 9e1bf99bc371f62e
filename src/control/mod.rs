//! The control plane: what decides the routing table, beside the traffic. It never imports `proxy`;
//! they meet in `live`.

pub mod load;
