//! Skeleton.
use crate::config::RouteConfig;
use crate::error::StartError;

pub(crate) struct Routes {}

impl Routes {
    pub(crate) fn compile(_site: &str, _routes: &[RouteConfig]) -> Result<Routes, StartError> {
        Ok(Routes {})
    }
}
