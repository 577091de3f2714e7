//! Records as users see them.

/// A record to be produced; it borrows what it sends.
///
/// ```
/// use sarameya::ProducerRecord;
/// let record = ProducerRecord::new("test3").key("k1").value("v1").header("trace", b"42");
/// assert_eq!(record.key_bytes(), Some(&b"k1"[..]));
/// ```
#[derive(Debug, Clone)]
pub struct ProducerRecord<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: Option<i32>,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: Vec<Header<'a>>,
    pub(crate) timestamp: Option<i64>,
}

/// A record header: a name and a value that may be null. Names may repeat; order is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// The header's name.
    pub key: &'a str,
    /// The header's value.
    pub value: Option<&'a [u8]>,
}

impl<'a> ProducerRecord<'a> {
    /// A record for this topic, without key, value and headers.
    pub fn new(topic: &'a str) -> Self {
        Self { topic, partition: None, key: None, value: None, headers: Vec::new(), timestamp: None }
    }

    /// Sends it to this partition; without it the partitioner chooses.
    pub fn partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// The key. Without one it is null.
    pub fn key<K: AsRef<[u8]> + ?Sized>(mut self, key: &'a K) -> Self {
        self.key = Some(key.as_ref());
        self
    }

    /// The value. Without one it is null, which in a compacted topic deletes the key.
    pub fn value<V: AsRef<[u8]> + ?Sized>(mut self, value: &'a V) -> Self {
        self.value = Some(value.as_ref());
        self
    }

    /// Adds a header.
    pub fn header<V: AsRef<[u8]> + ?Sized>(mut self, key: &'a str, value: &'a V) -> Self {
        self.headers.push(Header { key, value: Some(value.as_ref()) });
        self
    }

    /// Adds a header with a null value.
    pub fn null_header(mut self, key: &'a str) -> Self {
        self.headers.push(Header { key, value: None });
        self
    }

    /// The record's time, in milliseconds since 1970-01-01T00:00:00Z. Without it: the time of the send.
    pub fn timestamp(mut self, milliseconds: i64) -> Self {
        self.timestamp = Some(milliseconds);
        self
    }

    /// The topic.
    pub fn topic(&self) -> &'a str {
        self.topic
    }

    /// The key, as given.
    pub fn key_bytes(&self) -> Option<&'a [u8]> {
        self.key
    }

    /// The value, as given.
    pub fn value_bytes(&self) -> Option<&'a [u8]> {
        self.value
    }

    /// The headers, as given.
    pub fn headers(&self) -> &[Header<'a>] {
        &self.headers
    }
}
