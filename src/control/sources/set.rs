//! All sources of a gateway, in the order of their precedence.

use std::sync::Arc;

use crate::base::source_id::SourceId;
use crate::control::sources::source::Source;
use crate::control::sources::status::{FollowStatus, SourceStatus};
use crate::control::sources::writer::Writer;

/// All sources of a gateway, the weakest first.
#[derive(Clone, Debug, Default)]
pub struct Sources(Vec<Arc<dyn Source>>);

impl FromIterator<Arc<dyn Source>> for Sources {
    fn from_iter<I: IntoIterator<Item = Arc<dyn Source>>>(all: I) -> Self {
        let mut all: Vec<_> = all.into_iter().collect();
        all.sort_by_key(|source| source.id());
        Self(all)
    }
}

impl Sources {
    /// All of them, the weakest first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn Source>> {
        self.0.iter()
    }

    /// One of them.
    pub fn get(&self, id: SourceId) -> Option<&Arc<dyn Source>> {
        self.iter().find(|source| source.id() == id)
    }

    /// The strongest one that can be written to.
    pub fn writable(&self) -> Option<(SourceId, &Writer)> {
        let mut strongest = self.0.iter().rev();
        strongest.find_map(|source| Some((source.id(), source.writer()?)))
    }

    /// What is known of one that is followed.
    pub fn followed(&self, id: SourceId) -> Option<Box<FollowStatus>> {
        match self.get(id)?.status() {
            SourceStatus::Followed(status) => Some(status),
            SourceStatus::File(_) => None,
        }
    }

    /// All that are followed.
    pub fn all_followed(&self) -> impl Iterator<Item = (SourceId, Box<FollowStatus>)> {
        let ids = self.iter().map(|source| source.id());
        ids.filter_map(|id| Some((id, self.followed(id)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::sources::source::Work;

    #[derive(Debug)]
    struct Fixed(SourceId, Option<Writer>);

    impl Source for Fixed {
        fn id(&self) -> SourceId {
            self.0
        }

        fn status(&self) -> SourceStatus {
            let status = FollowStatus {
                revision: self.0.precedence() as i64,
                ..FollowStatus::default()
            };
            SourceStatus::Followed(Box::new(status))
        }

        fn follow(self: Arc<Self>) -> Work<()> {
            Box::pin(std::future::ready(()))
        }

        fn writer(&self) -> Option<&Writer> {
            self.1.as_ref()
        }
    }

    fn set(all: Vec<Fixed>) -> Sources {
        let all = all.into_iter();
        all.map(|one| Arc::new(one) as Arc<dyn Source>).collect()
    }

    fn writer() -> Writer {
        Writer::new(|_| std::future::ready(Ok(())))
    }

    #[test]
    fn sources_stand_in_the_order_of_precedence_each_with_its_own_status() {
        let strongest_first = SourceId::ALL.iter().rev();
        let all = set(strongest_first.map(|id| Fixed(*id, None)).collect());
        let ids: Vec<_> = all.iter().map(|source| source.id()).collect();
        assert_eq!(ids, SourceId::ALL);
        for id in SourceId::ALL {
            let status = all.followed(id).expect("it is there");
            assert_eq!(status.revision, id.precedence() as i64);
        }
        assert_eq!(all.all_followed().count(), SourceId::ALL.len());
    }

    #[test]
    fn writes_go_to_the_strongest_source_that_takes_them() {
        let strongest = |all: Vec<Fixed>| set(all).writable().map(|(id, _)| id);
        let (file, etcd) = (SourceId::File, SourceId::Etcd);
        assert_eq!(strongest(vec![Fixed(file, None), Fixed(etcd, None)]), None);
        let both = vec![Fixed(etcd, Some(writer())), Fixed(file, Some(writer()))];
        assert_eq!(strongest(both), Some(etcd));
        let weaker = vec![Fixed(etcd, None), Fixed(file, Some(writer()))];
        assert_eq!(strongest(weaker), Some(file));
    }
}
