//! What can be asked of the server, and which role may ask it: the one table.

use axum::body::Body;
use http::Request;

use super::identity::{Role, Roles};
use crate::http::Form;
use crate::rest::{Call, call_of};

/// Where methods are served: an address may serve some of these only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Planes(u8);

impl Planes {
    /// For producers and callers: operations, on every face.
    pub const PUBLIC: Self = Self(1);
    /// For workers.
    pub const WORKER: Self = Self(2);
    /// For operators: keys, types, kinds; and what says much of the server.
    pub const ADMIN: Self = Self(4);
    /// What can be asked over gRPC: not where strangers call.
    pub const REFLECTION: Self = Self(8);
    /// All of them but reflection.
    pub const ALL: Self = Self(7);
    /// None of them.
    pub const NONE: Self = Self(0);

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These without those.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether they have one in common.
    #[must_use]
    pub const fn meet(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// Who may call a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum May {
    /// Everybody, asked for nothing.
    Anyone,
    /// Whoever can say who they are.
    AnyIdentity,
    /// Who has one of these roles.
    One(Roles),
    /// Who has one of these roles for all tenants and kinds: it concerns everybody.
    Whole(Roles),
}

macro_rules! methods {
    ($($(#[$doc:meta])* $name:ident: $planes:expr, $may:expr, [$($grpc:literal),*];)*) => {
        /// What can be asked, whatever face it is asked on.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum Method { $($(#[$doc])* $name,)* }

        impl Method {
            /// Every method.
            #[cfg(test)]
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)*];

            /// Where it is served.
            pub(crate) const fn planes(self) -> Planes {
                match self { $(Self::$name => $planes,)* }
            }

            /// Who may call it.
            pub(crate) const fn may(self) -> May {
                match self { $(Self::$name => $may,)* }
            }

            /// Its name, for the audit.
            pub(crate) const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// The method at a gRPC path.
            fn of_grpc(path: &str) -> Option<Self> {
                match path { $($($grpc => Some(Self::$name),)*)* _ => None }
            }
        }
    };
}

const READERS: May = May::One(Roles::of(&[Role::Viewer, Role::Operator, Role::Producer, Role::Admin]));
const PRODUCERS: May = May::One(Roles::of(&[Role::Producer, Role::Admin]));
const OPERATORS: May = May::One(Roles::of(&[Role::Operator, Role::Admin]));
const WORKERS: May = May::One(Roles::of(&[Role::Worker, Role::Admin]));
/// A producer reports on what it carries out itself: its lease proves that it does.
const REPORTERS: May = May::One(Roles::of(&[Role::Worker, Role::Producer, Role::Admin]));

const ADMINS: May = May::Whole(Roles::of(&[Role::Admin]));
const OBSERVERS: May = May::Whole(Roles::of(&[Role::Viewer, Role::Admin]));

methods! {
    /// Reads an operation.
    Get: Planes::PUBLIC, READERS, [
        "/operond.v1.Operations/Get",
        "/yandex.cloud.operation.OperationService/Get",
        "/google.longrunning.Operations/GetOperation"
    ];
    /// Reads a page of operations.
    List: Planes::PUBLIC, READERS, ["/operond.v1.Operations/List", "/google.longrunning.Operations/ListOperations"];
    /// Counts operations.
    Count: Planes::PUBLIC, READERS, ["/operond.v1.Operations/Count"];
    /// Reads an operation once it is done.
    Wait: Planes::PUBLIC, READERS, ["/operond.v1.Operations/Wait", "/google.longrunning.Operations/WaitOperation"];
    /// Follows an operation.
    Watch: Planes::PUBLIC, READERS, ["/operond.v1.Operations/Watch"];
    /// Records an operation.
    Create: Planes::PUBLIC, PRODUCERS, ["/operond.v1.Operations/Create"];
    /// Records an operation and leases it.
    Start: Planes::PUBLIC, PRODUCERS, ["/operond.v1.Operations/Start"];
    /// Asks for an operation to be cancelled.
    Cancel: Planes::PUBLIC, OPERATORS, [
        "/operond.v1.Operations/Cancel",
        "/yandex.cloud.operation.OperationService/Cancel",
        "/google.longrunning.Operations/CancelOperation"
    ];
    /// Forgets an operation.
    Delete: Planes::PUBLIC, OPERATORS, ["/operond.v1.Operations/Delete", "/google.longrunning.Operations/DeleteOperation"];

    /// Leases operations.
    Claim: Planes::WORKER, WORKERS, ["/operond.v1.Work/Claim"];
    /// Keeps a lease.
    Heartbeat: Planes::WORKER, REPORTERS, ["/operond.v1.Work/Heartbeat"];
    /// Shows a failure early.
    ReportFailure: Planes::WORKER, REPORTERS, ["/operond.v1.Work/ReportFailure"];
    /// Ends an operation.
    Complete: Planes::WORKER, REPORTERS, ["/operond.v1.Work/Complete"];
    /// Gives an operation up for another attempt.
    Retry: Planes::WORKER, REPORTERS, ["/operond.v1.Work/Retry"];
    /// Gives an operation back.
    Release: Planes::WORKER, REPORTERS, ["/operond.v1.Work/Release"];

    /// Reads message types: whoever shows operations needs them.
    TypesList: Planes::ALL, May::AnyIdentity, ["/operond.v1.Types/List"];
    /// Adds message types.
    TypesRegister: Planes::ADMIN, ADMINS, ["/operond.v1.Types/Register"];
    /// Reads the defaults of a kind.
    KindsGet: Planes::ALL, May::AnyIdentity, ["/operond.v1.Kinds/Get"];
    /// Reads the defaults of kinds.
    KindsList: Planes::ALL, May::AnyIdentity, ["/operond.v1.Kinds/List"];
    /// Sets the defaults of a kind.
    KindsUpdate: Planes::ADMIN, ADMINS, ["/operond.v1.Kinds/Update"];

    /// Makes a key.
    KeysCreate: Planes::ADMIN, ADMINS, ["/operond.v1.Keys/Create"];
    /// Reads what is known of keys.
    KeysList: Planes::ADMIN, ADMINS, ["/operond.v1.Keys/List"];
    /// Makes a key useless.
    KeysRevoke: Planes::ADMIN, ADMINS, ["/operond.v1.Keys/Revoke"];
    /// Tells the caller who they are.
    WhoAmI: Planes::ALL, May::AnyIdentity, ["/operond.v1.Keys/WhoAmI"];

    /// Tells SDKs where the server is, before they have credentials (CONTRACT §1).
    Endpoints: Planes::PUBLIC, May::Anyone, [
        "/yandex.cloud.endpoint.ApiEndpointService/List",
        "/yandex.cloud.endpoint.ApiEndpointService/Get"
    ];
    /// Whether the server serves, for load balancers.
    Health: Planes::ALL, May::Anyone, ["/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch", "/grpc.health.v1.Health/List"];
    /// What can be asked over REST: no secret, the repository has it.
    OpenApi: Planes::ALL, May::Anyone, [];
    /// How the server is, in figures.
    Metrics: Planes::ADMIN, OBSERVERS, [];
    /// What can be asked over gRPC.
    Reflection: Planes::REFLECTION, May::AnyIdentity, [
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
    ];
}

impl Method {
    /// Whether it keeps, ends or gives back what the caller has leased.
    pub(crate) const fn is_report(self) -> bool {
        matches!(self, Self::Heartbeat | Self::ReportFailure | Self::Complete | Self::Retry | Self::Release)
    }

