//! The pure core of a site.

/// The state machine of one gateway.
pub struct SiteCore {}
