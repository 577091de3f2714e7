//! Faults and observation, as methods of the cluster.

use super::{Drip, Edit, Garble, Intercept, ReceivedRequest, Script};
use crate::embedded::Cluster;
use crate::protocol::Request;
use crate::protocol::messages::ApiKey;
use crate::{Error, ErrorCode, ErrorKind, Result};
use std::time::Duration;

/// Faults
///
/// A fault concerns the requests of one API at every broker. Several faults go together: a request may be delayed,
/// throttled and garbled. The order is: [`drop_next_request`](Self::drop_next_request), [`intercept`](Self::intercept),
/// `fail_…`, the broker itself, [`rewrite`](Self::rewrite), [`throttle`](Self::throttle), [`delay`](Self::delay),
/// [`drop_next_response`](Self::drop_next_response), [`garble_next`](Self::garble_next), [`slow_drip`](Self::slow_drip).
impl Cluster {
    /// The next request of this API is answered with this error and has no effect. The error stands where Kafka puts
    /// it: at each partition, topic or group of the request if the API has it there. May be called several times: the
    /// codes are used up in that order.
    ///
    /// ```
    /// use sarameya::ErrorCode;
    /// use sarameya::embedded::Cluster;
    /// use sarameya::protocol::messages::ApiKey;
    /// # use sarameya::Client;
    ///
    /// let cluster = Cluster::start(1)?;
    /// cluster.fail_next(ApiKey::METADATA, ErrorCode::LEADER_NOT_AVAILABLE);
    /// # Client::connect(cluster.bootstrap_servers())?;
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn fail_next(&self, api: ApiKey, code: ErrorCode) {
        self.fail_next_n(api, code, 1);
    }

    /// As [`fail_next`](Self::fail_next), for the next `n` requests.
    ///
    /// ```
    /// # use sarameya::{ErrorCode, embedded::Cluster, protocol::messages::ApiKey};
    /// # let cluster = Cluster::start(1)?;
    /// cluster.fail_next_n(ApiKey::PRODUCE, ErrorCode::NOT_LEADER_OR_FOLLOWER, 3);
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn fail_next_n(&self, api: ApiKey, code: ErrorCode, n: usize) {
        if n > 0 {
            self.core.faults.change(api, |rules| rules.fail_next.push_back((code, n)));
        }
    }

    /// As [`fail_next`](Self::fail_next), for all requests until [`clear_faults_of`](Self::clear_faults_of).
    ///
    /// ```
    /// # use sarameya::{ErrorCode, embedded::Cluster, protocol::messages::ApiKey};
    /// # let cluster = Cluster::start(1)?;
    /// cluster.fail_always(ApiKey::JOIN_GROUP, ErrorCode::COORDINATOR_LOAD_IN_PROGRESS);
    /// cluster.clear_faults_of(ApiKey::JOIN_GROUP);
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn fail_always(&self, api: ApiKey, code: ErrorCode) {
        self.core.faults.change(api, |rules| rules.fail_always = Some(code));
    }

