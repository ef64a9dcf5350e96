//! Operations that a batch asks for by name, and what those who ask can reach.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use operond_core::{KeyRecord, Kind, Operation, OperationId, Scope, Tenant};
use operond_store::Wants;
use tokio_postgres::Row;

use crate::columns::read_id;
use crate::fault::{Damage, Fault};

/// Each with the scopes of those who ask for it.
pub(crate) struct Wanted(BTreeMap<OperationId, Vec<Scope>>);

impl Wanted {
    /// Those that requests name, and those that keys stand for: whoever has the key reaches them.
    pub(crate) fn of<'k>(wants: &Wants, keys: impl Iterator<Item = &'k KeyRecord>) -> Self {
        let mut wanted = wants.ids.clone();
        for record in keys {
            wanted.entry(record.operation.clone()).or_default().push(Scope::default());
        }
        Self(wanted)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As [`crate::sql::LOCK_OPERATIONS`] takes them: ids, tenants and kinds, side by side.
    pub(crate) fn columns(&self) -> [Vec<&str>; 3] {
        let [mut ids, mut tenants, mut kinds] = [const { Vec::new() }; 3];
        for (id, scope) in self.0.iter().flat_map(|(id, scopes)| scopes.iter().map(move |scope| (id, scope))) {
            let names = scope.kinds.as_ref().map_or(vec![ANY], |kinds| kinds.iter().map(Kind::as_str).collect());
            ids.extend(names.iter().map(|_| id.as_str()));
            tenants.extend(names.iter().map(|_| scope.tenant.as_ref().map_or(ANY, Tenant::as_str)));
            kinds.extend(names);
        }
        [ids, tenants, kinds]
    }

    /// Those that are not `found`, or not by everybody who asks.
    pub(crate) fn missing(&self, found: &HashMap<OperationId, Arc<Operation>>) -> Vec<&str> {
        let reached = |id: &OperationId, scopes: &[Scope]| {
            found.get(id).is_some_and(|operation| scopes.iter().all(|scope| scope.covers(&operation.spec)))
        };
        self.0.iter().filter(|(id, scopes)| !reached(id, scopes)).map(|(id, _)| id.as_str()).collect()
    }
}

/// One that is there, whose, and of which kind.
pub(crate) type There = (OperationId, Tenant, Kind);

/// The same out of a row of [`crate::sql::OPERATIONS_THERE`].
pub(crate) fn there(row: &Row) -> Result<There, Fault> {
    let id = read_id(row, 0)?;
    let damage = |invalid| Damage::of(format!("operation {id}"), invalid);
    let tenant = Tenant::parse("tenant", row.try_get(1)?).map_err(damage)?;
    let kind = Kind::parse("kind", row.try_get(2)?).map_err(damage)?;
    Ok((id, tenant, kind))
}

