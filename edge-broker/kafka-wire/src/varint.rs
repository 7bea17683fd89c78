//! Kafka's zigzag varints.
