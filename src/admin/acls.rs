//! Access control lists.

use super::routing::{Entity, Route};
use super::values::coded;
use super::{Admin, Results, outcome};
use crate::protocol::messages::create_acls::{AclCreation, CreateAclsRequest};
use crate::protocol::messages::delete_acls::{DeleteAclsFilter, DeleteAclsMatchingAcl, DeleteAclsRequest};
use crate::protocol::messages::describe_acls::DescribeAclsRequest;
use crate::{Error, Result};
use std::fmt;

coded! {
    /// What an ACL is about.
    AclResourceType {
        /// In filters: all of them.
        Any = 1 "ANY",
        /// A topic.
        Topic = 2 "TOPIC",
        /// A group.
        Group = 3 "GROUP",
        /// The cluster, whose name is [`CLUSTER_NAME`](AclBinding::CLUSTER_NAME).
        Cluster = 4 "CLUSTER",
        /// A transactional id.
        TransactionalId = 5 "TRANSACTIONAL_ID",
        /// A delegation token.
        DelegationToken = 6 "DELEGATION_TOKEN",
        /// A user, for the tokens made for them.
        User = 7 "USER",
    }
}

coded! {
    /// How the name of an ACL's resource is meant. Brokers before 2.0 know [`Literal`](Self::Literal) only.
    PatternType {
        /// In filters: all of them, with exactly this name.
        Any = 1 "ANY",
        /// In filters: all that apply to a resource of this name, so prefixes and `*` too.
        Match = 2 "MATCH",
        /// Exactly this name; `*` is every name.
        Literal = 3 "LITERAL",
        /// Every name that starts with this.
        Prefixed = 4 "PREFIXED",
    }
}

coded! {
    /// What is done with a resource.
    AclOperation {
        /// In filters: all of them.
        Any = 1 "ANY",
        /// Everything.
        All = 2 "ALL",
        /// Reading.
        Read = 3 "READ",
        /// Writing.
        Write = 4 "WRITE",
        /// Creating.
        Create = 5 "CREATE",
        /// Deleting.
        Delete = 6 "DELETE",
        /// Changing.
        Alter = 7 "ALTER",
        /// Describing.
        Describe = 8 "DESCRIBE",
        /// What brokers do among themselves.
        ClusterAction = 9 "CLUSTER_ACTION",
        /// Describing configs.
        DescribeConfigs = 10 "DESCRIBE_CONFIGS",
        /// Changing configs.
        AlterConfigs = 11 "ALTER_CONFIGS",
        /// Writing idempotently.
        IdempotentWrite = 12 "IDEMPOTENT_WRITE",
        /// Making tokens for others.
        CreateTokens = 13 "CREATE_TOKENS",
        /// Describing the tokens of others.
        DescribeTokens = 14 "DESCRIBE_TOKENS",
        /// Two-phase commit.
        TwoPhaseCommit = 15 "TWO_PHASE_COMMIT",
    }
}

coded! {
    /// Whether an ACL allows or denies.
    AclPermission {
        /// In filters: both.
        Any = 1 "ANY",
        /// It is denied, whatever else allows it.
        Deny = 2 "DENY",
        /// It is allowed.
        Allow = 3 "ALLOW",
    }
}

/// What the broker says of the caller's rights, as a set of bits; `None` if it was not asked.
pub(super) fn authorized_operations(bits: i32) -> Option<Vec<AclOperation>> {
    let allowed = |operation: &&AclOperation| bits & (1 << operation.code()) != 0;
    (bits != i32::MIN).then(|| AclOperation::ALL.iter().filter(allowed).copied().collect())
}

/// One rule: who may, or may not, do what with what, from where.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AclBinding {
    /// What it is about.
    pub resource_type: AclResourceType,
    /// The resource's name, or how it starts.
    pub resource_name: String,
    /// Which of the two.
    pub pattern_type: PatternType,
    /// Who: `User:alice`; `User:*` is everybody.
    pub principal: String,
    /// From which address; `*` is every one.
    pub host: String,
    /// Does what.
    pub operation: AclOperation,
    /// Allowed or denied.
    pub permission: AclPermission,
}