/// No tenant and no kind has this name.
const ANY: &str = "";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use operond_core::{Command, NewOperation, Spec, Timestamp};
    use operond_store::{Accepted, Batch, CreateRequest, ManualClock, Missing, Refusal, Reply, Request};
    use tokio::runtime::{Builder, Handle};
    use tokio_postgres::SimpleQueryMessage;

    use super::*;
    use crate::address::Address;
    use crate::batch::{Context, judge};
    use crate::cluster::{Cluster, Kind as ClusterKind};
    use crate::migrate::{STEPS, migrate};
    use crate::passed::Passed;
    use crate::session::{Connector, Session};
    use crate::set_aside::SetAside;
    use crate::sql;
    use crate::time::Time;

    /// A schema with one operation of the default tenant.
    struct Schema {
        connector: Connector,
        time: Time,
        id: OperationId,
    }

    impl Schema {
        async fn new() -> Self {
            let address = Address::parse(&Cluster::shared(ClusterKind::Fast).fresh_schema()).unwrap();
            let connector = Connector::new(address, Handle::current());
            let time = Time::given(Arc::new(ManualClock::new(Timestamp::from_micros(1))), None);
            let mut schema = Self { connector, time, id: OperationId::generate(1, [2; 13]) };
            let mut session = schema.session().await;
            migrate(&mut session, STEPS).await.unwrap();
            let new = NewOperation { spec: Spec::new(Kind::new("k").unwrap()).into(), metadata: None, claim: None };
            let create = Request::Create(CreateRequest { new, entropy: [1; 13], key: None }.into());
            let (set_aside, passed) = (SetAside::default(), Passed::new(Duration::MAX));
            let context = Context { time: &schema.time, set_aside: &set_aside, passed: &passed, patient: true };
            let judged = judge(&session, &Batch { requests: vec![create] }, &context).await.unwrap();
            judged.commit(&session, "stream", 1).await.unwrap();
            let replies = judged.into_applied().replies;
            let [Ok(Accepted::Created { operation, .. })] = &*replies else { panic!("{replies:?}") };
            schema.id = operation.id.clone();
            schema
        }

        async fn session(&self) -> Session {
            self.connector.session().await.unwrap()
        }

        /// What is told of an operation, and what was carried out for it how often.
        async fn asked(&self, scopes: &[Scope], id: &OperationId, patient: bool) -> (Vec<Reply>, Vec<[String; 2]>) {
            let session = self.session().await;
            let told = self.told(&session, scopes, id, patient).await;
            let counted =
                "SELECT statement, generic_plans + custom_plans FROM pg_prepared_statements ORDER BY statement";
            let rows = session.client.simple_query(counted).await.unwrap();
            let rows = rows.iter().filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => Some([0, 1].map(|column| row.get(column).unwrap().to_owned())),
                _ => None,
            });
            (told, rows.collect())
        }

        /// The same, in a transaction that goes on.
        async fn told(&self, session: &Session, scopes: &[Scope], id: &OperationId, patient: bool) -> Vec<Reply> {
            let (set_aside, passed) = (SetAside::default(), Passed::new(Duration::MAX));
            let context = Context { time: &self.time, set_aside: &set_aside, passed: &passed, patient };
            let ask = |scope: &Scope| Request::Command(scope.clone(), id.clone(), Command::Settle.into());
            let requests = scopes.iter().chain(scopes).map(ask).collect();
            let judged = judge(session, &Batch { requests }, &context).await.expect("nobody is waited for");
            assert!(judged.changes_nothing());
            judged.into_applied().replies
        }
    }

    #[test]
    fn a_foreign_operation_takes_the_statements_of_one_that_is_not_there() {
        Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let schema = Schema::new().await;
            let kinds = |name| Some([Kind::new("other").unwrap(), Kind::new(name).unwrap()].into());
            let stranger = Scope::of_tenant(Tenant::parse("tenant", "t").unwrap());
            let strangers = [
                Scope { kinds: kinds("k"), ..stranger.clone() },
                stranger,
                Scope { kinds: kinds("K"), ..Scope::default() },
                Scope { kinds: kinds("K"), ..Scope::of_tenant(Tenant::default()) },
            ];
            let (mut absent, never_made) = (Vec::new(), OperationId::generate(1, [3; 13]));
            for patient in [true, false] {
                let (told, asked) = schema.asked(&strangers, &never_made, patient).await;
                assert_eq!(told, vec![Err(Refusal::NotFound(Missing::Never)); 8]);
                assert!(asked.iter().any(|[sql, times]| *sql == **sql::TOMBSTONES && times == "1"), "{asked:?}");
                assert_eq!(schema.asked(&strangers, &schema.id, patient).await, (told.clone(), asked.clone()));
                absent.push((patient, told, asked));
                // Together with somebody who reaches it, too.
                let both = [strangers[0].clone(), Scope::default()];
                let (told, asked) = schema.asked(&both, &schema.id, patient).await;
                assert!(told[0].is_err() && told[1].is_ok(), "{told:?}");
                assert_eq!(asked, schema.asked(&both, &never_made, patient).await.1);
            }
            // A stranger locks nothing, and waits for nobody who does.
            let [asking, holder] = [schema.session().await, schema.session().await];
            schema.told(&asking, &strangers, &schema.id, true).await;
            holder.client.batch_execute("BEGIN; SELECT 1 FROM operations FOR UPDATE NOWAIT").await.unwrap();
            for (patient, told, asked) in absent {
                assert_eq!(schema.asked(&strangers, &schema.id, patient).await, (told, asked));
            }
            let familiar = [
                Scope::default(),
                Scope::of_tenant(Tenant::default()),
                Scope { kinds: kinds("k"), ..Scope::default() },
                Scope { kinds: kinds("k"), ..Scope::of_tenant(Tenant::default()) },
            ];
            assert_eq!(schema.asked(&familiar, &schema.id, false).await.0, vec![Err(Refusal::Held); 8]);
            // Whichever way it is reached, it is found.
            holder.client.batch_execute("ROLLBACK").await.unwrap();
            for scope in &familiar {
                let told = schema.asked(std::slice::from_ref(scope), &schema.id, true).await.0;
                assert!(told.iter().all(Result::is_ok), "{told:?}");
            }
        });
    }
}