    /// What `request` asks; none where nothing is served.
    pub(crate) fn of(request: &Request<Body>) -> Option<Self> {
        match Form::of(request) {
            Form::Grpc => Self::of_grpc(request.uri().path()),
            Form::Rest | Form::Google => call_of(request.uri().path(), request.method()).map(Self::of_rest),
        }
    }

    /// What a call over REST asks.
    const fn of_rest(call: Call) -> Self {
        match call {
            Call::Health | Call::Ready => Self::Health,
            Call::OpenApi => Self::OpenApi,
            Call::Metrics => Self::Metrics,
            Call::EndpointsList | Call::EndpointsGet => Self::Endpoints,
            Call::Get | Call::YandexGet | Call::GoogleGet => Self::Get,
            Call::List | Call::GoogleList => Self::List,
            Call::Count => Self::Count,
            Call::Wait | Call::GoogleWait => Self::Wait,
            Call::Watch => Self::Watch,
            Call::Create => Self::Create,
            Call::Start => Self::Start,
            Call::Cancel | Call::YandexCancel | Call::GoogleCancel => Self::Cancel,
            Call::Delete | Call::GoogleDelete => Self::Delete,
            Call::Claim => Self::Claim,
            Call::Heartbeat => Self::Heartbeat,
            Call::ReportFailure => Self::ReportFailure,
            Call::Complete => Self::Complete,
            Call::Retry => Self::Retry,
            Call::Release => Self::Release,
            Call::TypesRegister => Self::TypesRegister,
            Call::TypesList => Self::TypesList,
            Call::KindsList => Self::KindsList,
            Call::KindsGet => Self::KindsGet,
            Call::KindsUpdate => Self::KindsUpdate,
            Call::KeysCreate => Self::KeysCreate,
            Call::KeysList => Self::KeysList,
            Call::KeysRevoke => Self::KeysRevoke,
            Call::WhoAmI => Self::WhoAmI,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use operond_proto::FILE_DESCRIPTOR_SET;
    use prost_reflect::DescriptorPool;

    use super::*;

    #[test]
    fn every_method_of_every_service_is_in_the_table_and_nothing_else() {
        let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
        let methods: BTreeSet<String> = pool
            .services()
            .flat_map(|service| service.methods().collect::<Vec<_>>())
            .map(|method| format!("/{}/{}", method.parent_service().full_name(), method.name()))
            .collect();
        assert!(methods.len() > 30, "{methods:?}");
        let unknown: Vec<_> = methods.iter().filter(|path| Method::of_grpc(path).is_none()).collect();
        assert!(unknown.is_empty(), "{unknown:?} are open to nobody: say in the table who may call them");
    }

    #[test]
    fn only_what_tells_nothing_is_open_to_everybody() {
        let open: Vec<_> = Method::ALL.iter().filter(|method| method.may() == May::Anyone).collect();
        assert_eq!(open, [&Method::Endpoints, &Method::Health, &Method::OpenApi]);
    }

    #[test]
    fn an_admin_may_do_everything() {
        for method in Method::ALL {
            if let May::One(roles) | May::Whole(roles) = method.may() {
                assert!(roles.has(Role::Admin), "{method:?}");
            }
        }
    }
}