impl AclBinding {
    /// The one name that resources of type cluster have.
    pub const CLUSTER_NAME: &str = "kafka-cluster";

    /// Allows a principal an operation on a resource of exactly this name, from every host.
    pub fn allow(
        principal: impl Into<String>,
        operation: AclOperation,
        resource_type: AclResourceType,
        resource_name: impl Into<String>,
    ) -> Self {
        Self {
            resource_type,
            resource_name: resource_name.into(),
            pattern_type: PatternType::Literal,
            principal: principal.into(),
            host: "*".to_owned(),
            operation,
            permission: AclPermission::Allow,
        }
    }

    /// The same as a rule that denies.
    #[must_use]
    pub fn deny(mut self) -> Self {
        self.permission = AclPermission::Deny;
        self
    }

    /// The same for all resources whose names start with the name.
    #[must_use]
    pub fn prefixed(mut self) -> Self {
        self.pattern_type = PatternType::Prefixed;
        self
    }

    /// The same from one address only.
    #[must_use]
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.host = host.into();
        self
    }
}

impl fmt::Display for AclBinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} from {}", self.permission, self.principal, self.operation, self.host)?;
        write!(f, " on {} {} {:?}", self.pattern_type, self.resource_type, self.resource_name)
    }
}

impl Entity for AclBinding {
    fn named(&self, error: Error) -> Error {
        match self.resource_type {
            AclResourceType::Topic => error.with_topic(self.resource_name.as_str()),
            _ => error,
        }
    }
}

/// Which rules are meant: those that agree with all that is given.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AclFilter {
    /// About what; [`Any`](AclResourceType::Any) is about everything.
    pub resource_type: AclResourceType,
    /// Of this name; every name if `None`.
    pub resource_name: Option<String>,
    /// How the name is compared.
    pub pattern_type: PatternType,
    /// For whom; everybody's if `None`.
    pub principal: Option<String>,
    /// From which host; from everywhere if `None`.
    pub host: Option<String>,
    /// For which operation.
    pub operation: AclOperation,
    /// Allowing, denying or both.
    pub permission: AclPermission,
}

impl AclFilter {
    /// All rules.
    pub fn any() -> Self {
        Self {
            resource_type: AclResourceType::Any,
            resource_name: None,
            pattern_type: PatternType::Any,
            principal: None,
            host: None,
            operation: AclOperation::Any,
            permission: AclPermission::Any,
        }
    }
}

/// Exactly this rule.
impl From<AclBinding> for AclFilter {
    fn from(acl: AclBinding) -> Self {
        Self {
            resource_type: acl.resource_type,
            resource_name: Some(acl.resource_name),
            pattern_type: acl.pattern_type,
            principal: Some(acl.principal),
            host: Some(acl.host),
            operation: acl.operation,
            permission: acl.permission,
        }
    }
}

impl Entity for AclFilter {}

impl Admin {
    /// Adds rules; one that is there already is no error. RPC CreateAcls to any broker, brokers from 2.0 on; prefixes
    /// need 2.0.
    ///
    /// ```no_run
    /// use sarameya::admin::{AclBinding, AclOperation, AclResourceType};
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// let reads = AclBinding::allow("User:alice", AclOperation::Read, AclResourceType::Topic, "test3");
    /// for (rule, created) in admin.create_acls(&[reads])? {
    ///     println!("{rule}: {created:?}");
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn create_acls(&self, acls: &[AclBinding]) -> Result<Results<(), AclBinding>> {
        let creation = |acl: &AclBinding| AclCreation {
            resource_type: acl.resource_type.code(),
            resource_name: acl.resource_name.clone(),
            resource_pattern_type: acl.pattern_type.code(),
            principal: acl.principal.clone(),
            host: acl.host.clone(),
            operation: acl.operation.code(),
            permission_type: acl.permission.code(),
        };
        self.call().run(acls.to_vec(), &Route::Any, |asking, acls| {
            let response = asking.call(&CreateAclsRequest { creations: acls.iter().map(creation).collect() })?;
            let created = |(acl, result): (&AclBinding, crate::protocol::messages::create_acls::AclCreationResult)| {
                let doing = format!("not added: {acl}");
                (acl.clone(), outcome(result.error_code, result.error_message.as_deref(), &doing))
            };
            Ok(acls.iter().zip(response.results).map(created).collect())
        })
    }