    /// A partition is answered with this error, and not served: to one API or, for `None`, to all of Produce, Fetch,
    /// ListOffsets, OffsetForLeaderEpoch, DeleteRecords, OffsetCommit, OffsetFetch, TxnOffsetCommit, AddPartitionsToTxn and
    /// Metadata. The other partitions of a request are served, except by AddPartitionsToTxn, which adds all or none. It lasts
    /// until it is set to [`ErrorCode::NONE`].
    ///
    /// ```
    /// # use sarameya::{ErrorCode, embedded::Cluster, protocol::messages::ApiKey};
    /// # let cluster = Cluster::start(1)?;
    /// cluster.fail_partition("test3", 0, ApiKey::FETCH, ErrorCode::KAFKA_STORAGE_ERROR);
    /// cluster.fail_partition("test3", 1, None, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn fail_partition(&self, topic: &str, partition: i32, api: impl Into<Option<ApiKey>>, code: ErrorCode) {
        let api = api.into();
        self.core.with_state(|state, _| state.fail_partition(topic, partition, api, code));
    }

    /// The answers of this API are held back for a time by the cluster's clock; the requests take effect at once. Zero
    /// ends it.
    ///
    /// ```
    /// # use sarameya::{embedded::Cluster, protocol::messages::ApiKey};
    /// # let cluster = Cluster::start(1)?;
    /// cluster.delay(ApiKey::FIND_COORDINATOR, std::time::Duration::from_millis(300));
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn delay(&self, api: ApiKey, delay: Duration) {
        self.core.faults.change(api, |rules| rules.delay = delay);
    }

    /// The next request of this API takes effect, and then its connection is closed without an answer: an
    /// acknowledgement that is lost.
    ///
    /// ```
    /// # use sarameya::{embedded::Cluster, protocol::messages::ApiKey};
    /// # let cluster = Cluster::start(1)?;
    /// cluster.drop_next_response(ApiKey::PRODUCE);
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn drop_next_response(&self, api: ApiKey) {
        self.core.faults.change(api, |rules| rules.drop_responses += 1);
    }

    /// The next request of this API has no effect: its connection is closed instead.
    ///
    /// ```
    /// # use sarameya::{embedded::Cluster, protocol::messages::ApiKey};
    /// # let cluster = Cluster::start(1)?;
    /// cluster.drop_next_request(ApiKey::PRODUCE);
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn drop_next_request(&self, api: ApiKey) {
        self.core.faults.change(api, |rules| rules.drop_requests += 1);
    }

    /// The answer to the next request of this API is damaged; the request takes effect.
    ///
    /// ```
    /// # use sarameya::{embedded::Cluster, protocol::messages::ApiKey};
    /// use sarameya::embedded::Garble;
    /// # let cluster = Cluster::start(1)?;
    /// cluster.garble_next(ApiKey::FETCH, Garble::Truncated);
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn garble_next(&self, api: ApiKey, garble: Garble) {
        self.core.faults.change(api, |rules| rules.garble.push_back(garble));
    }

    /// The answers of this API go out in pieces of so many bytes, one each interval of real time. 0 bytes end it.
    ///
    /// ```
    /// # use sarameya::{embedded::Cluster, protocol::messages::ApiKey};
    /// # let cluster = Cluster::start(1)?;
    /// cluster.slow_drip(ApiKey::FETCH, 1, std::time::Duration::from_millis(20));
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn slow_drip(&self, api: ApiKey, bytes: usize, interval: Duration) {
        self.core.faults.change(api, |rules| rules.drip = (bytes > 0).then_some(Drip { bytes, interval }));
    }

    /// The answers of this API ask the client to be silent for a time (`throttle_time_ms`, KIP-219). Other than Kafka,
    /// the broker goes on reading, so that a client that does not obey is seen. Zero ends it.
    ///
    /// ```
    /// # use sarameya::{embedded::Cluster, protocol::messages::ApiKey};
    /// # let cluster = Cluster::start(1)?;
    /// cluster.throttle(ApiKey::PRODUCE, std::time::Duration::from_millis(500));
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn throttle(&self, api: ApiKey, time: Duration) {
        self.core.faults.change(api, |rules| rules.throttle = time);
    }

    /// A broker goes on accepting connections, but reads nothing and answers nothing until
    /// [`resume_broker`](Self::resume_broker): as if its process had been stopped by a signal. It keeps its leaderships.
    ///
    /// ```
    /// # use sarameya::embedded::Cluster;
    /// # let cluster = Cluster::start(2)?;
    /// cluster.pause_broker(2);
    /// cluster.resume_broker(2);
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn pause_broker(&self, id: i32) {
        self.core.pause(id, true);
    }

    /// A paused broker goes on: what has come meanwhile is served now.
    pub fn resume_broker(&self, id: i32) {
        self.core.pause(id, false);
    }

    /// Asks the script about every request `R`, until [`clear_faults_of`](Self::clear_faults_of) its API. Of several
    /// scripts the first one that does not pass decides.
    ///
    /// It runs on the connection's thread, without any lock, so it may wait, and may use a handle of the cluster: one
    /// that does not keep the cluster alive, such as a `std::sync::Weak`.
    ///
    /// ```
    /// # use sarameya::embedded::Cluster;
    /// use sarameya::embedded::Intercept;
    /// use sarameya::protocol::messages::{HeartbeatRequest, HeartbeatResponse};
    /// use sarameya::ErrorCode;
    ///
    /// # let cluster = Cluster::start(1)?;
    /// cluster.intercept(|request: &HeartbeatRequest, received| {
    ///     if request.group_id == "g1" && received.client_id() == "second" {
    ///         let error_code = ErrorCode::UNKNOWN_MEMBER_ID.0;
    ///         return Intercept::Answer(HeartbeatResponse { error_code, ..Default::default() });
    ///     }
    ///     Intercept::Pass
    /// });
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn intercept<R>(&self, script: impl Fn(&R, &ReceivedRequest) -> Intercept<R::Response> + Send + Sync + 'static)
    where
        R: Request + Send + 'static,
        R::Response: Send + 'static,
    {
        self.core.faults.change(ApiKey(R::KEY), |rules| rules.scripts.push(Script::new(script)));
    }

    /// Changes every answer to a request `R`, until [`clear_faults_of`](Self::clear_faults_of) its API. It runs on the
    /// connection's thread.
    ///
    /// ```
    /// # use sarameya::embedded::Cluster;
    /// use sarameya::protocol::messages::{MetadataRequest, MetadataResponse};
    ///
    /// # let cluster = Cluster::start(3)?;
    /// cluster.rewrite::<MetadataRequest>(|response: &mut MetadataResponse| {
    ///     response.brokers.retain(|broker| broker.node_id != 3);
    /// });
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn rewrite<R>(&self, edit: impl Fn(&mut R::Response) + Send + Sync + 'static)
    where
        R: Request,
        R::Response: 'static,
    {
        self.core.faults.change(ApiKey(R::KEY), |rules| rules.edits.push(Edit::new::<R>(edit)));
    }

    /// Takes back all faults of an API, scripts and errors at partitions as well. Answers that are being held back still are.
    pub fn clear_faults_of(&self, api: ApiKey) {
        self.core.faults.clear(Some(api));
        self.core.with_state(|state, _| state.clear_partition_faults(Some(api)));
    }

    /// Takes back the faults of all APIs, scripts and errors at partitions as well. Paused brokers stay so.
    pub fn clear_faults(&self) {
        self.core.faults.clear(None);
        self.core.with_state(|state, _| state.clear_partition_faults(None));
    }
}

/// Observation
///
/// What has come is kept: 10,000 requests and 32 MiB at most, of all APIs together; then the oldest go.
impl Cluster {
    /// The requests of an API that have come, in that order; those as well that a fault kept from having an effect.
    ///
    /// ```
    /// # use sarameya::{Client, embedded::Cluster};
    /// use sarameya::protocol::messages::{ApiKey, MetadataRequest};
    ///
    /// # let cluster = Cluster::start(1)?;
    /// # let client = Client::builder().bootstrap_servers(cluster.bootstrap_servers()).client_id("app").build()?;
    /// # cluster.wait_for_requests(ApiKey::METADATA, 1, std::time::Duration::from_secs(10))?;
    /// for request in cluster.requests(ApiKey::METADATA) {
    ///     let body: MetadataRequest = request.body().expect("Metadata was asked for");
    ///     println!("{} asked broker {} for {:?}", request.client_id(), request.broker(), body.topics);
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn requests(&self, api: ApiKey) -> Vec<ReceivedRequest> {
        self.core.faults.observed.of(api)
    }

    /// The requests `R` that have come, in that order.
    pub fn requests_of<R: Request>(&self) -> Vec<R> {
        self.requests(ApiKey(R::KEY)).iter().filter_map(ReceivedRequest::body).collect()
    }

    /// Waits until `n` requests of an API have come since the start or [`clear_requests`](Self::clear_requests), and
    /// returns those that are kept. It waits for `limit` of real time at most.
    ///
    /// # Errors
    /// [`Timeout`](ErrorKind::Timeout) if there were not so many in that time.
    pub fn wait_for_requests(&self, api: ApiKey, n: usize, limit: Duration) -> Result<Vec<ReceivedRequest>> {
        let observed = &self.core.faults.observed;
        if observed.wait(api, n, limit) {
            return Ok(observed.of(api));
        }
        let (name, count) = (api.name().unwrap_or("unknown"), observed.count(api));
        Err(Error::new(ErrorKind::Timeout, format!("{count} requests {name} have come in {limit:?}, not {n}")))
    }

    /// Forgets the requests that have come.
    pub fn clear_requests(&self) {
        self.core.faults.observed.clear();
    }
}
