//! The broker library's hooks: they translate its types and ask [`super::acl`].

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rmqtt::codec::v5::SubscribeAckReason;
use rmqtt::context::ServerContext;
use rmqtt::hook::{Handler, HookResult, Parameter, ReturnType, Type};
use rmqtt::retain::{DefaultRetainStorage, RetainStorage};
use rmqtt::session::Session;
use rmqtt::types::{
    AuthResult, ConnectInfo, LastWill, PublishAclResult, Retain, Subscribe, SubscribeAclResult,
    TopicFilter, TopicName,
};

use super::acl::{Accounts, ConnectRefusal, Message, User};
use crate::metrics::{Counter, Metrics};

/// What the broker refused or dropped since it started.
#[derive(Debug)]
pub(super) struct BrokerCounters {
    connects_refused: Counter,
    publishes_refused: Counter,
    subscribes_refused: Counter,
    messages_dropped: Counter,
}

impl BrokerCounters {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let refused = |what| {
            let help = "What the broker refused: connections, publishes, subscriptions.";
            metrics.counter("furrow_broker_refused_total", help, &[("what", what)])
        };
        Self {
            connects_refused: refused("connect"),
            publishes_refused: refused("publish"),
            subscribes_refused: refused("subscribe"),
            messages_dropped: metrics.counter(
                "furrow_broker_dropped_total",
                "Messages that the broker dropped: a full queue, or their age. Gateways repeat them.",
                &[],
            ),
        }
    }
}

/// Registers the hooks and starts them. Registered but not started they would be silently off.
pub(super) async fn install(
    context: &ServerContext,
    accounts: Arc<Accounts>,
    counters: Arc<BrokerCounters>,
) {
    let register = context.extends.hook_mgr().register();
    for kind in [
        Type::ClientAuthenticate,
        Type::MessagePublishCheckAcl,
        Type::ClientSubscribeCheckAcl,
        Type::MessageDropped,
    ] {
        let (accounts, counters) = (Arc::clone(&accounts), Arc::clone(&counters));
        register
            .add(kind, Box::new(Hooks { accounts, counters }))
            .await;
    }
    register.start().await;
    *context.extends.retain_mut().await = Box::new(Retained::default());
}

struct Hooks {
    accounts: Arc<Accounts>,
    counters: Arc<BrokerCounters>,
}

#[async_trait]
impl Handler for Hooks {
    #[allow(elided_lifetimes_in_paths, reason = "must be written like the trait's")]
    async fn hook(&self, parameter: &Parameter, so_far: Option<HookResult>) -> ReturnType {
        // No wildcard lint here: the enum is the library's, and other kinds are never registered.
        #[allow(
            clippy::wildcard_enum_match_arm,
            reason = "foreign enum, four kinds registered"
        )]
        match parameter {
            Parameter::ClientAuthenticate(info) => {
                (false, Some(HookResult::AuthResult(self.authenticate(info))))
            }
            Parameter::MessagePublishCheckAcl(session, publish) => {
                let message = Message {
                    topic: &publish.topic,
                    retain: publish.retain,
                };
                (
                    false,
                    Some(HookResult::PublishAclResult(
                        self.check_publish(session, &message),
                    )),
                )
            }
            Parameter::ClientSubscribeCheckAcl(session, subscribe) => (
                false,
                Some(HookResult::SubscribeAclResult(
                    self.check_subscribe(session, subscribe),
                )),
            ),
            Parameter::MessageDropped(_, from, publish, reason) => {
                self.counters.messages_dropped.increment();
                tracing::debug!(
                    from = %from.client_id, topic = %publish.topic, reason = %reason,
                    "broker dropped a message"
                );
                (true, so_far)
            }
            _ => (true, so_far),
        }
    }
}

impl Hooks {
    fn authenticate(&self, info: &ConnectInfo) -> AuthResult {
        let will_topic = match info.last_will() {
            Some(LastWill::V3(will)) => Some(will.topic.clone()),
            Some(LastWill::V5(will)) => Some(will.topic.clone()),
            None => None,
        };
        let retain = info.last_will().is_some_and(|will| will.retain());
        let will = will_topic.as_ref().map(|topic| Message { topic, retain });
        let username = info.username().map(|name| -> &str { name });
        let password = info.password().map(|password| -> &[u8] { password });
        match self
            .accounts
            .connect(username, password, info.client_id(), will.as_ref())
        {
            Ok(User::Internal) => AuthResult::Allow(true, None),
            Ok(User::Gateway(..)) => AuthResult::Allow(false, None),
            Err(refusal) => {
                self.counters.connects_refused.increment();
                tracing::warn!(
                    username, client = %info.client_id(), address = ?info.ipaddress(), ?refusal,
                    "connection refused"
                );
                match refusal {
                    ConnectRefusal::Credentials => AuthResult::BadUsernameOrPassword,
                    ConnectRefusal::ClientId | ConnectRefusal::Will => AuthResult::NotAuthorized,
                }
            }
        }
    }

    fn check_publish(&self, session: &Session, message: &Message<'_>) -> PublishAclResult {
        if self
            .user(session)
            .is_some_and(|user| user.may_publish(message))
        {
            return PublishAclResult::allow();
        }
        self.counters.publishes_refused.increment();
        tracing::warn!(client = %session.id.client_id, topic = message.topic, "publish refused");
        PublishAclResult::rejected(false, Some("not one of your topics".into()))
    }

    fn check_subscribe(&self, session: &Session, subscribe: &Subscribe) -> SubscribeAclResult {
        let filter: &str = &subscribe.topic_filter;
        if self
            .user(session)
            .is_some_and(|user| user.may_subscribe(filter))
        {
            return SubscribeAclResult::new_success(subscribe.opts.qos(), None);
        }
        self.counters.subscribes_refused.increment();
        tracing::warn!(client = %session.id.client_id, filter, "subscription refused");
        SubscribeAclResult::new_failure(SubscribeAckReason::NotAuthorized)
    }

    fn user(&self, session: &Session) -> Option<&User> {
        let username: &str = session.id.username.as_ref()?;
        self.accounts.user(username)
    }
}

/// Retained messages in memory. The library's own store answers that it is enabled to nobody and
/// keeps nothing; its tree behind it works. The permissions bound it to three topics a gateway.
#[derive(Default)]
struct Retained {
    store: DefaultRetainStorage,
}

#[async_trait]
impl RetainStorage for Retained {
    fn enable(&self) -> bool {
        true
    }

    async fn set(
        &self,
        topic: &TopicName,
        retain: Retain,
        _expiry: Option<Duration>,
    ) -> rmqtt::Result<()> {
        // A state is true until it is replaced, however old it is.
        self.store.set_with_timeout(topic, retain, None).await
    }

    async fn get(&self, filter: &TopicFilter) -> rmqtt::Result<Vec<(TopicName, Retain)>> {
        self.store.get_message(filter).await
    }

    async fn count(&self) -> isize {
        self.store.count().await
    }

    async fn max(&self) -> isize {
        self.store.max().await
    }
}