    /// The rules that a filter lets through, in order. RPC DescribeAcls to any broker, brokers from 2.0 on.
    ///
    /// ```no_run
    /// use sarameya::admin::AclFilter;
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// for acl in admin.describe_acls(&AclFilter::any())? {
    ///     println!("{acl:?}");
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn describe_acls(&self, filter: &AclFilter) -> Result<Vec<AclBinding>> {
        self.call().ask(&Route::Any, |asking| {
            let response = asking.call(&DescribeAclsRequest {
                resource_type_filter: filter.resource_type.code(),
                resource_name_filter: filter.resource_name.clone(),
                pattern_type_filter: filter.pattern_type.code(),
                principal_filter: filter.principal.clone(),
                host_filter: filter.host.clone(),
                operation: filter.operation.code(),
                permission_type: filter.permission.code(),
            })?;
            outcome(response.error_code, response.error_message.as_deref(), "ACLs were not described")?;
            let mut acls: Vec<AclBinding> = Vec::new();
            for resource in response.resources {
                acls.extend(resource.acls.into_iter().map(|acl| AclBinding {
                    resource_type: AclResourceType::from_code(resource.resource_type),
                    resource_name: resource.resource_name.clone(),
                    pattern_type: PatternType::from_code(resource.pattern_type),
                    principal: acl.principal,
                    host: acl.host,
                    operation: AclOperation::from_code(acl.operation),
                    permission: AclPermission::from_code(acl.permission_type),
                }));
            }
            acls.sort();
            Ok(acls)
        })
    }

    /// Deletes the rules that filters let through, and says which they were. RPC DeleteAcls to any broker, brokers from
    /// 2.0 on. Rules that an earlier try of this very call deleted are not among them.
    ///
    /// ```no_run
    /// use sarameya::admin::AclFilter;
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// let of_bob = AclFilter { principal: Some("User:bob".into()), ..AclFilter::any() };
    /// for (_, deleted) in admin.delete_acls(&[of_bob])? {
    ///     println!("{} deleted", deleted?.len());
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn delete_acls(&self, filters: &[AclFilter]) -> Result<Results<Results<(), AclBinding>, AclFilter>> {
        let on_the_wire = |filter: &AclFilter| DeleteAclsFilter {
            resource_type_filter: filter.resource_type.code(),
            resource_name_filter: filter.resource_name.clone(),
            pattern_type_filter: filter.pattern_type.code(),
            principal_filter: filter.principal.clone(),
            host_filter: filter.host.clone(),
            operation: filter.operation.code(),
            permission_type: filter.permission.code(),
        };
        self.call().run(filters.to_vec(), &Route::Any, |asking, filters| {
            let response = asking.call(&DeleteAclsRequest { filters: filters.iter().map(on_the_wire).collect() })?;
            let answers = filters.iter().zip(response.filter_results).map(|(filter, result)| {
                let doing = format!("not deleted: {filter:?}");
                let deleted = outcome(result.error_code, result.error_message.as_deref(), &doing);
                (filter.clone(), deleted.map(|()| result.matching_acls.into_iter().map(deleted_acl).collect()))
            });
            Ok(answers.collect())
        })
    }
}

fn deleted_acl(acl: DeleteAclsMatchingAcl) -> (AclBinding, Result<()>) {
    let (code, words) = (acl.error_code, acl.error_message);
    let binding = AclBinding {
        resource_type: AclResourceType::from_code(acl.resource_type),
        resource_name: acl.resource_name,
        pattern_type: PatternType::from_code(acl.pattern_type),
        principal: acl.principal,
        host: acl.host,
        operation: AclOperation::from_code(acl.operation),
        permission: AclPermission::from_code(acl.permission_type),
    };
    let doing = format!("not deleted: {binding}");
    (binding, outcome(code, words.as_deref(), &doing))
}
